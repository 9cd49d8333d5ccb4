"""What is in a page file that an earlier writer left: its header, and how far its frames can be read.

It only looks: what is done about what it finds is decided in recovery.py.
"""

from typing import NamedTuple

from disklog_mp._core import FRAME_HEADER, DamagedRange, Mapping, RecordIterator, all_zero, census
from disklog_mp._os.files import OS_PAGE, WritableFile
from disklog_mp._pages import format as _page_format
from disklog_mp._pages.format import HEADER_LENGTH, HeaderError, PageHeader
from disklog_mp.errors import FormatVersionError

# After a power loss the log goes on this many bytes later.  It is more than can be written between two syncs:
# so a record that a reader saw before the power loss, and that was lost, shares its position with no other.
LEAP = 1 << 40


class Survey(NamedTuple):
    """What is in a page, as far as its frames can be read."""

    end: int  # offset behind the last valid frame
    torn_end: int  # offset behind all that was published or is not zero: the same, if nothing was torn
    records: int  # up to `end`, those in corrupt ranges included
    next_number: int  # of the record behind `torn_end`, counted from the page's first
    valid: int  # records that can be read
    abandoned: int
    corrupt_ranges: int
    corrupt_bytes: int
    last_time: int
    crc: int
    damage: tuple[DamagedRange, ...] = ()  # the corrupt ranges


class FoundPage:
    """A page file as recovery finds it.  Raises HeaderError, FormatVersionError."""

    def __init__(self, file: WritableFile, path: str, number: int) -> None:
        self.file = file
        self.size = file.size()
        if self.size < HEADER_LENGTH:
            raise HeaderError(self.size, f"{self.size} bytes", f"a header of {HEADER_LENGTH} bytes")
        data = memoryview(file.map(HEADER_LENGTH, writable=False))
        try:
            self.header = _page_format.unpack(data)
        except HeaderError as problem:
            if problem.offset == _page_format.VERSION:
                raise FormatVersionError(
                    path, f"a page of version {problem.found}", problem.expected
                ) from None
            raise
        if self.header.number != number:
            raise HeaderError(_page_format.NUMBER, self.header.number, number)
        if self.header.data_offset > self.size:
            raise HeaderError(self.size, f"{self.size} bytes", f"a page head of {self.header.head_length}")
        self.line = _page_format.unpack_line(data)
        self.is_plausible = _page_format.is_plausible(self.header, self.line, self.size)
        self.is_sealed = self.is_plausible and _page_format.is_sealed(data)

    def whole(self) -> Mapping:
        """Return the whole file, mapped."""
        return self.file.map(self.size, writable=False)

    def first_time(self, end: int) -> int:
        """Return the time of the first record below `end`, ns since the epoch; 0: there is none."""
        header = self.header
        start, number = header.data_offset, header.first_number
        frames = RecordIterator(
            self.whole(), start, end, header.first_position, number, header.salt, payloads=True
        )
        next(frames, None)
        return frames.time

    def published(self) -> int:
        """Return the watermark, if it is possible; the file may end before it."""
        return self.line.watermark if self.is_plausible else self.header.data_offset

    def ends_at(self) -> int:
        """Return the position of the watermark."""
        return self.header.position_of(self.published())

    def survey_last(self, ring_is_there: bool, released: int | None) -> Survey:
        """Survey the page in which the log goes on."""
        published, records = self.published(), self.line.records if self.is_plausible else 0
        if self.is_sealed and ring_is_there:
            return Survey(published, published, records, records, records, 0, 0, 0, 0, 0)  # no power loss
        if self.is_sealed:
            return self.survey(published, published, published, records)
        if ring_is_there and released is not None:
            ours = self.header.offset_of(released)
            return self.survey(max(ours, published), ours, min(ours, published), records)
        if ring_is_there and self.is_plausible:
            return self.survey(published, published, published, records)
        return self.survey(self.size, self.size, published, records)

    def survey_older(self, following: PageHeader) -> Survey:
        """Survey a page that is unsealed although the next one was begun: that says where this one ended."""
        end = self.header.offset_of(following.first_position)
        if end - self.published() >= LEAP:
            end -= LEAP
        adjacent = following.number == self.header.number + 1
        claimed = end if adjacent and end >= self.published() else self.published()
        return self.survey(
            claimed if adjacent else self.size,
            self.size,
            claimed,
            following.first_number - self.header.first_number,
        )

    def survey(self, stop: int, ours: int, claimed: int, numbered: int) -> Survey:
        """Check all frames below the offset `stop`.

        If frames below `ours` are bad, something is lost; bad bytes behind it are written again from the
        ring.  The page once reached up to `claimed`, and then had `numbered` records, as far as is known.
        """
        header, whole = self.header, self.whole()
        start, position, salt = header.data_offset, header.first_position, header.salt
        stop, ours = (max(start, min(offset, self.size)) for offset in (stop, ours))
        first = min(stop, ours)
        found = census(whole, start, first, position, salt)
        records, abandoned, end, last_time = found.records, found.abandoned, found.end, found.last_time
        ranges, corrupt, crc = found.corrupt_ranges, found.corrupt_bytes, found.data_crc
        if end == first < stop:
            more = census(whole, first, stop, header.position_of(first), salt, crc)
            if more.corrupt_ranges == 0:
                records, abandoned = records + more.records, abandoned + more.abandoned
                end, crc, last_time = more.end, more.data_crc, more.last_time or last_time
        torn_end = max(end, claimed, _last_nonzero(whole, end, ours))
        numbered = min(numbered, (torn_end - start) // FRAME_HEADER)
        valid = records
        damage: tuple[DamagedRange, ...] = ()
        if ranges:  # each cost at least one record: readers count alike
            frames = RecordIterator(whole, start, end, position, header.first_number, salt)
            frames.seek(2**64 - 1)
            records = frames.number - header.first_number
            damage = tuple(frames.damage)
            if torn_end == end:
                records = max(records, numbered)
        next_number = max(records, numbered) if ranges or torn_end > end else records
        return Survey(
            end,
            torn_end,
            records,
            next_number,
            valid=valid,
            abandoned=abandoned,
            corrupt_ranges=ranges,
            corrupt_bytes=corrupt,
            last_time=last_time,
            crc=crc,
            damage=damage,
        )


def _last_nonzero(whole: Mapping, start: int, end: int) -> int:
    """Return the offset one past the last byte that is not zero, `start` if there is none."""
    view = memoryview(whole)
    for step in (1 << 20, OS_PAGE, 1):
        while end > start:
            before = max(start, (end - 1) // step * step)
            if not all_zero(view[before:end]):
                break
            end = before
    return end
