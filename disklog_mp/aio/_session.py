"""The session for asyncio: the same names, and nothing that blocks the event loop.

While the ring has room log() is one call as without asyncio: no thread, no task switch.  What has to wait
looks again after pauses that grow, so that cancelling ends it at once.  What may start a process or wait for
one is done by a thread of the loop's default executor.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from disklog_mp import _core
from disklog_mp._session import leaving, opening
from disklog_mp._session.connection import Connection
from disklog_mp._session.pickling import connection_for, state_of
from disklog_mp._session.policy import Entry, group_entry, log_or_refuse, record_entry
from disklog_mp._session.waiting import (
    Aside,
    Bell,
    Call,
    LateError,
    Pause,
    Step,
    Steps,
    read_stats,
    ready_ring,
    wait_for,
)
from disklog_mp.aio._reader import Reader
from disklog_mp.aio._steering import Steering
from disklog_mp.aio._threads import in_thread, in_thread_within

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from disklog_mp._reader.events import LogEvent
    from disklog_mp._reader.page import Page
    from disklog_mp._ring.stats import Stats

FIRST, LONGEST, GROWTH = 0.001, 0.02, 1.25  # pauses in seconds: an event loop cannot sleep shorter

Result = TypeVar("Result")


async def open(name: str, path: str | os.PathLike[str] | None = None, **options: Any) -> Session:
    """Open a log as disklog_mp.open() does, with the same options and errors."""
    options = {"patience": opening.PATIENCE, **opening.with_environment(name, **options)}
    return await in_thread(_connect, name, opening.directory_of(name, path), options)


async def attach(name: str, path: str | os.PathLike[str] | None = None, **options: Any) -> Session:
    """Attach to a log as disklog_mp.attach() does, with the same options and errors."""
    options = opening.with_environment(name, is_opened=False, **options)
    return await in_thread(_connect, name, None, {"directory": path, **options})


def _connect(name: str, path: str | None, options: dict[str, Any]) -> Session:
    return Session(opening.connect(LoopConnection, name, path, **options))


@_core.with_own_methods
class LoopConnection(Connection):
    """A connection whose log() never waits: what finds no room returns the core's status, below 0."""

    def _log_slowly(self, data: Any, tag: int, status: int) -> int:
        return status

    def _log_many_slowly(self, records: tuple[Any, ...], tag: int, status: int) -> int:
        return status

    def _look_at_writer(self) -> None:
        _call_aside(self.look_at_writer)


def _call_aside(function: Callable[[], object]) -> None:
    """Call a function in a thread and wait for nothing: what is wrong shows in flush() and stats()."""

    def call() -> None:
        with contextlib.suppress(Exception):
            function()

    asyncio.get_running_loop().run_in_executor(None, call)


