"""A ring that lost its writer and then its name: what it holds is logged again, into the ring of the name.

Nobody drains it any more and no writer finds it; but who is attached has it mapped, and can save it.  The
lock of its writer says whose turn it is.  Each frame is given back when it has been logged again: whoever is
killed on the way is followed by another, who may log the one frame that was under way a second time.
"""

from __future__ import annotations

from disklog_mp import _core
from disklog_mp._os import processes as _processes
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring import slots as _slots
from disklog_mp._ring.contents import records_between
from disklog_mp._ring.relog import Append

NO_LIMIT = 2**63


def rescue(file: _ring.RingFile, append: Append) -> bool:
    """Log again all that stands in the ring, in order; True if nothing is left there.

    False: somebody else is at it, a live producer has not committed yet, or `append` returned a negative
    status.  Then it is to be called again.
    """
    ring = file.ring
    if _is_done(ring):
        return True
    if not _liveness.lock_as_writer(file):
        return False
    witnesses = _liveness.Witnesses(file, _processes.identity())
    try:
        ring.halted = _core.REPLACED  # nobody begins another record in it
        return _move(ring, witnesses, append)
    finally:
        witnesses.close()
        _liveness.unlock_as_writer(file)


def _is_done(ring: _core.Ring) -> bool:
    """True if all is given back, and nothing can follow."""
    return ring.is_closed() and ring.frontier(ring.released) == ring.released


def _move(ring: _core.Ring, witnesses: _liveness.Witnesses, append: Append) -> bool:
    position = ring.released
    while True:
        stop, following = ring.drain(position, 0, NO_LIMIT)[4:]
        if stop == _core.STOP_LIMIT:
            end = ring.drain(position, following, NO_LIMIT)[0]
            records = records_between(ring, position, end)
            if records and append(records) < 0:
                return False
            ring.release(position, end)
            position = end
        elif stop == _core.STOP_CLAIMED:
            if not witnesses.is_dead(_slots.read_slot(ring, following)):
                return False
            ring.abandon(position)
        elif stop != _core.STOP_EMPTY or ring.close(position):
            if stop == _core.STOP_DAMAGED:
                _warn(f"the claim map is damaged at position {position}: what follows is not saved")
            return True


def _warn(what: str) -> None:
    import logging

    logging.getLogger("disklog_mp").warning("a ring without writer and name: %s", what)
