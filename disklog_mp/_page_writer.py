"""Page files from the writer's side: append, publish, roll, seal, sync, retire, recover.

It is handed runs of frames and never looks into them; it knows nothing of rings or producers.  One object
per log, used by the one process that holds the directory's lock.
"""

import errno
import os
import time
from collections import deque
from typing import NamedTuple

from disklog_mp import _page_format
from disklog_mp._core import GRANULE, Mapping, all_zero, census, crc32c_update
from disklog_mp._directory import PAGE_NAME, Directory
from disklog_mp._files import OS_PAGE, WritableFile
from disklog_mp._options import Options
from disklog_mp._page_format import (
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
)
from disklog_mp.errors import FormatVersionError

NO_LIMIT = 2**63
FIRST_STEP = 1 << 20  # disk space is reserved ahead of need, in steps that grow up to the last one
LAST_STEP = 8 << 20


class Recovered(NamedTuple):
    """What opening a directory found: where to go on, and what was repaired."""

    position: int
    number: int
    records: int  # counted in the last page
    abandoned: int  # frames of dead producers in it
    corrupt_ranges: int
    corrupt_bytes: int
    torn_bytes: int  # kept aside
    set_aside: tuple[str, ...]


class SyncJob(NamedTuple):
    """What must reach the disk for all below `position` to be durable.  run() may be called in a thread."""

    files: tuple[WritableFile, ...]
    directory: Directory | None
    position: int

    def run(self) -> None:
        """Sync; raises the OSError of the first that fails."""
        for file in self.files:
            file.sync()
        if self.directory is not None:
            self.directory.files.sync_directory(self.directory.path)


