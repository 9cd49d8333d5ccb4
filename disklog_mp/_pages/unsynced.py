"""Which written bytes may not be on disk yet: sealed pages that wait for a sync, and the jobs that sync them.

It holds their files open until a job has synced them.  SyncJob.run() aside, which another thread may call, it
reads and writes nothing.
"""

import contextlib
from typing import NamedTuple, Protocol

from disklog_mp._os.files import Files
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.format import PageHeader

# untuned: far below the limit of descriptors, far above the pages that one sync leaves behind.
FILES_KEPT = 32  # sealed pages whose descriptor waits for a sync; of more than that only the path is kept


class Syncable(Protocol):
    """What a sync job needs of a file."""

    def sync(self) -> None: ...
    def close(self) -> None: ...


class Names(Protocol):
    """What a sync job needs of the folder."""

    names: int

    def has_unsynced_names(self) -> bool: ...


class SyncJob(NamedTuple):
    """What must reach the disk for all below `position` to be durable.  run() may be called in a thread."""

    files: tuple[Syncable, ...]
    sealed: int  # the first files, this many, were sealed pages when the job was made
    directory: Directory | None  # None: no name in it changed since the last sync
    names: int  # the count of changed names that this job covers
    position: int
    failed: list[Syncable]  # filled by run()
    events: "SyncJob | None" = None  # the same for the events' pages: what fails there costs no record

    def run(self) -> None:
        """Sync; raises the first OSError after all files have been tried."""
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
        if self.events is not None:
            with contextlib.suppress(OSError):  # tried again with the next job
                self.events.run()


class SleepingFile:
    """Stands in for a sealed page's file: it holds no descriptor and opens the page again to sync it."""

    def __init__(self, files: Files, path: str) -> None:
        self._files = files
        self._path = path

    def sync(self) -> None:
        """Sync the page; a page that is gone was removed by retention and needs no sync."""
        try:
            file = self._files.open(self._path, writable=True)
        except FileNotFoundError:
            return
        try:
            file.sync()
        finally:
            file.close()

    def close(self) -> None:
        """Nothing is open."""


class SealedPage(NamedTuple):
    """A page that will not change any more, and may not be on disk yet."""

    header: PageHeader
    watermark: int
    data_crc: int
    file: Syncable

    def positions(self) -> tuple[int, int]:
        """Return the position at which the page begins, and the one behind its last frame."""
        return self.header.first_position, self.header.position_of(self.watermark)


class Unsynced:
    """The sealed pages that may not be on disk yet, oldest first."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._pages: list[SealedPage] = []
        self._in_job: tuple[Syncable, ...] = ()  # another thread may be syncing these: they stay open
        self._retired: set[int] = set()  # numbers of pages that were retired in a job

    def add(self, *pages: SealedPage) -> None:
        """Note sealed pages; their files stay open until a job has synced them."""
        self._pages.extend(pages)

    def put_to_sleep(self) -> None:
        """If too many files wait, close those of the newest pages and keep only their paths.

        With sync="never", or while the disk does not answer, more and more pages wait.  A file that the job
        under way may be syncing is left alone: the next call takes it, because each looks at two pages.
        """
        if len(self._pages) <= FILES_KEPT:
            return
        for i, page in enumerate(self._pages[-2:], len(self._pages) - 2):
            if page.file not in self._in_job:
                page.file.close()
                path = self._directory.page_path(page.header.number)
                self._pages[i] = page._replace(file=SleepingFile(self._directory.files, path))

    def job(self, current: Syncable | None, names: Names, position: int) -> SyncJob:
        """Return what to sync for all below `position`; `current` is the file of the page being written."""
        files = [page.file for page in self._pages]
        sealed = len(files)
        if current is not None:
            files.append(current)
        self._in_job = tuple(files)
        directory = self._directory if names.has_unsynced_names() else None
        return SyncJob(self._in_job, sealed, directory, names.names, position, [])

    def done(self, job: SyncJob) -> None:
        """Close the pages that were sealed when the job was made and are synced now, or were retired."""
        self._in_job = ()
        synced = set(job.files[: job.sealed]) - set(job.failed)
        for page in self._pages[:]:
            if page.file in synced or page.header.number in self._retired:
                self.remove(page)
        self._retired.clear()

    def failed(self, job: SyncJob) -> list[SealedPage]:
        """Return the pages that the job could not sync."""
        return [page for page in self._pages if page.file in job.failed]

    def remove(self, page: SealedPage) -> None:
        """Close one page and forget it."""
        page.file.close()
        self._pages.remove(page)

    def retired(self, numbers: list[int]) -> list[Syncable]:
        """Forget the pages of these numbers; return their files, for the caller to close.

        The files in a job stay until it is done.
        """
        gone = [page for page in self._pages if page.header.number in numbers]
        self._retired |= {page.header.number for page in gone if page.file in self._in_job}
        gone = [page for page in gone if page.file not in self._in_job]
        for page in gone:
            self._pages.remove(page)
        return [page.file for page in gone]

    def close(self) -> None:
        """Close all pages and forget them."""
        for page in self._pages:
            page.file.close()
        self._pages.clear()
