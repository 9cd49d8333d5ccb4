"""One page file that its writer appends to.

It knows the line that readers look at, and the order in which the line may change.  Which page comes next,
and what becomes of the old ones, is decided in writer.py.

The line changes by stores into a mapping, not by pwrite(): readers load whole words from it, and pwrite()
does not promise to store a word at once.  A store can fail, too: where a snapshot shares the blocks of the
file, it needs room on the disk.  The mapping then raises OSError, pwrite() of one byte says why or makes the
room, and the line is mapped anew.
"""

import contextlib
import errno
import time
from collections.abc import Callable

from disklog_mp._core import PAGE_LABELLED
from disklog_mp._os.clocks import boot_time
from disklog_mp._os.files import OS_PAGE, WritableFile
from disklog_mp._os.limits import longest_file
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
        self.opened = boot_time()  # ages count from here
        self.opened_at = time.time()  # likewise, by the wall clock, which may be set
        self._longest = longest_file()
        # readers see these, through the mapped line
        self.line = file.map(HEADER_LENGTH, writable=True)
        self.watermark = header.data_offset
        self.records = 0
        self.last_time = 0
        self._is_wrong = False  # the line, until publish() has corrected it

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
        """Show all below `watermark` to readers.  Raises OSError, and then nothing has changed."""
        records, last_time = self.records + records, last_time or self.last_time
        try:
            self._show(watermark, records, last_time)
        except OSError:
            self._map_again()
            self._show(watermark, records, last_time)
        if self.is_empty():  # its first record comes; it may have been made long before
            self.opened, self.opened_at = boot_time(), time.time()
        self.watermark, self.records, self.last_time = watermark, records, last_time
        self._is_wrong = False

    def _show(self, watermark: int, records: int, last_time: int) -> None:
        """Store the line.  The count first: it is never behind what can be read."""
        if self._is_wrong:
            self.line.store32(STATE, PAGE_OPEN)
        self.line.store64(RECORDS, records)
        self.line.store64(LAST_TIME, last_time)
        self.line.store64(WATERMARK, watermark)
        self.line.ring_bell(BELL)

    def _map_again(self) -> None:
        """Map the line anew after a store that failed.  Raises OSError with the cause while that lasts."""
        self.file.probe()
        self.line = self.file.map(HEADER_LENGTH, writable=True)

    def _surely(self, store: Callable[[], None]) -> None:
        """Store into the line, if need be after it was mapped anew.  Raises OSError."""
        try:
            store()
        except OSError:
            self._map_again()
            store()

    def wake_readers(self) -> None:
        """Wake the readers at the end of the page."""
        with contextlib.suppress(OSError):  # they look now and then, without being woken
            self.line.ring_bell(BELL)

    def allow_labels(self) -> None:
        """Make the page one that may hold frames with a label.  Raises OSError."""
        if self.header.version != PAGE_LABELLED:
            self.file.probe()
            self._surely(self._store_version)
            self.header = self.header._replace(version=PAGE_LABELLED)

    def _store_version(self) -> None:
        """The checksum goes first: a reader that knows both versions takes either with each of them."""
        self.line.store32(HEADER_CRC, _page_format.header_crc(memoryview(self.line), PAGE_LABELLED))
        self.line.store32(VERSION, PAGE_LABELLED)

    def is_empty(self) -> bool:
        """True if it has no record."""
        return self.watermark == self.header.data_offset

    def is_gone(self, path: str) -> bool:
        """True if another process removed it from that path, which is its own."""
        return self.file.is_removed() and not self.file.is_at(path)

    def resume(self, watermark: int, records: int, data_crc: int, first_time: int = 0) -> None:
        """Go on in a page of an earlier writer; `first_time` is that of its first record, if it is known."""
        self.floor = min(self.line.load64(WATERMARK), self.allocated)
        now = time.time_ns()
        self.opened_at = max(self.header.created, min(first_time, now)) / 1e9
        self.opened -= max(0.0, now / 1e9 - self.opened_at)
        self.watermark, self.records, self.data_crc = watermark, records, data_crc
        self.last_time = self.line.load64(LAST_TIME)

    def show(self, last_time: int) -> None:
        """Correct the line, which a crash or a stray store may have left wrong.

        On a full disk, that may have to wait until something is published.
        """
        self.last_time, self._is_wrong = last_time, True
        with contextlib.suppress(OSError):
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
        if self._is_wrong:
            self.publish(self.watermark, 0, 0)
        self._surely(self._store_seal)
        self.wake_readers()
        self.trim()

    def _store_seal(self) -> None:
        self.line.store32(DATA_CRC, self.data_crc ^ 0xFFFFFFFF)
        self.line.store32(SEAL_CRC, _page_format.sealed_crc(memoryview(self.line)))
        self.line.store32(STATE, PAGE_SEALED)

    def trim(self) -> None:
        """Cut what was reserved and never used: readers read nothing behind the watermark."""
        length = -(-max(self.watermark, self.floor) // OS_PAGE) * OS_PAGE
        try:
            if length < self.file.size():
                self.file.truncate(length)
                self.allocated = length
        except OSError:  # a failure costs disk space and nothing else
            pass
