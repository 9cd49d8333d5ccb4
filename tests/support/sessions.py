"""What tests see of a session that users do not."""

from typing import Any

from disklog_mp import _core
from disklog_mp._ring.file import RingFile
from disklog_mp._ring.stats import Stats
from disklog_mp._session.connection import Connection
from disklog_mp._session.waiting import attachment_with_descriptor, carry_out, read_stats, ready_ring


def connection_of(session: Any) -> Connection:
    """The connection of a session, also of one for asyncio."""
    connection: Connection = session._connection
    return connection


def ring_of(session: Any) -> _core.Ring:
    """The ring this process is attached to; it attaches if need be."""
    return carry_out(ready_ring(connection_of(session)))


def ring_file_of(session: Any) -> RingFile:
    """The same ring, with a descriptor whose locks can be asked for."""
    return carry_out(attachment_with_descriptor(connection_of(session))).file


def read_stats_of(session: Any) -> Stats:
    """The log's statistics, also from a session for asyncio, without its event loop."""
    return carry_out(read_stats(connection_of(session)))
