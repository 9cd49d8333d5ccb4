"""The producers' slots in a ring: taking one, reading them, counting what all of them say."""

import time
from typing import NamedTuple

from disklog_mp import _core
from disklog_mp._os import locks as _locks
from disklog_mp._os.processes import Identity
from disklog_mp._ring.file import RingFile
from disklog_mp.errors import TooManyProducersError

TALLIES = 20  # looks, half a millisecond apart
NO_NOTE = 2**64 - 1  # DL_NO_NOTE in layout.h


class SlotsReturnedError(TooManyProducersError):
    """Every slot is taken, but some by producers that have left: the writer frees those when it sees it."""


def take_slot(file: RingFile, who: Identity, since: int) -> int:
    """Take a free producer slot for this process and return its index.  Does not wait for one.

    The kernel's lock on the slot's byte comes first: killed before ATTACHED, nothing is left behind.
    Raises TooManyProducersError.
    """
    for most in (16, _core.SLOTS):
        for index in file.ring.slots(_core.SLOT_FREE, most):
            if not _locks.lock_byte(file.fd, index):
                continue
            if file.ring.attach(index, who.pid, who.start, who.namespace, since):
                file.ring.wake()  # a writer at rest has to know who may die
                return index
            _locks.unlock_byte(file.fd, index)
    if file.ring.slots(_core.SLOT_DETACHED, 1):
        file.ring.wake()
        raise SlotsReturnedError(_core.SLOTS)
    file.ring.wake()  # some may have died a moment ago
    raise TooManyProducersError(_core.SLOTS)


class Slot(NamedTuple):
    """One producer's slot as it stands in the ring; nothing in it is trusted."""

    index: int  # type: ignore[assignment]  # of the slot in its table; nobody asks a tuple for that
    state: int
    incarnation: int
    pid: int
    start: int
    namespace: int
    since: int
    logged: int
    dropped: int
    waited: int
    again: int


def read_slots(ring: _core.Ring, state: int) -> list[Slot]:
    """Return the slots in that state."""
    return [Slot(*ring.slot(index)) for index in ring.slots(state)]


def tallies(ring: _core.Ring) -> tuple[list[int], list[tuple[int, Slot]]]:
    """Return what those who left have logged, dropped and waited, in all, and the slots of those who have
    not, with their states; at one moment, for a slot that is freed between two looks is in neither.
    """
    for _ in range(TALLIES):  # a writer may have died at it: the next one ends it
        before = _retirement(ring)
        totals = list(ring.totals())
        found = {
            slot.index: (state, slot)
            for state in (_core.SLOT_ATTACHED, _core.SLOT_DETACHED)
            for slot in read_slots(ring, state)
        }
        if before == _retirement(ring) and before[1] == NO_NOTE:
            break
        time.sleep(0.0005)
    return totals, list(found.values())


def _retirement(ring: _core.Ring) -> tuple[int, int]:
    """How many slots were freed, and whether one is being freed just now."""
    return ring.load64(_core.TOTALS - 16), ring.load64(_core.TOTALS - 8)
