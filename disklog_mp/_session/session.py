"""A session: one process's handle on a log.  The public calls, and nothing else.

Where a call has to wait, what it waits for is decided in policy.py and waiting.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from disklog_mp import _core
from disklog_mp._session import leaving
from disklog_mp._session.connection import Connection
from disklog_mp._session.pickling import connection_for, state_of
from disklog_mp._session.policy import group_entry, log_or_refuse, record_entry
from disklog_mp._session.steering import Steering
from disklog_mp._session.waiting import carry_out, read_stats, ready_ring, wait_for

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from disklog_mp._reader.events import LogEvent
    from disklog_mp._reader.page import Page
    from disklog_mp._reader.reader import Reader
    from disklog_mp._ring.stats import Stats


Kind = TypeVar("Kind", bound=_core.Handle)


@_core.with_own_methods
class BlockingConnection(Connection):
    """A connection whose log() sleeps while it has to wait."""

    def _log_slowly(self, data: Any, tag: int, status: int) -> int:
        return carry_out(log_or_refuse(self, record_entry(self, data, tag), status))

    def _log_many_slowly(self, records: tuple[Any, ...], tag: int, status: int) -> int:
        return carry_out(log_or_refuse(self, group_entry(self, records, tag), status))

    def log_for(self, pid: int, data: Any, tag: int, time: int = 0, *, waited: float = 0.0) -> int:
        """Log a record that another process made, or that was made at another time (ns since the epoch).

        0: this process, now.  `waited`: seconds of the timeout that are over already.  Returns and raises as
        log() does.
        """
        return carry_out(log_or_refuse(self, record_entry(self, data, tag, time, pid), waited=waited))


def _in_core(kind: type[Kind]) -> type[Kind]:
    """Put the core's log and log_many in place of those written out: one C call, no Python frame."""
    del kind.log, kind.log_many
    return _core.with_own_methods(kind)


@_in_core
class Session(Steering, _core.Handle):
    """A handle on a log, for all threads of a process and, after a fork, for the child as well.

    Get one from disklog_mp.open() or disklog_mp.attach().  Pickles to a session of the other process.  `with`
    closes it.
    """

    _connection: BlockingConnection

    def __init__(self, connection: BlockingConnection) -> None:
        self._connection = connection
        self._hold(connection)

    @property
    def name(self) -> str:
        """The log's name."""
        return self._connection.name

    @property
    def path(self) -> str:
        """The log's directory.

        Raises FileNotFoundError if it cannot be seen from here, or the log there is not this one.
        """
        carry_out(ready_ring(self._connection))
        return self._connection.place.path()

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

    def log(self, data: Buffer, /, *, tag: int = 0) -> int:
        """Log one record and return its position.

        `data` is any bytes-like object, `tag` a number from 0 to 65535 kept beside it.  When this returns the
        record is committed: it survives the death of any process.  It does no I/O.  Waits only while the ring
        is full, and with on_full="block" at most `timeout` seconds.  With on_full="drop" a record that was
        dropped returns -1.

        Raises TypeError for anything but bytes, ValueError for a tag, RecordTooLargeError, RingFullError,
        LogFullError, WriterDiedError, SessionClosedError, LogNotFoundError, TooManyProducersError.
        """
        return self._connection.log(data, tag=tag)

    def log_many(self, records: Iterable[Buffer], /, *, tag: int = 0) -> int:
        """Log several records as one group and return the position of the first.

        All become visible together and stand next to each other, or none is logged.  Together they may take a
        quarter of the ring.  An empty iterable logs nothing and returns -1.

        Raises what log() raises.
        """
        return self._connection.log_many(records, tag=tag)

    # -- waiting for the writer --------------------------------------------------------------------------

    def flush(self, timeout: float | None = None) -> None:
        """Wait until all that any process has logged so far is written: in a page file, visible to readers.

        Waits at most `timeout` seconds.  None: as long as the log moves on, and then as long as the session's
        own timeout, or for 60 s while the writer waits for its disk.  A writer that is dead is replaced
        meanwhile.

        Raises WaitTimeoutError, WriterDiedError, SessionClosedError, LogNotFoundError.
        """
        carry_out(wait_for(self._connection, "written", timeout))

    def sync(self, timeout: float | None = None) -> None:
        """Wait until all that any process has logged so far is durable: it survives power loss.

        Callers in all processes are served by one fdatasync.  `timeout` is that of flush().

        Raises what flush() raises, and OSError if the disk refused.
        """
        carry_out(wait_for(self._connection, "durable", timeout))

    # -- reading -----------------------------------------------------------------------------------------

    def reader(self) -> Reader:
        """Return a reader over the log's directory."""
        from disklog_mp._reader.reader import Reader

        return Reader(self.path)

    def pages(self) -> Iterator[Page]:
        """Iterate the pages there are, oldest first, after a flush; see Reader.pages().

        Raises what flush() raises.
        """
        self.flush()
        return self.reader().pages()

    def get_page(self, number: int) -> Page:
        """Return a page by its number, from 1, after a flush: a session finds what it logged.

        Raises PageNotFoundError, PageRetiredError, CorruptPageError, and what flush() raises.
        """
        self.flush()
        return self.reader().get_page(number)

    def events(self, follow: bool = False) -> Iterator[LogEvent]:
        """Iterate what happened to the log itself, oldest first; with `follow`, wait for more.

        Raises FileNotFoundError, SessionClosedError, LogNotFoundError.
        """
        return self.reader().events(follow)

    def stats(self) -> Stats:
        """Return the log's statistics; see the class Stats.  Changes nothing.

        Raises SessionClosedError, LogNotFoundError.
        """
        return carry_out(read_stats(self._connection))

    # -- leaving -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Detach.  What was logged needs no more help; drops not yet reported are.  Twice is fine.

        The last session that this process closes on a log waits until all that the process logged is in page
        files, for at most 5 s once per process, and raises nothing then.  The process's exit does likewise.
        Waits for appends of other threads at most `timeout` seconds.  The slot in the ring is then given back
        later: when they have ended, and this process opens or closes a session.
        """
        leaving.close(self._connection)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Session on {self.name!r}{', closed' if self.closed else ''}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, state_of(self._connection)


def _unpickle(*state: Any) -> Session:
    connection = connection_for(BlockingConnection, state)
    connection.attach()
    return Session(connection)


def connection_of(session: Session) -> BlockingConnection:
    """Return what a session works with, for other ways to log to the same ring."""
    return session._connection
