"""A reader's place in a log, to be stored and printed."""

from __future__ import annotations

import re
from typing import NamedTuple, Self

CURSOR = re.compile(r"([0-9a-f]{32}):([0-9]{1,20}):([0-9]{1,20})(?::([0-9]{1,20}))?")


class _Place(NamedTuple):
    log_id: str
    position: int
    number: int


class Cursor(_Place):
    """A reader's place: the log, the position of the next record and its number.

    Prints as one word, `str(cursor)`, and Cursor.parse() reads it back; valid over restarts of anything.
    Cursors of one log compare and sort by their place.  Two of the same record can differ, if it is the first
    one of a page or of log_many(); they are neighbours then.  Those of two logs are never equal, and have no
    order: `<` raises TypeError.

    `before` is the time of the record before that place, ns since the epoch, 0 if it is not known.  It tells
    whether the log still is what the cursor came from, and does not count when cursors are compared.
    """

    before: int = 0

    def __new__(cls, log_id: str, position: int, number: int, before: int = 0) -> Self:
        cursor = super().__new__(cls, log_id, position, number)
        cursor.before = before
        return cursor

    def __lt__(self, other: tuple[object, ...]) -> bool:
        return self._has_order_with(other) and tuple.__lt__(self, other)

    def __le__(self, other: tuple[object, ...]) -> bool:
        return self._has_order_with(other) and tuple.__le__(self, other)

    def __gt__(self, other: tuple[object, ...]) -> bool:
        return self._has_order_with(other) and tuple.__gt__(self, other)

    def __ge__(self, other: tuple[object, ...]) -> bool:
        return self._has_order_with(other) and tuple.__ge__(self, other)

    def _has_order_with(self, other: object) -> bool:
        """Raise TypeError if `other` is no cursor of the same log; else return True."""
        if not isinstance(other, Cursor):
            raise TypeError(f"a cursor has no order with {other!r}")
        if other.log_id != self.log_id:
            raise TypeError(f"cursors of two logs have no order: {self}, {other}")
        return True

    def __str__(self) -> str:
        place = f"{self.log_id}:{self.position}:{self.number}"
        return f"{place}:{self.before}" if self.before else place

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read a printed cursor, also one of version 0.1.0.  Raises ValueError for anything else."""
        match = CURSOR.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a cursor")
        return cls(match[1], int(match[2]), int(match[3]), int(match[4] or 0)).checked()

    def checked(self) -> Cursor:
        """Return it if its numbers can be a place.  Raises ValueError."""
        if not all(0 <= number < 2**64 for number in (self.position, self.number, self.before)):
            raise ValueError(f"{str(self)!r} is not a cursor")
        return self


Cursor.__module__ = "disklog_mp"  # where users find it, before they have looked
