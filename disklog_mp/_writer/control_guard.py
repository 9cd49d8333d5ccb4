"""What is the writer's own in a ring, kept aside: put back when somebody scribbles over it.

Claim words and records are not here: what a record is, only its producer knows.
"""

from disklog_mp import _core
from disklog_mp._os import files as _files
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness as _liveness

BOOKS = _core.TOTALS - 16  # retired_count, retiring, totals, base_records
BOOKS_LENGTH = 72
SLOT_LENGTH = 64
SLOT_COUNTS = 40  # logged, dropped, waited
FIELDS = ("writer_pid", "writer_start", "writer_namespace", "writer_count", "barrier")


class OwnWords:
    """The constants, the options, the books and the words of a ring, as its writer has just stored them."""

    def __init__(self, file: _ring.RingFile) -> None:
        self._file, self._ring = file, file.ring
        self._fields = {field: getattr(self._ring, field) for field in FIELDS}
        self._kept: dict[int, bytes] = {}
        self._keep(0, _files.OS_PAGE)
        self._keep(_core.OPTIONS, _core.OPTIONS_LENGTH)
        self._keep(BOOKS, BOOKS_LENGTH)
        self._suspects: set[tuple[int, int]] = set()
        self._freed: dict[int, int] = {}  # slots, and their words then

    def _keep(self, start: int, length: int) -> None:
        self._kept[start] = bytes(memoryview(self._ring)[start : start + length])

    def retire(self, index: int) -> None:
        """Make a slot free again, and keep the books that this changes."""
        self._ring.retire(index)
        self._freed[index] = self._ring.load64(_core.SLOTS_OFFSET + SLOT_LENGTH * index)
        self._keep(BOOKS, BOOKS_LENGTH)

    def heal(self, written: int, abandoned: int) -> bool:
        """Put everything back, the words that change to these values; True if there was damage."""
        ring = self._ring
        memory = memoryview(ring)
        damaged = False
        for start, kept in self._kept.items():
            if memory[start : start + len(kept)] != kept:
                memory[start : start + len(kept)] = kept
                damaged = True
        for field, value in {**self._fields, "written": written, "abandoned": abandoned}.items():
            if getattr(ring, field) != value:
                setattr(ring, field, value)
                damaged = True
        if ring.sync_wanted > written + ring.capacity:  # nobody logged that far
            ring.sync_wanted = 0
            damaged = True
        return self._heal_slots() or damaged

    def _heal_slots(self) -> bool:
        """Whoever holds the lock on a slot is attached, whatever its word says: counts of his that were added
        up when it was freed begin anew, for he may also be stopped between giving it back and dropping the
        lock.  And a word that says nothing that can be would keep the slot for ever.
        """
        ring, damaged, suspects = self._ring, False, set()
        taken = _liveness.locked_slots(self._file)
        for index in taken.difference(ring.slots(_core.SLOT_ATTACHED)):
            at = _core.SLOTS_OFFSET + SLOT_LENGTH * index
            word = ring.load64(at)
            state = word & 0xFFFFFFFF
            if (index, word) not in self._suspects:  # it may be coming or going just now
                suspects.add((index, word))
            elif state != _core.SLOT_ATTACHED:
                if word == self._freed.get(index):
                    for count in range(SLOT_COUNTS, SLOT_LENGTH, 8):
                        ring.store64(at + count, 0)
                ring.store64(at, word - state + _core.SLOT_ATTACHED)
                damaged = True
        for index in set(ring.odd_slots()) - taken:
            self.retire(index)
            damaged = True
        self._suspects = suspects
        return damaged