class _OpenPage:
    """The page being written."""

    def __init__(self, file: WritableFile, header: PageHeader, allocated: int) -> None:
        # touched by the writer only
        self.file = file
        self.header = header
        self.allocated = allocated
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
        for length in (max(offset, min(self.end(), self.allocated + step)), offset):
            length = -(-length // OS_PAGE) * OS_PAGE
            try:
                self.file.allocate(length)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT) or length <= offset + OS_PAGE:
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

    def seal(self) -> None:
        """Make the page immutable and give back the disk space behind its last frame."""
        self.line.store32(DATA_CRC, self.data_crc ^ 0xFFFFFFFF)
        self.line.store32(STATE, PAGE_SEALED)
        self.line.store32(SEAL_CRC, _page_format.seal_crc(memoryview(self.line)))
        self.line.ring_bell(BELL)
        self.trim()

    def trim(self) -> None:
        """Cut what was reserved and never used: nobody reads behind the watermark."""
        length = -(-self.watermark // OS_PAGE) * OS_PAGE
        if length < self.file.size():
            self.file.truncate(length)
            self.allocated = length


class PageWriter:
    """Appends runs of frames to the page files of one directory."""

    def __init__(self, directory: Directory, name: str, options: Options, gid: int = -1) -> None:
        self.directory = directory
        self.name = name
        self.options = options
        self.log_id = b""
        self.salt = 0
        self.position = 0  # behind all that is written
        self.number = 0  # of the next record
        self.page_number = 0  # of the newest page
        self._gid = gid
        self._page: _OpenPage | None = None
        self._kept: deque[tuple[int, int, int]] = deque()  # sealed pages: number, bytes, last time
        self._unsynced: list[WritableFile] = []  # sealed, their bytes not yet known to be on disk
        self._directory_dirty = False

    # -- where we are ------------------------------------------------------------------------------------

    def room(self) -> tuple[int, int]:
        """Return how many bytes and records the page being written still takes (a new one, if none is)."""
        limit = self.options.page_records or NO_LIMIT
        if self._page is None:
            return self.options.page_bytes, limit
        return self._page.end() - self._page.watermark, limit - self._page.records

    def is_empty(self) -> bool:
        """True if the next record is the first of its page."""
        return self._page is None or self._page.watermark == self._page.header.data_offset

    def age(self) -> float:
        """Return seconds since the page being written was begun; 0.0 if it is empty."""
        return 0.0 if self._page is None or self.is_empty() else time.monotonic() - self._page.opened

    def total_bytes(self) -> int:
        """Return the bytes of all page files, up to their watermarks."""
        return sum(size for _, size, _ in self._kept) + (self._page.watermark if self._page else 0)

    def first_page(self) -> int:
        """Return the number of the oldest page, 0 if there is none."""
        if self._kept:
            return self._kept[0][0]
        return self._page.header.number if self._page else 0

    # -- append ------------------------------------------------------------------------------------------

    def append(self, data: memoryview, end: int, records: int, last_time: int) -> None:
        """Write frames that stand at `self.position` and end at position `end`; publish them.

        `data` may stop at the header of padding that ends the run.  Raises OSError, and then nothing has
        changed: the same call can be made again.
        """
        page = self._page or self._open_page(end - self.position)
        offset = page.offset(self.position)
        watermark = page.offset(end)
        page.reserve(watermark)
        page.file.write_at(data, offset)
        page.data_crc = crc32c_update(data, page.data_crc)
        self.position = end
        self.number += records
        page.publish(watermark, records, last_time)
        if self.options.page_records and page.records >= self.options.page_records:
            self.seal()

    def _open_page(self, span: int) -> _OpenPage:
        number = self.page_number + 1
        options = self.options
        header = PageHeader(
            log_id=self.log_id,
            number=number,
            first_position=self.position,
            first_number=self.number,
            salt=self.salt,
            created=time.time_ns(),
            page_bytes=max(options.page_bytes, span),
            page_records=options.page_records or 0,
            page_age=int((options.page_age or 0) * 1e9),
            data_offset=HEADER_LENGTH,
            head_length=0,
            name=self.name,
        )
        new_path = self.directory.new_path(number)
        files = self.directory.files
        try:
            file = files.create(new_path, options.mode, self._gid)
        except FileExistsError:  # an attempt of ours that failed on the way
            files.unlink(new_path)
            file = files.create(new_path, options.mode, self._gid)
        try:
            file.allocate(HEADER_LENGTH)
            file.write_at(_page_format.pack(header), 0)
            if options.sync != "never":
                file.sync()  # or the name could survive a power loss that the header does not
            page = _OpenPage(file, header, HEADER_LENGTH)
            files.rename(new_path, self.directory.page_path(number))
        except BaseException:
            file.close()
            files.unlink(new_path)
            raise
        self._directory_dirty = True
        self.page_number = number
        self._page = page
        return page

    def seal(self) -> bool:
        """Make the page being written immutable; the next append begins another.  False if it is empty."""
        page = self._page
        if page is None or self.is_empty():
            return False
        page.seal()
        self._page = None
        self._unsynced.append(page.file)
        self._kept.append((page.header.number, page.watermark, page.line.load64(LAST_TIME)))
        return True

    def retire(self) -> list[int]:
        """Remove the oldest sealed pages that retention no longer keeps; return their numbers."""
        options, gone = self.options, []
        while self._kept and self._is_surplus(options):
            number, _, _ = self._kept[0]
            try:
                self.directory.files.unlink(self.directory.page_path(number))
            except FileNotFoundError:
                pass
            self._kept.popleft()
            self._directory_dirty = True
            gone.append(number)
        return gone

    def _is_surplus(self, options: Options) -> bool:
        pages = len(self._kept) + (self._page is not None)
        return bool(
            (options.keep_pages is not None and pages > options.keep_pages)
            or (options.keep_bytes is not None and pages > 1 and self.total_bytes() > options.keep_bytes)
            or (
                options.keep_age is not None
                and self._kept[0][2] < time.time_ns() - int(options.keep_age * 1e9)
            )
        )

    # -- sync, close -------------------------------------------------------------------------------------

    def sync_job(self) -> SyncJob:
        """Return what to sync now so that all written so far is durable."""
        files = [*self._unsynced, *([self._page.file] if self._page else [])]
        return SyncJob(tuple(files), self.directory if self._directory_dirty else None, self.position)

    def synced(self, job: SyncJob) -> None:
        """Take note that the job has run: files sealed before it are done with."""
        for file in job.files:
            if file in self._unsynced:
                self._unsynced.remove(file)
                file.close()
        if job.directory is not None:
            self._directory_dirty = False

    def close(self) -> None:
        """Let go of all files; the page stays open for the next writer to go on in."""
        if self._page is not None:
            self._page.trim()
            self._page.file.close()
            self._page = None
        for file in self._unsynced:
            file.close()
        self._unsynced.clear()

    # -- recovery ----------------------------------------------------------------------------------------

    def recover(self, new_log_id: bytes, new_salt: int, *, ring_is_there: bool) -> Recovered:
        """Find where the log goes on, repairing what a crash left.  Opening is recovering.

        With the ring of an earlier writer of this boot at hand the last page's watermark is the truth;
        without it the last page is scanned.  Bytes that cannot be read are kept aside, never thrown away.
        Raises FormatVersionError if the last page is of another version.
        """
        self.directory.tidy()
        numbers = self.directory.pages()
        aside: list[str] = []
        end_of_lost = 0
        self.page_number = max([*numbers, *self._numbers_set_aside()], default=0)
        self.log_id, self.salt = new_log_id, new_salt
        found: tuple[WritableFile, PageHeader] | None = None
        while numbers and found is None:
            number = numbers[-1]
            path = self.directory.page_path(number)
            file = self.directory.files.open(path, writable=True)
            try:
                found = (file, _read_header(file, path))
            except HeaderError:
                numbers.pop()
                end_of_lost += file.size()
                file.close()
                aside.append(self._set_page_aside(number, end_of_lost))
        for number in numbers[:-1]:
            self._kept.append(self._measure(number))
        if found is None:
            self.position = -(-end_of_lost // GRANULE) * GRANULE
            return Recovered(self.position, 0, 0, 0, 0, 0, 0, tuple(filter(None, aside)))
        file, header = found
        self.log_id, self.salt = header.log_id, header.salt
        report = self._recover_page(file, header, aside, ring_is_there)
        if end_of_lost:
            if self._page is not None:
                self.seal()
            self.position += -(-end_of_lost // GRANULE) * GRANULE
            report = report._replace(position=self.position)
        return report

    def _numbers_set_aside(self) -> list[int]:
        names = os.listdir(self.directory.path)
        stems = [name.partition(".bad-")[0] for name in names if ".bad-" in name]
        return [int(match[1]) for stem in stems if (match := PAGE_NAME.fullmatch(stem + ".dlog"))]

    def _set_page_aside(self, number: int, size: int) -> str:
        """A page file without a header: empty ones never were pages, others are kept."""
        path = self.directory.page_path(number)
        if size == 0:
            self.directory.files.unlink(path)
            return ""
        target = self.directory.bad_path(number, 0)
        self.directory.files.rename(path, target)
        return target

    def _measure(self, number: int) -> tuple[int, int, int]:
        """Number, bytes and last time of an older page, for retention."""
        path = self.directory.page_path(number)
        file = self.directory.files.open(path, writable=False)
        try:
            size = file.size()
            if size < HEADER_LENGTH:
                return number, size, 0
            line = _page_format.unpack_line(memoryview(file.map(HEADER_LENGTH, writable=False)))
            return number, min(size, line.watermark), line.last_time
        finally:
            file.close()

    def _recover_page(
        self, file: WritableFile, header: PageHeader, aside: list[str], ring_is_there: bool
    ) -> Recovered:
        size = file.size()
        whole = file.map(size, writable=False)
        line = _page_format.unpack_line(memoryview(whole))
        start = header.data_offset
        plausible = start <= line.watermark <= size and (line.watermark - start) % GRANULE == 0
        sealed = line.state == PAGE_SEALED and line.seal_crc == _page_format.seal_crc(memoryview(whole))
        stop = line.watermark if plausible and (ring_is_there or sealed) else size
        counted = census(whole, start, stop, header.first_position, header.salt)
        records, _, abandoned, corrupt_ranges, corrupt_bytes, end, last_time, crc = counted
        torn_end = _last_nonzero(whole, end, stop)
        kept = torn_end > end
        if plausible:
            torn_end = max(torn_end, line.watermark)
        torn = torn_end - end
        if kept:
            aside.append(self._keep_aside(whole, header.number, end, torn_end))
        # A position is never used twice, not even one whose record was lost.
        self.position = header.first_position + -(-(torn_end - start) // GRANULE) * GRANULE
        lost_some = torn or corrupt_ranges
        self.number = header.first_number + (max(records, line.records) if plausible and lost_some else records)
        page = _OpenPage(file, header, size)
        page.watermark, page.records, page.data_crc = end, self.number - header.first_number, crc
        if sealed and not torn:
            self._kept.append((header.number, end, line.last_time))
            file.close()
        else:
            page.line.store32(STATE, PAGE_OPEN)
            page.line.store32(BELL, line.bell)
            page.publish(end, 0, last_time)
            self._page = page
            if torn or (corrupt_ranges and not ring_is_there):
                if not self.seal():
                    self._drop_page(page)
        return Recovered(
            self.position,
            self.number,
            records,
            abandoned,
            corrupt_ranges,
            corrupt_bytes,
            torn,
            tuple(filter(None, aside)),
        )

    def _drop_page(self, page: _OpenPage) -> None:
        """A page of which no record was left: its bytes are aside, its name goes."""
        self._page = None
        page.file.close()
        self.directory.files.unlink(self.directory.page_path(page.header.number))
        self._directory_dirty = True

    def _keep_aside(self, whole: Mapping, number: int, offset: int, end: int) -> str:
        path = self.directory.bad_path(number, offset)
        try:
            file = self.directory.files.create(path, self.options.mode, self._gid)
        except FileExistsError:  # recovery itself was interrupted: the same bytes
            return path
        try:
            file.write_at(memoryview(whole)[offset:end], 0)
            file.sync()
        finally:
            file.close()
        self._directory_dirty = True
        return path


def _read_header(file: WritableFile, path: str) -> PageHeader:
    size = file.size()
    if size < HEADER_LENGTH:
        raise HeaderError(size, f"{size} bytes", f"a header of {HEADER_LENGTH} bytes")
    data = memoryview(file.map(HEADER_LENGTH, writable=False))
    try:
        return _page_format.unpack(data)
    except HeaderError as problem:
        if problem.offset == 8:
            raise FormatVersionError(path, f"a page of version {problem.found}", problem.expected) from None
        raise


def _last_nonzero(whole: Mapping, start: int, end: int) -> int:
    """Return the offset one past the last byte that is not zero, `start` if there is none."""
    view = memoryview(whole)
    while end > start:
        step = max(start, (end - 1) // OS_PAGE * OS_PAGE)
        if not all_zero(view[step:end]):
            return step + len(bytes(view[step:end]).rstrip(b"\0"))
        end = step
    return start
