"""The log's own events as a reader finds them: what happened to the log, in the order it happened.

The names and what they carry stand in the README.  The oldest events go when there is no more room for them;
then the first one is `totals`, which says what all before it came to.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from disklog_mp._core import Record
from disklog_mp._pages.directory import Directory, EventsDirectory
from disklog_mp._pages.identity import read_identity
from disklog_mp._reader.damage import Damage
from disklog_mp._reader.page_run import PageRun
from disklog_mp._reader.stream import Stream
from disklog_mp.errors import FormatVersionError, PageRetiredError

TOTALS = "totals"


class LogEvent(NamedTuple):
    """Something that happened to the log."""

    name: str
    time: int  # ns since the epoch
    position: int  # of the log, when it happened
    fields: dict[str, Any]


class _EventRun(PageRun):
    """The pages of the events of one log: its file and its records say which log that is."""

    def log_id(self, numbers: list[int]) -> bytes | None:
        """Return the id of the log; the newest page of events says it only where nothing else does."""
        path = self.directory.path
        with contextlib.suppress(OSError, FormatVersionError):
            identity = read_identity(path)
            if identity is not None:
                return identity.log_id
        records = PageRun(Directory(path), lambda damage: None)
        return records.log_id(records.numbers()) or super().log_id(numbers)


class EventStream:
    """The events of the log in a directory, as far as they are there: iterate it again for those to come."""

    def __init__(self, path: str, on_damage: Callable[[Damage], object]) -> None:
        self._pages = _EventRun(EventsDirectory(path), on_damage)
        self._begin()

    def _begin(self) -> None:
        self._stream, self._is_first = Stream(self._pages, None, passes_foreign=True), True

    def __iter__(self) -> Iterator[LogEvent]:
        while True:
            try:
                for record in self._stream:
                    event = _event_of(record)
                    if event is not None and self._is_news(event):
                        yield event
                    self._is_first = False
                return
            except PageRetiredError:  # this reader was too slow: the totals say what it missed
                self._begin()

    def _is_news(self, event: LogEvent) -> bool:
        """False for totals of events that were given out, or that there never were."""
        return event.name != TOTALS or (self._is_first and bool(event.fields.get("events")))

    def rest(self, at_most: float) -> None:
        """Sleep until there may be more; longer each time there was no more."""
        self._stream.rest(at_most)

    def is_quiet(self) -> bool:
        """True if nothing has come since: this looks at memory, not at a disk."""
        return self._stream.is_quiet()


def events_in(
    path: str, on_damage: Callable[[Damage], object], *, follow: bool = False, timeout: float | None = None
) -> Iterator[LogEvent]:
    """Iterate the events of the log in a directory, oldest first.

    With `follow`, wait for more; `timeout` ends that after so many seconds in which none came.
    """
    events = EventStream(path, on_damage)
    last = time.monotonic()
    while True:
        for event in events:
            yield event
            last = time.monotonic()
        if not follow:
            return
        patience = math.inf if timeout is None else last + timeout - time.monotonic()
        if patience <= 0:
            return
        events.rest(patience)


def _event_of(record: Record) -> LogEvent | None:
    """Return the event in a record, None if it is none of ours."""
    try:
        fields = json.loads(record.data)
        name, moment, position = fields.pop("event"), fields.pop("time"), fields.pop("position")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None
    if not (isinstance(name, str) and type(moment) is int and type(position) is int):
        return None
    return LogEvent(name, moment, position, fields)
