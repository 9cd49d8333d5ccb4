"""The way to a log that may not be there, or may refuse: what a logger of any kind needs to go on.

A connection says what went wrong and leaves it to its user.  A program that logs is not to be disturbed by
it.  So the log is found here, and looked for again.  What cannot be logged is counted, said once on stderr,
and reported in the log itself.  There is no lock, and nothing that a fork, a signal or a killed process could
leave in a bad state.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
import weakref
from typing import Any, TextIO

from disklog_mp import _core, _environment, _options
from disklog_mp._loggers.cutting import cut
from disklog_mp._os.files import is_same
from disklog_mp._ring.labels import check_label
from disklog_mp._ring.names import check_name
from disklog_mp._session import joining, leaving, opening, start_writer
from disklog_mp._session.connection import POLICIES, connections
from disklog_mp._session.drops import Drops, Tally
from disklog_mp._session.session import BlockingConnection
from disklog_mp._session.waiting import carry_out, wait_for
from disklog_mp.errors import (
    ConfigMismatchError,
    DiskLogError,
    LogFullError,
    LogNotFoundError,
    RecordTooLargeError,
    RingFullError,
    SessionClosedError,
    WriterDiedError,
)

FIND_PAUSE = 0.01  # seconds between two attempts to find the log, while a record waits for it
LONGEST_FLUSH = 1.0  # seconds
RETRY = 1.0  # seconds between two attempts to find a log that was not there
SHARE = 10  # and at least so many times as long as the next attempt may take
TAG_LIMIT = 0xFFFF
# Options that may stand in the environment without a path, and their values if they are left out.
USUAL = {"on_full": "block", "timeout": 1.0, "missing": "stderr", "ring_dir": None}

OF_OTHERS = ("ring_dir", "label", "strict", "sources")  # options that are none of the writer's

_deliveries: weakref.WeakSet[Delivery] = weakref.WeakSet()


def _check(path: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options if they are right: an error is for the configuration, not for the first record."""
    of_open = {key: value for key, value in options.items() if key not in OF_OTHERS}
    if options.get("label") is not None:
        check_label(options["label"])
    _options.check_names(of_open)
    if path is None and of_open:
        raise TypeError(f"{', '.join(sorted(of_open))}: only with path=, which makes this open the log")
    _options.check(of_open)
    if options.get("ring_dir") is not None:
        options["ring_dir"] = os.path.abspath(options["ring_dir"])
    return options


def _with_environment(
    name: str, path: str | os.PathLike[str] | None, options: dict[str, Any]
) -> tuple[str | None, dict[str, Any]]:
    """Return directory and options, with what stands in the environment for those that were left out."""
    _environment.tell_unknown()
    path = _environment.directory(name, path)
    usual = {**USUAL, **(dict.fromkeys(_options.CHECKS) if path is not None else {})}
    return path, _environment.options(name, options, usual)


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


def _refuse_second_log(name: str, path: str | None) -> None:
    """Raise ConfigMismatchError if this process is set up to log there under another name."""
    for other in list(_deliveries):
        is_there = path and other.path and (other.path == path or is_same(other.path, path))
        if is_there and other.log_name != name:  # its writer may not have started yet
            raise ConfigMismatchError("name", other.log_name, name)


