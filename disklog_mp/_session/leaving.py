"""What a process waits for before it leaves a log: all that it logged is in pages, not in the ring alone.

The ring may end with the process.  In a container /dev/shm ends with process 1.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import time

from disklog_mp import _core
from disklog_mp._session import reaping
from disklog_mp._session.connection import Connection, connections, left_behind
from disklog_mp._session.waiting import LONGEST_SLEEP, carry_out, wait_for
from disklog_mp.errors import DiskLogError

LONGEST = 5.0  # seconds that one process waits in vain, in all


class _Patience:
    """How long this process still waits for a writer that does not write."""

    def __init__(self) -> None:
        self._pid = 0
        self._left = LONGEST

    def left(self) -> float:
        """Return the seconds that are left; a forked child has its own."""
        if self._pid != os.getpid():
            self._pid, self._left = os.getpid(), LONGEST
        return self._left

    def spent(self, seconds: float) -> None:
        """Note a wait that was in vain."""
        self._left = max(0.0, self._left - seconds)


_patience = _Patience()


def close(connection: Connection) -> None:
    """Close a connection; the last one that this process has on a ring waits first.

    Raises nothing for what could not be waited for.
    """
    try:
        if not connection.is_closed:
            _wait_if_last(connection)
    finally:
        connection.close()
        reaping.collect()


def _wait_if_last(connection: Connection) -> None:
    attachment = connection.attachment
    if attachment is None or not connection.is_bound:
        return
    attachment.end = max(attachment.end, connection.end)
    if any(other is not connection and other.attachment is attachment for other in connections()):
        return
    connection.end = attachment.end
    _wait(connection)


def _wait(connection: Connection) -> None:
    ring = connection.ring
    if ring is None or (ring.written >= connection.end and not connection.orphans):
        return
    began = time.monotonic()
    try:
        carry_out(wait_for(connection, "written", _patience.left()))
    except (DiskLogError, OSError):
        _patience.spent(time.monotonic() - began)


def _wait_for_ring(ring: _core.Ring, end: int) -> None:
    """Wait for what a connection logged that went without a close()."""
    began = time.monotonic()
    deadline = began + _patience.left()
    while ring.written < end:
        seen = ring.want(_core.DONE)
        ring.wake()
        ring.wait_for(_core.DONE, seen, LONGEST_SLEEP)
        if time.monotonic() > deadline:
            _patience.spent(time.monotonic() - began)
            return


@atexit.register
def _at_exit() -> None:
    with contextlib.suppress(Exception, KeyboardInterrupt):
        for connection in connections():
            if not connection.is_closed and connection.is_bound:
                _wait(connection)
                connection.leave_to_writer()
        for ring, end in list(left_behind.items()):
            _wait_for_ring(ring, end)
