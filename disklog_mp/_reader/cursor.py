"""A reader's place in a log, to be stored and printed."""

from __future__ import annotations

import re
from typing import NamedTuple

CURSOR = re.compile(r"([0-9a-f]{32}):([0-9]{1,20}):([0-9]{1,20})")


class Cursor(NamedTuple):
    """A reader's place: the log, the position of the next record and its number.

    Prints as one word, `str(cursor)`, and Cursor.parse() reads it back; valid over restarts of anything.
    """

    log_id: str
    position: int
    number: int

    def __str__(self) -> str:
        return f"{self.log_id}:{self.position}:{self.number}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read a printed cursor.  Raises ValueError for anything else."""
        match = CURSOR.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a cursor")
        return cls(match[1], int(match[2]), int(match[3])).checked()

    def checked(self) -> Cursor:
        """Return it if its numbers can be a place.  Raises ValueError."""
        if not (0 <= self.position < 2**64 and 0 <= self.number < 2**64):
            raise ValueError(f"{str(self)!r} is not a cursor")
        return self


Cursor.__module__ = "disklog_mp"  # where users find it, before they have looked
