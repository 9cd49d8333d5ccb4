"""A damaged range of a log in words: `cat`, `tail` and `verify` describe it alike."""

from __future__ import annotations

from disklog_mp._reader.damage import Damage


def describe(damage: Damage, first_number: int | None = None, last_page: int | None = None) -> str:
    """Return one line about a range that cannot be read.

    Of missing pages, `first_number` is the number of their first record and `last_page` the last of them,
    as far as they are known.
    """
    if is_missing_page(damage):
        last = damage.page if last_page is None else last_page
        return f"page {damage.page} {missing_text(damage.page, last, damage.records, first_number)}"
    return f"page {damage.page}: {describe_range(damage)}"


def describe_range(damage: Damage) -> str:
    """Return the same without the page's number."""
    if damage.offset == 0:
        return f"no page header: {_count(damage.length, 'byte')} skipped"
    kind = "torn tail" if damage.torn else "corrupt range"
    lost = f", at least {_count(damage.records, 'record')}" if damage.records else ""
    return (
        f"{kind} of {_count(damage.length, 'byte')} at offset {damage.offset:,}{lost} "
        f"(crc {damage.found:#010x}, expected {damage.expected:#010x})"
    )


def missing_text(first_page: int, last_page: int, records: int, first_number: int | None) -> str:
    """Return what is missing, without the number of the first page: `is missing: 3 records (3-5)`."""
    numbers = ""
    if first_number is not None and records:
        numbers = f" ({first_number:,}-{first_number + records - 1:,})"
    others = ""
    if last_page > first_page:
        span = f"{first_page + 1}-{last_page}" if last_page > first_page + 1 else f"{last_page}"
        others = f", so {'are pages' if '-' in span else 'is page'} {span}"
    return f"is missing{others}: {_count(records, 'record')}{numbers}"


def is_missing_page(damage: Damage) -> bool:
    """True if the page file does not exist, although pages before and after it do."""
    return damage.offset == 0 and damage.length == 0


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
