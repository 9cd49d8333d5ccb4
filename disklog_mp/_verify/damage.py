"""A damaged range of a log in words: `cat`, `tail` and `verify` describe it alike."""

from __future__ import annotations

from disklog_mp._reader.page import Damage


def describe(damage: Damage, first_number: int | None = None) -> str:
    """Return one line about a range that cannot be read.

    `first_number` is the number of the first record that a missing page held, if that is known.
    """
    return (
        f"page {damage.page}{'' if is_missing_page(damage) else ':'} {describe_range(damage, first_number)}"
    )


def describe_range(damage: Damage, first_number: int | None = None) -> str:
    """Return the same without the page's number."""
    if is_missing_page(damage):
        numbers = ""
        if first_number is not None:
            numbers = f" ({first_number:,}-{first_number + damage.records - 1:,})"
        return f"is missing: {_count(damage.records, 'record')}{numbers}"
    if damage.offset == 0:
        return f"no page header: {_count(damage.length, 'byte')} skipped"
    kind = "torn tail" if damage.torn else "corrupt range"
    lost = f", at least {_count(damage.records, 'record')}" if damage.records else ""
    return (
        f"{kind} of {_count(damage.length, 'byte')} at offset {damage.offset:,}{lost} "
        f"(crc {damage.found:#010x}, expected {damage.expected:#010x})"
    )


def is_missing_page(damage: Damage) -> bool:
    """True if the page file does not exist, although pages before and after it do."""
    return damage.offset == 0 and damage.length == 0


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
