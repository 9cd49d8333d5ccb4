"""What a reader could not read: as a value, and as one line of text that all commands print alike.

Damage is never skipped in silence: if the caller gives no function for it, it goes to the logging channel.
"""

from __future__ import annotations

import time
from typing import NamedTuple

DAMAGED, RETIRED, NO_FILE, UNKNOWN = "damaged", "retired", "page file missing", ""
FOREIGN, TWICE, EMPTY = "page of another log", "numbered twice", "page file empty"
ARCHIVED = "archived"


class Damage(NamedTuple):
    """A range of a page that cannot be read: how long, and how many records stood in it at the least.

    `torn` is true where nothing valid follows in a page that was never sealed: the end of what a crash
    left, not corruption.  Offset 0 is the whole page: it has no valid header.  Length 0: the records are
    missing, and no range of bytes is (see Missing).
    """

    page: int
    offset: int
    length: int
    records: int
    found: int
    expected: int
    torn: bool


class Missing(Damage):
    """Records that should be there and are not, from `first_number` to `last_number`.

    `before` and `after` are the times of the records around them, ns since the epoch, 0 if not known.

    `why` is "damaged": then offset and length say where.  Or "retired": retention removed them while the log
    was read.  Or "archived": they were moved to the directory `moved_to`.  Or "page file missing": those of
    the pages `page` to `last_page`.  Or "page file empty": as a power loss can leave it, or another process
    that cut it.  Or "", if it is not known.
    Then they are missing before the first record of `page`, as in a directory made of several copies.
    "page of another log": `page` is passed over.  "numbered twice": `page` begins again with numbers that the
    page before it has, or (then `last_number` is before `first_number`) at a position that it has, as in a
    directory made of two copies that both went on; no number is missing, and `records` is 0.
    """

    first_number: int
    last_number: int
    before: int
    after: int
    why: str
    last_page: int
    moved_to: str

    @classmethod
    def of(  # noqa: PLR0917
        cls,
        damage: Damage,
        first_number: int,
        before: int = 0,
        after: int = 0,
        why: str = DAMAGED,
        last_page: int = 0,
    ) -> Missing:
        """Return the damage with the numbers of its records, which begin at `first_number`."""
        missing = cls._make(damage)
        missing.first_number, missing.last_number = first_number, first_number + damage.records - 1
        missing.before, missing.after, missing.why = before, after, why
        missing.last_page = last_page or damage.page
        missing.moved_to = ""
        return missing


for _kind in (Damage, Missing):
    _kind.__module__ = "disklog_mp"  # where users find it, before they have looked
del _kind


def report(damage: Damage) -> None:
    """Log a warning on the logging channel "disklog_mp"."""
    import logging

    logging.getLogger("disklog_mp").warning("%s", describe(damage))


def describe(damage: Damage) -> str:
    """Return one line about what cannot be read: `page 3 is missing: 3 records (7-9)`."""
    if not isinstance(damage, Missing):
        return f"page {damage.page}: {describe_range(damage)}"
    times = describe_times(damage.before, damage.after)
    if damage.why == EMPTY:
        numbers = _span(damage.first_number, damage.records)
        return f"page {damage.page} is an empty file: {_count(damage.records, 'record')}{numbers}{times}"
    if damage.why in (NO_FILE, RETIRED, ARCHIVED) and not damage.length:
        text = describe_missing(damage.page, damage.last_page, damage.records, damage.first_number)
        if damage.why == RETIRED:
            text = text.replace("is missing", "was removed by retention", 1)
        if damage.why == ARCHIVED:
            text = text.replace("is missing", f"was moved to {damage.moved_to}", 1)
        return f"page {damage.page} {text}{times}"
    if damage.why == FOREIGN:
        lost = f", {_count(damage.records, 'record')}{_span(damage.first_number, damage.records)}"
        skipped = f"of another log: {_count(damage.length, 'byte')} skipped{lost if damage.records else ''}"
        return f"page {damage.page} is {skipped}{times}"
    if damage.why == TWICE:
        if damage.last_number < damage.first_number:
            return f"page {damage.page} begins before the page before it ends: another copy of the log had it"
        begin = f"page {damage.page} begins with record {damage.first_number:,} again"
        return f"{begin}: the page before it ends with record {damage.last_number:,}"
    if damage.length:
        return f"page {damage.page}: {describe_range(damage)}{times}"
    numbers = describe_numbers(damage.first_number, damage.records)
    place = f"at the end of page {damage.page}" if damage.offset else f"before page {damage.page}"
    why = "their bytes were damaged" if damage.why == DAMAGED else "why is not known"
    return f"{numbers} missing {place}{times}: {why}"


def describe_times(before: int, after: int) -> str:
    """Return between which times records are missing, "" if neither is known."""
    if before and after:
        return f", between {moment(before)} and {moment(after)}"
    return f", after {moment(before)}" if before else f", before {moment(after)}" if after else ""


def describe_numbers(first_number: int, records: int) -> str:
    """Return `record 7 is`, `records 7-9 are`."""
    if records == 1:
        return f"record {first_number:,} is"
    return f"records {first_number:,}-{first_number + records - 1:,} are"


def describe_range(damage: Damage) -> str:
    """Return the same about a range, without the page's number."""
    lost = ""
    if isinstance(damage, Missing):
        lost = f", at least {_count(damage.records, 'record')}{_span(damage.first_number, damage.records)}"
    elif damage.records:
        lost = f", at least {_count(damage.records, 'record')}"
    if damage.offset == 0:
        return f"no page header: {_count(damage.length, 'byte')} skipped{lost.replace('at least ', '')}"
    kind = "torn tail" if damage.torn else "corrupt range"
    return (
        f"{kind} of {_count(damage.length, 'byte')} at offset {damage.offset:,}{lost} "
        f"(crc {damage.found:#010x}, expected {damage.expected:#010x})"
    )


def describe_missing(first_page: int, last_page: int, records: int, first_number: int | None) -> str:
    """Return the same about missing pages, without the number of the first one."""
    numbers = "" if first_number is None or not records else _span(first_number, records)
    others = ""
    if last_page > first_page:
        span = f"{first_page + 1}-{last_page}" if last_page > first_page + 1 else f"{last_page}"
        others = f", so {'are pages' if '-' in span else 'is page'} {span}"
    return f"is missing{others}: {_count(records, 'record')}{numbers}"


def _span(first_number: int, records: int) -> str:
    last_number = first_number + records - 1
    return f" ({first_number:,}-{last_number:,})" if records > 1 else f" ({first_number:,})"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def moment(nanoseconds: int) -> str:
    """Return a time of ns since the epoch as local time to the second."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(nanoseconds // 10**9))
    except (OverflowError, OSError, ValueError):  # no clock said that
        return f"{nanoseconds} ns"
