"""How a writer begins, as events: whether another one ran before, and how that ended.

Beside it, the watch on the clock, because all other events are told by their time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from disklog_mp._os.clocks import wall_at_boot
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.writer import PageWriter
from disklog_mp._writer.event_book import EventBook, Totals
from disklog_mp._writer.notices import Notices
from disklog_mp._writer.takeover import Former

Tell = Callable[..., None]
STEP = 1.0  # seconds by which the clock must jump to be told


def begin_book(directory: Directory, pages: PageWriter, notices: Notices, former: Former) -> EventBook:
    """Return the log's events, those of this start told: the directory is in use now."""
    book = EventBook(notices, directory, pages)
    _tell_start(notices.tell, former, book.totals, is_first=pages.position == 0)
    book.write()
    return book


def _tell_start(tell: Tell, former: Former, totals: Totals, *, is_first: bool) -> None:
    if is_first and not totals.events:
        tell("opened")
    has_vanished = not former.is_ring_kept and totals.last not in ("", "stopped")
    if former.pid or has_vanished:
        last_seen = former.heartbeat if former.pid else totals.last_time
        why = "machine down" if former.was_rebooted else "died" if former.pid else "ring gone"
        seconds = max(0.0, (time.time_ns() - last_seen) / 1e9)
        tell("writer-replaced", why=why, seconds=round(seconds, 3), pid=former.pid or None)
    tell("writer-started", pid=os.getpid(), ring="kept" if former.is_ring_kept else "new")


class ClockWatch:
    """Tells when the clock of the machine was set."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._offset = wall_at_boot()

    def inspect(self, now: float) -> None:
        """Compare the clock with one that is never set, and goes on while the machine sleeps."""
        before, self._offset = self._offset, wall_at_boot()
        seconds = self._offset - before
        if abs(seconds) >= STEP:
            self._tell("clock-stepped", seconds=round(seconds, 3))
