"""When the writer has nothing to do: what limits its sleep, and what wakes it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import suppress

from disklog_mp._os.clocks import boot_time
from disklog_mp._os.files import Place
from disklog_mp._pages.writer import PageWriter
from disklog_mp._ring.file import place
from disklog_mp._ring.names import SHM
from disklog_mp._writer import intervals, schedule
from disklog_mp._writer.attendance import Attendance
from disklog_mp._writer.live_ring import LiveRing
from disklog_mp._writer.pace import Pace, Watched
from disklog_mp._writer.ring_maker import RingMaker
from disklog_mp._writer.syncer import Syncer
from disklog_mp._writer.troubles import BackOff, Troubles


class Rest:
    """Collects the facts for a sleep, and sleeps."""

    def __init__(
        self,
        live: LiveRing,
        pages: PageWriter,
        maker: RingMaker,
        attendance: Attendance,
        *,
        syncer: Syncer,
        troubles: Troubles,
        back_off: BackOff,
        pace: Pace,
    ) -> None:
        self._live = live
        self._pages = pages
        self._maker = maker
        self._attendance = attendance
        self._syncer = syncer
        self._troubles = troubles
        self._back_off = back_off
        self._pace = pace
        self.sign_of_life = math.inf  # seconds between two that a supervisor expects
        self.is_stopping: Callable[[], bool] = lambda: False  # set by the writer
        self.is_missing: Callable[[], bool] = lambda: False  # a file of the log; set likewise

    def sleep(self, bell: int) -> None:
        """Sleep until there may be something to do; `bell` is what the bell showed before all checks."""
        if self._back_off.seconds:
            time.sleep(min(self._back_off.seconds, intervals.LONGEST_PAUSE))
            return
        self._pace.rest(
            self._live.ring,
            self._pages.position,
            bell,
            at_most=schedule.sleep_for(self.facts()),
            is_due=self._is_something_due(),
            watched=self._watched,
        )

    def facts(self) -> schedule.Facts:
        """Return what limits the next sleep."""
        pages = self._pages
        return schedule.Facts(
            sign_of_life=self.sign_of_life,
            until_roll=pages.times.left(pages.page),
            keep_age=pages.options.keep_age,
            oldest_since=pages.retention.oldest_since(),
            now=boot_time(),
            all_watched=self._attendance.all_watched(),
        )

    def _watched(self) -> Watched:
        places: list[Place] = []
        with suppress(OSError):  # the kernel cannot say now: the inspections look, too
            places.append(self._pages.folder.directory.place())
        with suppress(OSError):
            places.append(place(self._live.file))
        with suppress(OSError):  # pages that another process removes are most often the oldest
            oldest = self._pages.retention.first_page()
            places.append(_place_at(self._pages.folder.directory.page_path(oldest)))
        file = self._live.file
        ring = -1 if os.path.dirname(file.path) == SHM else file.fd
        return Watched(tuple(places), self._live.witnesses.pidfds(), ring)

    def _is_something_due(self) -> bool:
        """True if a sync is to come, or another attempt at what failed, or room for more, or the end."""
        again = self._syncer.has_failed() or self._troubles.are_there() or self.is_missing()
        again = again or self._troubles.notices.is_waiting()
        is_refusing = bool(self._live.ring.halted)
        is_leaving = self.is_stopping() or not self._attendance.is_wanted()
        return self._syncer.is_behind() or again or is_refusing or is_leaving


def _place_at(path: str) -> Place:
    status = os.stat(path, follow_symlinks=False)
    return os.fsencode(path), status.st_dev, status.st_ino
