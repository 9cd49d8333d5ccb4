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
    Cursors of one log compare and sort by their place.

    `before` is the time of the record before that place, ns since the epoch, 0 if it is not known.  It tells
    whether the log still is what the cursor came from, and does not count when cursors are compared.
    """

    before: int = 0

    def __new__(cls, log_id: str, position: int, number: int, before: int = 0) -> Self:
        cursor = super().__new__(cls, log_id, position, number)
        cursor.before = before
        return cursor

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