class Session(Steering):
    """A handle on a log, for all event loops and threads of a process and, after a fork, for the child.

    Get one from open() or attach(); `async with` closes it.  Pickles to a session of the other process.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.name = connection.name
        self._turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]
        self._turns = weakref.WeakKeyDictionary()
        self._waiting = 0  # tasks; while there are any, no other overtakes them

    @property
    def closed(self) -> bool:
        """True after close()."""
        return self._connection.is_closed

    @property
    def on_full(self) -> str:
        """What log() does when the ring is full: "block", "raise" or "drop".  May be changed."""
        return self._connection.on_full

    @on_full.setter
    def on_full(self, policy: str) -> None:
        self._connection.on_full = policy

    @property
    def timeout(self) -> float:
        """How long log() waits for room with on_full="block", in seconds.  May be changed."""
        return self._connection.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._connection.timeout = seconds

    # -- logging -----------------------------------------------------------------------------------------

    async def log(self, data: Buffer, *, tag: int = 0) -> int:
        """Log one record and return its position; see disklog_mp.Session.log.

        Suspends only while the ring is full and on_full is "block", or the ring is being replaced.  Cancelled
        then, the record is not logged.
        """
        status = None
        if not self._waiting:
            status = self._connection.log(data, tag=tag)
            if status >= 0:
                return status
        return await self._log_in_turn(record_entry(self._connection, data, tag), status)

    async def log_many(self, records: Iterable[Buffer], *, tag: int = 0) -> int:
        """Log several records as one group and return the position of the first; suspends as log() does."""
        group: Any = records if isinstance(records, (bytes, str)) else tuple(records)
        status = None
        if not self._waiting or not isinstance(group, tuple) or not group:
            status = self._connection.log_many(group, tag=tag)  # TypeError for one record in place of several
            if status >= 0 or not group:
                return status
        return await self._log_in_turn(group_entry(self._connection, group, tag), status)

    async def _log_in_turn(self, entry: Entry, status: int | None) -> int:
        """Attach, wait for room, or refuse; in the order of the calls on this event loop."""
        self._waiting += 1
        try:
            async with self._turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
                return await _carry_out(log_or_refuse(self._connection, entry, status))
        finally:
            self._waiting -= 1

    # -- waiting for the writer --------------------------------------------------------------------------

    async def flush(self, timeout: float | None = None) -> None:
        """Wait until all that any process has logged so far is written; see disklog_mp.Session.flush."""
        await _carry_out(wait_for(self._connection, "written", timeout))

    async def sync(self, timeout: float | None = None) -> None:
        """Wait until all that any process has logged so far is durable; see disklog_mp.Session.sync."""
        await _carry_out(wait_for(self._connection, "durable", timeout))

    # -- reading -----------------------------------------------------------------------------------------

    async def reader(self) -> Reader:
        """Return a reader over the log's directory."""
        await _carry_out(ready_ring(self._connection))
        return Reader(self._connection.place.path())

    async def events(self, follow: bool = False) -> AsyncIterator[LogEvent]:
        """Iterate what happened to the log itself; see disklog_mp.Session.events."""
        async for event in (await self.reader()).events(follow):
            yield event

    async def get_page(self, number: int) -> Page:
        """Return a page by its number, from 1, after a flush: a session finds what it logged."""
        await self.flush()
        return await (await self.reader()).get_page(number)

    async def stats(self) -> Stats:
        """Return the log's statistics.  Changes nothing."""
        return await _carry_out(read_stats(self._connection))

    # -- leaving -----------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Detach.  What was logged needs no more help.  Twice is fine; once begun it cannot be cancelled."""
        await asyncio.shield(in_thread(leaving.close, self._connection))

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<aio.Session on {self.name!r}{', closed' if self.closed else ''}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, state_of(self._connection)


def _unpickle(*state: Any) -> Session:
    connection = connection_for(LoopConnection, state)
    if asyncio._get_running_loop() is None:
        connection.attach()
    return Session(connection)  # unpickled by a coroutine, it attaches at first use


# -- steps on an event loop ----------------------------------------------------------------------------


async def _carry_out(steps: Steps[Result]) -> Result:
    """Do all steps without blocking the event loop; return the generator's result."""
    pauses = _Pauses()
    try:
        step = next(steps)
        while True:
            try:
                answer = await _do(step, pauses)
            except Exception as problem:
                step = steps.throw(problem)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        result: Result = end.value
        return result
    finally:
        steps.close()  # where this was cancelled


class _Pauses:
    """Pauses that grow over all steps of a call."""

    def __init__(self) -> None:
        self._next = FIRST

    def next(self) -> float:
        pause = self._next
        self._next = min(GROWTH * pause, LONGEST)
        return pause


async def _do(step: Step, pauses: _Pauses) -> object:
    match step:
        case Bell():
            return await _listen(step, pauses)
        case Pause(seconds):
            await asyncio.sleep(seconds)
            return None
        case Call(function, seconds):
            try:
                return await in_thread_within(seconds, function)
            except TimeoutError:
                raise LateError from None
        case Aside(function):
            _call_aside(function)
            return None


async def _listen(bell: Bell, pauses: _Pauses) -> bool:
    """Look for news after each pause: no event loop sleeps on a futex."""
    end = time.monotonic() + bell.seconds
    while (left := end - time.monotonic()) > 0:
        await asyncio.sleep(min(pauses.next(), left))
        if bell.ring.wait_for(bell.which, bell.seen, 0.0):
            return True
    return False
