"""The way to a log that may not be there, or may refuse: what a logger of any kind needs to go on.

A session says what went wrong and leaves it to its user.  A program that logs wants to hear nothing of it:
here the log is found, and looked for again; what cannot be logged is counted, said once on stderr, and told
by the log itself.  There is no lock, nothing that a fork, a signal or a killed process could leave in a bad
state.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import weakref
from typing import Any, TextIO

from disklog_mp import _core, _options
from disklog_mp._ring import names as _names
from disklog_mp._session import opening as _open
from disklog_mp._session.session import POLICIES, Session
from disklog_mp.errors import (
    DiskLogError,
    LogFullError,
    LogNotFoundError,
    RecordTooLargeError,
    RingFullError,
    SessionClosedError,
    WriterDiedError,
)

LOOK = 0.01  # seconds between two while a record waits for the log
RETRY = 1.0  # seconds between two attempts to find a log that was not there
SHARE = 10  # and at least so many times as long as the next may take
TAG_LIMIT = 0xFFFF

_deliveries: weakref.WeakSet[Delivery] = weakref.WeakSet()


def _check(path: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """The options, if they are right: found when logging is configured, not at the first record."""
    of_open = {key: value for key, value in options.items() if key != "ring_dir"}
    if path is None and of_open:
        raise TypeError(f"{', '.join(sorted(of_open))}: only with path=, which makes this open the log")
    _options.check(of_open)
    if options.get("ring_dir") is not None:
        options["ring_dir"] = os.path.abspath(options["ring_dir"])
    return options


def _parse_wait(missing: str) -> float:
    """How long the first record may wait for the log to appear."""
    if missing in ("stderr", "drop", "raise"):
        return 0.0
    if isinstance(missing, str) and missing.startswith("wait:"):
        return _options.parse_duration(missing.removeprefix("wait:"), "missing")
    raise ValueError(f'missing={missing!r} is not one of stderr, drop, raise, or a wait such as "wait:2s"')


def _forked() -> None:
    for delivery in _deliveries:
        delivery._at_fork_reinit()


os.register_at_fork(after_in_child=_forked)


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
        self.log_name = _names.check_name(name)
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
        self._wait_until: float | None = None  # forked children do not wait again
        self._at_fork_reinit()
        _deliveries.add(self)

    def _at_fork_reinit(self) -> None:
        """Nothing was dropped yet in this process.  The session finds out about a fork by itself."""
        self.dropped = 0  # by this object in this process
        self._missed = 0  # of those, how many the log cannot know of yet
        self._missed_since = 0
        self._retry_at = 0.0
        self._told = ""
        self._trouble: Exception | None = None  # the last that kept us from the log
        self._first = True  # no attempt to find a log was made yet
        self._finding: set[int] = set()  # threads that are attaching
        self._hurried = False  # drop at once: the last wait for room was in vain
        if self._session is not None:
            self._session.on_full = self.on_full

    def enqueue(self, data: bytes, tag: int) -> None:
        """Log the bytes, or count them as dropped."""
        if not 0 <= tag <= TAG_LIMIT:
            tag = min(max(tag, 0), TAG_LIMIT)
        session = self._session
        if session is None:
            session = self._find()
            if session is None:
                return
        try:
            if session.log(data, tag=tag) < 0:
                self.dropped += 1
            elif self._hurried:
                self._has_room(session)
        except (DiskLogError, OSError) as refusal:
            self._refused(session, refusal, data, tag)

    def _has_room(self, session: Session) -> None:
        """There is room again: the next record may wait for it."""
        self._hurried = False
        session.on_full = self.on_full

    # -- refusals ----------------------------------------------------------------------------------------

    def _refused(self, session: Session, refusal: Exception, data: bytes, tag: int) -> None:
        if isinstance(refusal, (LogFullError, RecordTooLargeError, RingFullError, WriterDiedError)):
            self.dropped += 1
            if isinstance(refusal, RingFullError):
                session._note_drop(1)
            else:
                session._drop(1)
            if isinstance(refusal, RecordTooLargeError) or self.on_full == "raise":
                raise refusal
            if not isinstance(refusal, LogFullError):
                self._hurried = True  # not every record is to wait until the writer moves again
                session.on_full = "drop"
            if not isinstance(refusal, RingFullError):
                self._tell(refusal)
            return
        if self._session is session:
            self._session = None
        if isinstance(refusal, SessionClosedError):  # by another thread's close()
            Delivery.enqueue(self, data, tag)
        else:
            self._lose(refusal)

    def _find(self) -> Session | None:
        """Attach to the log, or count a record as dropped."""
        me = threading.get_ident()
        # Within itself: a signal handler logs while its thread attaches.
        if me in self._finding or time.monotonic() < self._retry_at:
            self._miss()
            self._raise()
            return None
        self._finding.add(me)
        began = time.monotonic()
        if self._wait_until is None:
            self._wait_until = began + self._wait
        try:
            while True:
                try:
                    self._session = session = self._attach()
                    break
                except (DiskLogError, OSError) as trouble:
                    left = self._wait_until - time.monotonic()
                    if left <= 0 or not isinstance(trouble, LogNotFoundError) or sys.is_finalizing():
                        self._lose(trouble, SHARE * min(self.timeout, time.monotonic() - began))
                        return None
                time.sleep(min(LOOK, left))
                began = time.monotonic()
        finally:
            self._finding.discard(me)
            self._first = False
        self._told = ""
        if self._missed:
            missed, self._missed = self._missed, 0
            session._drop(missed)
            session._dropped_since = self._missed_since
        return session

    def _attach(self) -> Session:
        ring_dir = self._options.get("ring_dir")
        # While the interpreter shuts down no writer can be started, but one may be there.
        if self.path is None or sys.is_finalizing():
            return _open.attach(self.log_name, on_full=self.on_full, timeout=self.timeout, ring_dir=ring_dir)
        patience = _open.PATIENCE if self._first else self.timeout
        return _open.open_within(
            patience,
            self.log_name,
            self.path,
            on_full=self.on_full,
            timeout=self.timeout,
            settle=True,
            **self._options,
        )

    def _lose(self, trouble: Exception, pause: float = 0.0) -> None:
        """There is no log: count the record, look again in a while."""
        self._retry_at = time.monotonic() + max(RETRY, pause)
        self._trouble = trouble if self.missing == "raise" else None
        self._miss()
        self._raise()
        self._tell(trouble)

    def _raise(self) -> None:
        """Leave it to the user, if that is wanted, to say what is wrong: with every record."""
        if self._trouble is not None:
            raise self._trouble.with_traceback(None)

    def _miss(self) -> None:
        if not self._missed:
            self._missed_since = time.time_ns()
        self._missed += 1
        self.dropped += 1

    def _tell(self, trouble: Exception) -> None:
        """Say it on stderr, once for as long as it is the same."""
        if not (self.missing in ("drop", "raise") and isinstance(trouble, LogNotFoundError)):
            self._say(str(trouble))

    def _say(self, text: str) -> None:
        if text == self._told:
            return
        self._told = text
        stderr = self._stderr()
        if self._may_tell() and stderr is not None:
            try:
                print(f"disklog-mp: {self.log_name}: records are dropped: {text}", file=stderr)
            except (OSError, RuntimeError, ValueError):  # nobody listens any more, or we are inside a print
                pass

    def _may_tell(self) -> bool:
        return True

    def _stderr(self) -> TextIO | None:
        return sys.stderr

    # -- leaving -----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Wait until what was logged can be read, no longer than for room; it is safe before that."""
        session = self._session
        if session is not None and session.is_bound:
            with contextlib.suppress(DiskLogError, OSError):
                session.flush(self.timeout)

    def close(self) -> None:
        """Detach.  Twice is fine; a record after that attaches again."""
        session, self._session = self._session, None
        if session is not None:
            session.close()