def _directory_in_use(name: str) -> str | None:
    """Return the directory of the log of that name that this process uses, or is set up for.

    None if there is none, or several: names may repeat over directories.
    """
    found = {other.path for other in list(_deliveries) if other.log_name == name}
    found.update(it.place.directory for it in connections() if it.name == name and not it.is_closed)
    known = {os.path.realpath(path): path for path in found if path is not None}
    return next(iter(known.values())) if len(known) == 1 else None


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
        timeout: float | str,
        missing: str,
        is_set_up: bool = True,
        directory: str | None = None,
        **options: Any,
    ) -> None:
        """Attach to nothing, start no writer, and raise what is wrong with options, directory or ring.

        The environment counts, but not for an object that the user does not set up (`is_set_up`).  The log's
        `directory`, where it is known, is for attaching.
        """
        self.log_name = check_name(name)
        options |= {"on_full": on_full, "timeout": timeout, "missing": missing}
        if is_set_up:
            path, options = _with_environment(name, path, options)
        on_full, timeout, missing = (options.pop(key) for key in ("on_full", "timeout", "missing"))
        self.path = None if path is None else os.path.abspath(path)
        if on_full not in POLICIES:
            raise ValueError(f"on_full={on_full!r} is not one of {', '.join(POLICIES)}")
        self.on_full = on_full
        self.timeout = _options.parse_duration(timeout, "timeout")
        self._directory = directory  # pickled with the rest
        self.missing, self._wait = missing, _parse_wait(missing)
        self._options = _check(self.path, options)
        if is_set_up:
            if self.path or not self.directory:
                opening.check(name, self.path, **self._options)
            _refuse_second_log(name, self.path)
        self._options.pop("strict", None)  # it is for the set-up: records are never lost over options
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
        self._telling: set[int] = set()  # threads that say on stderr what is wrong
        self._hurried = False  # drop at once: the last wait for room was in vain
        if self._session is not None:
            self._session.on_full = self.on_full

    @property
    def directory(self) -> str | None:
        """The log's directory, None if that is not known yet."""
        return self.path or self._directory or _directory_in_use(self.log_name)

    @property
    def dropped(self) -> int:
        """How many records could not be logged, by this object in this process."""
        return self._dropped.total

    def enqueue(self, data: bytes, tag: int, pid: int = 0) -> None:
        """Log the bytes, or count them as dropped.  `pid`: the process they come from, 0 for this one."""
        if not 0 <= tag <= TAG_LIMIT:
            tag = min(max(tag, 0), TAG_LIMIT)
        connection, waited = self._session, 0.0
        if connection is None:
            began = time.monotonic()
            connection = self._find()
            if connection is None:
                return
            waited = max(0.0, time.monotonic() - began - self._wait)  # of the timeout
        try:
            if pid or waited:
                status = connection.log_for(pid, data, tag, waited=waited)
            else:
                status = connection.log(data, tag=tag)
            if status < 0:
                self._dropped.add(1)
            elif self._hurried:  # there is room again: the next record may wait for it
                self._hurried, connection.on_full = False, self.on_full
        except Exception as refusal:
            self._refused(connection, refusal, data, tag, pid)

    def is_told_of(self) -> bool:
        """True while this thread says what is wrong."""
        return bool(self._telling) and threading.get_ident() in self._telling

    def count_dropped(self) -> None:
        """Count a record that is not logged; the log reports it."""
        connection = self._session
        if connection is None:
            self._count_missed()
        else:
            self._dropped.add(1)
            connection.drop(1)

    # -- refusals ----------------------------------------------------------------------------------------

    def _refused(
        self, connection: BlockingConnection, refusal: Exception, data: bytes, tag: int, pid: int
    ) -> None:
        if isinstance(refusal, RecordTooLargeError) and len(data) > refusal.limit:
            Delivery.enqueue(self, cut(data, refusal.limit), tag, pid)
        elif isinstance(refusal, (LogFullError, RingFullError, WriterDiedError)):
            self._dropped.add(1)
            if isinstance(refusal, RingFullError):  # in the slot's counter already
                connection.report_later(1)
            else:
                connection.drop(1)
            if self.on_full == "raise":
                raise refusal
            if not isinstance(refusal, LogFullError):
                self._hurried = True  # not every record is to wait until the writer moves again
                connection.on_full = "drop"
            # A slow writer is no trouble to tell of; a dead one that was not replaced is.
            if not isinstance(refusal, RingFullError) or refusal.dead_writer or refusal.reason:
                self._report(refusal)
        elif isinstance(refusal, (DiskLogError, OSError)):
            if self._session is connection:
                self._session = None
            if isinstance(refusal, SessionClosedError):  # by another thread's close()
                Delivery.enqueue(self, data, tag, pid)
            else:
                self._no_log(refusal)
        else:  # the log may be well: this record is no bytes, say
            self.count_dropped()
            self._report(refusal)

    def _find(self) -> BlockingConnection | None:
        """Attach to the log, or count a record as dropped."""
        thread = threading.get_ident()
        # In a writer, which must not keep itself alive; or this record says what is wrong with the log.
        if not start_writer.may_start() or thread in self._telling:
            self._count_missed()
            return None
        # Within itself: a signal handler logs while its thread attaches.
        if thread in self._finding or time.monotonic() < self._retry_at:
            self._count_missed()
            self._raise_if_wanted()
            return None
        try:
            self._finding.add(thread)
            began = time.monotonic()
            if self._wait_until is None:
                self._wait_until = began + self._wait
            while True:
                try:
                    self._session = connection = self._attach()
                    break
                except Exception as trouble:
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
        return _connect(self, opening.PATIENCE if self._first else self.timeout)

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
        """Say on stderr what is wrong, once for as long as it is of the same kind."""
        if not (self.missing in ("drop", "raise") and isinstance(trouble, LogNotFoundError)):
            kind = f"{type(trouble).__name__} {getattr(trouble, 'errno', '')}"
            self._print_once(f"{self.log_name}: records are dropped: {trouble}", kind)

    def _print_once(self, text: str, kind: str) -> None:
        if kind == self._printed or self.is_told_of():
            return
        self._printed = kind
        stderr = self._stderr()
        if self._may_print() and stderr is not None:
            thread = threading.get_ident()
            self._telling.add(thread)  # stderr may lead back to this log
            try:
                print(f"disklog-mp: {text}", file=stderr)
            except Exception:  # it was closed, or this runs inside a print
                pass
            finally:
                self._telling.discard(thread)

    def _may_print(self) -> bool:
        return True

    def _stderr(self) -> TextIO | None:
        return sys.stderr

    # -- leaving -----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Wait until what was logged can be read: as long as for room, at most 1 s; it is safe before."""
        self.flush_within(min(self.timeout, LONGEST_FLUSH))

    def flush_within(self, seconds: float) -> bool:
        """Wait at most so long until what was logged can be read; True if it can."""
        connection = self._session
        if connection is not None and connection.is_bound:
            try:
                carry_out(wait_for(connection, "written", seconds))
            except Exception:
                return False
        return True

    def close(self) -> None:
        """Detach.  Twice is fine; a record after that attaches again."""
        connection, self._session = self._session, None
        if connection is not None:
            leaving.close(connection)


def _connect(it: Delivery, patience: float) -> BlockingConnection:
    """Open the log, or attach to it, as a delivery was set up.  `patience`: seconds for its writer."""
    options = it._options
    connect = functools.partial(
        opening.connect, BlockingConnection, it.log_name, on_full=it.on_full, timeout=it.timeout
    )
    # While the interpreter shuts down no writer can be started, but one may be there.
    if it.path is None or sys.is_finalizing():
        connection = connect(
            directory=it.directory, ring_dir=options.get("ring_dir"), label=options.get("label")
        )
        it._directory = connection.place.directory
        return connection
    tell = joining.once(functools.partial(it._print_once, kind="options"))
    return connect(it.path, patience=patience, accept_ring=True, on_kept=tell, **options)
