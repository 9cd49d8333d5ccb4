"""A ring that lost its writer and then its name: what it holds is logged again, into the ring of the name.

No writer finds such a ring, so none drains it.  A process that is attached has it mapped and can save the
records.  The lock of the ring's writer says which process does it.  Each frame is given back when it has been
logged again.  A process killed on the way is followed by another one, which may log the one frame that was
under way a second time.
"""

from __future__ import annotations

from disklog_mp import _core
from disklog_mp._os.processes import identity
from disklog_mp._ring import relog as _relog
from disklog_mp._ring.contents import records_between
from disklog_mp._ring.file import RingFile
from disklog_mp._ring.liveness import Witnesses, lock_as_writer, unlock_as_writer
from disklog_mp._session.attachments import Attachment, attachments

NO_LIMIT = 2**63  # records


class Orphans:
    """Such rings, as far as they hold records of one producer."""

    def __init__(self) -> None:
        self._rings: list[Attachment] = []

    def __bool__(self) -> bool:
        return bool(self._rings)

    def add(self, attachment: Attachment) -> None:
        """Take over an attachment: it is given back when the ring is empty."""
        self._rings.append(attachment)

    def forget(self) -> None:
        """In a forked child: the parent saves the records."""
        self._rings.clear()

    def rescue(self, producer: _core.Producer) -> bool:
        """Log again what is in the rings, with `producer`; True if nothing is left in them."""
        for attachment in list(self._rings):
            with attachments.lock:
                if attachment.is_being_rescued:
                    return False
                attachment.is_being_rescued = True
            try:
                if not rescue(attachment.file, _relog.append_to(producer)):
                    return False
            finally:
                attachment.is_being_rescued = False
            with attachments.lock:
                if attachment not in self._rings:
                    continue
                self._rings.remove(attachment)
            ring = producer.ring
            assert ring is not None
            # Another process may have saved our records: they are before the frontier, too.
            producer.end = max(producer.end, ring.frontier(ring.released))
            attachments.give_back(attachment)
        return True

    def leave(self) -> None:
        """Give all attachments back, saved or not."""
        for attachment in self._rings:
            attachments.give_back(attachment)
        self._rings.clear()


def rescue(file: RingFile, append: _relog.Append) -> bool:
    """Log again all that is in the ring, in order; True if nothing is left there.

    False: another process is at it, a live producer has not committed yet, or `append` returned a negative
    status.  Then it is to be called again.
    """
    ring = file.ring
    if _is_done(ring):
        return True
    if not lock_as_writer(file):
        return False
    witnesses = Witnesses(file, identity())
    try:
        ring.halted = _core.REPLACED  # no producer begins another record in it
        return _move(ring, witnesses, append)
    finally:
        witnesses.close()
        unlock_as_writer(file)


def _is_done(ring: _core.Ring) -> bool:
    """True if all is given back, and nothing can follow."""
    return ring.is_closed() and ring.frontier(ring.released) == ring.released


def _move(ring: _core.Ring, witnesses: Witnesses, append: _relog.Append) -> bool:
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
    import logging  # not loaded by a program that does not use it

    logging.getLogger("disklog_mp").warning("a ring without writer and name: %s", what)
