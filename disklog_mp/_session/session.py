"""A session: one process's handle on a log.

What the core cannot decide is decided here: attach on first use and after a fork, what to do when the ring
is full, how to wait for the writer, when to start another.  The fast path, log(), is in the core; nothing
in this file runs for a record that finds room.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from disklog_mp import _core
from disklog_mp._core import (
    DAMAGED,
    DONE,
    DONE_WANTED,
    ENDED,
    FULL,
    HALTED,
    HINT,
    KIND_GAP,
    NEEDS_ATTACH,
    SPACE,
    SPACE_WANTED,
    SYNC_WANTED,
    TOO_LARGE,
)
from disklog_mp._os import locks as _locks
from disklog_mp._os import processes as _processes
from disklog_mp._ring import control as _control
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring import names as _names
from disklog_mp._ring import slots as _slots
from disklog_mp._ring.relog import append_to
from disklog_mp._session import rescue as _orphan
from disklog_mp.errors import (
    DiskLogError,
    LogFullError,
    LogNotFoundError,
    RecordTooLargeError,
    RingFullError,
    SessionClosedError,
    TooManyProducersError,
    WaitTimeoutError,
    WriterActiveError,
    WriterDiedError,
)

if TYPE_CHECKING:
    from disklog_mp._reader.page import Page
    from disklog_mp._reader.reader import Reader
    from disklog_mp._ring.stats import Stats

LOOK = 0.02  # longest sleep without another look, seconds
SCRIBBLED = 0.2  # after which the writer has put `released` right
FORK_PATIENCE = 0.1  # with a thread that attaches
PATIENCE = 5.0  # with a writer that is about to leave, or to make another ring
START_AGAIN = 0.5  # seconds between two writers started by one session
POLICIES = ("block", "raise", "drop")


class _RingClosedError(LogNotFoundError):
    """The ring of that name was closed; the next one is there, or its writer lives and is about to make it,
    or to leave; else `coming` is False.
    """

    def __init__(self, name: str, coming: bool) -> None:
        super().__init__(name)
        self.coming = coming


class _Attachment:
    """The process's slot in one ring, shared by its sessions on that log."""

    def __init__(self, name: str, ring_dir: str | None) -> None:
        self.users = 0
        self.is_being_rescued = False  # by this process
        self._detached = False  # another thread may still look at it
        self.who = _processes.identity()
        self.file = _ring.attach(name, ring_dir)
        try:
            status = os.fstat(self.file.fd)
            self._inode = (status.st_dev, status.st_ino)
            ring = self.file.ring
            # If it has ended, or its writer is about to replace it, no slot of it is worth having.
            if ring.halted != _core.REPLACED and not ring.is_closed():
                self.slot = _slots.take_slot(self.file, self.who, time.time_ns())
                self._incarnation = ring.slot(self.slot)[2]
                if not ring.is_closed():
                    return
                ring.detach(self.slot, self._incarnation)
            # The writer closed it before it could see us: there is a successor, or soon no log.
            alive = _liveness.writer_alive(self.file)
            if alive:
                ring.wake()  # a writer at rest sees by this that it is not so, if it is not
            raise _RingClosedError(name, alive or _ring.is_replaced(self.file, name, ring_dir))
        except BaseException:
            os.close(self.file.fd)  # of which nobody knows yet
            raise

    def mend(self, path: str) -> bool:
        """True if the descriptor is ours, or could be had again: a daemon may have closed all it had."""
        with _lock:
            return not self._detached and self._mend(path)

    def _mend(self, path: str) -> bool:
        if self._has_descriptor():
            return True
        try:
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            status = os.fstat(fd)
            good = (status.st_dev, status.st_ino) == self._inode and _locks.lock_byte(fd, self.slot)
        except BaseException:
            os.close(fd)
            raise
        if good:
            self.file = self.file._replace(fd=fd)
        else:
            os.close(fd)
        return good

    def _has_descriptor(self) -> bool:
        """False if a daemon closed it, and others may have got its number."""
        try:
            status = os.fstat(self.file.fd)
        except OSError as error:
            return error.errno != errno.EBADF
        return (status.st_dev, status.st_ino) == self._inode

    def detach(self) -> None:
        self._detached = True
        ring = self.file.ring
        if not ring.detach(self.slot, self._incarnation) and self._has_descriptor():
            # Somebody scribbled over the slot's word, or it is another's by now: the lock says which.
            if _locks.lock_byte(self.file.fd, self.slot):
                ring.detach(self.slot, ring.slot(self.slot)[2])
        if ring.parked:  # it may have stayed for nobody but us
            ring.wake()
        self.close_descriptor()

    def close_descriptor(self) -> None:
        """Drop the lock on the slot."""
        if self._has_descriptor():
            os.close(self.file.fd)


