"""One page file that its writer appends to.

It knows the line that readers look at, and the order in which the line may change.  Which page comes next,
and what becomes of the old ones, is decided in writer.py.
"""

import errno
import time

from disklog_mp._core import PAGE_LABELLED
from disklog_mp._os.files import OS_PAGE, WritableFile, longest_file
from disklog_mp._pages import format as _page_format
from disklog_mp._pages.format import (
    BELL,
    DATA_CRC,
    HEADER_CRC,
    HEADER_LENGTH,
    LAST_TIME,
    PAGE_OPEN,
    PAGE_SEALED,
    RECORDS,
    SEAL_CRC,
    STATE,
    VERSION,
    WATERMARK,
    PageHeader,
    PageLine,
)
from disklog_mp._pages.unsynced import SealedPage

# A step is one fallocate() in many writes (bench: throughput); what is not used is given back at the end.
FIRST_STEP = 1 << 20  # disk space is reserved ahead of need, in steps that grow up to the last one
LAST_STEP = 8 << 20


class PageFile:
    """A page file that its writer appends to."""

    def __init__(self, file: WritableFile, header: PageHeader, allocated: int) -> None:
        # only this process uses these
        self.file = file
        self.header = header
        self.allocated = allocated
        self.floor = 0  # readers may have mapped the file up to here: it is never cut below
        self.data_crc = 0xFFFFFFFF
        self.opened = time.monotonic()
        self._longest = longest_file()
        # readers see these, through the mapped line
        self.line = file.map(HEADER_LENGTH, writable=True)
        self.watermark = header.data_offset
        self.records = 0

    def offset(self, position: int) -> int:
        """Return where in the file that position stands."""
        return self.header.offset_of(position)

    def end(self) -> int:
        """Return the offset at which the page is full: no write may pass the process's file size limit."""
        return min(self.header.data_offset + self.header.page_bytes, self._longest)

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

    def allow_labels(self) -> None:
        """Make the page one that may hold frames with a label.  Raises OSError.

        The checksum goes first: a reader that knows both versions takes either with each of them.
        """
        if self.header.version != PAGE_LABELLED:
            self.file.probe()
            self.line.store32(HEADER_CRC, _page_format.header_crc(memoryview(self.line), PAGE_LABELLED))
            self.line.store32(VERSION, PAGE_LABELLED)
            self.header = self.header._replace(version=PAGE_LABELLED)

    def resume(self, watermark: int, records: int, data_crc: int) -> None:
        """Go on in a page of an earlier writer."""
        self.floor = min(self.line.load64(WATERMARK), self.allocated)
        self.opened -= max(0.0, (time.time_ns() - self.header.created) / 1e9)
        self.watermark, self.records, self.data_crc = watermark, records, data_crc

    def show(self, last_time: int) -> None:
        """Correct the line, which a crash or a stray store may have left wrong."""
        self.line.store32(STATE, PAGE_OPEN)
        self.line.store64(LAST_TIME, last_time)
        self.publish(self.watermark, 0, 0)

    def ends_at(self) -> int:
        """Return the position behind its last frame."""
        return self.header.position_of(self.watermark)

    def as_sealed(self) -> SealedPage:
        """Return what has to be known to sync the page, and to check a copy of it."""
        return SealedPage(self.header, self.watermark, self.data_crc, self.file)

    def read_line(self) -> PageLine:
        """Return the line as it is now."""
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
        """Cut what was reserved and never used: readers read nothing behind the watermark."""
        length = -(-max(self.watermark, self.floor) // OS_PAGE) * OS_PAGE
        try:
            if length < self.file.size():
                self.file.truncate(length)
                self.allocated = length
        except OSError:  # a failure costs disk space and nothing else
            pass
