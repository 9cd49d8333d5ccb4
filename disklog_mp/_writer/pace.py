"""How the writer rests while there is nothing to write: the less happens, the longer.

It knows that the writer was here and found nothing, and what a check costs; what the writer checks is the
writer's business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from disklog_mp import _core
from disklog_mp._os.files import Place

NAPS = 6  # before parking: a bell costs a producer more than a nap costs the writer (bench: call)
NAP = 100e-6  # seconds, the shortest (bench: follow)
# While much is logged naps grow up to this: each time the writer wakes it takes a processor from another
# process, often from one that logs (bench: throughput).
LONGEST_NAP = 2e-3  # seconds
MUCH = 4096  # bytes found after a nap
RING_PART = 16  # no nap is so long that more than one part in so many of the ring fills up


class Park(NamedTuple):
    """How to sleep on the bell."""

    after: int  # rests in a row
    seconds: float  # until the next round of housekeeping
    check: float  # seconds between checks for what rings no bell: a producer killed too early, a changed path


class Watched(NamedTuple):
    """What cannot ring: a process that finds the log nowhere could not wake its writer."""

    places: tuple[Place, ...]
    pidfds: bytes
    ring: int = -1  # descriptor of a ring on a disk, whose blocks a copy may come to share


# A process that comes back after a while finds nothing of its own in the caches.  A round of housekeeping
# then takes ten milliseconds, a hundred times as long as right after another one.  A check is in C, renews
# the heartbeat, and takes half a millisecond (bench: idle).
DISK_CHECK = 1.0  # seconds between checks if the ring is on a disk: until then a full disk can end producers
PARKS = (Park(19, 60.0, 5.0), Park(16, 1.0, 0.1), Park(NAPS, 0.1, 0.1))
# Seconds between two checks of a claim that is not committed, and how many of each; 0: all further ones.
# Most often its owner has lost the processor to other producers: a bell would ring at once, for one of
# their records, and parking costs more than a check (bench: throughput).
CLAIM_CHECKS = ((NAP, 6), (0.001, 100), (0.01, 0))


class Pace:
    """Remembers for how long there has been nothing to do, and rests accordingly."""

    def __init__(self) -> None:
        self._rests = 0  # since there was a record, or a bell
        self._claim_checks = 0  # of the claim at the position
        self._nap = NAP

    def wrote(self, length: int, capacity: int) -> None:
        """Note that so many bytes were found, in a ring of that capacity."""
        if length > capacity // RING_PART or length < MUCH:
            self._nap = max(NAP, self._nap / 2)
        elif self._rests:
            self._nap = min(LONGEST_NAP, self._nap * 2)
        self._rests = self._claim_checks = 0

    def held(self) -> None:
        """Note that the next record is claimed and not committed."""
        self._claim_checks += 1

    def empty(self) -> None:
        """Note that nothing is claimed."""
        self._claim_checks = 0

    def rest(
        self,
        ring: _core.Ring,
        position: int,
        bell: int,
        *,
        at_most: float,
        is_due: bool,
        watched: Callable[[], Watched],
    ) -> None:
        """Sleep until there may be something to do.

        That is: something may have been committed at the position, the bell has rung since it was `bell`,
        it is time for housekeeping, `at_most` seconds have passed, or what is watched changed.  Not for long
        if something `is_due`.
        """
        if self._claim_checks:
            ring.doze(self._until_claim_check(), bell)
            return
        self._rests += 1
        if self._rests <= NAPS:
            ring.doze(self._nap, bell)
            return
        park = PARKS[-1] if is_due else next(park for park in PARKS if self._rests > park.after)
        found = watched()
        check = park.check if found.ring < 0 else min(park.check, DISK_CHECK)
        if not ring.park(position, min(park.seconds, at_most), check, bell, *found):
            self._rests = min(self._rests, NAPS)

    def _until_claim_check(self) -> float:
        checks = self._claim_checks
        for seconds, times in CLAIM_CHECKS:
            if checks <= times:
                return seconds
            checks -= times
        return CLAIM_CHECKS[-1][0]
