"""Waiting, written once: for the ring, for the writer, for what was logged to be written or durable.

The generators here and in policy.py sleep for no caller.  They yield a step; the caller does it in its way
and sends back the answer.  A Session sleeps on a futex: see carry_out().  An event loop goes on with other
tasks: see aio/_session.py.  Both decide the same, because the decisions are here.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from disklog_mp import _core
from disklog_mp._core import DONE
from disklog_mp._pages.directory import Directory
from disklog_mp._ring.control import error_text
from disklog_mp._ring.labels import wanted_label
from disklog_mp._ring.liveness import writer_alive
from disklog_mp._session import slow_disk
from disklog_mp._session.connection import Connection
from disklog_mp._session.stopped import raise_if_stopped, stopped
from disklog_mp.errors import (
    DiskLogError,
    LogNotFoundError,
    SessionClosedError,
    WaitTimeoutError,
    WriterDiedError,
)

if TYPE_CHECKING:
    from disklog_mp._ring.stats import Stats
    from disklog_mp._session.attachments import Attachment

Result = TypeVar("Result")

# untuned: they bound how late a lost bell or a dead writer is noticed, and cost a sleeper nothing measurable.
LONGEST_SLEEP = 0.02  # seconds without a look at the writer: a lost bell, or a death, costs no more
FIRST_SLEEP = 0.004  # seconds until the first look: a live writer has given room back by then; untuned
SCRIBBLED = 0.2  # seconds after which the writer has repaired `released`
CHECK_WRITER = 1.0  # seconds between two looks at the writer by calls that do not wait for it


# -- steps ---------------------------------------------------------------------------------------------


class Bell(NamedTuple):
    """Sleep until the writer has news, or the time is over.  The answer: True if it has."""

    ring: _core.Ring
    which: int  # SPACE or DONE
    seen: int  # the result of ring.want(which), taken before the caller looked at the ring
    seconds: float


class Pause(NamedTuple):
    """Sleep for so long.  No answer."""

    seconds: float


class Call(NamedTuple):
    """Call a function that may start a process or wait for one.  The answer is its result; it may raise."""

    function: Callable[[], object]
    seconds: float  # in which it has ended


class Aside(NamedTuple):
    """Call a function of which neither result nor end is waited for.  No answer; it may raise."""

    function: Callable[[], object]


class LateError(Exception):
    """Raised into a generator: a Call has not ended in time, or not even begun."""


Step = Bell | Pause | Call | Aside
Steps = Generator[Step, Any, Result]


def carry_out(steps: Steps[Result]) -> Result:
    """Do all steps in this thread; return the generator's result."""
    try:
        step = next(steps)
        while True:
            try:
                answer = _do(step)
            except Exception as problem:
                step = steps.throw(problem)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        result: Result = end.value
        return result


def _do(step: Step) -> object:
    match step:
        case Bell(ring, which, seen, seconds):
            return ring.wait_for(which, seen, seconds)
        case Pause(seconds):
            time.sleep(seconds)
            return None
        case Call(function) | Aside(function):
            return function()


# -- the ring and its writer ---------------------------------------------------------------------------


def attach(connection: Connection, seconds: float | None) -> Steps[None]:
    """Attach as Connection.attach() does, in so many seconds (None: the timeout)."""
    if connection.is_closed:
        raise SessionClosedError(connection.name)
    patience = connection.timeout if seconds is None else max(0.0, seconds)
    try:
        yield Call(lambda: connection.attach(patience), patience)
    except LateError:
        raise LogNotFoundError(connection.name) from None


def ready_ring(connection: Connection, seconds: float | None = None) -> Steps[_core.Ring]:
    """Return the ring this process is attached to; attach if need be, in `seconds` (None: the timeout).

    Raises SessionClosedError, LogNotFoundError, TooManyProducersError.
    """
    if connection.is_closed or not connection.is_bound:
        yield from attach(connection, seconds)
    ring = connection.ring
    assert ring is not None
    return ring


