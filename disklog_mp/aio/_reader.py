"""The reader for asyncio: disks are read in bites, by a thread of the loop's default executor."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import TypeVar, Unpack

from disklog_mp._core import Record
from disklog_mp._reader import reader
from disklog_mp._reader.conditions import Needle, Wanted
from disklog_mp._reader.cursor import Cursor
from disklog_mp._reader.damage import Damage, report
from disklog_mp._reader.events import EventStream, LogEvent
from disklog_mp._reader.page import Page
from disklog_mp.aio._threads import in_thread

FIRST, LONGEST, GROWTH = 0.001, 0.02, 1.25  # pauses in seconds: an event loop cannot sleep shorter
LOOK = 0.1  # longest time without a look at the directory, seconds
BITE = (1024, 0.02)  # records, and seconds, of one visit to a thread


class Reader:
    """Reads the log in a directory, live or dead; `async for` over it gives all records there are.

    Damage is passed over and reported to `on_damage`, in a thread.  Raises FileNotFoundError or
    NotADirectoryError for a path that is no directory.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, on_damage: Callable[[Damage], object] = report
    ) -> None:
        self._reader = reader.Reader(path, on_damage=on_damage)
        self._on_damage = on_damage

    @property
    def path(self) -> str:
        """The directory, absolute."""
        return self._reader.path

    def __repr__(self) -> str:
        return f"<aio.Reader of {self.path}>"

    async def page_numbers(self) -> list[int]:
        """Return the numbers of the pages there are now, in order."""
        return await in_thread(self._reader.page_numbers)

    async def pages(self) -> AsyncIterator[Page]:
        """Iterate the pages there are, oldest first; see disklog_mp.Reader.pages."""
        pages = self._reader.pages()
        while (page := await in_thread(next, pages, None)) is not None:
            yield page

    async def get_page(self, number: int) -> Page:
        """Return a page by its number, from 1; see disklog_mp.Reader.get_page."""
        return await in_thread(self._reader.get_page, number)

    def __aiter__(self) -> AsyncIterator[Record]:
        return self.records()

    def records(
        self,
        start: int | None = None,
        stop: int | None = None,
        since: object = None,
        until: object = None,
        **conditions: Unpack[Wanted],
    ) -> AsyncIterator[Record]:
        """Iterate records by number, time and conditions; see disklog_mp.Reader.records."""
        return _iterate(self._reader.records(start, stop, since, until, **conditions))

    def search(
        self,
        needle: Needle | Iterable[Needle] | None = None,
        *,
        start: int | None = None,
        stop: int | None = None,
        since: object = None,
        until: object = None,
        **conditions: Unpack[Wanted],
    ) -> AsyncIterator[Record]:
        """Iterate the records that hold a needle and meet conditions; see disklog_mp.Reader.search."""
        found = self._reader.search(needle, start=start, stop=stop, since=since, until=until, **conditions)
        return _iterate(found)

    async def begin(self) -> Cursor | None:
        """Return the cursor of the oldest record kept; None while the log has no page."""
        return await in_thread(self._reader.begin)

    async def end(self) -> Cursor | None:
        """Return the cursor behind the newest record; None while the log has no page."""
        return await in_thread(self._reader.end)

    async def read(
        self,
        cursor: Cursor | str | None = None,
        max_records: int = 1000,
        max_bytes: int | None = None,
        *,
        backward: bool = False,
    ) -> tuple[list[Record], Cursor | None]:
        """Return up to so many records from the cursor on, and the cursor behind them.

        See disklog_mp.Reader.read, also for `backward`.
        """
        read = partial(self._reader.read, cursor, max_records, max_bytes, backward=backward)
        return await in_thread(read)

    async def step(self, cursor: Cursor | str | None, pages: int = 1, *, check: bool = True) -> Cursor | None:
        """Return the cursor of a page so many pages on or back; see disklog_mp.Reader.step."""
        return await in_thread(partial(self._reader.step, cursor, pages, check=check))

    async def cursor_at(self, number: int | None = None, *, since: object = None) -> Cursor | None:
        """Return the cursor of a record's number, or of a time; see disklog_mp.Reader.cursor_at."""
        return await in_thread(partial(self._reader.cursor_at, number, since=since))

    async def follow(
        self, cursor: Cursor | str | None = None, *, timeout: float | None = None
    ) -> AsyncIterator[Record]:
        """Iterate records from the cursor on (None: the oldest) and then wait for more, for ever.

        With `timeout`, ends after so many seconds in which none came.  Raises what read() raises.
        """
        stream = self._reader.stream(cursor)
        async for record in _follow(stream, stream.is_quiet, timeout):
            yield record

    async def events(self, follow: bool = False, *, timeout: float | None = None) -> AsyncIterator[LogEvent]:
        """Iterate what happened to the log itself, oldest first; see disklog_mp.Reader.events."""
        stream = EventStream(self.path, self._on_damage)
        found = _follow(stream, stream.is_quiet, timeout) if follow else _iterate(stream)
        async for event in found:
            yield event


Item = TypeVar("Item")


async def _follow(
    stream: Iterable[Item], is_quiet: Callable[[], bool], timeout: float | None
) -> AsyncIterator[Item]:
    """What there is and what comes, until `timeout` seconds have passed in which nothing came."""
    pause = FIRST
    last = time.monotonic()
    while True:
        async for item in _iterate(stream):
            yield item
            pause, last = FIRST, time.monotonic()
        looked = time.monotonic()
        while True:
            now = time.monotonic()
            if timeout is not None and now - last >= timeout:
                return
            await asyncio.sleep(pause if timeout is None else min(pause, last + timeout - now))
            pause = min(GROWTH * pause, LONGEST)
            if not is_quiet() or time.monotonic() - looked >= LOOK:
                break


async def _iterate(records: Iterable[Item]) -> AsyncIterator[Item]:
    """What there is, read bite by bite in a thread."""
    iterator = iter(records)
    while bite := await in_thread(_bite, iterator):
        for record in bite:
            yield record


def _bite(records: Iterator[Item]) -> list[Item]:
    """The next records, no more than a thread can fetch in a moment: [] at the end."""
    most, seconds = BITE
    deadline = time.monotonic() + seconds
    taken: list[Item] = []
    while len(taken) < most and time.monotonic() < deadline:
        before = len(taken)
        taken += islice(records, 64)
        if len(taken) - before < 64:
            break
    return taken
