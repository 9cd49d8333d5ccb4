"""All logs that are watched: those that were named, or all that are open on this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from disklog_mp.cli import _find, _text
from disklog_mp.cli.top.watched import Watched, watched, watched_at
from disklog_mp.errors import DiskLogError

COUNTING = 0.1  # seconds of each second for counting levels, for all logs together
PATIENCE = 2.0  # seconds for the end of a read() in another thread
LEAST_COUNTING = 0.002  # seconds, for one log


class Gatherer:
    """Takes the figures of some logs.  look() and glance() wait for no disk, read() may."""

    def __init__(self, logs: Sequence[str], ring_dir: str | None, interval: float) -> None:
        """No name: all open logs, also those that come.  Raises what _find.find() raises."""
        self._ring_dir = ring_dir
        self._finds_all = not logs
        self._interval = interval
        self._known: set[str] = set()  # paths of rings
        self.logs: list[Watched] = [watched(log, ring_dir) for log in dict.fromkeys(logs)]
        self._reading = threading.Lock()
        self._is_closed = False
        self._find_new()

    def _find_new(self) -> None:
        """Watch the logs that were opened meanwhile; a ring that cannot be read is told of once."""
        for path in _find.rings(self._ring_dir) if self._finds_all else ():
            if path in self._known:
                continue
            self._known.add(path)
            try:
                found = watched_at(path)
            except (DiskLogError, OSError) as problem:
                _text.say(_text.error_line(problem))
                continue
            if found.path in {log.path for log in self.logs}:
                found.close()  # a log that was closed and opened again: it is watched already
            else:
                self.logs = [*self.logs, found]

    def look(self) -> None:
        """Take all figures of the rings."""
        for log in self.logs:
            log.look(time.monotonic())

    def glance(self) -> None:
        """Take the positions alone, between two looks."""
        for log in self.logs:
            log.glance(time.monotonic())

    def read(self) -> None:
        """Take the figures of the pages."""
        with self._reading:
            if self._is_closed:
                return
            self._find_new()
            seconds = max(LEAST_COUNTING, COUNTING * self._interval / max(1, len(self.logs)))
            for log in self.logs:
                log.read(time.monotonic(), seconds)

    def take_once(self, glances: int = 20) -> None:
        """Take the figures of one interval: it lasts as long."""
        self.read()
        self.look()
        for _ in range(glances):
            time.sleep(self._interval / glances)
            self.glance()
        self.read()
        self.look()

    def close(self) -> None:
        """Give back what is open, unless a thread stands in read(), where the disk hangs."""
        self._is_closed = True
        if self._reading.acquire(timeout=PATIENCE):
            for log in self.logs:
                log.close()
            self._reading.release()
