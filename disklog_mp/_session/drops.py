"""Refused records: how many the log does not know of yet, and how many there were in all.

Several threads count at the same time, also without a GIL, and so may a signal handler that interrupts one of
them.  There is no lock here that a fork or a signal could find held: the operations used are atomic.
"""

from __future__ import annotations

import threading
import time
from collections import deque


class Drops:
    """Refusals that the log does not know of yet.  They become one gap record when there is room."""

    def __init__(self) -> None:
        self._noted: deque[tuple[int, int]] = deque()  # (records, ns since the epoch of the first)

    def __bool__(self) -> bool:
        return bool(self._noted)

    def add(self, count: int, since: int = 0) -> None:
        """Note `count` more; the first was refused at `since`, in ns since the epoch (0: now)."""
        earlier, first = self.take()  # each note is taken by one thread, so nothing is counted twice
        self._noted.append((earlier + count, first or since or time.time_ns()))

    def take(self) -> tuple[int, int]:
        """Return (records, ns since the epoch of the first) of all that was noted, and forget it."""
        count = since = 0
        while True:
            try:
                more, first = self._noted.popleft()
            except IndexError:
                return count, since
            count += more
            since = min(since or first, first)


class Tally:
    """A number that only grows.  Each thread has its own part of it, so that no addition is lost."""

    def __init__(self) -> None:
        self._parts: dict[int, int] = {}

    def add(self, count: int) -> None:
        """Add `count` to the part of this thread."""
        thread = threading.get_ident()
        self._parts.setdefault(thread, 0)
        self._parts[thread] += count  # no call in between: a signal handler comes before or after it

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return sum(list(self._parts.values()))
