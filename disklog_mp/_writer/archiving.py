"""Moving the pages of a log elsewhere while the log goes on: some pages at a time, the oldest first.

A thread syncs and copies; it touches nothing but the files of its job, and those in the other directory.  The
main thread alone takes pages out of the log's directory, and retention removes none meanwhile.
"""

from __future__ import annotations

import errno
import os
import queue
from collections.abc import Callable
from typing import Any, NamedTuple

from disklog_mp._options import group_id
from disklog_mp._os.background import Background
from disklog_mp._pages.directory import page_name
from disklog_mp._pages.moving import MoveJob
from disklog_mp._pages.writer import PageWriter
from disklog_mp._writer.troubles import Troubles

MOST_PAGES = 64  # that are moved at a time; untuned
MOST_BYTES = 64 << 20  # likewise, but one page at the least

Ended = Callable[[dict[str, Any], OSError | None], None]


class Prepared(NamedTuple):
    """A job that was run, and how it ended."""

    job: MoveJob
    error: OSError | None


def prepare(job: MoveJob) -> Prepared:
    """Run a job."""
    try:
        job.run()
    except OSError as error:
        return Prepared(job, error)
    return Prepared(job, None)


class Archiving:
    """Carries out one plan: {"last": number of a page, "to": a directory}."""

    def __init__(
        self, pages: PageWriter, troubles: Troubles, ring_bell: Callable[[], None], ended: Ended
    ) -> None:
        """`ended` is called at the end of a plan, with what kept it from being carried out."""
        self._pages = pages
        self._troubles = troubles
        self._ring_bell = ring_bell
        self._ended = ended
        self._thread: Background[MoveJob] = Background("disklog-archive", self._run)
        self.prepared: queue.SimpleQueue[Prepared] = queue.SimpleQueue()
        self._plan: dict[str, Any] | None = None
        self._copies = False

    def begin(self, plan: dict[str, Any]) -> None:
        """Move the sealed pages that the plan says."""
        self._plan, self._copies = plan, False
        self._pages.retention.is_held = True
        self._next(plan)

    def is_busy(self) -> bool:
        """True if a plan is being carried out."""
        return self._plan is not None

    def _run(self, job: MoveJob) -> None:
        """The archive thread: post the result and ring the bell."""
        self._post(prepare(job))

    def _post(self, prepared: Prepared) -> None:
        self.prepared.put(prepared)
        self._ring_bell()

    def go_on(self) -> None:
        """Take note of the job that was run, and begin the next."""
        plan = self._plan
        if plan is None or self.prepared.empty():
            return
        job, error = self.prepared.get()
        try:
            if error is not None:
                raise error
            for number in job.numbers:
                self._move(job, number)
            self._pages.folder.files.sync_directory(job.target)
            self._pages.folder.sync()
        except OSError as problem:
            if problem.errno != errno.EXDEV or job.copies:
                self._end(plan, problem)
                return
            self._copies = True
        self._next(plan)

    def _next(self, plan: dict[str, Any]) -> None:
        pages = self._pages
        numbers: list[int] = []
        size = 0
        for page in pages.retention.pages:
            size += page.bytes
            if page.number > plan["last"] or len(numbers) == MOST_PAGES or (numbers and size > MOST_BYTES):
                break
            numbers.append(page.number)
        if not numbers:
            self._end(plan, None)
            return
        options, directory = pages.options, pages.folder.directory
        access = options.mode, group_id(options.group)
        job = MoveJob(directory, tuple(numbers), plan["to"], self._copies, *access, set())
        if not self._thread.give(job):  # no thread can be started
            self.prepared.put(prepare(job))

    def _move(self, job: MoveJob, number: int) -> None:
        """Take a page out of the log's directory, which is in the other one then.  Raises OSError."""
        pages = self._pages
        target = os.path.join(job.target, page_name(number))
        if not os.path.lexists(job.directory.page_path(number)):
            pages.retention.forget_removed(job.directory.pages())
            return
        if number in job.there:
            closable = pages.folder.remove_page(number)
            if closable is not None:
                closable.close()
        elif os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "another process made a file of that name", target)
        else:
            pages.folder.files.rename(job.directory.page_path(number), target)
            pages.folder.names += 1
        for unsynced in pages.unsynced.retired([number]):
            unsynced.close()
        page = pages.retention.take_oldest()
        told = {"records": page.records, "bytes": page.bytes, "to": job.target}
        self._troubles.tell("archived", page=page.number, **told)

    def _end(self, plan: dict[str, Any], error: OSError | None) -> None:
        self._plan = None
        self._pages.retention.is_held = False
        self._ended(plan, error)

    def close(self) -> None:
        """Wait for the job under way; the next writer goes on with the plan."""
        self._thread.close()
