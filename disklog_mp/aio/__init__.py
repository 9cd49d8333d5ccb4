"""The log for asyncio: the same names, and nothing that blocks the event loop.

While the ring has room log() is one call as without asyncio: no thread, no task switch.  Whoever has to
wait, for room, for the writer, for other processes' records, looks again after pauses that grow, so that
cancelling ends it at once.  What may start a process or read a disk is done in bites by a thread of the
loop's default executor.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from disklog_mp import _core
from disklog_mp._core import DAMAGED, FULL, NEEDS_ATTACH, SYNC_WANTED, Record
from disklog_mp._reader import reader
from disklog_mp._reader.cursor import Cursor
from disklog_mp._reader.damage import Damage, report
from disklog_mp._reader.page import Page
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness as _liveness
from disklog_mp._session import opening as _open
from disklog_mp._session import session
from disklog_mp.errors import LogNotFoundError, RingFullError, WaitTimeoutError, WriterDiedError

if TYPE_CHECKING:
    from disklog_mp._ring.stats import Stats

__all__ = ["Reader", "Session", "attach", "open"]

FIRST, LONGEST, GROWTH = 0.001, 0.02, 1.25  # pauses in seconds: an event loop cannot sleep shorter
LOOKS = 0.01  # pauses from here on bring a look at the writer
GRACE = 0.02  # for a thread that kept its time to say so
LOOK = 0.1  # longest time without a look at the directory, seconds
BITE = (1024, 0.02)  # records, and seconds, of one visit to a thread
Result = TypeVar("Result")


async def _in_thread(function: Callable[..., Result], *args: Any) -> Result:
    return await asyncio.get_running_loop().run_in_executor(None, partial(function, *args))


async def _in_thread_until(deadline: float, function: Callable[[float], Result]) -> Result:
    """As above, with the seconds that are left as the argument.  TimeoutError if no thread was free, or it
    is late.
    """
    left = max(0.0, deadline - time.monotonic())
    async with asyncio.timeout(left + GRACE):
        return await _in_thread(function, left)


async def open(name: str, path: str | os.PathLike[str] = ".", **options: Any) -> Session:
    """Open a log as disklog_mp.open() does, with the same options and errors."""
    return await _in_thread(lambda: _wrap(_open.open(name, path, **options)))


async def attach(name: str, **options: Any) -> Session:
    """Attach to a log as disklog_mp.attach() does, with the same options and errors."""
    return await _in_thread(lambda: _wrap(_open.attach(name, **options)))


class _AttachFirstError(Exception):
    """The session must attach, which may take long, before this can be done."""


class _Producer(session.Session):
    """The session inside: on an event loop it asks for what may take long instead of doing it."""

    patient = False  # what finds no room is tried again

    def __init__(self, *args: Any, **options: Any) -> None:
        with contextlib.suppress(_AttachFirstError):  # unpickled by a coroutine: at first use, then
            super().__init__(*args, **options)

    def _attach(self, patience: float | None = None) -> None:
        if not self._closed and _running_loop() is not None:
            raise _AttachFirstError
        super()._attach(patience)

    def _refuse(self, count: int) -> None:
        if not self.patient:
            super()._refuse(count)

    def _look_at_writer(self) -> None:
        loop = _running_loop()
        if loop is None:
            super()._look_at_writer()
        else:
            loop.run_in_executor(None, self._look_aside)

    def _look_aside(self) -> None:
        with contextlib.suppress(Exception):  # as in log(): what is wrong shows in flush and stats
            super()._look_at_writer()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _wrap(opened: session.Session) -> Session:
    """An asynchronous session in place of one that was opened in this thread."""
    with opened:
        return _make(opened.name, opened._ring_dir, opened.on_full, opened.timeout, opened._starter)


def _make(
    name: str,
    ring_dir: str | None,
    on_full: str,
    timeout: float,
    starter: Callable[..., bool] | None = None,
) -> Session:
    # "block" is done here: what is inside must not sleep.
    single = "raise" if on_full == "block" else on_full
    inner = _Producer(name, ring_dir=ring_dir, on_full=single, timeout=timeout, starter=starter)
    inner.patient = on_full == "block"
    return Session(inner, on_full)


class Session:
    """A handle on a log, for all event loops and threads of a process and, after a fork, for the child.

    Get one from open() or attach(); `async with` closes it.  Pickles to a session of the other process.
    """

    def __init__(self, inner: _Producer, on_full: str) -> None:
        self._inner = inner
        self.name = inner.name
        self.on_full = on_full
        self.timeout = inner.timeout
        self._turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]
        self._turns = weakref.WeakKeyDictionary()
        self._waiting = 0  # tasks; while there are any, nobody overtakes them

    @property
    def closed(self) -> bool:
        """True after close()."""
        return self._inner.closed

    # -- logging -----------------------------------------------------------------------------------------

    async def log(self, data: Any, *, tag: int = 0) -> int:
        """Log one record and return its position; see disklog_mp.Session.log.

        Suspends only while the ring is full and on_full is "block".  Cancelled then, the record is not
        logged.
        """
        inner = self._inner
        full: RingFullError | None = None
        if not self._waiting:
            try:
                return inner.log(data, tag=tag)
            except _AttachFirstError:
                pass
            except RingFullError as problem:
                full = problem
        return await self._insist(
            full, partial(inner.log, data, tag=tag), partial(inner.try_record, data, tag), 1
        )

    async def log_many(self, records: Iterable[Any], *, tag: int = 0) -> int:
        """Log several records as one group and return the position of the first; suspends as log() does."""
        group: Any = records if isinstance(records, (bytes, str)) else tuple(records)  # refused below
        inner = self._inner
        full: RingFullError | None = None
        if not self._waiting:
            try:
                return inner.log_many(group, tag=tag)
            except _AttachFirstError:
                pass
            except RingFullError as problem:
                full = problem
        return await self._insist(
            full, partial(inner.log_many, group, tag=tag), partial(inner.try_group, group, tag), len(group)
        )

    async def _insist(
        self, full: RingFullError | None, log: Callable[[], int], attempt: Callable[[], int], count: int
    ) -> int:
        """Attach, wait for room, whatever it takes; in the order of the calls on this event loop."""
        started = time.monotonic()
        self._waiting += 1
        try:
            async with self._turns.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
                return await self._wait_for_room(full, log, attempt, started)
        except RingFullError:
            if self._inner.patient:
                self._inner.count(count, 0)
            raise
        finally:
            self._waiting -= 1

    async def _wait_for_room(
        self, full: RingFullError | None, log: Callable[[], int], attempt: Callable[[], int], started: float
    ) -> int:
        deadline = started + self.timeout
        pause = FIRST
        while True:
            if full is not None and self.on_full != "block":
                raise full
            status = NEEDS_ATTACH if full is None else attempt()
            if status >= 0:
                return status
            if full is None or status not in (FULL, DAMAGED):
                try:
                    return await self._do(log, deadline)
                except RingFullError as problem:
                    full = problem
                    continue
            waited = time.monotonic() - started
            if waited >= self.timeout:
                raise RingFullError(full.length, self._free(), waited) from None
            await asyncio.sleep(min(pause, self.timeout - waited))
            if pause >= LOOKS:
                await self._keep_writer(deadline)
            pause = min(GROWTH * pause, LONGEST)

    def _free(self) -> int:
        try:
            ring = self._inner._ready_ring()
        except _AttachFirstError:  # it ended, just now
            return 0
        released = ring.released
        return ring.capacity - (ring.frontier(released) - released)

    async def _do(self, function: Callable[[], Result], deadline: float | None = None) -> Result:
        """Call a function that needs the ring: after a fork, or when the ring was replaced, attach first, by
        the deadline (None: of a call that begins now).
        """
        if deadline is None:
            deadline = time.monotonic() + self.timeout
        while True:
            with contextlib.suppress(_AttachFirstError):
                return function()
            try:
                await _in_thread_until(deadline, self._inner._attach)
            except TimeoutError:
                raise LogNotFoundError(self.name) from None
            except LogNotFoundError:  # the ring ended, and its writer before it made the next
                left = deadline - time.monotonic()
                if left <= 0 or self.on_full != "block" or self._inner._attachment is None:
                    raise
                await asyncio.sleep(min(LONGEST, left))

    async def _keep_writer(self, deadline: float) -> bool:
        """True if a writer is alive, if need be one started now; attached to the ring that is in use."""
        inner = self._inner
        attachment = inner._attachment
        if attachment is None:
            return True
        attachment.file.ring.wake()  # whoever took the writer's bell may have died before ringing it
        try:
            if _ring.is_replaced(attachment.file, inner.name, inner._ring_dir):
                await _in_thread_until(deadline, inner._attach)
                return True
            alive = _liveness.writer_alive(attachment.file)
            return alive or await _in_thread_until(deadline, inner._keep_writer)
        except TimeoutError:  # whoever waits sees to that
            return False

    # -- waiting for the writer --------------------------------------------------------------------------

    async def flush(self, timeout: float | None = None) -> None:
        """Wait until all that this session logged so far is written; see disklog_mp.Session.flush."""
        await self._wait("written", timeout)

    async def sync(self, timeout: float | None = None) -> None:
        """Wait until all that this session logged so far is durable; see disklog_mp.Session.sync."""
        await self._wait("durable", timeout)

    async def _wait(self, goal: str, timeout: float | None) -> None:
        started = time.monotonic()
        patience = self.timeout if timeout is None else timeout  # with a dead writer nobody replaces
        seen_alive = started
        pause = FIRST

        def deadline() -> float:
            return patience + (started if timeout is not None else time.monotonic())

        ring: _core.Ring = await self._do(self._inner._ready_ring, deadline())
        position, failures = self._inner.end, ring.sync_failures
        while (reached := getattr(ring, goal)) < position:
            if goal == "durable":
                ring.maximize64(SYNC_WANTED, position)
                if ring.sync_failures > failures:
                    from disklog_mp._ring.control import error_text

                    raise OSError(ring.error_number, f"the log could not be synced: {error_text(ring)}")
            now = time.monotonic()
            if timeout is not None and now - started >= timeout:
                raise WaitTimeoutError(goal, position, reached, now - started)
            ring.wake()  # it may be dozing
            await asyncio.sleep(pause if timeout is None else min(pause, started + timeout - now))
            if pause >= LOOKS:
                if await self._keep_writer(deadline()):
                    seen_alive = now
                elif now - seen_alive >= patience:
                    raise WriterDiedError(self.name, ring.writer_pid)
            pause = min(GROWTH * pause, LONGEST)
            ring = await self._do(self._inner._ready_ring, deadline())

    async def roll(self) -> None:
        """Ask the writer to seal the page being written; the next record begins another."""
        await self._do(self._inner.roll)

    # -- reading -----------------------------------------------------------------------------------------

    async def reader(self) -> Reader:
        """Return a reader over the log's directory."""
        return Reader((await self._do(self._inner._ready_ring)).path)

    async def get_page(self, number: int) -> Page:
        """Return a page by its number, from 1, after a flush: a session finds what it logged."""
        await self.flush()
        return await (await self.reader()).get_page(number)

    async def stats(self) -> Stats:
        """Return the log's statistics.  Changes nothing."""
        return await self._do(self._inner.stats)

    # -- leaving -----------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Detach.  What was logged needs no more help.  Twice is fine; once begun it cannot be cancelled."""
        await asyncio.shield(_in_thread(self._inner.close))

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<aio.Session on {self.name!r}{', closed' if self.closed else ''}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _make, (self.name, self._inner._ring_dir, self.on_full, self.timeout)


