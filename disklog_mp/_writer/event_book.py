"""Writes the events that wait to the events' pages, and keeps their totals.

It is called at the end of each round of housekeeping, when producers are gone and before their slots are
free, and when the writer begins and ends.  What a writer notices in the last moment before it is killed, the
next one finds out from pages, ring and the log's file, and tells (see starting.py and arrivals.py).  Where it
cannot know how many errors (or the like) were being added up, it tells that.  Nothing is told twice.  Where
the disk takes nothing, events wait; the log itself never waits for its events.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from disklog_mp._core import SLOTS
from disklog_mp._options import group_id
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.event_log import Entry, EventLog
from disklog_mp._pages.unsynced import SyncJob
from disklog_mp._pages.writer import PageWriter
from disklog_mp._writer import intervals
from disklog_mp._writer.notices import (
    CONFIGURED,
    MISSED,
    SUMS,
    UNTRACED,
    Allowance,
    Notice,
    Notices,
    changed_options,
)
from disklog_mp.errors import DiskLogError

TOTALS = "totals"
PAGES = ("rolled", "sealed", "retired", "archived")  # events of pages
MOST_GONE = 2 * SLOTS  # untuned: more than can be told and still have their slots


class Totals:
    """How many events there were by name, and the sums of what they counted."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()
        self.attached_until = 0  # a producer that attached before that was told
        self.dropped = 0  # records that were told as dropped from the ring that is served
        self.is_full = False  # the log has reached max_bytes
        self.rolled_to = self.retired_to = self.truncated_to = 0  # newest pages that were told as such
        self.lasting: dict[str, int] = {}  # errors that began and did not end, and when
        self.options: dict[str, Any] = {}  # in force, as far as events tell
        self.gone: deque[tuple[int, int]] = deque(maxlen=MOST_GONE)  # pid, since: told as left or died
        self.allowed: dict[str, Allowance] = {}  # of events that leave no trace but their sums
        self.last = ""  # name of the last event
        self.last_time = 0  # ns since the epoch

    def add(self, name: str, when: int, fields: dict[str, Any]) -> None:
        """Count an event; one named `totals` says what all before it came to."""
        if name == TOTALS:
            self.events = Counter(fields.get("events", {}))
            self.sums = Counter(fields.get("sums", {}))
            self.attached_until = fields.get("attached_until", 0)
            self.dropped, self.is_full = fields.get("dropped", 0), fields.get("is_full", False)
            self.rolled_to, self.retired_to = fields.get("rolled_to", 0), fields.get("retired_to", 0)
            self.truncated_to = fields.get("truncated_to", 0)
            self.lasting = dict(fields.get("lasting", {}))
            self.options = dict(fields.get("options", {}))
            return
        if name == MISSED:
            self.events.update(fields.get("names", {}))
            for told in fields.get("names", {}):
                self.allowed.pop(told, None)
        else:
            self.events[name] += fields.get("events", 1)
        for key in SUMS.get(name, ()):
            if fields.get(key):
                self.sums[f"{name} {key}"] += fields[key]
        if name in UNTRACED:
            at = max(when, fields.get("until", 0)) / 1e9
            self.allowed.setdefault(name, Allowance(at)).is_left(at)
        self._note(name, when, fields)
        self.last, self.last_time = name, when

    def _note(self, name: str, when: int, fields: dict[str, Any]) -> None:
        """Note what the next writer has to know, so that it tells nothing again and leaves nothing out."""
        newest = max(fields.get("page", 0), fields.get("last_page", 0)) if name in PAGES else 0
        if name == "producer-attached":
            self.attached_until = max(self.attached_until, fields.get("since", 0))
        elif name == "dropped":
            self.dropped += fields.get("count", 0)
        elif name == "writer-started" and fields.get("ring") == "new":
            self.dropped = 0
        elif name in ("full", "room-again"):
            self.is_full = name == "full"
        elif name == CONFIGURED:
            self.options |= changed_options(fields)
        elif name in ("producer-left", "producer-died"):
            self.gone.append((fields.get("pid", 0), fields.get("since", 0)))
        elif name in ("error", "stalled"):
            self.lasting[fields.get("what", name)] = when
        elif name == "recovered":
            self.lasting.pop(fields.get("what", ""), None)
        elif name == "truncated":
            self.truncated_to = fields.get("last_page", 0)
        elif name in ("retired", "archived"):
            self.retired_to = max(self.retired_to, newest)
        elif name in PAGES:
            self.rolled_to = max(self.rolled_to, newest)

    def may_be_untold(self) -> list[str]:
        """Return the names of events that a writer that was killed may have been adding up."""
        return [
            name for name, allowed in self.allowed.items() if allowed.left < 1.0 and self.last != "stopped"
        ]

    def to_fields(self) -> dict[str, Any]:
        """Return them as the fields of an event."""
        return {
            "events": dict(self.events),
            "sums": dict(self.sums),
            "attached_until": self.attached_until,
            "dropped": self.dropped,
            "is_full": self.is_full,
            "rolled_to": self.rolled_to,
            "retired_to": self.retired_to,
            "truncated_to": self.truncated_to,
            "lasting": self.lasting,
            "options": self.options,
        }


