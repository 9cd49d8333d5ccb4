"""What is done with a record that the core could not log at once: attach, wait, refuse, or drop it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from disklog_mp._core import DAMAGED, ENDED, FULL, HALTED, KIND_RECORD, NEEDS_ATTACH, SPACE, TOO_LARGE
from disklog_mp._ring import control as _control
from disklog_mp._ring import policies as _policies
from disklog_mp._ring.liveness import writer_alive
from disklog_mp._session.connection import Connection
from disklog_mp._session.waiting import (
    FIRST_SLEEP,
    LONGEST_SLEEP,
    Bell,
    Pause,
    Steps,
    attach,
    attachment_with_descriptor,
    check_writer_at_most_once_a_second,
    keep_writer,
    ready_ring,
    rescue,
)
from disklog_mp.errors import (
    LogFullError,
    LogNotFoundError,
    RecordTooLargeError,
    RingFullError,
)

DROPPED = -1  # log() returns this for a record that on_full="drop" dropped


class Entry(NamedTuple):
    """What a call wants to log: one record, or several as a group."""

    attempt: Callable[[], int]  # logs it; the position, or a negative status of the core
    length: Callable[[], int]  # in bytes, as an error tells it
    records: int


def record_entry(connection: Connection, data: Any, tag: int, time: int = 0, pid: int = 0) -> Entry:
    """Return one record as an entry.  `time` (ns since the epoch) and `pid`: 0 for now, and this process."""
    return Entry(
        lambda: connection.try_record(data, tag, KIND_RECORD, time, pid), lambda: memoryview(data).nbytes, 1
    )


def group_entry(connection: Connection, records: tuple[Any, ...], tag: int) -> Entry:
    """Return several records as one entry."""

    def length() -> int:
        return 8 + sum(-(-(memoryview(record).nbytes + 24) // 8) * 8 for record in records)

    return Entry(lambda: connection.try_group(records, tag), length, len(records))


def log_or_refuse(
    connection: Connection, entry: Entry, status: int | None = None, *, waited: float = 0.0
) -> Steps[int]:
    """Remove what prevents an entry from being logged, or apply the policy `on_full`.

    `status` is the core's answer to a first attempt (None: there was none yet).  `waited`: seconds of the
    timeout that the caller has waited for the log already.  Returns the position, or DROPPED.

    Raises RingFullError, RecordTooLargeError, LogFullError, WriterDiedError, SessionClosedError,
    LogNotFoundError, TooManyProducersError.
    """
    started = time.monotonic() - waited
    has_waited = False
    sleep = FIRST_SLEEP
    while True:
        if status in (NEEDS_ATTACH, ENDED):
            left = connection.timeout - (time.monotonic() - started)
            if not (yield from _attach_or_drop(connection, left)):
                connection.drop(entry.records)
                return DROPPED
        elif status == TOO_LARGE:
            ring = yield from ready_ring(connection)
            raise RecordTooLargeError(entry.length(), ring.record_limit)
        elif status == HALTED:
            # A writer at rest is woken by this and sees whether the log is really full.
            yield from check_writer_at_most_once_a_second(connection)
            ring = yield from ready_ring(connection)
            raise LogFullError(_control.options(ring).get("max_bytes") or 0)
        status = yield from _attempt(connection, entry)
        if status >= 0:
            return status
        if status not in (FULL, DAMAGED):
            continue
        if not has_waited:
            connection.count(0, 1)
            has_waited = True
        if connection.on_full != "block" and (yield from check_writer_at_most_once_a_second(connection)):
            status = ENDED
            continue
        waited = time.monotonic() - started
        if connection.on_full == "drop":
            connection.drop(entry.records)
            return DROPPED
        if connection.on_full == "raise" or waited >= connection.timeout:
            connection.count(entry.records, 0, _policies.BITS.get(connection.on_full, 0))
            raise (yield from _refusal(connection, entry, waited))
        status = yield from _wait_for_room(connection, entry, connection.timeout - waited, sleep)
        sleep = LONGEST_SLEEP
        if status is not None and status >= 0:
            return status


def _attach_or_drop(connection: Connection, left: float) -> Steps[bool]:
    """Attach to the log's ring, in `left` seconds.  False: the ring ended, no writer made the next, drop."""
    is_new = connection.attachment is None
    try:
        yield from attach(connection, left if is_new or connection.on_full != "drop" else 0.0)
    except LogNotFoundError:
        # The writer died before it made the next ring: that is like no room, until another writer comes.
        if is_new or connection.on_full == "raise" or (connection.on_full == "block" and left <= 0):
            raise
        if connection.on_full == "drop":
            return False
        yield Pause(min(LONGEST_SLEEP, left))
    return True


def _attempt(connection: Connection, entry: Entry) -> Steps[int]:
    """Log the entry, after rescued records and reports of drops.  Returns a position or a status."""
    if connection.needs_attention:
        if connection.orphans:
            yield from rescue(connection)
        status = connection.report_drops()
        if status < 0:
            return status
    return entry.attempt()


def _wait_for_room(connection: Connection, entry: Entry, seconds: float, sleep: float) -> Steps[int | None]:
    """Sleep until the writer released something, or for `sleep` seconds: then look at the writer.

    Returns the position if the entry was logged before the sleep, a status that needs more than waiting, or
    None after the sleep.
    """
    ring = yield from ready_ring(connection, seconds)
    seen = ring.want(SPACE)
    status = entry.attempt()  # after want(): from now on the writer tells of all that it releases
    if status not in (FULL, DAMAGED):
        return status
    deadline = time.monotonic() + seconds
    ring.wake()  # the writer may be dozing
    rang = yield Bell(ring, SPACE, seen, min(sleep, seconds))
    if not rang:
        ring.wake()  # the producer that took the writer's bell may have died before ringing it
    yield from keep_writer(connection, deadline - time.monotonic())
    attachment = yield from attachment_with_descriptor(connection, deadline - time.monotonic())
    return ENDED if connection.is_replaced(attachment.file) else None


def _refusal(connection: Connection, entry: Entry, waited: float) -> Steps[RingFullError]:
    """Return the error that says how much room there is, and whether the writer is dead."""
    ring = yield from ready_ring(connection)
    attachment = yield from attachment_with_descriptor(connection)
    free = ring.capacity - (ring.frontier(ring.released) - ring.released)
    if writer_alive(attachment.file):
        return RingFullError(entry.length(), free, waited)
    reason = connection.keeper.reason(attachment.file)
    return RingFullError(entry.length(), free, waited, ring.writer_pid, reason)
