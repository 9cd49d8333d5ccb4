"""A log as the live view watches it: its figures, gathered from its ring and its pages.

The ring is mapped so that no store can reach it: no process notices that it is looked at.  Figures of the
ring need no disk, so they come also while the disk hangs: look() and glance().  All else may wait for a disk:
read(), for which the view has a thread of its own.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Any

from disklog_mp import _core
from disklog_mp._metrics.histogram import Histogram, from_told
from disklog_mp._os import processes as _processes
from disklog_mp._reader.damage import Damage, describe
from disklog_mp._reader.events import EventStream, LogEvent
from disklog_mp._reader.reader import Reader
from disklog_mp._ring import control as _control
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring import stats as _stats
from disklog_mp._ring.observing import watch
from disklog_mp._session import requests
from disklog_mp._verify import survey as _survey
from disklog_mp.cli import _find, _text
from disklog_mp.cli.top import producers as _producers
from disklog_mp.cli.top.meters import Delay, Meter
from disklog_mp.cli.top.pages import Follower, count_levels
from disklog_mp.cli.top.producers import Key, Producer
from disklog_mp.errors import DiskLogError

EVENTS = 200  # kept
LEVELS = 32  # counted apart; records of further ones are counted together, as OTHER
OTHER = -1
ASKING_PAUSE = 2.0  # seconds between two questions to the writer
ANSWERING = 0.5  # seconds for its answer
SURVEY_PAUSE = 5.0  # seconds between looks at all page headers of a log that has no ring


class Watched:
    """The figures of a log."""

    def __init__(self, name: str, path: str, file: _ring.RingFile | None, ring_dir: str | None) -> None:
        """`file` is given away: close() closes it."""
        self.name, self.path, self._ring_dir = name, path, ring_dir
        self._file = file
        self._lock = threading.Lock()  # of the ring's file: it is replaced by read()
        self._commands: dict[Key, str] = {}
        self._reader: Reader | None = None
        self._follower: Follower | None = None
        self._events: EventStream | None = None
        self._looked: float | None = None
        self.stats: _stats.Stats | None = None
        self.survey: _survey.Survey | None = None  # of a log without a ring
        self._next_survey = 0.0
        self.options: dict[str, Any] = {}
        self.halted = self.sync_failures = 0
        self.held_up_by = 0  # the process that is stopped inside log() while all others wait for it
        self.records, self.bytes, self.dropped = Meter(), Meter(), Meter()
        self.producers: dict[Key, Producer] = {}
        self.written, self.durable = Delay(), Delay()
        self.highest = 0  # bytes in the ring, as far as looks saw
        self.levels: dict[int, Meter] = {}  # by tag
        self.timings: dict[str, Histogram] = {}  # of the writer's writes and syncs, since it began
        self._next_asking = 0.0
        self.sampled = 1.0  # part of the records whose levels were looked at
        self.events: deque[LogEvent] = deque(maxlen=EVENTS)
        self.damaged: list[str] = []
        self.trouble = ""  # of reading pages and events
        self.read_at: float | None = None  # the moment at which read() ended last
        self.reading_since: float | None = None

    # -- the ring ------------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Take all figures of the ring, at a time in seconds."""
        with self._lock:
            if self._file is None or not _ring.is_current(self._file):
                self.stats = None
                return
            stats = _stats.read(self._file)
            ring = self._file.ring
            self.options, self.halted = _control.options(ring), ring.halted
            self.sync_failures = ring.sync_failures
            stands = self.stats is not None and stats.released == self.stats.released < stats.claimed
            self.held_up_by = _holder(ring) if stands else 0
        self.stats = stats
        self.records.take(now, stats.logged)
        self.bytes.take(now, stats.claimed)
        self.dropped.take(now, stats.dropped)
        seconds = 0.0 if self._looked is None else now - self._looked
        self.producers = _producers.between(
            self.producers, stats.producers, seconds, lambda key: self._commands.get(key, "")
        )
        self._looked = now
        self._note(now, stats.claimed, stats.released, stats.written, stats.durable)

    def glance(self, now: float) -> None:
        """Take the positions alone: this costs next to nothing."""
        with self._lock:
            if self._file is None or self.stats is None:
                return
            ring = self._file.ring
            durable, written, released = ring.durable, ring.written, ring.released
            claimed = ring.frontier(released)
        self._note(now, claimed, released, written, durable)

    def _note(self, now: float, claimed: int, released: int, written: int, durable: int) -> None:
        self.highest = max(self.highest, claimed - released)
        self.written.take(now, claimed, written)
        self.durable.take(now, claimed, durable)

    # -- the disk ------------------------------------------------------------------------------------------

    def read(self, now: float, seconds: float) -> None:
        """Take the figures that pages, events and /proc tell, and find the ring if the log has another one.

        Levels of records are counted for so many seconds at the most.
        """
        self.reading_since = now
        try:
            self._find_ring()
            self._read_levels(now, seconds)
            self._read_events()
            self.trouble = ""
        except (DiskLogError, OSError) as problem:
            self.trouble = _text.error_line(problem)
            self._forget_pages()
        with self._lock:
            file = self._file
        if file is not None:
            self._commands = _producers.commands(file, self._commands)
            if now >= self._next_asking:
                self._next_asking = now + ASKING_PAUSE
                self.timings = self._ask_writer(file)
            self._next_survey, self.survey = 0.0, None
        elif now >= self._next_survey:
            self._next_survey = now + SURVEY_PAUSE
            self.survey = self._survey()
        self.read_at, self.reading_since = now, None

    def _find_ring(self) -> None:
        """Map the ring that the log has now, if it is another one."""
        with self._lock:
            file = self._file
        if file is not None and _ring.is_current(file):
            return
        path = file.path if file is not None else _survey.ring_path_of(self.path, self._ring_dir)
        found = None
        try:
            found = None if path is None else watch(path)
        except (DiskLogError, OSError):  # none now; or what it is says nothing
            pass
        with self._lock:
            self._file = found
            if file is not None:
                os.close(file.fd)

    def _read_levels(self, now: float, seconds: float) -> None:
        if self._reader is None:
            self._reader = Reader(self.path, on_damage=self._on_damage)
        if self._follower is None:
            self._follower = Follower(self._reader)
        counted = count_levels(self._follower, seconds)
        self.sampled = counted.share()
        for tag in counted.tags:
            if tag not in self.levels:
                self._begin_level(tag, now)
        amounts = dict.fromkeys(self.levels, 0.0)
        for tag, count in counted.tags.items():
            amounts[tag if tag in amounts else OTHER] += count / self.sampled
        for tag, amount in amounts.items():
            self.levels[tag].add(now, amount)

    def _begin_level(self, tag: int, now: float) -> None:
        level = tag if len(self.levels) < LEVELS else OTHER
        if level not in self.levels:
            self.levels[level] = Meter()
            since = self.read_at if self.read_at is not None else now
            self.levels[level].take(since, 0)

    def _read_events(self) -> None:
        if self._events is None:
            self._events = EventStream(self.path, self._on_damage)
        self.events.extend(self._events)

    def _ask_writer(self, file: _ring.RingFile) -> dict[str, Histogram]:
        """Ask the writer how long its writes and syncs took; {} if there is none, or none that answers.

        None is started for it.
        """
        if not _liveness.writer_alive(file) or not _survey.is_log_of(self.path, file):
            return {}
        # Without a wake: a store into this mapping would part it from the ring.
        log = requests.Log(self.name, self.path)
        try:
            told = requests.ask(log, "timings", timeout=ANSWERING)
        except (DiskLogError, OSError, TypeError, ValueError, RuntimeError):
            return {}
        found = {kind: from_told(told.get(kind)) for kind in ("write", "sync")}
        return {kind: histogram for kind, histogram in found.items() if histogram is not None}

    def _survey(self) -> _survey.Survey | None:
        try:
            return _survey.survey(self.path)
        except (DiskLogError, OSError) as problem:
            self.trouble = _text.error_line(problem)
            return None

    def _on_damage(self, damage: Damage) -> None:
        if len(self.damaged) < EVENTS:
            self.damaged.append(describe(damage))

    def _forget_pages(self) -> None:
        """Begin with the pages anew, at their end."""
        if self._follower is not None:
            self._follower.close()
        self._reader = self._follower = self._events = None
        self.events.clear()

    def close(self) -> None:
        """Give back what it has open."""
        self._forget_pages()
        with self._lock:
            if self._file is not None:
                os.close(self._file.fd)
            self._file = None


def _holder(ring: _core.Ring) -> int:
    """The process that is stopped and owns the oldest claim of the ring, 0 if there is none."""
    claim = ring.claim_at(ring.released)
    if claim is None or claim.state != _core.CLAIMED or claim.owner >= _core.SLOTS:
        return 0
    pid = ring.slot(claim.owner).pid
    return pid if _processes.is_stopped(pid) else 0


def watched(log: str, ring_dir: str | None) -> Watched:
    """Return the log of that name, or in that directory; raises what _find.find() raises."""
    return _watched(_find.find(log, ring_dir), ring_dir)


def watched_at(ring_path: str) -> Watched:
    """Return the log of a ring; raises what observing.observe() raises."""
    return _watched(_find.at(ring_path), os.path.dirname(ring_path))


def _watched(found: _find.Found, ring_dir: str | None) -> Watched:
    with found:
        file = None if found.file is None else watch(found.file.path)
    return Watched(found.name, found.path, file, ring_dir)
