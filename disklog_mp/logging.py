"""The log behind the standard library's logging: a handler that never breaks the program that logs.

A record is formatted in the process that logs it and committed with one call; there is no thread, no lock
and no queue that a fork, a signal or a killed process could leave in a bad state.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
import weakref
from typing import Any

from disklog_mp import _open, _options, _ring
from disklog_mp.errors import (
    DiskLogError,
    LogFullError,
    LogNotFoundError,
    RecordTooLargeError,
    RingFullError,
    SessionClosedError,
    WriterDiedError,
)
from disklog_mp.session import POLICIES, Session

__all__ = ["DiskLogHandler"]

RETRY = 1.0  # seconds between two attempts to find a log that was not there
SHARE = 10  # and at least so many times as long as the next may take
TAG_LIMIT = 0xFFFF
_NO_FORMATTER = object()

_handlers: weakref.WeakSet[DiskLogHandler] = weakref.WeakSet()


def _check(path: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """The options, if they are right: found when logging is configured, not at the first record."""
    of_open = {key: value for key, value in options.items() if key != "ring_dir"}
    if path is None and of_open:
        raise TypeError(f"{', '.join(sorted(of_open))}: only with path=, which makes this open the log")
    _options.check(of_open)
    if options.get("ring_dir") is not None:
        options["ring_dir"] = os.path.abspath(options["ring_dir"])
    return options


def _forked() -> None:
    for handler in _handlers:
        handler._at_fork_reinit()


os.register_at_fork(after_in_child=_forked)


class DiskLogHandler(logging.Handler):
    """Logs formatted records, as UTF-8, with their level as the tag.

    `name` is the log's; with `path` it is opened there, with the options of disklog_mp.open(), and its
    writer started if there is none; without, it is attached to.  Either happens at the first record.
    That first one waits for the writer to become ready, as open() does; later ones no longer than `timeout`.
    While there is no log, records are dropped and counted, one line on stderr says so (missing="drop": none
    does), and once a second it is looked for again.

    on_full="block" waits up to `timeout` seconds for room, then drops until there is room; "drop" does not
    wait; "raise" hands RingFullError to handleError.  The log itself says how many were dropped.
    """

    def __init__(
        self,
        name: str,
        path: str | os.PathLike[str] | None = None,
        *,
        level: int | str = logging.NOTSET,
        on_full: str = "block",
        timeout: float = 1.0,
        missing: str = "stderr",
        **options: Any,
    ) -> None:
        self.log_name = _ring.check_name(name)
        self.path = None if path is None else os.path.abspath(path)
        if on_full not in POLICIES:
            raise ValueError(f"on_full={on_full!r} is not one of {', '.join(POLICIES)}")
        if missing not in ("stderr", "drop"):
            raise ValueError(f"missing={missing!r} is not one of stderr, drop")
        self.on_full = on_full
        self.timeout = _options.parse_duration(timeout, "timeout")
        self.missing = missing
        self._options = _check(self.path, options)
        self._session: Session | None = None
        self._at_fork_reinit()
        super().__init__(level)
        self.setFormatter(None)
        _handlers.add(self)

    def _at_fork_reinit(self) -> None:
        """Nothing was dropped yet in this process.  The session finds out about a fork by itself."""
        self.dropped = 0  # by this handler in this process
        self._missed = 0  # of those, how many the log cannot know of yet
        self._missed_since = 0
        self._retry_at = 0.0
        self._told = ""
        self._first = True  # no attempt to find a log was made yet
        self._finding: set[int] = set()  # threads that are attaching
        self._hurried = False  # drop at once: the last wait for room was in vain
        if self._session is not None:
            self._session.on_full = self.on_full

    # -- no lock -----------------------------------------------------------------------------------------

    def createLock(self) -> None:
        """Have no lock: Session.log needs none, and one held while waiting for room would outlive a fork."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> Any:
        """Emit the record if the filters let it pass; return their answer."""
        passed = self.filter(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return passed

    # -- a record's way ----------------------------------------------------------------------------------

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record; what goes wrong goes to handleError, never to the caller."""
        try:
            self.enqueue(self.prepare(record), record.levelno)
        except Exception:
            self.handleError(record)

    def prepare(self, record: logging.LogRecord) -> bytes:
        """Return the bytes to be logged for a record."""
        if self.formatter is self._plain and not (record.exc_info or record.exc_text or record.stack_info):
            return record.getMessage().encode("utf-8", "backslashreplace")
        return self.format(record).encode("utf-8", "backslashreplace")

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
            elif self._hurried:  # there is room again
                self._hurried = False
                session.on_full = self.on_full
        except (DiskLogError, OSError) as refusal:
            self._refused(session, refusal, data, tag)

    def setFormatter(self, fmt: logging.Formatter | None) -> None:
        """Set the formatter; "%(message)s", the default, takes a short cut."""
        super().setFormatter(fmt)
        is_plain = fmt is None or (type(fmt) is logging.Formatter and fmt._fmt == "%(message)s")
        is_plain = is_plain and type(self).format is logging.Handler.format
        self._plain: object = fmt if is_plain else _NO_FORMATTER

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
            DiskLogHandler.enqueue(self, data, tag)
        else:
            self._lose(refusal)

    def _find(self) -> Session | None:
        """Attach to the log, or count a record as dropped."""
        me = threading.get_ident()
        # Within itself: a signal handler logs while its thread attaches.
        if me in self._finding or time.monotonic() < self._retry_at:
            self._miss()
            return None
        self._finding.add(me)
        began = time.monotonic()
        try:
            self._session = session = self._attach()
        except (DiskLogError, OSError) as trouble:
            self._lose(trouble, SHARE * min(self.timeout, time.monotonic() - began))
            return None
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
            patience, self.log_name, self.path, on_full=self.on_full, timeout=self.timeout, **self._options
        )

    def _lose(self, trouble: Exception, pause: float = 0.0) -> None:
        """There is no log: count the record, look again in a while."""
        self._retry_at = time.monotonic() + max(RETRY, pause)
        self._miss()
        self._tell(trouble)

    def _miss(self) -> None:
        if not self._missed:
            self._missed_since = time.time_ns()
        self._missed += 1
        self.dropped += 1

    def _tell(self, trouble: Exception) -> None:
        """Say it on stderr, once for as long as it is the same."""
        text = str(trouble)
        if text == self._told:
            return
        self._told = text
        quiet = self.missing == "drop" and isinstance(trouble, LogNotFoundError)
        if logging.raiseExceptions and sys.stderr is not None and not quiet:
            try:
                print(f"disklog-mp: {self.log_name}: records are dropped: {text}", file=sys.stderr)
            except (OSError, RuntimeError, ValueError):  # nobody listens any more, or we are inside a print
                pass

    # -- leaving -----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Wait until what was logged can be read, no longer than for room; it is safe before that."""
        session = self._session
        if session is not None and session._bound:
            with contextlib.suppress(DiskLogError, OSError):
                session.flush(self.timeout)

    def close(self) -> None:
        """Detach.  Twice is fine; a record after that attaches again."""
        session, self._session = self._session, None
        if session is not None:
            session.close()
        super().close()

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state["_session"] = None
        del state["_plain"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__init__()
        self.__dict__.update(state)
        self._at_fork_reinit()
        self.setFormatter(self.formatter)
        _handlers.add(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.log_name!r} ({logging.getLevelName(self.level)})>"
