"""How the writer rests while there is nothing to write: the less happens, the longer.

It knows that the writer was here and found nothing, and what a look costs; what the writer looks at is the
writer's business.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from disklog_mp import _core
from disklog_mp._os import files as _files

NAPS = 6  # before parking: a bell costs a producer more than a nap costs the writer
NAP = 100e-6  # seconds, the least
# While much is logged naps grow up to this: each time the writer wakes it takes a processor from somebody,
# often from one that logs.
LONGEST_NAP = 2e-3
MUCH = 4096  # bytes found after a nap
ROOM = 16  # no nap so long that more than one part in so many of the ring fills up


class Park(NamedTuple):
    """How to sleep on the bell."""

    after: int  # rests in a row
    seconds: float  # until the next round of chores
    look: float  # seconds to a look at what rings no bell: who was killed before he could, what is watched


class Watched(NamedTuple):
    """What cannot ring: nobody who comes for the log could, if it is not where it is looked for."""

    places: tuple[_files.Place, ...]
    pidfds: bytes


# Who comes back after a while finds nothing of its own in the caches: a round of chores then takes ten
# milliseconds, a hundred times as long as right after another, and a look, which is in C and renews the
# heartbeat, half of one.
PARKS = (Park(19, 60.0, 5.0), Park(16, 1.0, 0.1), Park(NAPS, 0.1, 0.1))
# Seconds between two looks at a claim that is not committed, and so many times each.  Most often its owner
# has lost the processor to others that log: a bell would ring at once, for one of their records, and parking
# costs more than a look.
LOOKS = ((NAP, 6), (0.001, 100), (0.01, 0))


class Pace:
    """Remembers for how long there has been nothing to do, and rests accordingly."""

    def __init__(self) -> None:
        self._rests = 0  # since there was a record, or a bell
        self._looks = 0  # at the claim at the head
        self._nap = NAP

    def wrote(self, length: int, capacity: int) -> None:
        """Note that so many bytes were found, in a ring of that capacity."""
        if length > capacity // ROOM or length < MUCH:
            self._nap = max(NAP, self._nap / 2)
        elif self._rests:
            self._nap = min(LONGEST_NAP, self._nap * 2)
        self._rests = self._looks = 0

    def held(self) -> None:
        """Note that the next record is claimed and not committed."""
        self._looks += 1

    def empty(self) -> None:
        """Note that nothing is claimed."""
        self._looks = 0

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
        """Sleep until something may have been committed at the position, or somebody has rung since `bell`,
        or it is time for chores, or so many seconds have passed, or what is watched changed; not for long if
        something `is_due`.
        """
        if self._looks:
            time.sleep(self._to_next_look())
            return
        self._rests += 1
        if self._rests <= NAPS:
            ring.doze(self._nap, bell)
            return
        park = PARKS[-1] if is_due else next(park for park in PARKS if self._rests > park.after)
        if not ring.park(position, min(park.seconds, at_most), park.look, bell, *watched()):
            self._rests = min(self._rests, NAPS)

    def _to_next_look(self) -> float:
        looks = self._looks
        for seconds, times in LOOKS:
            if looks <= times:
                return seconds
            looks -= times
        return LOOKS[-1][0]