_attachments: dict[tuple[str, str | None], _Attachment] = {}
_lock = threading.RLock()  # a signal handler may log while its thread attaches
_held_for_fork = False
_busy = False  # this process is changing what stands here; only a signal handler finds it so
_others: list[_Attachment] = []  # of signal handlers, and to rings that have been replaced
_returned: list[_Attachment] = []  # by users, still to be noted
_leaving: list[tuple[Session, _Attachment]] = []  # closed, with an append that stands still in another thread


def _forked() -> None:
    """In a forked child: the parent's slots are not ours, and to hold their locks would keep a dead
    parent alive.
    """
    global _lock, _busy
    _lock, _busy = threading.RLock(), False
    for attachment in [*_attachments.values(), *_others]:
        attachment.close_descriptor()
    _attachments.clear()
    _others.clear()
    _returned.clear()
    _leaving.clear()
    _core.forked()


def _before_fork() -> None:
    """Not in the middle of another thread's attaching: the child would inherit what it does not know of."""
    global _held_for_fork
    _held_for_fork = _lock.acquire(timeout=FORK_PATIENCE)


def _after_fork() -> None:
    if _held_for_fork:
        _lock.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_forked)


def _take(name: str, ring_dir: str | None, former: _Attachment | None) -> _Attachment:
    """The process's attachment to the log's present ring, with one more user."""
    global _busy
    with _lock:
        if _busy:  # a signal handler in the middle of what follows: it gets one of its own
            attachment = _Attachment(name, ring_dir)
            attachment.users = 1
            _others.append(attachment)
            return attachment
        _busy = True
        try:
            return _take_shared(name, ring_dir, former)
        finally:
            _detach_unused()


def _take_shared(name: str, ring_dir: str | None, former: _Attachment | None) -> _Attachment:
    attachment = _attachments.get((name, ring_dir))
    if attachment is not None and (
        attachment is former
        or attachment.who.pid != os.getpid()
        or not attachment.mend(_names.ring_path(name, ring_dir))
        or not _ring.is_current(attachment.file, name, ring_dir)
    ):
        del _attachments[name, ring_dir]
        if attachment.who.pid != os.getpid():  # forked without Python's knowledge
            attachment.close_descriptor()
        else:
            _others.append(attachment)
        attachment = None
    if attachment is None:
        attachment = _Attachment(name, ring_dir)
        _attachments[name, ring_dir] = attachment
    attachment.users += 1
    return attachment


def _give_back(attachment: _Attachment) -> None:
    """One user less; the last one leaves the ring."""
    with _lock:
        _returned.append(attachment)
        if not _busy:
            _detach_unused()


def _detach_unused() -> None:
    """And be busy no more."""
    global _busy
    _busy = True
    for pair in list(_leaving):
        if not pair[0].unbind():
            _leaving.remove(pair)
            _returned.append(pair[1])
    while _returned:
        _busy = True
        # A handler may have emptied the list before it saw us busy.
        attachment = _returned.pop() if _returned else None
        if attachment is not None and attachment.who.pid == os.getpid():
            attachment.users -= 1
            if attachment.users == 0:
                for key, shared in list(_attachments.items()):
                    if shared is attachment:
                        del _attachments[key]
                if attachment in _others:
                    _others.remove(attachment)
                attachment.detach()
        _busy = False  # what a handler returned until now is seen in the next round
    _busy = False