def rescue(connection: Connection, seconds: float | None = None) -> Steps[None]:
    """Log again what is in rings that lost their writer and their name; what is left is for the next call."""
    try:
        yield Call(connection.rescue, connection.timeout if seconds is None else seconds)
    except LateError:
        pass


def attachment_with_descriptor(connection: Connection, seconds: float | None = None) -> Steps[Attachment]:
    """Return the attachment with a descriptor whose locks can be asked for; attach again if need be."""
    while True:
        attachment = connection.whole_attachment()
        if attachment is not None:
            return attachment
        connection.unbind()
        yield from attach(connection, seconds)


def read_stats(connection: Connection) -> Steps[Stats]:
    """Return the log's statistics."""
    from dataclasses import replace

    from disklog_mp._ring import stats as _stats

    yield from ready_ring(connection)
    attachment = yield from attachment_with_descriptor(connection)
    found = _stats.read(attachment.file)
    directory = connection.place.directory
    with contextlib.suppress(OSError):  # it may not be for this user: as the writer says
        if directory is not None:
            kept = range(found.first_page, found.last_page + 1)
            found = replace(found, pages=sum(page in kept for page in Directory(directory).pages()))
    return found


def keep_writer(connection: Connection, seconds: float | None) -> Steps[bool]:
    """Return True if a writer is alive.  If not, start one where this process may, and do not wait for it.

    Raises WriterDiedError if starting it failed.
    """
    attachment = yield from attachment_with_descriptor(connection, seconds)
    if writer_alive(attachment.file):
        connection.keeper.let_go()
        return True
    if stopped(connection.name, connection.place.directory) is not None:
        return False  # no attached process starts it again
    try:
        yield Call(connection.look_at_writer, connection.timeout if seconds is None else max(0.0, seconds))
    except LateError:
        return False
    except (DiskLogError, OSError) as error:
        raise WriterDiedError(connection.name, attachment.file.ring.writer_pid, str(error)) from error
    return False


def check_writer_at_most_once_a_second(connection: Connection) -> Steps[bool]:
    """See to the writer on behalf of calls that do not wait for room.  True if another ring has the name."""
    now = time.monotonic()
    if now < connection.next_check:
        return False
    connection.next_check = now + CHECK_WRITER
    try:
        yield Aside(connection.look_at_writer)
        attachment = yield from attachment_with_descriptor(connection, 0.0)
        return connection.is_replaced(attachment.file)
    except (DiskLogError, OSError):
        return False


# -- flush and sync ------------------------------------------------------------------------------------


def wait_for(
    connection: Connection, goal: Literal["written", "durable"], timeout: float | None
) -> Steps[None]:
    """Wait until all that any process has logged so far is written, or durable.

    `timeout` limits the whole wait.  None: the connection's own timeout, without the time in which the log
    moves on, or in which the writer waits for its disk (slow_disk.LONGEST at a stretch): a slow disk is no
    error, a dead end is.

    Raises WaitTimeoutError, WriterDiedError, OSError if the disk refused to sync, and what ready_ring() does.
    """
    patience = _Patience(connection.timeout, timeout)
    left = patience.left
    ring = yield from ready_ring(connection, left())
    position, failures = _end(connection, ring), ring.sync_failures
    patience.look(ring, goal, position, is_kept=True)
    while connection.orphans or getattr(ring, goal) < position:
        seen = ring.want(DONE)
        if goal == "durable":
            ring.ask_sync(position)
            _raise_if_sync_failed(ring, failures)
        reached = getattr(ring, goal)
        if not connection.orphans and reached >= position:
            return
        is_kept = yield from keep_writer(connection, left())
        if not is_kept:
            raise_if_stopped(connection.name, connection.place.directory)
        waited = patience.look(ring, goal, position, is_kept=is_kept)
        if patience.is_over:
            if not is_kept:
                raise (yield from dead_writer(connection))
            raise WaitTimeoutError(goal, position, reached, waited, *_held(ring))
        position = _corrected(connection, ring, position, waited)
        yield from _sleep(ring, seen, left())
        position = yield from _follow(connection, ring, position, left())
        ring = yield from ready_ring(connection, left())


