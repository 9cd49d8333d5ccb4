"""The log's directory in the hands of the writer that holds its lock: every file there is made, renamed and
removed here.

It counts the names that changed, because a name is on disk only once the directory was synced.
"""

import contextlib
import errno
import os
import stat
import time
from typing import NamedTuple

from disklog_mp._core import PAGE_LABELLED, PAGE_VERSION, census
from disklog_mp._options import Options
from disklog_mp._os.background import Closable
from disklog_mp._os.files import Files, WritableFile
from disklog_mp._pages import format as _page_format
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.file import PageFile
from disklog_mp._pages.format import HEADER_LENGTH, HeaderError, PageHeader
from disklog_mp._pages.labels import LabelWriter
from disklog_mp._pages.survey import FoundPage
from disklog_mp._pages.unsynced import SealedPage
from disklog_mp.errors import FormatVersionError

NO_LIMIT = 2**63
LISTING = 100  # of the writer's time, listing the directory takes one part in so many at most
TICK = 10**9  # ns; the coarsest of file systems stamp changes to the second


class PageBegin(NamedTuple):
    """Where a page begins, and in which log."""

    number: int
    position: int
    first_number: int
    log_id: bytes
    salt: int


class PageFolder:
    """The directory while this process holds its lock."""

    def __init__(self, directory: Directory, name: str, options: Options, gid: int) -> None:
        self.directory = directory
        self.names = 0  # names made, changed or removed so far
        self._names_synced = 0
        self._listed = -1  # time of the last change of the directory that a listing has seen, ns
        self._next_listing = 0.0
        self.name = name
        self.reserved = 0  # bytes of disk space that a page gets when it is made
        self._options = options
        self._gid = gid
        self.labels = LabelWriter(directory, options.mode, gid)

    def configure(self, options: Options, gid: int) -> None:
        """Make files as these options say from now on."""
        self._options, self._gid = options, gid
        self.labels.configure(options.mode, gid)

    @property
    def files(self) -> Files:
        """The way to the disk."""
        return self.directory.files

    # -- which directory ---------------------------------------------------------------------------------

    def take_replacement(self, log_id: bytes, newest: int) -> set[int] | None:
        """If another directory stands where the locked one was, lock that one.

        Returns the numbers of the pages in the new directory, None if it is still the locked one.  `newest`
        is the newest page of this log.  Raises OSError if there is no directory, or it cannot be this log's.
        """
        directory = self.directory
        if directory.is_held():
            return None
        numbers = directory.pages()
        if numbers and (numbers[-1] > newest or self._log_of(numbers[-1]) != log_id):
            raise FileExistsError(
                errno.EEXIST,
                "another directory, with another log's pages, stands where this log's was: put it back",
                directory.path,
            )
        directory.refuse_foreign_files()  # and make no directory: the user may be removing it just now
        if not directory.lock(self._options.mode, self._gid):
            pid, name = directory.read_note()
            raise BlockingIOError(errno.EAGAIN, f"process {pid} writes log {name!r} there", directory.path)
        directory.note_recovered()
        return set(numbers)

    def pages_if_changed(self) -> list[int] | None:
        """Return the numbers of the pages there are, None if no name has changed since they were listed.

        Also None if they cannot be listed, or were a moment ago: it takes no more than 1 % of the time.
        """
        now = time.monotonic()
        if now < self._next_listing:
            return None
        try:
            changed = os.stat(self.directory.path).st_mtime_ns
            if changed == self._listed:
                return None
            numbers = self.directory.pages()
            if not self.directory.is_held():  # another directory stands there, or none
                return None
        except OSError:
            return None
        # A change within one tick of the clock that stamps files does not show.
        self._listed = changed if time.time_ns() - changed > TICK else -1
        self._next_listing = now + LISTING * (time.monotonic() - now)
        return numbers

    def newest_log_id(self) -> bytes | None:
        """Return the log id in the newest page with a header, None if there is none.  Raises OSError."""
        ids = map(self._log_of, reversed(self.directory.pages()))
        return next(filter(None, ids), None)

    def _log_of(self, number: int) -> bytes | None:
        """Return the log id in the header of that page, None if it has no header."""
        path = self.directory.page_path(number)
        file = self.files.open(path, writable=False)
        try:
            return FoundPage(file, path, number).header.log_id
        except (HeaderError, FormatVersionError):
            return None
        finally:
            file.close()

    # -- make and remove ---------------------------------------------------------------------------------

    def make_page(self, begin: PageBegin, span: int) -> PageFile:
        """Make an empty page file: it has a whole header before it has its name.  Raises OSError.

        Its first run of frames has `span` bytes, and may be longer than a page is to be.
        """
        options = self._options
        header = PageHeader(
            log_id=begin.log_id,
            number=begin.number,
            first_position=begin.position,
            first_number=begin.first_number,
            salt=begin.salt,
            created=time.time_ns(),
            page_bytes=min(max(options.page_bytes, span), _page_format.PAGE_BYTES_MAX),
            page_records=min(options.page_records or 0, NO_LIMIT),
            page_age=min(int((options.page_age or 0) * 1e9), NO_LIMIT),
            data_offset=HEADER_LENGTH,
            head_length=0,
            name=self.name,
            version=PAGE_LABELLED if self.labels else PAGE_VERSION,
        )
        new_path = self.directory.new_path(header.number)
        file = self._create(new_path)
        try:
            length = HEADER_LENGTH + min(header.page_bytes, self.reserved)
            file.allocate(length)
            file.write_at(_page_format.pack(header), 0)
            if options.sync != "never":
                file.sync()  # else the name could survive a power loss, and the header not
            page = PageFile(file, header, length)
            self.files.rename(new_path, self.directory.page_path(header.number))
        except BaseException:
            file.close()
            with contextlib.suppress(OSError):  # the directory fails; the next attempt removes the file
                self.files.unlink(new_path)
            raise
        self.names += 1
        return page

    def _create(self, path: str) -> WritableFile:
        try:
            return self.files.create(path, self._options.mode, self._gid)
        except FileExistsError:  # left by an attempt of ours that failed
            self.files.unlink(path)
            return self.files.create(path, self._options.mode, self._gid)

    def has_access(self, number: int) -> bool:
        """False if that page has not the mode and group of the log, and this user may change them."""
        try:
            status = os.stat(self.directory.page_path(number))
        except OSError:
            return True
        is_right = stat.S_IMODE(status.st_mode) == self._options.mode and self._gid in (-1, status.st_gid)
        return is_right or os.geteuid() not in (0, status.st_uid)

    def renew_access_of(self, number: int) -> None:
        """Give a page the mode and group that the log has now.  Raises OSError."""
        try:
            file = self.files.open(self.directory.page_path(number), writable=False)
        except FileNotFoundError:
            return
        try:
            self.renew_access(file)
        finally:
            file.close()

    def renew_access(self, file: WritableFile) -> None:
        """Give an existing file the mode and group that the log has now."""
        file.renew_access(self._options.mode, self._gid)

    def remove_page(self, number: int) -> Closable | None:
        """Remove a page's name; return its open file, whose close may take long.

        If the name was the last of the file, the close frees its blocks.  A page without a name is no error.
        """
        path = self.directory.page_path(number)
        with contextlib.ExitStack() as on_failure:
            file = None
            with contextlib.suppress(OSError):
                file = self.files.open(path, writable=False)
                on_failure.callback(file.close)
            with contextlib.suppress(FileNotFoundError):
                self.files.unlink(path)
            on_failure.pop_all()
        self.names += 1
        return file

    # -- keep aside, copy --------------------------------------------------------------------------------

    def set_page_aside(self, number: int) -> str:
        """Rename a page file without a valid header to the name for bytes kept aside; return its path."""
        target = self.directory.bad_path(number, 0)
        self.files.rename(self.directory.page_path(number), target)
        self.names += 1
        return target

    def keep_aside(self, number: int, offset: int, data: memoryview) -> str:
        """Copy unreadable bytes of a page to a file of their own, on disk; return its path."""
        path = self.directory.bad_path(number, offset)
        if (number, offset) not in self.directory.set_aside():  # else an interrupted recovery did it
            new_path = self.directory.new_path(number)
            file = self._create(new_path)
            try:
                file.write_at(data, 0)
                file.sync()
            finally:
                file.close()
            self.files.rename(new_path, path)
            self.names += 1
        self.sync()  # before the page gives up its own copy
        return path

    def write_anew(self, page: SealedPage) -> bool:
        """Put a synced copy of a sealed page in its place; False if it is not there, or not what was written.

        The copy lies elsewhere on the disk.  Raises OSError, and then the page is as it was.
        """
        header = page.header
        path, new_path = self.directory.page_path(header.number), self.directory.new_path(header.number)
        try:
            source = self.files.open(path, writable=False)
        except FileNotFoundError:  # retention removes none that has to be synced; another directory is there
            return False
        try:
            size = source.size()
            if size < header.data_offset:
                return False
            whole = source.map(size, writable=False)
        finally:
            source.close()
        end = min(page.watermark, len(whole))
        crc = census(whole, header.data_offset, end, header.first_position, header.salt).data_crc
        file = self._create(new_path)
        try:
            file.allocate(len(whole))
            file.write_at(memoryview(whole), 0)
            file.sync()
            self.files.rename(new_path, path)
        except BaseException:
            with contextlib.suppress(OSError):
                self.files.unlink(new_path)
            raise
        finally:
            file.close()
        self.names += 1
        return end == page.watermark and crc == page.data_crc

    # -- sync --------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """Sync the directory now."""
        self.files.sync_directory(self.directory.path)

    def has_unsynced_names(self) -> bool:
        """True if a name changed that may not be on disk."""
        return self.names != self._names_synced

    def names_synced(self, names: int) -> None:
        """Note that the first `names` changes are on disk."""
        self._names_synced = max(self._names_synced, names)
