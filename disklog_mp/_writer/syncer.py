"""Syncing beside the writing: a slow disk must not stop the draining.

A thread runs the page writer's sync jobs.  It touches nothing but the files of the job: it posts the result
and rings the bell; the main thread takes note, stores `durable` and wakes the callers of sync().
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from typing import NamedTuple

from disklog_mp._metrics.histogram import Histogram
from disklog_mp._options import parse_duration
from disklog_mp._os.background import Background
from disklog_mp._pages.unsynced import SyncJob
from disklog_mp._pages.writer import PageWriter
from disklog_mp._writer import intervals
from disklog_mp._writer.event_book import EventBook
from disklog_mp._writer.live_ring import LiveRing
from disklog_mp._writer.troubles import Troubles

LATE = 1.0  # untuned: seconds of a sync that is told as late
CROWD = 5  # so many producers that several may call sync() at the same moment (bench: syncs)


class Result(NamedTuple):
    """How a job ended."""

    job: SyncJob
    error: OSError | None
    seconds: float


def perform(job: SyncJob) -> Result:
    """Run a job."""
    begun = time.monotonic()
    try:
        job.run()
    except OSError as error:
        return Result(job, error, time.monotonic() - begun)
    return Result(job, None, time.monotonic() - begun)


class Syncer:
    """Runs sync jobs, one at a time, in a thread of its own."""

    def __init__(
        self,
        live: LiveRing,
        pages: PageWriter,
        troubles: Troubles,
        events: EventBook,
        ring_bell: Callable[[], None],
    ) -> None:
        """`ring_bell` wakes the main thread; the pages of `events` are synced with the others."""
        self._live = live
        self._pages = pages
        self._troubles = troubles
        self.rolled: Callable[[], None] = lambda: None  # called when a page was sealed here
        self.timing = Histogram()
        self.last_synced = time.monotonic()  # the begin of the last job that succeeded
        self._ring_bell = ring_bell
        self._thread: Background[SyncJob] = Background("disklog-sync", self._run)
        self.results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._is_busy = False
        self._failed: SyncJob | None = None  # its pages have to be written anew
        self._retry_at = 0.0
        self._interval: float | None = None
        self.configure()
        self._last_start = time.monotonic()
        self._is_gathering = False  # callers of sync()
        self._is_late = False  # the last sync was, and that was told
        self.events = events
        self.is_leaving = False  # for good: no process is left that would need the directory

    def configure(self) -> None:
        """Sync as the option says from now on."""
        sync = self._pages.options.sync
        self._interval = None if sync in ("always", "page", "never") else parse_duration(sync)

    def _run(self, job: SyncJob) -> None:
        """The sync thread: post the result and ring the bell."""
        self._post(perform(job))

    def _post(self, result: Result) -> None:
        self.results.put(result)
        self._ring_bell()

    def start(self) -> None:
        """Begin a job unless one is under way, or is to be repeated: then the next round asks again."""
        self.harvest()
        if self._is_busy or self._failed is not None:
            return
        job = self._next_job()  # not before: taking note of the last one closes files
        self._is_busy = self._thread.give(job)
        if not self._is_busy:  # no thread can be started
            self._take_note(perform(job))

    def _next_job(self) -> SyncJob:
        return self._pages.sync_job()._replace(events=self.events.sync_job())

    def start_if_due(self, now: float) -> None:
        """Begin a job if the last one was begun an interval ago, and there is anything to sync."""
        if self._interval is not None and now - self._last_start >= self._interval and self.is_behind():
            self._last_start = now
            self.start()

    def start_what_is_due(self, now: float) -> None:
        """Begin the syncs that are due, or asked for: under full load there is no rest that does it."""
        self.start_if_due(now)
        self.start_if_wanted()

    def is_behind(self) -> bool:
        """True if a regular sync is to come."""
        return self._interval is not None and self._live.durable < self._pages.position

    def start_if_wanted(self, attached: int = 0) -> bool:
        """Begin a job if a caller of sync() waits for one; True if other callers get a moment to ask, too.

        `attached`: so many producers may be such callers.  What is written until the next call of this
        method is in the same job.
        """
        wanted = min(self._live.ring.sync_wanted, self._pages.position) > self._live.durable
        if wanted and attached >= CROWD and not self._is_gathering and not self.is_busy():
            self._is_gathering = True
            time.sleep(intervals.SYNC_GATHERING)
            return True
        self._is_gathering = False
        if wanted:
            self.start()
        return False

    def harvest(self) -> None:
        """Take note of the jobs that have been run.

        A sync that failed is never tried again as if it could work: the kernel may have dropped what it
        could not write.
        """
        while not self.results.empty():  # only this thread takes out: what is there stays there
            self._is_busy = False
            self._take_note(self.results.get())
        if self._failed is not None and time.monotonic() >= self._retry_at:
            self._rescue(self._failed)

    def is_busy(self) -> bool:
        """True if a job is under way."""
        self.harvest()
        return self._is_busy

    def has_failed(self) -> bool:
        """True if another attempt is to come."""
        return self._failed is not None

    def _take_note(self, result: Result) -> None:
        job, error, seconds = result
        if job.events is not None:
            self.events.synced(job.events)
        if error is None:
            self._live.synced(job.position)  # first of all: its callers wait for that
            self.timing.add(seconds)
            self.last_synced = time.monotonic() - seconds
            self._tell_late(seconds)
            self._troubles.over("sync", "syncing again")
            self._pages.synced(job)
            return
        is_directory_gone = not job.failed and isinstance(error, (FileNotFoundError, NotADirectoryError))
        if not (is_directory_gone and self.is_leaving):
            self._troubles.meet("directory" if is_directory_gone else "sync", error, f"cannot sync: {error}")
        self._live.sync_failed()  # its callers find the trouble in the ring
        self._failed = job
        # If it was the directory, there is nothing to rescue: that takes another attempt later.
        self._retry_at = time.monotonic() + (0.0 if job.failed else intervals.RETRY)

    def _tell_late(self, seconds: float) -> None:
        is_late = seconds >= LATE
        if is_late and not self._is_late:
            self._troubles.tell("synced-late", seconds=round(seconds, 3))
        self._is_late = is_late

    def _rescue(self, job: SyncJob) -> None:
        try:
            damaged = self._pages.rescue(job)
        except OSError as error:
            self._troubles.meet("sync", error, f"cannot sync: {error}")
            self._retry_at = time.monotonic() + intervals.RETRY
            return
        self._failed = None
        if job.failed:
            self._troubles.over("sync", "what could not be synced was written anew, and synced")
        self.rolled()
        for first, end in damaged:
            self._troubles.tell("damaged", first=first, end=end, why="sync")
            self._troubles.say(
                f"positions {first} to {end} may have been lost: the disk refused to sync them"
            )

    def run_now(self) -> None:
        """Sync before going on."""
        self.close()
        if self._failed is None:
            self._take_note(perform(self._next_job()))

    def close(self) -> None:
        """Wait for the job under way, end the thread."""
        self._thread.close()
        self.harvest()
