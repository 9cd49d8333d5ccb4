"""What a reader could not read: as a value, and as one line of text that all commands print alike.

Damage is never skipped in silence: if the caller gives no function for it, it goes to the logging channel.
"""

from __future__ import annotations

from typing import NamedTuple


class Damage(NamedTuple):
    """A range of a page that cannot be read: how long, and how many records stood in it at the least.

    `torn` is true where nothing valid follows in a page that was never sealed: the end of what a crash
    left, not corruption.  Offset 0 is the whole page: it has no valid header.  Offset 0 and length 0: the
    page file is missing, though there are pages before and after it (see MissingPages).
    """

    page: int
    offset: int
    length: int
    records: int
    found: int
    expected: int
    torn: bool


Damage.__module__ = "disklog_mp"  # where users find it, before they have looked


class MissingPages(Damage):
    """Page files that are missing between others; `page` is the first of them."""

    last_page: int
    first_number: int  # of the `records` that stood in them

    @classmethod
    def between(cls, first_page: int, last_page: int, first_number: int, records: int) -> MissingPages:
        """Return the damage that the missing pages are."""
        damage = cls(first_page, 0, 0, records, 0, 0, False)
        damage.last_page, damage.first_number = last_page, first_number
        return damage


def report(damage: Damage) -> None:
    """Log a warning on the logging channel "disklog_mp"."""
    import logging

    logging.getLogger("disklog_mp").warning("%s", describe(damage))


def describe(damage: Damage) -> str:
    """Return one line about what cannot be read: `page 3 is missing: 3 records (7-9)`."""
    if isinstance(damage, MissingPages):
        text = describe_missing(damage.page, damage.last_page, damage.records, damage.first_number)
        return f"page {damage.page} {text}"
    return f"page {damage.page}: {describe_range(damage)}"


def describe_range(damage: Damage) -> str:
    """Return the same about a range, without the page's number."""
    if damage.offset == 0:
        return f"no page header: {_count(damage.length, 'byte')} skipped"
    kind = "torn tail" if damage.torn else "corrupt range"
    lost = f", at least {_count(damage.records, 'record')}" if damage.records else ""
    return (
        f"{kind} of {_count(damage.length, 'byte')} at offset {damage.offset:,}{lost} "
        f"(crc {damage.found:#010x}, expected {damage.expected:#010x})"
    )


def describe_missing(first_page: int, last_page: int, records: int, first_number: int | None) -> str:
    """Return the same about missing pages, without the number of the first one."""
    numbers = ""
    if first_number is not None and records:
        last_number = first_number + records - 1
        numbers = f" ({first_number:,}-{last_number:,})" if records > 1 else f" ({first_number:,})"
    others = ""
    if last_page > first_page:
        span = f"{first_page + 1}-{last_page}" if last_page > first_page + 1 else f"{last_page}"
        others = f", so {'are pages' if '-' in span else 'is page'} {span}"
    return f"is missing{others}: {_count(records, 'record')}{numbers}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
