"""One page file in its writer's hands: as it is appended to, and as recovery finds it.

It knows the line that readers look at and the order in which it may change; which page comes next, and
what becomes of the old ones, is the page writer's business.
"""

import errno
import time
from typing import NamedTuple

from disklog_mp._core import FRAME_HEADER, Frames, Mapping, all_zero, census
from disklog_mp._os.files import OS_PAGE, WritableFile
from disklog_mp._pages import format as _page_format
from disklog_mp._pages.format import (
    BELL,
    DATA_CRC,
    HEADER_LENGTH,
    LAST_TIME,
    PAGE_OPEN,
    PAGE_SEALED,
    RECORDS,
    SEAL_CRC,
    STATE,
    WATERMARK,
    HeaderError,
    PageHeader,
    PageLine,
)
from disklog_mp.errors import FormatVersionError

FIRST_STEP = 1 << 20  # disk space is reserved ahead of need, in steps that grow up to the last one
LAST_STEP = 8 << 20
# More than can be written between two syncs: what a reader saw of it before a power loss, and what is
# written in its place afterwards, must not have the same positions.
LEAP = 1 << 40


class PageFile:
    """A page file that its writer appends to."""

    def __init__(self, file: WritableFile, header: PageHeader, allocated: int) -> None:
        # touched by the writer only
        self.file = file
        self.header = header
        self.allocated = allocated
        self.floor = 0  # what readers may have seen before: never cut
        self.data_crc = 0xFFFFFFFF
        self.opened = time.monotonic()
        # read by others, through the mapped header
        self.line = file.map(HEADER_LENGTH, writable=True)
        self.watermark = header.data_offset
        self.records = 0

    def offset(self, position: int) -> int:
        return self.header.data_offset + position - self.header.first_position

    def end(self) -> int:
        """The offset at which the page is full."""
        return self.header.data_offset + self.header.page_bytes

    def reserve(self, offset: int) -> None:
        """Make sure writing below `offset` cannot run out of disk."""
        if offset <= self.allocated:
            return
        step = min(max(self.allocated, FIRST_STEP), LAST_STEP)
        for wanted in (max(offset, min(self.end(), self.allocated + step)), offset):
            length = -(-wanted // OS_PAGE) * OS_PAGE
            try:
                self.file.allocate(length)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or length <= offset + OS_PAGE:
                    raise
            else:
                self.allocated = length
                return

    def publish(self, watermark: int, records: int, last_time: int) -> None:
        """Show all below `watermark` to readers.  The count first: it is never behind what can be read."""
        self.records += records
        self.watermark = watermark
        self.line.store64(RECORDS, self.records)
        if last_time:
            self.line.store64(LAST_TIME, last_time)
        self.line.store64(WATERMARK, watermark)
        self.line.ring_bell(BELL)

    def resume(self, watermark: int, records: int, data_crc: int) -> None:
        """Go on with a page of an earlier writer."""
        self.floor = min(self.line.load64(WATERMARK), self.allocated)
        self.opened -= max(0.0, (time.time_ns() - self.header.created) / 1e9)
        self.watermark, self.records, self.data_crc = watermark, records, data_crc

    def show(self, last_time: int) -> None:
        """Put right what the line says."""
        self.line.store32(STATE, PAGE_OPEN)
        self.line.store64(LAST_TIME, last_time)
        self.publish(self.watermark, 0, 0)

    def ends_at(self) -> int:
        """The position behind its last frame."""
        return self.header.first_position + self.watermark - self.header.data_offset

    def read_line(self) -> PageLine:
        return _page_format.unpack_line(memoryview(self.line))

    def seal(self) -> None:
        """Make the page immutable, in one store, and give back the disk space behind its last frame.

        Raises OSError if the file can no longer be written, and then nothing has changed.
        """
        self.file.probe()
        self.line.store32(DATA_CRC, self.data_crc ^ 0xFFFFFFFF)
        self.line.store32(SEAL_CRC, _page_format.sealed_crc(memoryview(self.line)))
        self.line.store32(STATE, PAGE_SEALED)
        self.line.ring_bell(BELL)
        self.trim()

    def trim(self) -> None:
        """Cut what was reserved and never used: nobody reads behind the watermark."""
        length = -(-max(self.watermark, self.floor) // OS_PAGE) * OS_PAGE
        try:
            if length < self.file.size():
                self.file.truncate(length)
                self.allocated = length
        except OSError:  # it costs disk space and nothing else
            pass


class Survey(NamedTuple):
    """What stands in a page that was not sealed."""

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
            if problem.offset == 8:
                raise FormatVersionError(
                    path, f"a page of version {problem.found}", problem.expected
                ) from None
            raise
        if self.header.number != number:
            raise HeaderError(32, self.header.number, number)
        if self.header.data_offset > self.size:
            raise HeaderError(self.size, f"{self.size} bytes", f"a page head of {self.header.head_length}")
        self.line = _page_format.unpack_line(data)
        self.is_plausible = _page_format.is_plausible(self.header, self.line, self.size)
        self.is_sealed = self.is_plausible and _page_format.is_sealed(data)

    def whole(self) -> Mapping:
        return self.file.map(self.size, writable=False)

    def offset(self, position: int) -> int:
        return self.header.data_offset + position - self.header.first_position

    def published(self) -> int:
        """The watermark, if it can be one; the file may end before it."""
        return self.line.watermark if self.is_plausible else self.header.data_offset

    def ends_at(self) -> int:
        return self.header.first_position + self.published() - self.header.data_offset

    def survey_last(self, ring_is_there: bool, released: int | None) -> Survey:
        """Survey the page in which the log goes on."""
        published, records = self.published(), self.line.records if self.is_plausible else 0
        if self.is_sealed and ring_is_there:
            return Survey(published, published, records, records, records, 0, 0, 0, 0, 0)  # no power loss
        if self.is_sealed:
            return self.survey(published, published, published, records)
        if ring_is_there and released is not None:
            ours = self.offset(released)
            return self.survey(max(ours, published), ours, min(ours, published), records)
        if ring_is_there and self.is_plausible:
            return self.survey(published, published, published, records)
        return self.survey(self.size, self.size, published, records)

    def survey_older(self, following: PageHeader) -> Survey:
        """Survey a page that was left unsealed though the next one was begun, which says where it ended."""
        end = self.offset(following.first_position)
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
        """Check all frames below `stop`.

        Below `ours` there must be frames, or something is lost; what is not right behind it is written
        again.  `claimed`: the offset up to which the page once reached, and `numbered`: the records it had
        then, as far as is known.
        """
        header, whole = self.header, self.whole()
        start, position, salt = header.data_offset, header.first_position, header.salt
        stop, ours = (max(start, min(offset, self.size)) for offset in (stop, ours))
        first = min(stop, ours)
        records, _, abandoned, ranges, corrupt, end, last_time, crc = census(
            whole, start, first, position, salt
        )
        if end == first < stop:
            more = census(whole, first, stop, position + first - start, salt, crc)
            if more[3] == 0:
                records, abandoned, end, crc = records + more[0], abandoned + more[2], more[5], more[7]
                last_time = more[6] or last_time
        torn_end = max(end, claimed, _last_nonzero(whole, end, ours))
        numbered = min(numbered, (torn_end - start) // FRAME_HEADER)
        valid = records
        if ranges:  # one record each at the least, as readers count
            frames = Frames(whole, start, end, position, header.first_number, salt)
            frames.seek(2**64 - 1)
            records = frames.number - header.first_number
            if torn_end == end:
                records = max(records, numbered)
        next_number = max(records, numbered) if ranges or torn_end > end else records
        return Survey(end, torn_end, records, next_number, valid, abandoned, ranges, corrupt, last_time, crc)


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