class EventBook:
    """The events of one log, in the hands of its writer."""

    def __init__(self, notices: Notices, directory: Directory, pages: PageWriter) -> None:
        self.notices = notices
        self._directory = directory
        self._pages = pages
        self.may_make: Callable[[], bool] = lambda: True  # files, now: set by the writer
        self._log: EventLog | None = None
        self._retry_at = 0.0
        self._is_syncing = False  # a job is under way
        self.totals = Totals()
        notices.position = lambda: pages.position
        self._begin()

    def _begin(self) -> None:
        """Open the events' pages, if that can be done now, and add up what is there."""
        options = self._pages.options
        if not options.event_bytes:
            return
        with contextlib.suppress(OSError, DiskLogError):
            gid = group_id(options.group)
            self._log = EventLog(self._directory, self._pages.folder.name, options, gid, self._pages.log_id)
            totals = Totals()
            for data in self._log.newest():
                with contextlib.suppress(ValueError, TypeError, AttributeError):  # no event of ours
                    totals.add(*_decoded(data))
            totals.options = totals.options or self.totals.options
            if totals.events or not self.totals.events:
                self.totals = totals

    def renew_access(self) -> None:
        """Give the pages the mode and group that the log has now.  Raises OSError."""
        if self._log is not None:
            self._log.renew_access(self._pages.options, group_id(self._pages.options.group))

    # -- write -------------------------------------------------------------------------------------------

    def write(self, now: float = 0.0) -> None:
        """Write what waits; what cannot be written waits on."""
        self.notices.gather(now or time.monotonic())
        if self.notices.is_waiting() and time.monotonic() >= self._retry_at:
            self._write()

    def write_last(self) -> None:
        """Write all, also what would be added up later."""
        self.notices.gather(time.monotonic(), is_last=True)
        self._write()

    def _write(self) -> None:
        try:
            options = self._pages.options
            if self._log is not None and not (options.event_bytes and self._log.is_here()):
                if self._is_syncing:  # a thread uses its files
                    self._retry_at = time.monotonic() + intervals.RETRY
                    return
                self.close()
            if not options.event_bytes:
                self.notices.written(len(self.notices.waiting()))
                return
            if self._log is None and self.may_make():
                self._begin()
            if self._log is None:
                self._retry_at = time.monotonic() + intervals.RETRY
                return
            self._log.configure(options, group_id(options.group))
            self._append_to(self._log)
        except OSError:  # the disk is full, or the directory is gone: the log's own trouble says so
            self._retry_at = time.monotonic() + intervals.RETRY

    def _append_to(self, log: EventLog) -> None:
        waiting = self.notices.waiting()
        while waiting:
            entries = [Entry(notice.time, _encoded(notice)) for notice in waiting]
            done = log.append(entries, self._summary, self.may_make)
            if not done:
                self._retry_at = time.monotonic() + intervals.RETRY
                return
            for notice in waiting[:done]:
                self.totals.add(notice.name, notice.time, notice.fields)
            self.notices.written(done)
            del waiting[:done]

    def _summary(self) -> bytes:
        return _encoded(Notice(TOTALS, time.time_ns(), self._pages.position, self.totals.to_fields()))

    # -- sync, end ---------------------------------------------------------------------------------------

    def sync_job(self) -> SyncJob | None:
        """Return what a sync of the log has to sync of the events; None if nothing.

        Its files stay open until synced() is called.
        """
        job = None if self._log is None else self._log.sync_job()
        self._is_syncing = job is not None
        return job

    def synced(self, job: SyncJob) -> None:
        """Note that such a job was run."""
        self._is_syncing = False
        if self._log is not None:
            self._log.synced(job)

    def close(self) -> None:
        """Close all files."""
        if self._log is not None:
            self._log.close()
            self._log = None


def _encoded(notice: Notice) -> bytes:
    values = {"event": notice.name, "time": notice.time, "position": notice.position, **notice.fields}
    return json.dumps(values, separators=(",", ":"), default=str).encode()


def _decoded(data: bytes) -> tuple[str, int, dict[str, Any]]:
    fields = json.loads(data)
    return fields.pop("event"), fields.pop("time"), fields
