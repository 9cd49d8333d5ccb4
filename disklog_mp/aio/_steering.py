"""The calls that steer a running log, for asyncio."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Unpack

from disklog_mp._options import Changes
from disklog_mp._session import steering
from disklog_mp._session.connection import Connection
from disklog_mp._session.steering import PageSpan
from disklog_mp.aio._threads import in_thread


class Steering:
    """Calls of a session."""

    _connection: Connection

    async def configure(self, **options: Unpack[Changes]) -> None:
        """Change options of the log while it runs; see disklog_mp.Session.configure."""
        await in_thread(steering.configure, self._connection, {**options})

    async def roll(self, wait: bool = True) -> int | None:
        """Seal the page being written; see disklog_mp.Session.roll."""
        return await in_thread(steering.roll, self._connection, wait)

    async def truncate(self) -> PageSpan:
        """Remove all that was logged until now; see disklog_mp.Session.truncate."""
        return await in_thread(steering.truncate, self._connection)

    async def archive(self, to: str | os.PathLike[str]) -> PageSpan:
        """Move all pages into another directory; see disklog_mp.Session.archive."""
        return await in_thread(steering.archive, self._connection, to)

    async def pause(self, limit: float | str = steering.PAUSE) -> str:
        """Have the writer keep its hands off the directory; see disklog_mp.Session.pause."""
        return await in_thread(steering.pause, self._connection, limit)

    async def resume(self, pause: str | None = None) -> int:
        """Take back a pause; see disklog_mp.Session.resume."""
        return await in_thread(steering.resume, self._connection, pause)

    @contextlib.asynccontextmanager
    async def paused(self, limit: float | str = steering.PAUSE) -> AsyncIterator[None]:
        """Pause for as long as the block of this `async with` takes."""
        pause = await self.pause(limit)
        try:
            yield
        finally:
            await self.resume(pause)

    async def prune(
        self,
        *,
        pages: int | str | None = None,
        bytes: int | str | None = None,
        age: float | str | None = None,
        dry_run: bool = False,
    ) -> PageSpan:
        """Remove the oldest sealed pages, once; see disklog_mp.Session.prune."""
        keep = {"pages": pages, "bytes": bytes, "age": age}
        return await in_thread(steering.prune, self._connection, keep, dry_run)