class Reader:
    """Reads the log in a directory, live or dead; `async for` over it gives all records there are.

    Damage is passed over and reported to `on_damage`, in a thread.  Raises FileNotFoundError or
    NotADirectoryError for a path that is no directory.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, on_damage: Callable[[Damage], object] = report
    ) -> None:
        self._reader = reader.Reader(path, on_damage=on_damage)

    @property
    def path(self) -> str:
        """The directory, absolute."""
        return self._reader.path

    def __repr__(self) -> str:
        return f"<aio.Reader of {self.path}>"

    async def page_numbers(self) -> list[int]:
        """Return the numbers of the pages there are now, in order."""
        return await _in_thread(self._reader.page_numbers)

    async def pages(self) -> AsyncIterator[Page]:
        """Iterate the pages there are, oldest first; see disklog_mp.Reader.pages."""
        pages = self._reader.pages()
        while (page := await _in_thread(next, pages, None)) is not None:
            yield page

    async def get_page(self, number: int) -> Page:
        """Return a page by its number, from 1; see disklog_mp.Reader.get_page."""
        return await _in_thread(self._reader.get_page, number)

    def __aiter__(self) -> AsyncIterator[Record]:
        return self.records()

    def records(
        self,
        start: int | None = None,
        stop: int | None = None,
        since: object = None,
        until: object = None,
    ) -> AsyncIterator[Record]:
        """Iterate records by number and time; see disklog_mp.Reader.records."""
        return _iterate(self._reader.records(start, stop, since, until))

    async def begin(self) -> Cursor | None:
        """Return the cursor of the oldest record kept; None while the log has no page."""
        return await _in_thread(self._reader.begin)

    async def end(self) -> Cursor | None:
        """Return the cursor behind the newest record; None while the log has no page."""
        return await _in_thread(self._reader.end)

    async def read(
        self, cursor: Cursor | str | None = None, max_records: int = 1000, max_bytes: int | None = None
    ) -> tuple[list[Record], Cursor | None]:
        """Return up to so many records from the cursor on, and the cursor behind them.

        See disklog_mp.Reader.read.
        """
        return await _in_thread(self._reader.read, cursor, max_records, max_bytes)

    async def follow(
        self, cursor: Cursor | str | None = None, *, timeout: float | None = None
    ) -> AsyncIterator[Record]:
        """Iterate records from the cursor on (None: the oldest) and then wait for more, for ever.

        With `timeout`, ends after so many seconds in which none came.  Raises what read() raises.
        """
        stream = self._reader.stream(cursor)
        pause = FIRST
        last = time.monotonic()
        while True:
            async for record in _iterate(stream):
                yield record
                pause, last = FIRST, time.monotonic()
            looked = time.monotonic()
            while True:
                now = time.monotonic()
                if timeout is not None and now - last >= timeout:
                    return
                await asyncio.sleep(pause if timeout is None else min(pause, last + timeout - now))
                pause = min(GROWTH * pause, LONGEST)
                if not stream.is_quiet() or time.monotonic() - looked >= LOOK:
                    break


async def _iterate(records: Iterable[Record]) -> AsyncIterator[Record]:
    """What there is, read bite by bite in a thread."""
    iterator = iter(records)
    while bite := await _in_thread(_bite, iterator):
        for record in bite:
            yield record


def _bite(records: Iterator[Record]) -> list[Record]:
    """The next records, no more than a thread can fetch in a moment: [] at the end."""
    most, seconds = BITE
    deadline = time.monotonic() + seconds
    taken: list[Record] = []
    while len(taken) < most and time.monotonic() < deadline:
        before = len(taken)
        taken += islice(records, 64)
        if len(taken) - before < 64:
            break
    return taken
