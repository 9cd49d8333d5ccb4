"""A ring that lost its writer and then its name: what it holds is logged again, into the ring of the name.

No writer finds such a ring, so none drains it.  A process that is attached has it mapped and can save the
records.  The lock of the ring's writer says which process does it.  Each frame is given back when it has been
logged again.  A process killed on the way is followed by another one, which may log the one frame that was
under way a second time.
"""

from __future__ import annotations

import contextlib

from disklog_mp import _core
from disklog_mp._ring import relog as _relog
from disklog_mp._session.attachments import Attachment, attachments


class Orphans:
    """Such rings, as far as they hold records of one producer."""

    def __init__(self) -> None:
        self._rings: list[Attachment] = []

    def __bool__(self) -> bool:
        return bool(self._rings)

    def add(self, attachment: Attachment) -> None:
        """Keep an attachment until its ring is empty.  Twice is fine."""
        if attachment not in self._rings:
            self._rings.append(attachment)

    def forget(self) -> None:
        """In a forked child: the parent saves the records."""
        self._rings.clear()

    def rescue(self, producer: _core.Producer) -> bool:
        """Log again what is in the rings, with `producer`; True if nothing is left in them."""
        for attachment in list(self._rings):
            turn = attachments.in_turn(attachment.begin_rescue)
            if turn is None or not _relog.rescue(attachment.file, _relog.append_to(producer)):
                return False
            ring = producer.ring
            assert ring is not None
            # Another process may have saved our records: they are before the frontier, too.
            producer.end = max(producer.end, ring.frontier(ring.released))
            with contextlib.suppress(ValueError):
                self._rings.remove(attachment)
        return True

    def leave(self) -> None:
        """Give all attachments back, saved or not."""
        self._rings.clear()
