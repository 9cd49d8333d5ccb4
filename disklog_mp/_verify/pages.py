"""The check of one page file, from the first byte of its header to the last of its frames."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import NamedTuple

from disklog_mp._core import GRANULE, PAGE_VERSION, Mapping, Record, RecordIterator, all_zero, census
from disklog_mp._os.files import REAL, RealFile
from disklog_mp._pages import format as _page_format
from disklog_mp._pages.format import (
    HEADER_LENGTH,
    LINE_END,
    PAGE_OPEN,
    PAGE_SEALED,
    VERSION,
    HeaderError,
    PageHeader,
    PageLine,
)
from disklog_mp._reader.damage import Damage, Missing, describe_range, describe_times, moment
from disklog_mp._reader.page import Page

DAMAGE = "damage"
NOTE = "note"
DROP = "drop"


class Finding(NamedTuple):
    """One finding about a log: damage, records that were dropped, or a note."""

    kind: str
    page: int  # 0: not about a page
    text: str

    def line(self) -> str:
        """Return it with the number of its page."""
        if not self.page:
            return self.text
        return f"page {self.page}{' ' if self.text.startswith('is missing') else ': '}{self.text}"


@dataclass
class PageFacts:
    """The contents of one page file, counted from its frames and not taken from its header."""

    number: int
    path: str
    header: PageHeader | None = None
    sealed: bool = False
    records: int = 0
    lost: int = 0  # records that the header counts and no valid frame holds
    abandoned: int = 0
    dropped: int = 0  # as its gap records say
    last_time: int = 0  # of its last record, ns since the epoch
    end_position: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)

    def say(self, kind: str, text: str) -> None:
        """Add a finding about this page."""
        self.findings.append(Finding(kind, self.number, text))

    @property
    def next_number(self) -> int:
        """The number of the first record of the next page."""
        assert self.header is not None
        return self.header.first_number + self.records + self.lost


def check_page(path: str, number: int, *, live: bool, set_aside: bool) -> PageFacts:
    """Check the page file of that number.

    `live`: a writer may be adding to it.  `set_aside`: recovery moved unreadable bytes of it into another
    file, so its header may count records that it no longer holds.  Raises FileNotFoundError.
    """
    facts = PageFacts(number, path)
    file = REAL.open(path, writable=False)
    try:
        _check(file, facts, live, set_aside)
    finally:
        file.close()
    return facts


def count_abandoned(path: str, start: int, end: int) -> int:
    """Count the abandoned frames of a page file between two positions; 0 if it cannot be read."""
    try:
        file = REAL.open(path, writable=False)
    except FileNotFoundError:  # retired
        return 0
    try:
        size = file.size()
        if size < HEADER_LENGTH:
            return 0
        whole = file.map(size, writable=False)
        header = _page_format.unpack(memoryview(whole)[:HEADER_LENGTH])
    except HeaderError:
        return 0
    finally:
        file.close()
    start = max(start, header.first_position)
    first = header.offset_of(start)
    watermark = _page_format.unpack_line(memoryview(whole)).watermark
    stop = min(size // GRANULE * GRANULE, header.offset_of(end), watermark)
    return census(whole, first, stop, start, header.salt).abandoned if first < stop else 0


def _check(file: RealFile, facts: PageFacts, live: bool, set_aside: bool) -> None:
    # Read the line first and the size after it: what the line counts is in the file by then.
    line = _check_header(file, facts, live)
    header = facts.header
    if line is None or header is None:
        return
    facts.bytes = file.size()
    if facts.bytes < header.data_offset:
        facts.say(DAMAGE, f"{facts.bytes:,} bytes end before its first frame, at {header.data_offset:,}")
        facts.header = None
        return
    whole = file.map(facts.bytes, writable=False)
    stop = _stop(facts, header, line)
    facts.end_position = header.position_of(stop)
    found = census(whole, header.data_offset, stop, header.first_position, header.salt)
    facts.records, facts.abandoned, facts.last_time = found.records, found.abandoned, found.last_time
    if found.corrupt_ranges or found.end < stop:
        _describe_damage(facts)
    if found.gaps:
        _describe_gaps(facts)
    if facts.sealed:
        whole_page = not found.corrupt_ranges and found.end == stop
        crc, last_time = found.data_crc, found.last_time
        _check_seal(facts, line, set_aside, whole=whole_page, crc=crc, last_time=last_time)
    elif not live:
        _check_open(facts, line, whole, stop)
    facts.bytes = stop  # the rest is reserved, not used


def _check_header(file: RealFile, facts: PageFacts, live: bool) -> PageLine | None:
    """Check and keep the header; return the mutable line, None if there is no header."""
    facts.bytes = file.size()
    if facts.bytes < HEADER_LENGTH:
        text = f"{facts.bytes:,} bytes are too short for a page: its header has {HEADER_LENGTH:,} bytes"
        facts.say(DAMAGE if facts.bytes else NOTE, text)
        return None
    data = memoryview(file.map(HEADER_LENGTH, writable=False))
    line = _settled_line(data)
    try:
        facts.header = _page_format.unpack(data)
    except HeaderError as problem:
        what = f"found {problem.found}, expected {problem.expected}"
        if problem.offset == VERSION:
            what = f"version {problem.found}, this program reads {PAGE_VERSION}"
        facts.say(DAMAGE, f"page header at offset {problem.offset}: {what}")
        return None
    if facts.header.number != facts.number:
        facts.say(DAMAGE, f"its header says that it is page {facts.header.number}")
    if line.state not in (PAGE_OPEN, PAGE_SEALED):
        facts.say(DAMAGE, f"its state is {line.state}, neither open ({PAGE_OPEN}) nor sealed ({PAGE_SEALED})")
    if not all_zero(data[LINE_END:HEADER_LENGTH]):
        facts.say(NOTE, f"its header is not zero from byte {LINE_END} on, which no writer ever writes")
    facts.sealed = line.state == PAGE_SEALED
    if facts.sealed and line.seal_crc != _page_format.seal_crc(data) and not live:
        facts.say(DAMAGE, "the checksum of its seal is wrong")
        facts.sealed = False
    return line


def _settled_line(data: memoryview) -> PageLine:
    """The mutable line, read until it is stable: the writer may be changing it field by field."""
    line = _page_format.unpack_line(data)
    while (again := _page_format.unpack_line(data)) != line:
        line = again
    return line


def _stop(facts: PageFacts, header: PageHeader, line: PageLine) -> int:
    """The offset at which the frames should end."""
    start, watermark = header.data_offset, line.watermark
    if not (start <= watermark <= facts.bytes and (watermark - start) % GRANULE == 0):
        facts.say(
            DAMAGE,
            f"its watermark {watermark:,} is not the end of a frame in a file of {facts.bytes:,} bytes",
        )
    granules = (min(max(watermark, start), facts.bytes) - start) // GRANULE
    return start + int(granules) * GRANULE


def _describe_damage(facts: PageFacts) -> None:
    """Report the ranges that do not check, as a reader finds them."""
    ranges: list[Damage] = []
    with Page(facts.path, on_damage=ranges.append) as page:
        for _ in page.payloads():
            pass
    for damage in ranges:
        times = describe_times(damage.before, damage.after) if isinstance(damage, Missing) else ""
        facts.say(NOTE if damage.torn else DAMAGE, f"{describe_range(damage)}{times}")


def _describe_gaps(facts: PageFacts) -> None:
    """Report the drops that the page tells of."""
    with Page(facts.path, on_damage=lambda damage: None) as page:
        frames = page.records_from()
        while (gap := next_gap(frames)) is not None:
            facts.dropped += gap.dropped
            facts.say(DROP, gap.text)


class Gap(NamedTuple):
    """What a gap record says."""

    dropped: int
    text: str


def next_gap(frames: RecordIterator) -> Gap | None:
    """Go on behind the next gap record and return what it says, None if there is none."""
    record = frames.next_gap()
    return None if record is None else _gap(record)


def _gap(record: Record) -> Gap:
    process = f"process {record.pid}" if record.label is None else f"process {record.label}/{record.pid}"
    try:
        told = json.loads(record.data)
        dropped, since = int(told["dropped"]), int(told["since"])
        times = f"from {moment(since)} to {moment(int(told.get('until', record.timestamp)))}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # no session wrote that
        return Gap(1, f"{process} dropped records: how many cannot be read")
    records = "1 record" if dropped == 1 else f"{dropped:,} records"
    return Gap(max(0, dropped), f"{process} dropped {records} {times}: the ring was full")


def _check_seal(
    facts: PageFacts, line: PageLine, set_aside: bool, *, whole: bool, crc: int, last_time: int
) -> None:
    """Compare the header of a sealed page with what was counted."""
    facts.lost = max(0, line.records - facts.records)
    if line.records < facts.records:
        facts.say(DAMAGE, f"its header counts {line.records:,} records, its frames hold {facts.records:,}")
    if facts.lost:
        kept = "; their bytes were set aside" if set_aside else ""
        kind = NOTE if set_aside and whole else DAMAGE
        facts.say(kind, f"{facts.lost:,} of {line.records:,} records lost{kept}")
    if not whole:
        return
    if crc ^ 0xFFFFFFFF != line.data_crc:
        found = f"checksum of the whole page {crc ^ 0xFFFFFFFF:#010x}, sealed with {line.data_crc:#010x}"
        facts.say(DAMAGE, found)
    if facts.records and last_time != line.last_time and not facts.lost:
        facts.say(
            DAMAGE,
            f"its header gives its last record the time {line.last_time} ns, not {last_time} ns",
        )


def _check_open(facts: PageFacts, line: PageLine, whole: Mapping, stop: int) -> None:
    """Check an open page whose writer was killed."""
    header = facts.header
    assert header is not None
    if line.records != facts.records:
        facts.lost = max(0, line.records - facts.records)
        facts.say(NOTE, f"its header counts {line.records:,} records, its frames hold {facts.records:,}")
    if all_zero(memoryview(whole)[stop:]):
        return
    behind = census(whole, stop, facts.bytes // GRANULE * GRANULE, facts.end_position, header.salt).records
    facts.say(
        NOTE,
        f"{behind:,} records after its watermark were never published: the next writer publishes them"
        if behind
        else "bytes after its watermark were never published: the next writer sets them aside",
    )
