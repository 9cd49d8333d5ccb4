"""The way to a log that may not be there, or may refuse: what a logger of any kind needs to go on.

A connection says what went wrong and leaves it to its user.  A program that logs is not to be disturbed by
it.  So the log is found here, and looked for again.  What cannot be logged is counted, said once on stderr,
and reported in the log itself.  There is no lock, and nothing that a fork, a signal or a killed process could
leave in a bad state.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from typing import Any, TextIO

from disklog_mp import _core, _options
from disklog_mp._ring.names import check_name
from disklog_mp._session import opening, start_writer
from disklog_mp._session.connection import POLICIES
from disklog_mp._session.drops import Drops, Tally
from disklog_mp._session.session import BlockingConnection
from disklog_mp._session.waiting import carry_out, wait_for
from disklog_mp.errors import (
    DiskLogError,
    LogFullError,
    LogNotFoundError,
    RecordTooLargeError,
    RingFullError,
    SessionClosedError,
    WriterDiedError,
)

FIND_PAUSE = 0.01  # seconds between two attempts to find the log, while a record waits for it
RETRY = 1.0  # seconds between two attempts to find a log that was not there
SHARE = 10  # and at least so many times as long as the next attempt may take
TAG_LIMIT = 0xFFFF

_deliveries: weakref.WeakSet[Delivery] = weakref.WeakSet()


def _check(path: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options if they are right: an error is for the configuration, not for the first record."""
    of_open = {key: value for key, value in options.items() if key != "ring_dir"}
    _options.check_names(of_open)
    if path is None and of_open:
        raise TypeError(f"{', '.join(sorted(of_open))}: only with path=, which makes this open the log")
    _options.check(of_open)
    if options.get("ring_dir") is not None:
        options["ring_dir"] = os.path.abspath(options["ring_dir"])
    return options


def _parse_wait(missing: str) -> float:
    """Return how many seconds the first record may wait for the log to appear."""
    if missing in ("stderr", "drop", "raise"):
        return 0.0
    if isinstance(missing, str) and missing.startswith("wait:"):
        return _options.parse_duration(missing.removeprefix("wait:"), "missing")
    raise ValueError(f'missing={missing!r} is not one of stderr, drop, raise, or a wait such as "wait:2s"')


def _after_fork_in_child() -> None:
    for delivery in _deliveries:
        delivery.begin_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)


