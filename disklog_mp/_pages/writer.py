"""Page files from the writer's side: append, publish, roll, seal, sync, retire, recover.

It is handed runs of frames and never looks into them; it knows nothing of rings or producers.  One object
per log, used by the one process that holds the directory's lock.
"""

import contextlib
import errno
import math
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from disklog_mp._core import FRAME_HEADER, GRANULE, Mapping, all_zero, census, crc32c_update
from disklog_mp._options import Options
from disklog_mp._os.background import Closable
from disklog_mp._os.files import Files, WritableFile
from disklog_mp._pages import format as _page_format
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.file import LEAP, FoundPage, PageFile, Survey
from disklog_mp._pages.format import BELL, HEADER_LENGTH, LAST_TIME, HeaderError, PageHeader
from disklog_mp.errors import FormatVersionError

NO_LIMIT = 2**63
STRETCH = 256 << 10  # bytes that are still in a cache near by when they are written after their checksum
FILES_KEPT = 32  # sealed pages whose descriptor waits for a sync


class Recovered(NamedTuple):
    """What opening a directory found: where to go on, and what was repaired."""

    position: int
    number: int
    records: int  # that can be read: in sealed pages as they say, in the others counted
    abandoned: int  # frames of dead producers in those that were counted
    corrupt_ranges: int
    corrupt_bytes: int
    torn_bytes: int  # bytes behind the last valid frame that were once published, or are not zero
    set_aside: tuple[str, ...]


class Syncable(Protocol):
    """What a sync job needs of a file."""

    def sync(self) -> None: ...
    def close(self) -> None: ...


class SyncJob(NamedTuple):
    """What must reach the disk for all below `position` to be durable.  run() may be called in a thread."""

    files: tuple[Syncable, ...]
    sealed: int  # so many of them, the first, were complete when the job was made
    directory: Directory | None
    names: int  # changes in the directory that it covers
    position: int
    failed: list[Syncable]  # filled by run()

    def run(self) -> None:
        """Sync; raises the first OSError after all have been tried."""
        error = None
        for file in self.files:
            try:
                file.sync()
            except OSError as problem:
                self.failed.append(file)
                error = error or problem
        if error is not None:
            raise error
        if self.directory is not None:
            self.directory.files.sync_directory(self.directory.path)


class _Asleep:
    """In place of a sealed page's file: holds no descriptor, opens the page again to sync it."""

    def __init__(self, files: Files, path: str) -> None:
        self._files = files
        self._path = path

    def sync(self) -> None:
        try:
            file = self._files.open(self._path, writable=True)
        except FileNotFoundError:  # retired
            return
        try:
            file.sync()
        finally:
            file.close()

    def close(self) -> None:
        """Nothing is open."""


class _Sealed(NamedTuple):
    """A page that will not change any more, and may not be on disk yet."""

    header: PageHeader
    watermark: int
    data_crc: int
    file: Syncable


class _Repairs:
    """What recovery has to report so far."""

    def __init__(self) -> None:
        self.records = self.abandoned = 0
        self.corrupt_ranges = self.corrupt_bytes = self.torn_bytes = 0
        self.set_aside: list[str] = []

    def count(self, survey: Survey) -> None:
        self.corrupt_ranges += survey.corrupt_ranges
        self.corrupt_bytes += survey.corrupt_bytes
        self.torn_bytes += survey.torn_end - survey.end
        self.records += survey.valid
        self.abandoned += survey.abandoned

    def report(self, position: int, number: int) -> Recovered:
        return Recovered(
            position,
            number,
            self.records,
            self.abandoned,
            self.corrupt_ranges,
            self.corrupt_bytes,
            self.torn_bytes,
            tuple(self.set_aside),
        )


def _close_now(file: Closable) -> None:
    file.close()


