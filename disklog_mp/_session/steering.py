"""The calls that steer a running log: they ask its writer, and one is started where none lives.

A request is done once or not at all, also if a process dies at any step of it: see _writer/steering.py.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, NamedTuple, Unpack

from disklog_mp import _core
from disklog_mp._options import Changes, check_changes, check_limits, parse_duration
from disklog_mp._session import requests
from disklog_mp._session.connection import Connection
from disklog_mp._session.waiting import carry_out, ready_ring

PAUSE = 600.0  # seconds of a pause at the most


class PageSpan(NamedTuple):
    """Pages that a call removed, or would remove: how many, the first and the last, their records and bytes.

    All are 0 if there were none.
    """

    first: int
    last: int
    pages: int
    records: int
    bytes: int


PageSpan.__module__ = "disklog_mp"  # where users find it


class Steering:
    """Calls of a session."""

    _connection: Connection

    def configure(self, **options: Unpack[Changes]) -> None:
        """Change options of the log while it runs: those of open(), for all processes.

        None takes a limit back: keep_bytes=None keeps everything.  Returns when the options are in force and
        outlive this writer; a ring of another size takes the old one's place a moment later.

        Raises PermissionError for a user that may not write the log's directory, OSError (TimeoutError: the
        writer does not answer), ValueError, TypeError, SessionClosedError, LogNotFoundError.
        """
        configure(self._connection, {**options})

    def roll(self, wait: bool = True) -> int | None:
        """Seal the page being written, with all that was logged until now; the next record begins another.

        Returns the number of that page, None if it was empty and nothing was done.  With wait=False it only
        asks, and returns None.

        Raises OSError (TimeoutError: the writer does not answer), SessionClosedError, LogNotFoundError.
        """
        return roll(self._connection, wait)

    def truncate(self) -> PageSpan:
        """Remove all that was logged until now.  Positions, record numbers and page numbers go on.

        Returns what was removed.  Raises PermissionError for a user that may not write the log's directory,
        OSError (then the rest is there), SessionClosedError, LogNotFoundError.
        """
        return truncate(self._connection)

    def archive(self, to: str | os.PathLike[str]) -> PageSpan:
        """Move all pages, sealed, into another directory, which exists: to make a backup, for example.

        The log goes on in a new page.  On one file system the pages are renamed, elsewhere copied, synced and
        removed; none is ever in neither place.  Reader(to) reads them.  A reader that was behind is told
        where they went (Missing.moved_to).

        Returns what was moved.  Raises what truncate() raises, ValueError or OSError for a directory that
        cannot take them; pages that were moved before an error stay there.
        """
        return archive(self._connection, to)

    def pause(self, limit: float | str = PAUSE) -> str:
        """Have the writer keep its hands off the log's directory, for a backup or a snapshot of it.

        What was written is synced before.  Processes log on into the ring until that is full, and then meet
        `on_full`; flush() and sync() wait.  The pause ends with resume(), with this process, or after
        `limit`.

        Returns what resume() takes.  Raises what truncate() raises, ValueError.
        """
        return pause(self._connection, limit)

    def resume(self, pause: str | None = None) -> int:
        """Take back a pause; None: all, also those of other processes.  Returns how many that were."""
        return resume(self._connection, pause)

    @contextlib.contextmanager
    def paused(self, limit: float | str = PAUSE) -> Iterator[None]:
        """Pause for as long as the block of this `with` takes."""
        pause = self.pause(limit)
        try:
            yield
        finally:
            self.resume(pause)

    def prune(
        self,
        *,
        pages: int | str | None = None,
        bytes: int | str | None = None,
        age: float | str | None = None,
        dry_run: bool = False,
    ) -> PageSpan:
        """Remove the oldest sealed pages, once, until no more than so many pages or bytes are there, and none
        sealed longer ago than `age`.  The newest page stays.

        Returns what was removed, with `dry_run` what would be.  Raises ValueError without a limit, TypeError,
        and what truncate() raises.
        """
        return prune(self._connection, {"pages": pages, "bytes": bytes, "age": age}, dry_run)


def configure(connection: Connection, options: dict[str, Any]) -> None:
    """Have the log's writer change options, and wait for its answer."""
    changes = check_changes(options)
    requests.ask(_log_of(connection), "configure", options=changes)


def roll(connection: Connection, wait: bool) -> int | None:
    """Have the log's writer seal the page being written."""
    if not wait:
        ask_roll(carry_out(ready_ring(connection)))
        return None
    page: int | None = steer(connection, "roll")["page"]
    return page


def truncate(connection: Connection) -> PageSpan:
    """Have the log's writer remove all that was logged."""
    return span_in(steer(connection, "truncate"))


def archive(connection: Connection, to: str | os.PathLike[str]) -> PageSpan:
    """Have the log's writer move all pages into another directory."""
    return span_in(steer(connection, "archive", to=os.path.abspath(os.fspath(to))))


def pause(connection: Connection, limit: float | str) -> str:
    """Have the log's writer pause."""
    seconds = parse_duration(limit, "limit")
    return str(steer(connection, "pause", seconds=seconds, held=True)["pause"])


def resume(connection: Connection, pause: str | None) -> int:
    """Have the log's writer go on."""
    return int(steer(connection, "resume", pause=pause)["pauses"])


def prune(connection: Connection, keep: dict[str, Any], dry_run: bool) -> PageSpan:
    """Have the log's writer remove the oldest pages."""
    return span_in(steer(connection, "prune", keep=check_limits(keep), dry_run=dry_run))


def span_in(answer: dict[str, Any]) -> PageSpan:
    """Return the pages that an answer tells of."""
    return PageSpan(*(answer[name] for name in PageSpan._fields))


def ask_roll(ring: _core.Ring) -> None:
    """Ask the ring's writer to seal the page being written."""
    ring.ask_roll()
    ring.wake()


def steer(connection: Connection, what: str, **fields: Any) -> dict[str, Any]:
    """Ask for something that may take a while, and wait for its end."""
    return requests.ask_until_done(_log_of(connection), what, **fields)


def _log_of(connection: Connection) -> requests.Log:
    ring = carry_out(ready_ring(connection))
    place = connection.place
    return requests.log_in(connection.name, place.path(), place.ring_dir, ring.wake)