class Delivery(_core.Outlet):
    """Takes records to the log of that name, and never keeps its user from going on.

    With `path` the log is opened there, with the options of disklog_mp.open(), and its writer started if
    there is none; without, it is attached to.  Either happens at the first record.
    """

    def __init__(
        self,
        name: str,
        path: str | os.PathLike[str] | None,
        *,
        on_full: str,
        timeout: float,
        missing: str,
        **options: Any,
    ) -> None:
        """Touches no log.  Raises ValueError, TypeError for options that are wrong."""
        self.log_name = check_name(name)
        self.path = None if path is None else os.path.abspath(path)
        if on_full not in POLICIES:
            raise ValueError(f"on_full={on_full!r} is not one of {', '.join(POLICIES)}")
        self.on_full = on_full
        self.timeout = _options.parse_duration(timeout, "timeout")
        self.missing, self._wait = missing, _parse_wait(missing)
        self._options = _check(self.path, options)
        self._begin()

    def _begin(self) -> None:
        self._session = None
        self._wait_until: float | None = None  # a forked child does not wait again
        self.begin_in_child()
        _deliveries.add(self)

    def begin_in_child(self) -> None:
        """Count from 0: nothing was dropped yet in this process.  The connection notices a fork by itself."""
        self._dropped = Tally()  # by this object in this process
        self._missed = Drops()  # of those, the ones that no connection knows of yet
        self._retry_at = 0.0
        self._printed = ""
        self._trouble: Exception | None = None  # the last one that kept us from the log
        self._first = True  # no attempt to find a log was made yet
        self._finding: set[int] = set()  # threads that are attaching
        self._hurried = False  # drop at once: the last wait for room was in vain
        if self._session is not None:
            self._session.on_full = self.on_full

    @property
    def dropped(self) -> int:
        """How many records could not be logged, by this object in this process."""
        return self._dropped.total

    def enqueue(self, data: bytes, tag: int) -> None:
        """Log the bytes, or count them as dropped."""
        if not 0 <= tag <= TAG_LIMIT:
            tag = min(max(tag, 0), TAG_LIMIT)
        connection = self._session
        if connection is None:
            connection = self._find()
            if connection is None:
                return
        try:
            if connection.log(data, tag=tag) < 0:
                self._dropped.add(1)
            elif self._hurried:
                self._has_room(connection)
        except (DiskLogError, OSError) as refusal:
            self._refused(connection, refusal, data, tag)

    def _has_room(self, connection: BlockingConnection) -> None:
        """There is room again: the next record may wait for it."""
        self._hurried = False
        connection.on_full = self.on_full

    # -- refusals ----------------------------------------------------------------------------------------

    def _refused(self, connection: BlockingConnection, refusal: Exception, data: bytes, tag: int) -> None:
        if isinstance(refusal, (LogFullError, RecordTooLargeError, RingFullError, WriterDiedError)):
            self._dropped.add(1)
            if isinstance(refusal, RingFullError):  # in the slot's counter already
                connection.report_later(1)
            else:
                connection.drop(1)
            if isinstance(refusal, RecordTooLargeError) or self.on_full == "raise":
                raise refusal
            if not isinstance(refusal, LogFullError):
                self._hurried = True  # not every record is to wait until the writer moves again
                connection.on_full = "drop"
            if not isinstance(refusal, RingFullError):
                self._report(refusal)
            return
        if self._session is connection:
            self._session = None
        if isinstance(refusal, SessionClosedError):  # by another thread's close()
            Delivery.enqueue(self, data, tag)
        else:
            self._no_log(refusal)

    def _find(self) -> BlockingConnection | None:
        """Attach to the log, or count a record as dropped."""
        thread = threading.get_ident()
        if not start_writer.may_start():  # in a writer, which must not keep itself alive
            self._count_missed()
            return None
        # Within itself: a signal handler logs while its thread attaches.
        if thread in self._finding or time.monotonic() < self._retry_at:
            self._count_missed()
            self._raise_if_wanted()
            return None
        self._finding.add(thread)
        began = time.monotonic()
        if self._wait_until is None:
            self._wait_until = began + self._wait
        try:
            while True:
                try:
                    self._session = connection = self._attach()
                    break
                except (DiskLogError, OSError) as trouble:
                    left = self._wait_until - time.monotonic()
                    if left <= 0 or not isinstance(trouble, LogNotFoundError) or sys.is_finalizing():
                        self._no_log(trouble, SHARE * min(self.timeout, time.monotonic() - began))
                        return None
                time.sleep(min(FIND_PAUSE, left))
                began = time.monotonic()
        finally:
            self._finding.discard(thread)
            self._first = False
        self._printed = ""
        missed, since = self._missed.take()
        if missed:
            connection.drop(missed, since)
        return connection

    def _attach(self) -> BlockingConnection:
        ring_dir = self._options.get("ring_dir")
        # While the interpreter shuts down no writer can be started, but one may be there.
        if self.path is None or sys.is_finalizing():
            return opening.connect(
                BlockingConnection,
                self.log_name,
                on_full=self.on_full,
                timeout=self.timeout,
                ring_dir=ring_dir,
            )
        return opening.connect(
            BlockingConnection,
            self.log_name,
            self.path,
            on_full=self.on_full,
            timeout=self.timeout,
            patience=opening.PATIENCE if self._first else self.timeout,
            accept_ring=True,
            **self._options,
        )

    def _no_log(self, trouble: Exception, pause: float = 0.0) -> None:
        """There is no log: count the record, look again in a while."""
        self._retry_at = time.monotonic() + max(RETRY, pause)
        self._trouble = trouble if self.missing == "raise" else None
        self._count_missed()
        self._raise_if_wanted()
        self._report(trouble)

    def _raise_if_wanted(self) -> None:
        """With missing="raise" each record raises what is wrong."""
        if self._trouble is not None:
            raise self._trouble.with_traceback(None)

    def _count_missed(self) -> None:
        self._missed.add(1)
        self._dropped.add(1)

    def _report(self, trouble: Exception) -> None:
        """Say on stderr what is wrong, once for as long as it is the same."""
        if not (self.missing in ("drop", "raise") and isinstance(trouble, LogNotFoundError)):
            self._print_once(f"{self.log_name}: records are dropped: {trouble}")

    def _print_once(self, text: str) -> None:
        if text == self._printed:
            return
        self._printed = text
        stderr = self._stderr()
        if self._may_print() and stderr is not None:
            try:
                print(f"disklog-mp: {text}", file=stderr)
            except (OSError, RuntimeError, ValueError):  # it was closed, or this runs inside a print
                pass

    def _may_print(self) -> bool:
        return True

    def _stderr(self) -> TextIO | None:
        return sys.stderr

    # -- leaving -----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Wait until what was logged can be read, at most as long as for room; it is safe before that."""
        self.flush_within(self.timeout)

    def flush_within(self, seconds: float) -> bool:
        """Wait at most so long until what was logged can be read; True if it can."""
        connection = self._session
        if connection is not None and connection.is_bound:
            try:
                carry_out(wait_for(connection, "written", seconds))
            except (DiskLogError, OSError):
                return False
        return True

    def close(self) -> None:
        """Detach.  Twice is fine; a record after that attaches again."""
        connection, self._session = self._session, None
        if connection is not None:
            connection.close()