class PageWriter:
    """Appends runs of frames to the page files of one directory."""

    def __init__(
        self,
        directory: Directory,
        name: str,
        options: Options,
        gid: int = -1,
        close: Callable[[Closable], None] = _close_now,
    ) -> None:
        """`close` is handed the files of retired pages: it takes long."""
        self.directory = directory
        self.name = name
        self.options = options
        self.log_id = b""
        self.salt = 0
        self.position = 0  # behind all that is written
        self.survived = 0  # behind what recovery found; `position` may have leapt further
        self.number = 0  # of the next record
        self.page_number = 0  # of the newest page
        self.retire_error: OSError | None = None  # why the oldest page could not be removed the last time
        self._gid = gid
        self._close = close
        self._page: PageFile | None = None
        self._before: Mapping | None = None  # the line of the page before: readers at its end sleep on it
        self._kept: deque[tuple[int, int, int]] = deque()  # sealed pages: number, bytes, last time
        self._kept_bytes = 0
        self._unsynced: list[_Sealed] = []  # sealed, their bytes not yet known to be on disk
        self._in_job: tuple[Syncable, ...] = ()  # may be in use by another thread
        self._names = 0  # changes in the directory so far, and how many of them are on disk
        self._names_synced = 0

    # -- where we are ------------------------------------------------------------------------------------

    def room(self) -> tuple[int, int]:
        """Return how many bytes and records the page being written still takes (a new one, if none is)."""
        limit = self.options.page_records or NO_LIMIT
        if self._page is None:
            return self.options.page_bytes, limit
        return max(0, self._page.end() - self._page.watermark), max(0, limit - self._page.records)

    def is_empty(self) -> bool:
        """True if the next record is the first of its page."""
        return self._page is None or self._page.watermark == self._page.header.data_offset

    def age(self) -> float:
        """Return seconds since the page being written was begun; 0.0 if it is empty."""
        return 0.0 if self._page is None or self.is_empty() else time.monotonic() - self._page.opened

    def total_bytes(self) -> int:
        """Return the bytes of all page files, up to their watermarks."""
        return self._kept_bytes + (self._page.watermark if self._page else 0)

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
        path = self.directory.page_path(page.header.number)
        if page.file.is_cut(page.watermark):
            self._let_page_go(page)
            raise OSError(errno.EIO, "the page being written was cut by somebody else", path)
        offset = page.offset(self.position)
        watermark = page.offset(end)
        page.reserve(watermark)
        data_crc = page.data_crc
        for begin in range(0, len(data), STRETCH):
            stretch = data[begin : begin + STRETCH]
            data_crc = crc32c_update(stretch, data_crc)
            page.file.write_at(stretch, offset + begin)
        if page.file.is_removed() and not page.file.is_at(path):
            self._let_page_go(page)
            raise FileNotFoundError(errno.ENOENT, "the page being written was removed", path)
        page.data_crc = data_crc
        self.position = end
        self.number += records
        page.publish(watermark, records, last_time)
        if self.options.page_records and page.records >= self.options.page_records:
            with contextlib.suppress(OSError):  # it has no room: whoever appends more has to
                self.seal()

    def _let_page_go(self, page: PageFile) -> None:
        """The page was removed, or cut: what is missing is missing, the rest goes into another."""
        with contextlib.suppress(OSError):
            page.seal()  # followers at its end look for the next one
        self._page = None
        self._unsynced.append(_Sealed(page.header, page.watermark, page.data_crc, page.file))

    def follow_directory(self) -> bool:
        """If another directory stands where the log's was, go on there in a new page; True if so.

        As long as there is none, the page being written is, wherever it was moved to.  Raises OSError if
        there is none, or it cannot be this log's.
        """
        if self.directory.is_held():
            return False
        self._hold_directory()
        page = self._page
        if page is not None and not page.file.is_at(self.directory.page_path(page.header.number)):
            if page.file.is_removed():
                self._let_page_go(page)
                return True
            sealed = False
            with contextlib.suppress(OSError):  # what is wrong there need not stop us here
                sealed = self.seal()
            if not sealed:
                self._leave_unsealed(page)
        return True

    def _hold_directory(self) -> None:
        """Make sure that the directory is this log's alone.  Raises OSError."""
        directory = self.directory
        if directory.is_held():
            return
        numbers = directory.pages()
        if numbers and not self._is_ours(numbers[-1]):
            raise FileExistsError(
                errno.EEXIST,
                "another directory, with another log's pages, stands where this log's was: put it back",
                directory.path,
            )
        directory.create(self.options.mode, self._gid)  # it is there: but are there only pages in it?
        if not directory.lock(self.options.mode, self._gid):
            pid, name = directory.read_note()
            raise BlockingIOError(errno.EAGAIN, f"process {pid} writes log {name!r} there", directory.path)
        directory.note_recovered()
        there = set(numbers)
        kept = [page for page in self._kept if page[0] in there]
        self._kept = deque(kept)
        self._kept_bytes = sum(size for _, size, _ in kept)

    def _is_ours(self, number: int) -> bool:
        """True if the page of that number is this log's, from before."""
        if number > self.page_number:
            return False
        path = self.directory.page_path(number)
        file = self.directory.files.open(path, writable=False)
        try:
            return FoundPage(file, path, number).header.log_id == self.log_id
        except (HeaderError, FormatVersionError):
            return False
        finally:
            file.close()

    def _open_page(self, span: int) -> PageFile:
        self._hold_directory()
        number = self.page_number + 1
        options = self.options
        header = PageHeader(
            log_id=self.log_id,
            number=number,
            first_position=self.position,
            first_number=self.number,
            salt=self.salt,
            created=time.time_ns(),
            page_bytes=min(max(options.page_bytes, span), _page_format.PAGE_BYTES_MAX),
            page_records=min(options.page_records or 0, NO_LIMIT),
            page_age=min(int((options.page_age or 0) * 1e9), NO_LIMIT),
            data_offset=HEADER_LENGTH,
            head_length=0,
            name=self.name,
        )
        new_path = self.directory.new_path(number)
        file = self._create(new_path)
        try:
            file.allocate(HEADER_LENGTH)
            file.write_at(_page_format.pack(header), 0)
            if options.sync != "never":
                file.sync()  # or the name could survive a power loss that the header does not
            page = PageFile(file, header, HEADER_LENGTH)
            self.directory.files.rename(new_path, self.directory.page_path(number))
        except BaseException:
            file.close()
            with contextlib.suppress(OSError):  # the directory is what is wrong, and the next attempt does it
                self.directory.files.unlink(new_path)
            raise
        self._names += 1
        self.page_number = number
        self._page = page
        if self._before is not None:
            self._before.ring_bell(BELL)
        self._before = page.line
        return page

    def _create(self, path: str) -> WritableFile:
        files = self.directory.files
        try:
            return files.create(path, self.options.mode, self._gid)
        except FileExistsError:  # an attempt of ours that failed on the way
            files.unlink(path)
            return files.create(path, self.options.mode, self._gid)

    def seal(self) -> bool:
        """Make the page being written immutable; the next append begins another.  False if it is empty.

        Raises OSError, and then nothing has changed.
        """
        page = self._page
        if page is None or self.is_empty():
            return False
        self._seal(page)
        self._page = None
        return True

    def leap(self, position: int) -> None:
        """Go on at a later position, in another page."""
        if position == self.position:
            return
        page = self._page
        if not self.seal() and page is not None:
            self._leave_unsealed(page)
        self.position = position

    def _leave_unsealed(self, page: PageFile) -> None:
        """Write no more into a page that is empty, or cannot be sealed."""
        self._page = None
        self._keep(page.header.number, page.watermark, 0)
        self._unsynced.append(_Sealed(page.header, page.watermark, page.data_crc, page.file))

    def _seal(self, page: PageFile) -> None:
        page.seal()
        self._keep(page.header.number, page.watermark, page.line.load64(LAST_TIME))
        self._unsynced.append(_Sealed(page.header, page.watermark, page.data_crc, page.file))
        if len(self._unsynced) > FILES_KEPT:
            # With sync="never", or a disk that hangs, there are more and more.  What a job may be at work
            # on has its turn with the next page.
            for i, (header, _, _, file) in enumerate(self._unsynced[-2:], len(self._unsynced) - 2):
                if file not in self._in_job:
                    file.close()
                    self._unsynced[i] = self._unsynced[i]._replace(file=self._asleep(header.number))

    def _asleep(self, number: int) -> _Asleep:
        return _Asleep(self.directory.files, self.directory.page_path(number))

    def _keep(self, number: int, size: int, last_time: int) -> None:
        self._kept.append((number, size, last_time))
        self._kept_bytes += size

    def retire(self) -> list[int]:
        """Remove the oldest sealed pages that retention no longer keeps; return their numbers.

        The newest page always stays: it says which log this is and where positions, numbers and pages go
        on.  One that cannot be removed is tried again the next time, see retire_error.
        """
        gone: list[int] = []
        self.retire_error = None
        while self._kept and self._is_surplus(self.options):
            number, size, _ = self._kept[0]
            try:
                self._unlink(self.directory.page_path(number))
            except FileNotFoundError:
                pass
            except OSError as error:
                self.retire_error = error
                break
            self._kept.popleft()
            self._kept_bytes -= size
            self._names += 1
            gone.append(number)
        for page in [page for page in self._unsynced if page.header.number in gone]:
            if page.file not in self._in_job:
                self._unsynced.remove(page)
                self._close(page.file)
        return gone

    def oldest_since(self) -> float:
        """Return when the last record of the oldest page was logged, of those that retention may remove, in
        seconds after the epoch; infinite if there is none.
        """
        if len(self._kept) + (self._page is not None) <= 1:
            return math.inf
        return self._kept[0][2] / 1e9

    def _unlink(self, path: str) -> None:
        """Remove a name; if that is all there is of the file, it ends when it is closed."""
        files = self.directory.files
        with contextlib.ExitStack() as failed:
            file = None
            with contextlib.suppress(OSError):
                file = files.open(path, writable=False)
                failed.callback(file.close)
            files.unlink(path)
            if file is not None:
                failed.pop_all()
                self._close(file)

    def _is_surplus(self, options: Options) -> bool:
        pages = len(self._kept) + (self._page is not None)
        if pages <= 1:
            return False
        return bool(
            (options.keep_pages is not None and pages > options.keep_pages)
            or (options.keep_bytes is not None and self.total_bytes() > options.keep_bytes)
            or (
                options.keep_age is not None
                and self._kept[0][2] < time.time_ns() - int(options.keep_age * 1e9)
            )
        )

    # -- sync, close -------------------------------------------------------------------------------------

    def sync_job(self) -> SyncJob:
        """Return what to sync now so that all written so far is durable."""
        files: list[Syncable] = [page.file for page in self._unsynced]
        sealed = len(files)
        if self._page is not None:
            files.append(self._page.file)
        self._in_job = tuple(files)
        directory = self.directory if self._names != self._names_synced else None
        return SyncJob(self._in_job, sealed, directory, self._names, self.position, [])

    def synced(self, job: SyncJob) -> None:
        """Take note that the job has run: files that were complete when it was made are done with."""
        self._let_go(job)
        self._names_synced = max(self._names_synced, job.names)

    def _let_go(self, job: SyncJob) -> None:
        self._in_job = ()
        done = set(job.files[: job.sealed]) - set(job.failed)
        for page in self._unsynced:
            if page.file in done:
                page.file.close()
        self._unsynced = [page for page in self._unsynced if page.file not in done]

    def rescue(self, job: SyncJob) -> list[tuple[int, int]]:
        """After a job that failed: write the pages it failed on anew, elsewhere on the disk, and sync those.

        The kernel may have dropped what it could not write, and would not say so a second time.  Returns
        the position ranges of pages that no longer hold what was written.  Readers stay with what they
        mapped: what is copied is sealed.  Raises OSError if that fails as well: to be called again.
        """
        self._let_go(job)
        if self._page is not None and self._page.file in job.failed:
            self.seal()
        damaged = []
        for page in [page for page in self._unsynced if page.file in job.failed]:
            if not self._write_anew(page):
                begin = page.header.first_position
                damaged.append((begin, begin + page.watermark - page.header.data_offset))
            self._unsynced.remove(page)
            page.file.close()
        return damaged

    def _write_anew(self, page: _Sealed) -> bool:
        """Put a copy of a sealed page in its place; False if what is copied is not what was written."""
        number, files = page.header.number, self.directory.files
        path, new_path = self.directory.page_path(number), self.directory.new_path(number)
        try:
            source = files.open(path, writable=False)
        except FileNotFoundError:  # retired
            return True
        try:
            size = source.size()
            if size < page.header.data_offset:
                return False
            whole = source.map(size, writable=False)
        finally:
            source.close()
        header, end = page.header, min(page.watermark, len(whole))
        crc = census(whole, header.data_offset, end, header.first_position, header.salt)[-1]
        file = self._create(new_path)
        try:
            file.allocate(len(whole))
            file.write_at(memoryview(whole), 0)
            file.sync()
            files.rename(new_path, path)
        except BaseException:
            with contextlib.suppress(OSError):
                files.unlink(new_path)
            raise
        finally:
            file.close()
        self._names += 1
        return end == page.watermark and crc == page.data_crc

    def close(self) -> None:
        """Let go of all files; the page stays open for the next writer to go on in."""
        if self._page is not None:
            self._page.trim()
        self._close_files()

    def _close_files(self) -> None:
        for page in self._unsynced:
            page.file.close()
        self._unsynced.clear()
        if self._page is not None:
            self._page.file.close()
            self._page = None

    # -- recovery ----------------------------------------------------------------------------------------

    def recover(
        self,
        new_log_id: bytes,
        new_salt: int,
        *,
        ring_is_there: bool,
        released: int | None = None,
        durable: int | None = None,
        records: int = 0,
        page: int = 0,
    ) -> Recovered:
        """Find where the log goes on, repairing what a crash left.  Opening is recovering.

        Without the ring of an earlier writer of this boot the last page is scanned to its end.  With it,
        what stands at position `released` and behind is in the ring and comes again; if that is not told,
        the watermark says it.  Pages that reach beyond `durable` (not told: all) are synced by the first
        sync job, for nobody knows what the last writer came to.  Where pages are missing that had the
        positions before `released`, the log goes on with number `records`, behind page `page`, at the
        least.  Of all these nothing is believed that cannot be.

        Bytes that cannot be read are kept aside, never thrown away; no position, number or page number is
        given twice.  Interrupted anywhere, it can be repeated.  Raises FormatVersionError if the last page
        is of another version.  With the ring, `new_log_id` and `new_salt` are its own.
        """
        directory = self.directory
        directory.tidy()
        repairs = _Repairs()
        last: FoundPage | None = None
        if released is not None and (released % GRANULE or released > _page_format.POSITION_MAX):
            released = None  # scribbled over
        if records > (released or 0) // FRAME_HEADER:
            records = 0
        try:
            numbers = directory.pages()
            self.page_number = max([0, *numbers, *(number for number, _ in directory.set_aside())])
            if page > self.page_number + (released or 0) // GRANULE:
                page = 0
            last = self._find_last(numbers, repairs)
            if last is None:
                self.log_id, self.salt = new_log_id, new_salt
                self.position, self.number = released or 0, records
                self.page_number = max(self.page_number, page)
            else:
                self.log_id, self.salt = last.header.log_id, last.header.salt
                if self.log_id != new_log_id:  # what it says is of another log
                    ring_is_there, released, durable, records, page = False, None, None, 0, 0
                self._take_older(numbers[:-1], last.header, durable, repairs)
                self._take_last(last, repairs, ring_is_there, released, records=records, newest=page)
        except BaseException:
            if last is not None:
                last.file.close()
            self._close_files()
            raise
        directory.note_recovered()
        self._names += 1  # as with the pages: names of the last writer's may not be on disk
        return repairs.report(self.position, self.number)

    def _find_last(self, numbers: list[int], repairs: _Repairs) -> FoundPage | None:
        """The last page with a header; what is behind it and has none is set aside, and not in `numbers`."""
        while numbers:
            path = self.directory.page_path(numbers[-1])
            file = self.directory.files.open(path, writable=True)
            try:
                return FoundPage(file, path, numbers[-1])
            except HeaderError:
                file.close()
                target = self.directory.bad_path(numbers.pop(), 0)
                self.directory.files.rename(path, target)
                self._names += 1
                repairs.set_aside.append(target)
            except BaseException:
                file.close()
                raise
        return None

    def _take_older(
        self, numbers: list[int], following: PageHeader, durable: int | None, repairs: _Repairs
    ) -> None:
        """Note the pages before the last for retention; seal those that a power loss, or a repair that was
        interrupted, left unsealed.
        """
        files, kept = self.directory.files, []
        for number in reversed(numbers):
            path = self.directory.page_path(number)
            file = files.open(path, writable=False)
            try:
                found = FoundPage(file, path, number)
            except (HeaderError, FormatVersionError):
                kept.append((number, file.size(), time.time_ns()))  # for all that is known it just ended
                continue
            finally:
                file.close()
            header, line = found.header, found.line
            if not found.is_sealed:
                page = PageFile(files.open(path, writable=True), header, found.size)
                self._seal_older(page, found, following, repairs)
                line = page.read_line()
            else:
                repairs.records += line.records
            if not found.is_sealed or durable is None or found.ends_at() > durable:
                crc = line.data_crc ^ 0xFFFFFFFF
                self._unsynced.append(_Sealed(header, line.watermark, crc, self._asleep(number)))
            kept.append((number, min(found.size, line.watermark), line.last_time))
            following = found.header
        for facts in reversed(kept):
            self._keep(*facts)

    def _seal_older(self, page: PageFile, found: FoundPage, following: PageHeader, repairs: _Repairs) -> None:
        try:
            found.file = page.file
            survey = found.survey_older(following)
            self._keep_aside(found, survey, repairs)
            page.resume(survey.end, survey.records, survey.crc)
            page.show(survey.last_time)
            page.seal()
        finally:
            page.file.close()

    def _take_last(
        self,
        last: FoundPage,
        repairs: _Repairs,
        ring_is_there: bool,
        released: int | None,
        *,
        records: int,
        newest: int,
    ) -> None:
        """Go on behind the last page's frames: in it, or in a new one if something was lost there."""
        header, line = last.header, last.line
        page = PageFile(last.file, header, last.size)
        survey = last.survey_last(ring_is_there, released)
        if last.is_sealed:
            repairs.count(survey)
            page.resume(line.watermark, line.records, line.data_crc ^ 0xFFFFFFFF)
            end, self.number = line.watermark, header.first_number + line.records
        else:
            self._keep_aside(last, survey, repairs)
            page.resume(survey.end, survey.records, survey.crc)
            end, self.number = survey.torn_end, header.first_number + survey.next_number
        self.position = header.first_position + -(-(end - header.data_offset) // GRANULE) * GRANULE
        if ring_is_there and released is not None and released > self.position:
            self.position = released
            self.page_number = max(self.page_number, newest)
        aside = self.directory.set_aside()
        lost = [number for number, offset in aside if offset == 0 and number > header.number]
        self.number += self._count_aside(lost)
        self.survived = self.position
        leap = not ring_is_there and (self.directory.rebooted or bool(lost))
        if leap:
            self.position += LEAP
        self._before = page.line
        if not last.is_sealed and survey.end >= last.published():
            page.show(survey.last_time)  # followers look for the next page when they have read this one
        if self.position != page.ends_at():
            self.number = max(self.number, records)
            new = self._open_page(0)  # before the seal: now it is written where the log goes on
            if leap:  # or the next power loss would leap from here to the same place
                new.file.sync()
                self.directory.files.sync_directory(self.directory.path)
        if last.is_sealed:
            self._keep(header.number, min(last.size, line.watermark), line.last_time)
            self._unsynced.append(_Sealed(header, line.watermark, page.data_crc, page.file))
        elif self._page is not None or survey.corrupt_ranges:
            page.show(survey.last_time)
            self._seal(page)
        else:
            page.file.renew_access(self.options.mode, self._gid)
            self._page = page

    def _count_aside(self, numbers: list[int]) -> int:
        """How many records the pages hold that were set aside, if they began where the log ended."""
        position, records = self.position, 0
        for number in numbers:
            file = self.directory.files.open(self.directory.bad_path(number, 0), writable=False)
            try:
                size = file.size()
                if size > HEADER_LENGTH:
                    whole = file.map(size, writable=False)
                    counted = census(whole, HEADER_LENGTH, size, position, self.salt)
                    records += counted[0]
                    position += counted[5] - HEADER_LENGTH
            finally:
                file.close()
        return records

    def _keep_aside(self, found: FoundPage, survey: Survey, repairs: _Repairs) -> None:
        """Copy what is no frame, and not only zeros, to a file of its own."""
        repairs.count(survey)
        number = found.header.number
        bad = memoryview(found.whole())[survey.end : survey.torn_end]
        if all_zero(bad):
            return
        path = self.directory.bad_path(number, survey.end)
        repairs.set_aside.append(path)
        if (number, survey.end) not in self.directory.set_aside():  # by a repair that was interrupted
            new_path = self.directory.new_path(number)
            file = self._create(new_path)
            try:
                file.write_at(bad, 0)
                file.sync()
            finally:
                file.close()
            self.directory.files.rename(new_path, path)
            self._names += 1
        self.directory.files.sync_directory(self.directory.path)  # before the page gives up its own