class _Patience:
    """How long a call of flush() or sync() goes on waiting."""

    def __init__(self, usual: float, timeout: float | None) -> None:
        """`timeout`: seconds for the whole wait; None: `usual` seconds in which nothing is done."""
        self._is_limited = timeout is not None
        self._seconds = usual if timeout is None else timeout
        self._began = self._moved = time.monotonic()  # moved: when the log last did
        self._deadline = self._began + self._seconds
        self._seen: tuple[int, ...] = ()
        self.is_over = False

    def left(self) -> float | None:
        """Return the seconds until the caller has to be told; None: that depends on the log."""
        return max(0.0, self._deadline - time.monotonic()) if self._is_limited else None

    def look(
        self, ring: _core.Ring, goal: Literal["written", "durable"], position: int, *, is_kept: bool
    ) -> float:
        """Look whether the log moves on; `is_kept`: it has a writer.  Returns the seconds waited so far."""
        now = time.monotonic()
        seen = ring.released, ring.written, ring.durable  # these grow while the writer gets on
        if not self._is_limited:
            if seen != self._seen:
                self._seen, self._moved, self._deadline = seen, now, now + self._seconds
            elif now >= self._deadline and is_kept and slow_disk.waits_for_disk(ring, goal, position):
                self._deadline = min(now + self._seconds, self._moved + slow_disk.LONGEST)
        self.is_over = now >= self._deadline
        return now - self._began


def _end(connection: Connection, ring: _core.Ring) -> int:
    """Return the position behind all that any process has claimed in the ring, and this one logged."""
    return max(connection.end, ring.frontier(ring.released))


def _held(ring: _core.Ring) -> tuple[int, str, int]:
    """Return pid, label and position of the claim that all others wait for; (0, "", -1) if there is none."""
    claim = ring.claim_at(ring.released)
    if claim is None or claim.state != _core.CLAIMED:
        return 0, "", -1
    return ring.slot(claim.owner).pid, wanted_label(ring, claim.owner), claim.position


def dead_writer(connection: Connection, seconds: float | None = None) -> Steps[WriterDiedError]:
    """Return the error that says why the ring has no writer."""
    attachment = yield from attachment_with_descriptor(connection, seconds)
    file = attachment.file
    return WriterDiedError(connection.name, file.ring.writer_pid, connection.keeper.reason(file))


def _raise_if_sync_failed(ring: _core.Ring, failures: int) -> None:
    if ring.sync_failures > failures:
        raise OSError(ring.error_number, f"the log could not be synced: {error_text(ring)}")


def _corrected(connection: Connection, ring: _core.Ring, position: int, waited: float) -> int:
    """Return the position to wait for, after damage to words of the ring."""
    ahead = position - ring.released
    if waited > SCRIBBLED and ahead > ring.capacity:
        # Claimed while the ring said it was released up to there: no producer ever was there.
        connection.end = position = ring.frontier(ring.released)
    elif waited > LONGEST_SLEEP and ahead <= ring.capacity:
        # Where a claim word was scribbled over, the writer may take the place for the frontier: this shows it
        # that there is more.
        ring.raise_hint(position)
    return position


def _sleep(ring: _core.Ring, seen: int, left: float | None) -> Steps[None]:
    ring.wake()  # the writer may be dozing
    rang = yield Bell(ring, DONE, seen, LONGEST_SLEEP if left is None else min(LONGEST_SLEEP, left))
    if not rang:
        ring.wake()  # the producer that took the writer's bell may have died before ringing it


def _follow(connection: Connection, ring: _core.Ring, position: int, left: float | None) -> Steps[int]:
    """Go over to a ring that replaced this one; return the position to wait for there."""
    attachment = yield from attachment_with_descriptor(connection, left)
    if connection.is_replaced(attachment.file):
        yield from attach(connection, left)
    if connection.ring is not ring or connection.orphans:
        yield from rescue(connection, left)
        assert connection.ring is not None
        return _end(connection, connection.ring)  # logged again, it stands elsewhere
    return position
