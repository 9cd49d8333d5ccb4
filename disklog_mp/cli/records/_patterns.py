"""Regular expressions that records are searched for (--grep)."""

from __future__ import annotations

import re
from collections.abc import Iterable

import click

from disklog_mp._core import Record
from disklog_mp._reader.literals import literal_of

IN_OTHER_SPELLING = re.compile(rb'["\\/\x00-\x1f]')  # but by \u, which the search knows about
ENDS = re.compile(r"[\^$\\]")  # they match otherwise in a part of a record than in all of its JSON


class Patterns:
    """Regular expressions of which one must be found in a record; or none of them, if `inverted`.

    They are looked for in the record's bytes.  Where JSON spells a structured record's text in another way,
    and where an expression asks for a beginning or an end, its message and its exception are searched too.
    """

    def __init__(self, patterns: Iterable[str], *, ignore_case: bool, inverted: bool) -> None:
        self._inverted = inverted
        flags = re.MULTILINE | (re.IGNORECASE if ignore_case else 0)
        whole = "|".join(f"(?:{_checked(pattern)})" for pattern in patterns)
        self._in_parts = ENDS.search(whole) is not None
        self._text = None if whole.isascii() or not ignore_case else re.compile(whole, flags)
        self._bytes = re.compile(whole.encode(), flags)
        self._each = [] if inverted else [re.compile(pattern.encode(), flags) for pattern in patterns]

    def hints(self) -> tuple[bytes, ...]:
        """Return bytes: a record that matches has one of them, perhaps escaped; () if none is known."""
        runs = [max(IN_OTHER_SPELLING.split(literal_of(each)), key=len) for each in self._each]
        return tuple(runs) if all(runs) else ()

    def match(self, record: Record) -> bool:
        """True if the record is one of those that are looked for."""
        return self._is_in(record) is not self._inverted

    def _is_in(self, record: Record) -> bool:
        data = record.data
        if self._has(data):
            return True
        if not (self._in_parts or b"\\" in data) or record.event is None:
            return False
        event = record.event
        return self._has(event.message.encode()) or self._has((event.exception or "").encode())

    def _has(self, data: bytes) -> bool:
        if self._text is not None:  # bytes have no small and large letters but those of ASCII
            return self._text.search(data.decode("utf-8", "surrogateescape")) is not None
        return self._bytes.search(data) is not None


def _checked(pattern: str) -> str:
    try:
        re.compile(pattern)
        re.compile(pattern.encode("utf-8", "surrogateescape"))
    except re.error as problem:
        raise click.UsageError(f"--grep {pattern!r} is no regular expression: {problem}") from None
    return pattern


def patterns_of(patterns: tuple[str, ...], *, ignore_case: bool, inverted: bool) -> Patterns | None:
    """Return what the options ask for, None for nothing; raises UsageError for what is no regex."""
    if patterns:
        return Patterns(patterns, ignore_case=ignore_case, inverted=inverted)
    for name, given in (("-i", ignore_case), ("-v", inverted)):
        if given:
            raise click.UsageError(f"{name} needs --grep")
    return None
