"""Logging the records of a ring again, into another ring, as they were.

For a ring that has lost its writer and its place, so that no writer drains it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from disklog_mp import _core
from disklog_mp._core import Record
from disklog_mp._os.processes import identity
from disklog_mp._ring.contents import records_between
from disklog_mp._ring.file import RingFile
from disklog_mp._ring.liveness import Witnesses, lock_as_writer, unlock_as_writer

NO_LIMIT = 2**63  # records

Append = Callable[[Sequence[Record]], int]


def append_to(producer: _core.Producer) -> Append:
    """Return what logs the records of a frame again: with time, pid, label and tag, a group as one."""

    def append(records: Sequence[Record]) -> int:
        first = records[0]
        if len(records) > 1:
            group = tuple(record.data for record in records)
            return producer.try_group(group, first.tag, first.timestamp, first.pid, first.label_index)
        kind = _core.KIND_GAP if first.gap else _core.KIND_RECORD
        return producer.try_record(first.data, first.tag, kind, first.timestamp, first.pid, first.label_index)

    return append


def rescue(file: RingFile, append: Append) -> bool:
    """Log again all that is in the ring, in order; True if nothing is left there.

    False: another process is at it, a live producer has not committed yet, or `append` returned a negative
    status.  Then it is to be called again.
    """
    ring = file.ring
    if _is_done(ring):
        return True
    witnesses = Witnesses(file, identity())
    try:
        if not lock_as_writer(file):
            return False
        ring.halted = _core.REPLACED  # no producer begins another record in it
        return _move(ring, witnesses, append)
    finally:
        witnesses.close()
        unlock_as_writer(file)


def _is_done(ring: _core.Ring) -> bool:
    """True if all is given back, and nothing can follow."""
    return ring.is_closed() and ring.frontier(ring.released) == ring.released


def _move(ring: _core.Ring, witnesses: Witnesses, append: Append) -> bool:
    position = ring.released
    while True:
        found = ring.drain(position, 0, NO_LIMIT)
        stop, following = found.stop, found.next
        if stop == _core.STOP_LIMIT:
            end = ring.drain(position, following, NO_LIMIT).end
            records = records_between(ring, position, end)
            if records and append(records) < 0:
                return False
            ring.release(position, end)
            position = end
        elif stop == _core.STOP_CLAIMED:
            if not witnesses.is_dead(ring.slot(following)):
                return False
            ring.abandon(position)
        elif stop != _core.STOP_EMPTY or ring.close(position):
            if stop == _core.STOP_DAMAGED:
                _warn(f"the claim map is damaged at position {position}: what follows is not saved")
            return True


def _warn(what: str) -> None:
    logging = sys.modules.get("logging")  # nothing is loaded now: its files may have been replaced
    if logging is not None:
        logging.getLogger("disklog_mp").warning("a ring without writer and name: %s", what)
