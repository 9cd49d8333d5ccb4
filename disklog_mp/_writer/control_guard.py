"""Tells whether another process scribbled over what is the writer's own in a ring.

It keeps a copy of what the writer stored once, and of the books, and changes nothing.  A ring that is found
damaged is replaced: see succession.py.  Claim words and records are not here: of those only their producers
know what they should be.
"""

from __future__ import annotations

from contextlib import suppress

from disklog_mp import _core
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring.file import RingFile

IDENTITY = ("writer_pid", "writer_start", "writer_namespace", "writer_count", "barrier")


class ControlGuard:
    """The constants, the options, the identity and the books of a ring, as its writer stored them."""

    def __init__(self, file: RingFile) -> None:
        self._file, self._ring = file, file.ring
        ring = file.ring
        self.writer_count = ring.writer_count
        self.base_records, self.base_position = ring.base_records, ring.base_position
        self._identity = self._read_identity()
        self._fixed = ring.fixed_copy()
        self._keep_books()
        self._suspects: set[tuple[int, int]] = set()
        self._freed: dict[int, int] = {}  # slots, and their words then

    def _keep_books(self) -> None:
        self._books = self._ring.books_copy()
        self._totals = self._ring.totals()

    def _read_identity(self) -> list[int]:
        return [getattr(self._ring, field) for field in IDENTITY]

    def options_changed(self) -> None:
        """The writer has just stored other options; the constants stay those that were kept."""
        options = self._ring.fixed_copy()[-_core.OPTIONS_LENGTH :]
        self._fixed = self._fixed[: -_core.OPTIONS_LENGTH] + options

    def retired(self, index: int) -> None:
        """The writer has just made this slot free, and counted what it counted."""
        self._freed[index] = self._ring.slot_word(index)
        self._keep_books()

    def is_damaged(self, position: int, durable: int, abandoned: int) -> bool:
        """True if anything is not as the writer stored it; the arguments are what it stored last."""
        ring = self._ring
        return (
            (ring.released, ring.written) != (position, position)
            or (ring.durable, ring.abandoned) != (durable, abandoned)
            or ring.sync_wanted > position + ring.capacity  # no record is that far
            or self._read_identity() != self._identity
            or ring.fixed_copy() != self._fixed
            or ring.books_copy() != self._books
            or self._are_slots_damaged()
        )

    def _are_slots_damaged(self) -> bool:
        """A process that holds the lock on a slot is attached: another state was scribbled, unless the
        process is just coming or going, which the next check tells.  A state that is none would keep the
        slot for good.
        """
        locked = _liveness.locked_slots(self._file)
        not_attached = locked.difference(self._ring.slots(_core.SLOT_ATTACHED))
        before, self._suspects = (
            self._suspects,
            {(index, self._ring.slot_word(index)) for index in not_attached},
        )
        return bool(self._suspects & before or set(self._ring.odd_slots()) - locked)

    def counts(self) -> list[int]:
        """Return what all producers, attached now or before, have logged, dropped and waited."""
        counts = list(self._totals)
        for index in self._uncounted():
            slot = self._ring.slot(index)
            for i, count in enumerate((slot.logged, slot.dropped, slot.waited)):
                counts[i] += count
        return counts

    def _uncounted(self) -> set[int]:
        """The slots whose counts are not in the totals, also with another state scribbled over theirs."""
        ring = self._ring
        slots = {*ring.slots(_core.SLOT_ATTACHED), *ring.slots(_core.SLOT_DETACHED), *ring.odd_slots()}
        with suppress(OSError):  # the kernel cannot say now
            locked = _liveness.locked_slots(self._file)
            slots |= {index for index in locked if ring.slot_word(index) != self._freed.get(index)}
        return slots
