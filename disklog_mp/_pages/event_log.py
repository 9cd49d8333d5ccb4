"""The pages of the log's own events: a small log beside the log, written by the holder of the directory's
lock.

It knows pages and runs of bytes, not what an event says.  Format, recovery, retention and readers are those
of all pages; only the names differ.  There are two more differences.  A page has all its disk space from the
start, unless the disk is small, and the next one is begun while a part of that is left: so what happens on a
full disk can be told on that disk.  And the first record of each page says what the pages before it came to:
see `append`.
"""

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from disklog_mp._core import Mapping, RecordIterator
from disklog_mp._options import Options
from disklog_mp._pages.directory import Directory, EventsDirectory
from disklog_mp._pages.format import (
    HEADER_LENGTH,
    HeaderError,
    record_frame,
    unpack,
    unpack_line,
)
from disklog_mp._pages.identity import is_continued
from disklog_mp._pages.recovery import RingHints
from disklog_mp._pages.unsynced import SyncJob
from disklog_mp._pages.writer import PageWriter

PAGES = 4  # that the events are kept in
SPARE = 8  # this part of a page is left when the next one is begun
PART = 32  # of the disk's room may be reserved, but at least:
LEAST_RESERVED = 64 << 10  # bytes


class Entry(NamedTuple):
    """One record: when it came, and its bytes."""

    time: int
    data: bytes


class _Pages(PageWriter):
    """A page writer that can begin the next page before the last one is full."""

    def begin_next(self) -> None:
        """Begin another page, and only then seal the one being written.

        Raises OSError, and then the log goes on in the page being written.
        """
        last = self.page
        self.open_page(0)
        if last is not None:
            with contextlib.suppress(OSError):
                last.seal()
            self._keep(last, "spare")


class EventLog:
    """Appends records to the events' pages of one directory."""

    def __init__(self, directory: Directory, name: str, options: Options, gid: int, log_id: bytes) -> None:
        """Recovers what an earlier writer left.  Raises OSError, FormatVersionError."""
        self._place = directory.place()
        self._directory = directory
        self._view = EventsDirectory(directory.path, directory.files)
        self._pages = _Pages(self._view, name, _of_events(options), gid)
        self._pages.log_id = log_id
        self._is_synced = True
        self._pages.recover(RingHints(log_id, int.from_bytes(os.urandom(8), "little")))
        page = self._pages.page
        if page is not None:
            with contextlib.suppress(OSError):  # on a full disk: what the page has will do
                wanted = min(page.end(), page.watermark + self._fair_part())
                page.file.allocate(wanted)
                page.allocated = max(page.allocated, wanted)

    def _fair_part(self) -> int:
        """Return the bytes to be reserved for what happens on a full disk: not much of a small disk."""
        status = os.statvfs(self._view.path)
        return max(LEAST_RESERVED, status.f_bavail * status.f_frsize // PART)

    def configure(self, options: Options, gid: int) -> None:
        """Go on with other options."""
        self._pages.configure(_of_events(options), gid)

    def renew_access(self, options: Options, gid: int) -> None:
        """Give the pages the mode and group that the log has now.  Raises OSError."""
        self.configure(options, gid)
        for kept in self._pages.retention.pages:
            self._pages.folder.renew_access_of(kept.number)
        if self._pages.page is not None:
            self._pages.folder.renew_access(self._pages.page.file)

    def is_here(self) -> bool:
        """True if the log's directory is still the one in which this began."""
        return self._directory.place() == self._place

    def newest(self) -> list[bytes]:
        """Return the records of the two newest pages that have any, the oldest first.  Raises OSError."""
        newest: list[bytes] = []
        pages = 0
        for number in reversed(self._view.pages()):
            file = self._view.files.open(self._view.page_path(number), writable=False)
            try:
                found = self._records_in(file.map(file.size(), writable=False))
            except HeaderError:
                continue
            finally:
                file.close()
            newest[:0] = found
            pages += bool(found)
            if pages == 2:
                break
        return newest

    def _records_in(self, whole: Mapping) -> list[bytes]:
        """Return the records of a page, none if it is another log's.  Raises HeaderError."""
        header, line = unpack(memoryview(whole)), unpack_line(memoryview(whole))
        log_id = self._pages.log_id
        if header.log_id != log_id and not is_continued(self._view.path, header.log_id, log_id):
            return []
        begin, position = header.data_offset, header.first_position
        end = max(begin, min(line.watermark, len(whole)))
        return list(
            RecordIterator(whole, begin, end, position, header.first_number, header.salt, payloads=True)
        )

    def append(
        self, entries: Sequence[Entry], summary: Callable[[], bytes], may_make: Callable[[], bool]
    ) -> int:
        """Append records, as many as the page takes; return how many, 0: there is no page.  Raises OSError.

        A page begins with the `summary` of all records before it.  `may_make`: whether files may be made now.
        """
        pages = self._pages
        page = pages.page
        if page is not None and pages.room()[0] < page.header.page_bytes // SPARE and may_make():
            with contextlib.suppress(OSError):
                pages.folder.reserved = self._fair_part()
                pages.begin_next()
        if pages.page is None and not may_make():
            return 0
        return self._append(entries, summary) or (may_make() and self._append(entries, summary))

    def _append(self, entries: Sequence[Entry], summary: Callable[[], bytes]) -> int:
        """Append what the page takes; seal it if that is nothing."""
        pages = self._pages
        pages.folder.reserved = self._fair_part() if pages.page is None else 0
        position, room = pages.position, pages.room()[0]
        salt, pid = pages.salt, os.getpid()
        run = bytearray()
        if pages.is_empty():
            run += record_frame(position, salt, time.time_ns(), pid, summary())
        done, records = 0, int(bool(run))
        for entry in entries:
            frame = record_frame(position + len(run), salt, entry.time, pid, entry.data)
            if len(run) + len(frame) > room:
                break
            run += frame
            done += 1
        if not done:
            pages.seal()
            return 0
        pages.append(memoryview(run), position + len(run), done + records, entries[done - 1].time)
        self._is_synced = False
        pages.retire()
        return done

    def sync_job(self) -> SyncJob | None:
        """Return what to sync so that all appended so far is durable; None if it is."""
        return None if self._is_synced else self._pages.sync_job()

    def synced(self, job: SyncJob) -> None:
        """Note that a job was run; `job.failed` has the files that it could not sync."""
        self._pages.synced(job)
        self._is_synced = not job.failed

    def close(self) -> None:
        """Close all files; the page stays unsealed for the next writer to go on in."""
        self._pages.close()


def _of_events(options: Options) -> Options:
    """Return the options of the events' pages.  Their names are synced with the next sync of the log."""
    page_bytes = options.event_bytes // PAGES - HEADER_LENGTH
    return Options(
        page_bytes=page_bytes, keep_pages=PAGES, mode=options.mode, group=options.group, sync="never"
    )
