"""Syncing beside the writing: a slow disk must not stop the draining.

It runs the page writer's sync jobs in a thread, and says how they ended; when one is due is the writer's
business, and what is in it the page writer's.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol

from disklog_mp import _core
from disklog_mp._pages.unsynced import SyncJob
from disklog_mp._pages.writer import PageWriter
from disklog_mp._writer.troubles import Troubles

AGAIN = 1.0  # seconds before another attempt at what the disk refused


class Writer(Protocol):
    """What is asked of the writer whose jobs these are."""

    pages: PageWriter
    troubles: Troubles
    durable: int  # its own copy of what the ring says
    leaving: bool

    @property
    def ring(self) -> _core.Ring: ...
    def after_roll(self) -> None: ...


class Syncer:
    """Runs sync jobs in a thread of its own, so that a slow disk does not stop the draining."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._jobs: queue.SimpleQueue[SyncJob | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[SyncJob, bool]] = queue.SimpleQueue()
        self._failed: SyncJob | None = None  # its pages have to be written anew
        self._retry_at = 0.0
        self._busy = False
        self._thread: threading.Thread | None = None

    def start(self, make: Callable[[], SyncJob]) -> None:
        """Begin a job unless one is under way: then the next round asks again.

        The job is made after the last one was taken note of, which closes files.
        """
        self.harvest()
        if self._busy or self._failed is not None:
            return
        self._busy = True
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="disklog-sync", daemon=True)
            self._thread.start()
        self._jobs.put(make())

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._done.put((job, self._perform(job)))
            self._writer.ring.wake()

    def _perform(self, job: SyncJob) -> bool:
        ring = self._writer.ring
        try:
            job.run()
        except OSError as error:
            absent = not job.failed and isinstance(error, (FileNotFoundError, NotADirectoryError))
            if not (absent and self._writer.leaving):
                kind = "directory" if absent else "sync"
                self._writer.troubles.meet(kind, error, f"cannot sync: {error}")
            ring.sync_failures += 1
            good = False
        else:
            self._writer.durable = ring.durable = job.position
            self._writer.troubles.over("sync", "syncing again")
            good = True
        ring.store32(_core.DONE_WANTED, 1)
        ring.announce()
        return good

    def harvest(self) -> None:
        """Take note of what has been done.  A sync that failed is never tried again as if it could work:
        the kernel may have dropped what it could not write.
        """
        while not self._done.empty():  # only this thread gets: what is there stays there
            self._take_note(*self._done.get())
            self._busy = False
        if self._failed is not None and time.monotonic() >= self._retry_at:
            self._rescue(self._failed)

    def is_busy(self) -> bool:
        """True if a job is under way."""
        self.harvest()
        return self._busy

    def has_failed(self) -> bool:
        """True if another attempt is to come."""
        return self._failed is not None

    def _take_note(self, job: SyncJob, good: bool) -> None:
        if good:
            self._writer.pages.synced(job)
        else:
            self._failed = job
            # If it was the directory, there is nothing to rescue: time has to do it.
            self._retry_at = time.monotonic() + (0.0 if job.failed else AGAIN)

    def _rescue(self, job: SyncJob) -> None:
        writer = self._writer
        try:
            damaged = writer.pages.rescue(job)
        except OSError as error:
            writer.troubles.meet("sync", error, f"cannot sync: {error}")
            self._retry_at = time.monotonic() + AGAIN
            return
        self._failed = None
        if job.failed:
            writer.troubles.over("sync", "what could not be synced was written anew, and synced")
        writer.after_roll()
        for first, end in damaged:
            writer.troubles.say(
                f"positions {first} to {end} may have been lost: the disk refused to sync them"
            )

    def run_now(self, make: Callable[[], SyncJob]) -> None:
        """Sync before going on."""
        self.close()
        if self._failed is None:
            job = make()
            self._take_note(job, self._perform(job))

    def close(self) -> None:
        """Wait for the job under way, end the thread."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None
        self.harvest()
