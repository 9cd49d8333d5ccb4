"""Whether any process needs this writer, and since when not."""

from __future__ import annotations

import os
import time

from disklog_mp import _core
from disklog_mp._pages.writer import PageWriter
from disklog_mp._ring import liveness as _liveness
from disklog_mp._writer import intervals
from disklog_mp._writer.live_ring import LiveRing
from disklog_mp._writer.producers import Producers
from disklog_mp._writer.succession import Succession

LOCK_READS = 5  # tries at asking the kernel which slot locks are held


class Attendance:
    """Counts the attached producers, and knows when the writer was of use."""

    def __init__(
        self,
        live: LiveRing,
        pages: PageWriter,
        producers: Producers,
        succession: Succession,
    ) -> None:
        self._live = live
        self._pages = pages
        self._producers = producers
        self._succession = succession
        self.attached = 0  # at the last count
        self.last_used = time.monotonic() + intervals.STARTER_GRACE

    def _linger(self) -> float | None:
        """Seconds to stay without a producer; None: for ever."""
        return self._pages.options.linger

    def check_interval(self) -> float:
        """Return seconds between two counts."""
        return max(intervals.PRODUCERS_CHECK, intervals.PRODUCERS_CHECK_EACH * self.attached)

    def inspection_interval(self) -> float:
        """Return seconds between two inspections of directory and ring."""
        return max(intervals.INSPECTION, intervals.INSPECTION_EACH * self.attached)

    def count(self, now: float) -> None:
        """Count the producers that are attached."""
        before, self.attached = self.attached, self._count()
        if before or self.attached:
            self.last_used = now

    def _count(self) -> int:
        return self._producers.count() + self._succession.count_attached()

    def others(self, pid: int) -> int:
        """Return how many processes but that one are attached."""
        found = {(slot.pid, slot.namespace) for slot in self._producers.living()}
        found.update((slot.pid, slot.namespace) for slot in self._succession.living())
        return len(found - {(pid, self._producers.namespace)})

    def is_wanted(self) -> bool:
        """False if this writer was started for producers that are all gone."""
        return bool(self.attached) or self._linger() is None

    def is_over(self, now: float) -> bool:
        """True if no process has needed this writer for as long as it was to linger."""
        linger = self._linger()
        if linger is None or now - self.last_used <= linger:
            return False
        return self.is_unused() or self.is_abandoned()

    def is_abandoned(self) -> bool:
        """True if no producer is attached and the directory was removed: nothing can be written any more.

        What is in the ring stays there, for a writer of a directory of that path.
        """
        return not self._count() and not os.path.lexists(self._pages.folder.directory.path)

    def is_unused(self) -> bool:
        """True if no producer is attached and the ring is empty."""
        for attempt in range(LOCK_READS):
            try:
                if self._count() or _liveness.locked_slots(self._live.file):
                    return False
                break
            except OSError:  # the kernel cannot say now
                if attempt == LOCK_READS - 1:
                    return False
        position = self._pages.position
        return self._live.ring.frontier(position) == position

    def has_come(self) -> bool:
        """True if a producer attached between is_unused() and the closing of the ring."""
        return bool(self._live.ring.slots(_core.SLOT_ATTACHED, 1))

    def all_watched(self) -> bool:
        """True if the kernel reports the death of every producer that is attached."""
        return not self._succession.has_old_rings() and self._live.witnesses.are_all_seen(self.attached)
