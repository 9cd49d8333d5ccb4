"""The page being written: begin, append, publish, seal, sync.

It is handed runs of frames and never looks into them; it knows nothing of rings or producers.  One object
per log, used by the one process that holds the directory's lock.  What is to be removed, synced or kept is
decided in retention.py, unsynced.py and recovery.py; it is done here.
"""

import contextlib
import errno
from collections.abc import Callable

from disklog_mp._core import crc32c_update
from disklog_mp._options import Options
from disklog_mp._os.background import Closable
from disklog_mp._os.clocks import boot_time
from disklog_mp._os.limits import longest_file
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.file import PageFile
from disklog_mp._pages.folder import NO_LIMIT, PageBegin, PageFolder
from disklog_mp._pages.format import HEADER_LENGTH
from disklog_mp._pages.recovery import LastPage, Recovered, ResumePoint, RingHints, recover
from disklog_mp._pages.retention import KeptPage, Retention
from disklog_mp._pages.roll_times import RollTimes
from disklog_mp._pages.unsynced import SyncJob, Unsynced

__all__ = ["NO_LIMIT", "PageWriter"]

# Bytes: what was just read for its checksum is written while it is still in the cache (bench: throughput).
STRETCH = 256 << 10


Close = Callable[[Closable], None]


def _close_now(file: Closable) -> None:
    file.close()