@_core.with_own_methods
class Session(_core.Producer):
    """A handle on a log, for all threads of a process and, after a fork, for the child as well.

    Get one from disklog_mp.open() or disklog_mp.attach().  Pickles to a session of the other process.
    """

    def __init__(
        self,
        name: str,
        *,
        ring_dir: str | None = None,
        on_full: str = "block",
        timeout: float = 5.0,
        starter: Callable[..., bool] | None = None,
        patience: float | None = None,
    ) -> None:
        # Set first: a session whose construction failed can be closed.
        self._closed = True
        self._attachment: _Attachment | None = None
        self.name = _names.check_name(name)
        if on_full not in POLICIES:
            raise ValueError(f"on_full={on_full!r} is not one of {', '.join(POLICIES)}")
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout >= 0:
            raise ValueError(f"timeout={timeout!r} is not a number of seconds")
        self.on_full = on_full
        self.timeout = float(timeout)
        self._ring_dir = ring_dir
        self._starter = starter
        self._dropped = 0
        self._dropped_since = 0
        self._orphans: list[_Attachment] = []  # rings without writer and name, with records of ours
        self._glance_at = 0.0
        self._start_again_at = 0.0
        self._closed = False
        self._attach(patience)

    # -- attaching ---------------------------------------------------------------------------------------

    def _attach(self, patience: float | None = None) -> None:
        """Bind to the log's ring as it is now: at first, after a fork, after the ring was replaced.

        It may be about to come: its writer is replacing the one we had, or is being started.  Nobody else is
        held up by who waits for it, `patience` seconds (None: the session's timeout) at the most.
        """
        deadline = time.monotonic() + min(self.timeout if patience is None else patience, PATIENCE)
        former = self._attachment
        while True:
            pause = 0.002
            try:
                self._attach_now(former)
                self._rescue()
                return
            except _slots.SlotsReturnedError as full:
                problem: DiskLogError = TooManyProducersError(*full.args)
                pause = 0.01
            except LogNotFoundError as missing:
                problem = LogNotFoundError(self.name)
                if not self._is_coming(missing, former):
                    if self._starter is None:
                        raise problem from None
                    self._start_writer(deadline)
            left = deadline - time.monotonic()
            if left <= 0:
                raise problem
            time.sleep(min(pause, left))

    def _attach_now(self, seen: _Attachment | None) -> None:
        with _lock:
            if self._closed:
                raise SessionClosedError(self.name)
            former, ended = self._attachment, self.is_bound
            if ended and former is not seen:
                return  # another thread was faster
            if former is not None and former.who.pid != os.getpid():
                former, self._dropped, self.needs_attention = None, 0, False
                self._orphans.clear()
            attachment = _take(self.name, self._ring_dir, former if ended else None)
            # What a signal handler that logged meanwhile attached may stand there.
            former, self._attachment = self._attachment, attachment
            # A writer that replaces a ring has drained it first.
            orphaned = ended and former is not None and former.file.ring.released < self.end
            self.bind(attachment.file.ring, attachment.slot, attachment.who.pid)
            self.watches_writer = True
            if former is not None and orphaned:
                self._orphans.append(former)
                self.needs_attention = True
                self.end = 0
            elif former is not None:
                _give_back(former)

    def _is_coming(self, missing: LogNotFoundError, former: _Attachment | None) -> bool:
        """True if a live writer is about to make the ring that is missing."""
        if isinstance(missing, _RingClosedError) and missing.coming:
            return True
        return (
            former is not None
            and former.who.pid == os.getpid()
            and former.mend(_names.ring_path(self.name, self._ring_dir))
            and _liveness.writer_alive(former.file)
        )

    def _rescue(self) -> bool:
        """Log again what stands in rings that lost their writer and then their name, before anything else;
        True if nothing is left there.
        """
        for orphan in list(self._orphans):
            with _lock:
                if orphan.is_being_rescued:
                    return False
                orphan.is_being_rescued = True
            try:
                if not _orphan.rescue(orphan.file, append_to(self)):
                    return False
            finally:
                orphan.is_being_rescued = False
            with _lock:
                if orphan not in self._orphans:
                    continue
                self._orphans.remove(orphan)
            ring = self.ring
            assert ring is not None
            self.end = max(self.end, ring.frontier(ring.released))  # others may have rescued ours
            _give_back(orphan)
        return True

    def _start_writer(self, deadline: float) -> None:
        """Start a writer, unless that was done a moment ago, and wait until the deadline for its answer."""
        assert self._starter is not None
        now = time.monotonic()
        if now < self._start_again_at:
            return
        self._start_again_at = now + START_AGAIN
        try:
            answered = self._starter(wait=max(0.0, deadline - now))
        except WriterActiveError as active:
            if active.args[0] != self.name:
                raise
            answered = True
        if answered:
            self._start_again_at = 0.0

    def _whole_attachment(self, patience: float | None = None) -> _Attachment:
        """The attachment with a descriptor that can be asked."""
        attachment = self._attachment
        if attachment is None or not attachment.mend(_names.ring_path(self.name, self._ring_dir)):
            self.unbind()
            self._attach(patience)
            attachment = self._attachment
        assert attachment is not None
        return attachment

    def _ready_ring(self, patience: float | None = None) -> _core.Ring:
        """The ring of this process's attachment."""
        if self._closed:
            raise SessionClosedError(self.name)
        if not self.is_bound:
            self._attach(patience)
        ring = self.ring
        assert ring is not None
        return ring

    @property
    def path(self) -> str:
        """The log's directory."""
        return self._ready_ring().path

    @property
    def closed(self) -> bool:
        """True after close()."""
        return self._closed

    # -- off the fast path -------------------------------------------------------------------------------

    def _log_slowly(self, data: Any, tag: int, status: int) -> int:
        return self._insist(status, lambda: self.try_record(data, tag), lambda: memoryview(data).nbytes, 1)

    def _log_many_slowly(self, records: tuple[Any, ...], tag: int, status: int) -> int:
        def length() -> int:
            return 8 + sum(-(-(memoryview(record).nbytes + 24) // 8) * 8 for record in records)

        return self._insist(status, lambda: self.try_group(records, tag), length, len(records))

    def _insist(self, status: int, attempt: Callable[[], int], length: Callable[[], int], count: int) -> int:
        """Remove what stands in the way, or apply the policy; -1 for records that were dropped."""
        started = time.monotonic()
        counted = False
        while True:
            if status == NEEDS_ATTACH or status == ENDED:
                left = self.timeout - (time.monotonic() - started)
                new = self._attachment is None
                try:
                    self._attach(0.0 if self.on_full == "drop" and not new else left)
                except LogNotFoundError:
                    # The ring ended, and its writer died before it made the next: no room until one does.
                    if not new and self.on_full == "drop":
                        return self._drop(count)
                    if new or self.on_full != "block" or left <= 0:
                        raise
                    time.sleep(min(LOOK, left))
                    continue
            elif status == TOO_LARGE:
                limit = self._ready_ring().record_limit
                raise RecordTooLargeError(length(), limit)
            elif status == HALTED:
                self._glance()  # a writer at rest sees by this that it is not so, if it is not
                raise LogFullError(self._option("max_bytes"))
            if self.needs_attention and status != FULL:
                self._rescue()
                status = self._report_drops()
            else:
                status = 0
            if status == 0:
                status = attempt()
            if status >= 0:
                return status
            if status in (FULL, DAMAGED):
                waited = time.monotonic() - started
                if not counted:
                    self.count(0, 1)
                    counted = True
                if self.on_full != "block" and self._glance():
                    status = ENDED
                    continue
                if self.on_full == "drop":
                    return self._drop(count)
                if self.on_full == "raise" or waited >= self.timeout:
                    self._refuse(count)
                    ring = self._ready_ring()
                    free = ring.capacity - (ring.frontier(ring.released) - ring.released)
                    raise RingFullError(length(), free, waited)
                status = self._wait_for_room(attempt, self.timeout - waited)
                if status >= 0:
                    return status

    def _wait_for_room(self, attempt: Callable[[], int], seconds: float) -> int:
        """Sleep until the writer released something; the last look comes after the wish was stored."""
        ring = self._ready_ring()
        seen = ring.load32(SPACE)
        ring.store32(SPACE_WANTED, 1)
        status = attempt()
        if status not in (FULL, DAMAGED):
            return status
        deadline = time.monotonic() + seconds
        ring.wake()  # it may be dozing
        if not ring.wait(SPACE, seen, min(LOOK, seconds)):
            ring.wake()  # whoever took the writer's bell may have died before ringing it
        self._keep_writer(deadline - time.monotonic())
        whole = self._whole_attachment(deadline - time.monotonic())
        if _ring.is_replaced(whole.file, self.name, self._ring_dir):
            return ENDED
        return FULL if self.needs_attention else attempt()

    def _refuse(self, count: int) -> None:
        """Count what the caller is told by RingFullError: the books have each record that was tried."""
        self.count(count, 0)

    def _drop(self, count: int) -> int:
        self._note_drop(count)
        self.count(count, 0)
        return -1

    def _note_drop(self, count: int) -> None:
        """Have the log itself tell, when there is room, of a drop that is in the count."""
        if self._dropped == 0:
            self._dropped_since = time.time_ns()
        self._dropped += count
        self.needs_attention = True

    def _report_drops(self) -> int:
        """Put a gap record into the log: how many were dropped, from when to when.  0, or a status."""
        since = self._dropped_since
        dropped, self._dropped = self._dropped, 0  # taken by one thread
        told = {"dropped": dropped, "since": since, "until": time.time_ns()}
        status = self.try_record(json.dumps(told).encode(), 0, KIND_GAP) if dropped else 0
        if status < 0:
            self._dropped, self._dropped_since = self._dropped + dropped, since
            return status
        self.needs_attention = self._dropped != 0 or bool(self._orphans)
        return 0

    def _option(self, name: str) -> Any:
        return _control.options(self._ready_ring()).get(name)

    def _look_at_writer(self) -> None:
        """The writer has been silent for a while: if it is dead, start another, without waiting for it, or go
        over to the ring that took this one's name.
        """
        file = self._whole_attachment(0.0).file
        if _liveness.writer_alive(file):
            file.ring.wake()  # who took the bell from it may have died before ringing
            return
        if _ring.is_replaced(file, self.name, self._ring_dir):
            self._attach(0.0)
        elif self._starter is not None:
            now = time.monotonic()
            if now >= self._start_again_at:
                self._start_again_at = now + START_AGAIN
                self._starter(wait=0.0)

    def _glance(self) -> bool:
        """For those who do not wait for room: see, once a second, that there is a writer.  True if it is
        another ring's.
        """
        now = time.monotonic()
        if now >= self._glance_at:
            self._glance_at = now + 1.0
            with contextlib.suppress(DiskLogError, OSError):
                self._look_at_writer()
                return _ring.is_replaced(self._whole_attachment(0.0).file, self.name, self._ring_dir)
        return False

    def _keep_writer(self, patience: float | None = None) -> bool:
        """True if a writer is alive.  If not, one is started, if this session may; nobody waits for it."""
        if _liveness.writer_alive(self._whole_attachment(patience).file):
            return True
        try:
            self._look_at_writer()
        except (DiskLogError, OSError) as error:
            raise WriterDiedError(self.name, self._ready_ring().writer_pid) from error
        return False

    # -- waiting for the writer --------------------------------------------------------------------------

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all that this session logged so far is written: in a page file, visible to readers.

        Waits at most `timeout` seconds (None: as long as a writer lives; one that is dead and not
        replaced is waited for as long as the session's own timeout).  Raises WaitTimeoutError,
        WriterDiedError, SessionClosedError.
        """
        self._wait("written", self.end, timeout)

    def sync(self, timeout: float | None = None) -> None:
        """Wait until all that this session logged so far is durable: it survives power loss.

        Callers in all processes are served by one fdatasync.  Raises what flush() raises, and OSError if
        the disk refused.
        """
        self._wait("durable", self.end, timeout)

    def _wait(self, goal: str, position: int, timeout: float | None) -> None:
        started = time.monotonic()
        # A dead writer is replaced, by us or by a supervisor: give it time.
        deadline = started + (self.timeout if timeout is None else timeout)

        def patience() -> float | None:
            return None if timeout is None else max(0.0, deadline - time.monotonic())

        ring = self._ready_ring(patience())
        failures = ring.sync_failures
        while self._orphans or getattr(ring, goal) < position:
            seen = ring.load32(DONE)
            ring.store32(DONE_WANTED, 1)
            if goal == "durable":
                ring.maximize64(SYNC_WANTED, position)
                if ring.sync_failures > failures:
                    from disklog_mp._ring.control import error_text

                    raise OSError(ring.error_number, f"the log could not be synced: {error_text(ring)}")
            reached = getattr(ring, goal)
            if not self._orphans and reached >= position:
                return
            now = time.monotonic()
            if not self._keep_writer(patience()):
                if now >= deadline:
                    raise WriterDiedError(self.name, ring.writer_pid)
            elif timeout is None:
                deadline = now + self.timeout
            if timeout is not None and now >= deadline:
                raise WaitTimeoutError(goal, position, reached, now - started)
            ahead = position - ring.released
            if now - started > SCRIBBLED and ahead > ring.capacity:
                # Claimed while the ring said it was released up to there: nobody ever was.
                self.end = position = ring.frontier(ring.released)
            elif now - started > LOOK and ahead <= ring.capacity:
                # Where a claim word was scribbled over, the writer may take the place for the frontier: this
                # shows it that there is more.
                ring.maximize64(HINT, position)
            left = patience()
            ring.wake()  # it may be dozing
            if not ring.wait(DONE, seen, LOOK if left is None else min(LOOK, left)):
                ring.wake()  # whoever took the writer's bell may have died before ringing it
            if _ring.is_replaced(self._whole_attachment(patience()).file, self.name, self._ring_dir):
                self._attach(patience())
            if self.ring is not ring or self._orphans:
                self._rescue()
                position = self.end  # logged again, it stands elsewhere
            ring = self._ready_ring(patience())

    def roll(self) -> None:
        """Ask the writer to seal the page being written; the next record begins another.  Does not wait."""
        ring = self._ready_ring()
        ring.add64(_core.ROLL_WANTED, 1)
        ring.wake()

    # -- reading -----------------------------------------------------------------------------------------

    def reader(self) -> Reader:
        """Return a reader over the log's directory."""
        from disklog_mp._reader.reader import Reader

        return Reader(self.path)

    def get_page(self, number: int) -> Page:
        """Return a page by its number, from 1, after a flush: a session finds what it logged.

        Raises PageNotFoundError, PageRetiredError, CorruptPageError, and what flush() raises.
        """
        self.flush()
        return self.reader().get_page(number)

    def stats(self) -> Stats:
        """Return the log's statistics; see the class Stats.  Changes nothing."""
        from disklog_mp._ring import stats as _stats

        self._ready_ring()
        return _stats.read(self._whole_attachment().file)

    # -- leaving -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Detach.  What was logged needs no more help; drops not yet reported are.  Twice is fine.

        Waits for appends of other threads no longer than the session's timeout: the slot is then given back
        when they have ended, and this process opens or closes a session.
        """
        if self._closed:
            return
        self._settle()
        attachment = self._attachment
        self._closed = True
        self._attachment = None
        deadline = time.monotonic() + max(self.timeout, LOOK)
        while self.unbind():  # appends of other threads, on their way without the GIL
            if attachment is not None and time.monotonic() >= deadline:
                _leaving.append((self, attachment))
                return
            time.sleep(0.0001)
        if attachment is not None:
            _give_back(attachment)

    def _settle(self) -> None:
        """Before leaving: what was logged must not need us, and drops are reported."""
        if not self.is_bound or self._attachment is None:
            return
        with contextlib.suppress(DiskLogError, OSError):
            file = self._attachment.file
            if (
                file.ring.released < self.end
                and not _liveness.writer_alive(file)
                and _ring.is_replaced(file, self.name, self._ring_dir)
            ):
                self._attach(0.0)
        if self.needs_attention:
            self._rescue()
            self._report_drops()
        for orphan in self._orphans:
            _give_back(orphan)
        self._orphans.clear()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        # At the interpreter's end the kernel does it: the slot's lock goes with the process.
        if not getattr(self, "_closed", True) and not sys.is_finalizing():
            self.close()

    def __repr__(self) -> str:
        return f"<Session on {self.name!r}{', closed' if self._closed else ''}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (self.name, self._ring_dir, self.on_full, self.timeout)


def _unpickle(name: str, ring_dir: str | None, on_full: str, timeout: float) -> Session:
    return Session(name, ring_dir=ring_dir, on_full=on_full, timeout=timeout)
