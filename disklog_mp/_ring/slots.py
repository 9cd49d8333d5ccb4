"""The producers' slots in a ring: taking one, reading them, adding up what all producers counted.

It does not know which producers are alive; nothing that stands in a slot is trusted.
"""

import time
from typing import NamedTuple

from disklog_mp import _core
from disklog_mp._core import Slot, Totals
from disklog_mp._os import locks as _locks
from disklog_mp._os.processes import Identity
from disklog_mp._ring import control as _control
from disklog_mp._ring.file import Held
from disklog_mp.errors import TooManyProducersError

# untuned: each ends after a few steps unless thousands of processes come and go at the same moment.
FEW = 16  # slots tried before a list of all 4,096 is made
TALLY_TRIES = 20  # looks while slots are being freed
TALLY_PAUSE = 0.0005  # seconds between two of them


class SlotsReturnedError(TooManyProducersError):
    """Every slot is taken, but some by producers that have detached: the writer frees those soon."""


def take_slot(held: Held, owner: Identity, since: int, label: bytes = b"") -> int:
    """Take a free producer slot for this process and return its index.  Does not wait for one.

    The slot's lock is taken first: a process killed before the slot says ATTACHED leaves nothing behind.
    Raises TooManyProducersError.
    """
    ring, seat = held
    for most in (FEW, _core.SLOTS):
        for index in ring.slots(_core.SLOT_FREE, most):
            if not _locks.lock_byte(seat.fd, index):
                continue
            if seat.attach(ring, (index, owner.pid, owner.start, owner.namespace, since, label)):
                ring.wake()  # a writer at rest has to watch this process
                return index
            _locks.unlock_byte(seat.fd, index)
    ring.wake()  # the writer frees the slots of producers that detached, or died a moment ago
    if ring.slots(_core.SLOT_DETACHED, 1):
        raise SlotsReturnedError(_core.SLOTS)
    raise TooManyProducersError(_core.SLOTS)


def read_slots(ring: _core.Ring, state: int) -> list[Slot]:
    """Return the slots in that state."""
    return [ring.slot(index) for index in ring.slots(state)]


class Tallies(NamedTuple):
    """The counts of all producers that a ring ever had."""

    freed: Totals  # of producers whose slots were freed
    attached: list[Slot]
    detached: list[Slot]

    @property
    def slots(self) -> list[Slot]:
        """The slots that are not free."""
        return [*self.attached, *self.detached]

    def total(self) -> Totals:
        """Return the counts of all producers together."""
        slots = self.slots
        return Totals(
            (
                self.freed.logged + sum(slot.logged for slot in slots),
                self.freed.dropped + sum(slot.dropped for slot in slots),
                self.freed.waited + sum(slot.waited for slot in slots),
            )
        )


def tallies(ring: _core.Ring) -> Tallies:
    """Return the counts of one moment: a slot that is freed during the look would be in neither part.

    If the writer died while it freed a slot, the last look counts; the next writer finishes that slot.
    """
    for _ in range(TALLY_TRIES):
        before = _control.retirement(ring)
        freed = ring.totals()
        attached = {slot.index: slot for slot in read_slots(ring, _core.SLOT_ATTACHED)}
        detached = {slot.index: slot for slot in read_slots(ring, _core.SLOT_DETACHED)}
        if before == _control.retirement(ring) and not before.is_under_way:
            break
        time.sleep(TALLY_PAUSE)
    # A producer that detached during the look is in both.
    still = [slot for index, slot in attached.items() if index not in detached]
    return Tallies(freed, still, list(detached.values()))