class PageWriter:
    """Appends runs of frames to the page files of one directory."""

    def __init__(
        self, directory: Directory, name: str, options: Options, gid: int = -1, close: Close = _close_now
    ) -> None:
        """`close` is handed the files of retired pages: closing one can take long."""
        self.options = options
        self.log_id, self.salt = b"", 0  # the id may be given before recovery, which then keeps it
        self.position = 0  # behind the last byte written
        self.survived = 0  # where the pages ended when recovery found them; `position` may be later
        self.number = 0  # of the next record
        self.page_number = 0  # of the newest page
        self.page: PageFile | None = None  # the page being written
        self.retire_error: OSError | None = None  # of the last retire(); the next one tries again
        self.folder = PageFolder(directory, name, options, gid)
        self.retention = Retention(options)
        self.times = RollTimes(options)
        self.unsynced = Unsynced(directory)
        self._close = close
        self._page_before: PageFile | None = None  # readers at its end sleep there

    def configure(self, options: Options, gid: int) -> None:
        """Go on with other options.  The page being written keeps its own limits: the caller may seal it."""
        self.options = options
        self.folder.configure(options, gid)
        self.retention.configure(options)
        self.times.configure(options)

    def recover(self, hints: RingHints) -> Recovered:
        """Recover the directory, as recovery.py describes it, and go on where that says."""
        found = recover(self.folder, hints)
        self.begin(found)
        if found.last is None or found.last.kept is not None or self.page is found.last.page:
            return found.report
        return found.report._replace(sealed=(*found.report.sealed, self.retention.pages[-1]))

    def begin(self, found: ResumePoint) -> None:
        """Go on where recovery says: in the last page, or in a new one.

        The new page exists, and is synced where that matters, before the last page is sealed: only the
        new page says where the log goes on, and a crash between the two steps must not lose that.
        """
        self.log_id, self.salt = self.log_id or found.log_id, found.salt
        self.position, self.number = found.report.position, found.report.number
        self.survived, self.page_number = found.survived, found.newest_page
        self.retention.keep(*found.kept)
        self.unsynced.add(*found.unsynced)
        if found.last is not None:
            try:
                self._go_on_behind(found.last, found.log_id)
            except BaseException:
                found.last.page.file.close()
                self._close_files()
                raise
        self.folder.directory.note_recovered()
        self.folder.names += 1  # as with the pages: names that the last writer made may not be on disk

    def _go_on_behind(self, last: LastPage, log_id: bytes) -> None:
        page = last.page
        self._page_before = page
        if last.is_whole:
            page.show(last.last_time)  # readers look for the next page when they have read this one
        if last.needs_new_page or log_id != self.log_id:  # of the log that this directory is a copy of
            new = self.open_page(0)
            if last.needs_sync:
                new.file.sync()
                self.folder.sync()
        if last.kept is not None:
            self.retention.keep(last.kept)
            self.unsynced.add(page.as_sealed())
        elif self.page is not None or last.is_corrupt:
            page.show(last.last_time)
            self._seal(page, "recovery")
        else:
            self.folder.renew_access(page.file)
            self.page = self.retention.current = page

    def room(self) -> tuple[int, int]:
        """Return how many bytes and records the page being written still takes (a new one, if none is)."""
        limit = self.options.page_records or NO_LIMIT
        if self.page is None:
            return min(self.options.page_bytes, longest_file() - HEADER_LENGTH), limit
        if (self.options.page_age or self.options.page_at) and self.times.reason(self.page):
            return 0, 0  # a record of now is not put into a page of yesterday
        return max(0, self.page.end() - self.page.watermark), max(0, limit - self.page.records)

    def is_empty(self) -> bool:
        """True if the next record is the first of its page."""
        return self.page is None or self.page.is_empty()

    def append(self, data: memoryview, end: int, records: int, last_time: int) -> None:
        """Write and publish frames from `self.position` to position `end`; `data` may stop at the header of
        padding that ends the run.  Raises OSError, and then nothing has changed: it can be called again.
        """
        page = self.page or self.open_page(end - self.position)
        path = self.folder.directory.page_path(page.header.number)
        if page.file.is_cut(page.watermark):
            self._give_up_page(page)
            raise OSError(errno.EIO, "another process cut the page being written", path)
        offset, watermark = page.offset(self.position), page.offset(end)
        page.reserve(watermark)
        data_crc = page.data_crc
        for begin in range(0, len(data), STRETCH):
            stretch = data[begin : begin + STRETCH]
            data_crc = crc32c_update(stretch, data_crc)
            page.file.write_at(stretch, offset + begin)
        if page.is_gone(path):
            self._give_up_page(page)
            raise FileNotFoundError(errno.ENOENT, "the page being written was removed", path)
        page.publish(watermark, records, last_time)
        page.data_crc = data_crc
        self.position, self.number = end, self.number + records
        if self.options.page_records and page.records >= self.options.page_records:
            with contextlib.suppress(OSError):  # the page is full: the next append tries again
                self.seal("page_records")

    def _give_up_page(self, page: PageFile) -> None:
        """Another process removed or cut the page: what it lost is lost, the rest goes into a new page."""
        with contextlib.suppress(OSError):
            page.seal()  # readers at its end look for the next page
        self.page = self.retention.current = None
        self.unsynced.add(page.as_sealed())

    def follow_directory(self) -> bool:
        """If another directory stands where the log's was, go on there in a new page; True if so.

        While there is none, the log stays in the page being written, wherever that was moved to.  Raises
        OSError if there is none, or it cannot be this log's.
        """
        if not self._take_replacement():
            return False
        page = self.page
        if page is None or page.file.is_at(self.folder.directory.page_path(page.header.number)):
            return True
        if page.file.is_removed():
            self._give_up_page(page)
        else:
            with contextlib.suppress(OSError):  # trouble with the old directory need not stop us here
                self.seal("directory")
            if self.page is not None:
                self._leave_unsealed(page)
        return True

    def _take_replacement(self) -> bool:
        """Lock the directory that stands where the log's was; False if it is still the same one."""
        if (numbers := self.folder.take_replacement(self.log_id, self.page_number)) is not None:
            self.retention.keep_only(numbers)
        return numbers is not None

    def open_page(self, span: int) -> PageFile:
        """Begin a page; its first run of frames has `span` bytes.  Raises OSError."""
        self._take_replacement()
        begin = PageBegin(self.page_number + 1, self.position, self.number, self.log_id, self.salt)
        self.page = self.retention.current = page = self.folder.make_page(begin, span)
        self.page_number += 1
        before, self._page_before = self._page_before, page
        if before is not None:
            before.wake_readers()
        return page

    def seal(self, why: str = "page_bytes") -> bool:
        """Make the page being written immutable; the next append begins another.  False if it is empty.
        Raises OSError, and then nothing has changed.
        """
        if self.page is None or self.is_empty():
            return False
        self._seal(self.page, why)
        self.page = self.retention.current = None
        return True

    def leap(self, position: int) -> None:
        """Go on at a later position, in another page."""
        if position == self.position:
            return
        if not self.seal("leap") and self.page is not None:
            self._leave_unsealed(self.page)
        self.position = position

    def _leave_unsealed(self, page: PageFile) -> None:
        """Write no more into a page that is empty, or cannot be sealed."""
        self.page = self.retention.current = None
        self._keep(page, "left")

    def _seal(self, page: PageFile, why: str) -> None:
        page.seal()
        self._keep(page, why)
        self.unsynced.put_to_sleep()

    def _keep(self, page: PageFile, why: str) -> None:
        self.retention.sealed(KeptPage(page.header.number, page.watermark, boot_time(), page.records), why)
        self.unsynced.add(page.as_sealed())

    def retire(self) -> list[int]:
        """Remove sealed pages that are no longer kept; return their numbers, and of those gone by hand."""
        gone = [] if self.retention.is_held else self.retention.forget_removed(self.folder.pages_if_changed())
        page, path, self.retire_error = self.page, self.folder.directory.page_path(self.page_number), None
        if self.options.max_bytes is not None and page is not None and page.is_gone(path):
            self._give_up_page(page)  # no record that comes would meet that if the log is full
        while (why := self.retention.exceeded()) is not None:
            number = self.retention.first_page()
            try:
                file = self.folder.remove_page(number)
            except OSError as error:
                self.retire_error = error
                break
            if file is not None:
                self._close(file)
            self.retention.forget_oldest(why)
            gone.append(number)
        for unsynced in self.unsynced.retired(gone):
            self._close(unsynced)
        return sorted(gone)

    def sync_job(self) -> SyncJob:
        """Return what to sync now so that all written so far is durable."""
        return self.unsynced.job(self.page.file if self.page else None, self.folder, self.position)

    def synced(self, job: SyncJob) -> None:
        """Note that a job has succeeded."""
        self.unsynced.done(job)
        self.folder.names_synced(job.names)

    def rescue(self, job: SyncJob) -> list[tuple[int, int]]:
        """After a job that failed: copy the pages it failed on to another place of the disk, and sync those.
        The kernel may have dropped what it could not write, and reports that only once.

        Returns the positions of pages that lost some.  Raises OSError if a copy fails: call it again.
        """
        self.unsynced.done(job)
        if self.page is not None and self.page.file in job.failed:
            self.seal("sync")  # readers keep the file they mapped, so only a sealed page is copied
        damaged = []
        for page in self.unsynced.failed(job):
            if not self.folder.write_anew(page):
                damaged.append(page.positions())
            self.unsynced.remove(page)
        return damaged

    def close(self) -> None:
        """Close all files; the page stays unsealed for the next writer to go on in."""
        if self.page is not None:
            self.page.trim()
        self._close_files()

    def _close_files(self) -> None:
        self.unsynced.close()
        if self.page is not None:
            self.page.file.close()
            self.page = self.retention.current = None
