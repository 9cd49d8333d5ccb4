"""The log behind the standard library's logging: a handler that never breaks the program that logs.

A record is formatted in the process that logs it and committed with one call; there is no thread, no lock
and no queue that a fork, a signal or a killed process could leave in a bad state.  What becomes of it where
the log is missing or full is decided in _loggers/delivery.py.
"""

from __future__ import annotations

import copy
import logging
import os
import sys
import threading
import time
from typing import Any, Unpack

from disklog_mp import _core
from disklog_mp._loggers import log_records as _log_records
from disklog_mp._loggers import structured as _structured
from disklog_mp._loggers.delivery import Delivery
from disklog_mp._options import LogOptions

__all__ = ["DiskLogHandler"]

ENCODINGS = ("structured", "text")
ERRORS_A_SECOND = 20  # that are shown on stderr
LONGEST_SHOWN = 1000  # characters of a message, or of its arguments, that stderr shows of an error
_NO_FORMATTER = object()


@_core.with_own_methods
class DiskLogHandler(Delivery, logging.Handler):
    """Logs records, with their level as the tag.

    `name` is the log's; with `path` it is opened there, with the options of disklog_mp.open(), and its
    writer started if there is none.  Without `path` it attaches.  Either happens at the first record.
    That first one waits for the writer to become ready, as open() does; later ones no longer than `timeout`.
    What is wrong with options or directory is raised here, at once.

    encoding="structured" logs time, level, logger, message, where it comes from, the fields given with
    extra=, exception and stack, as one JSON object.  A dict as the message becomes fields; its "event",
    "message" or "msg" is the message.  A formatter that you set is obeyed: what it makes of a record is the
    message.  Fields, exception and stack stand beside it if the formatter is known to show no fields.

    encoding="text" logs what the formatter makes of a record, as UTF-8: what FileHandler would write, without
    the newline.

    A record that is too large for the ring is cut; the field full_length says how many bytes it had.

    While there is no log, records are dropped and counted, and once a second it is looked for again.
    With missing="stderr" one line on stderr says so, with "drop" none does.  With "raise" handleError is
    called for each record, with LogNotFoundError or what else is wrong.  With "wait:2s" the first record
    waits up to 2 s for the log to appear; then it is as "stderr".

    on_full="block" waits up to `timeout` seconds for room, then drops until there is room; "drop" does not
    wait; "raise" hands RingFullError to handleError.  The log itself says how many were dropped.

    A subclass may override prepare(), which makes a record's bytes, enqueue(), which logs them, emit(), which
    does both, and format().
    """

    def __init__(
        self,
        name: str,
        path: str | os.PathLike[str] | None = None,
        *,
        level: int | str = logging.NOTSET,
        encoding: str = "structured",
        on_full: str = "block",
        timeout: float | str = 1.0,
        missing: str = "stderr",
        **options: Unpack[LogOptions],
    ) -> None:
        if encoding not in ENCODINGS:
            raise ValueError(f"encoding={encoding!r} is not one of {', '.join(ENCODINGS)}")
        self.encoding = encoding
        Delivery.__init__(self, name, path, on_full=on_full, timeout=timeout, missing=missing, **options)
        logging.Handler.__init__(self, level)
        self.setFormatter(None)

    # -- no lock -----------------------------------------------------------------------------------------

    def createLock(self) -> None:
        """Have no lock: Session.log needs none, and one held while waiting for room would outlive a fork."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> Any:
        """Emit the record if the filters let it pass; return their answer."""
        if not self.filters and self._is_unfiltered:
            self.emit(record)
            return True
        passed = self.filter(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return passed

    # -- a record's way ----------------------------------------------------------------------------------

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record; what goes wrong goes to handleError, never to the caller."""
        if self._telling and self.is_told_of():
            self.count_dropped()
            return
        # In C, the same: what a call costs is for most programs decided here.
        if self.formatter is self._direct and (
            self._log_record(record) if self._is_structured else self._log_text(record)
        ):
            return
        try:
            data, pid = self.prepare(record), record.process
            if self._is_own_enqueue and pid != os.getpid() and isinstance(pid, int) and 0 < pid < 1 << 32:
                self.enqueue(data, record.levelno, pid)
            else:
                self.enqueue(data, record.levelno)
        except Exception:
            self.handleError(record)

    def prepare(self, record: logging.LogRecord) -> bytes:
        """Return the bytes to be logged for a record."""
        formatter = self.formatter
        if self._is_structured:
            if self._is_own_format:
                if formatter is None:
                    return _log_records.encode(record, _log_records.PLAIN)
                if formatter is self._adds_nothing or _log_records.adds_no_fields(formatter):
                    return _log_records.encode(record, formatter)
            return _log_records.encode_formatted(record, self.format(record))
        if formatter is self._plain and not (record.exc_info or record.exc_text or record.stack_info):
            return record.getMessage().encode("utf-8", "backslashreplace")
        text: Any = self.format(record)
        return text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")

    def setFormatter(self, fmt: logging.Formatter | None) -> None:
        """Set the formatter; None and "%(message)s" take a short cut."""
        self._is_structured = self.encoding == "structured"
        if self._is_structured and _log_records.is_from_basic_config(fmt, sys._getframe(1).f_code):
            fmt = None  # level and logger have their own places
        super().setFormatter(fmt)
        kind = type(self)
        self._is_own_format = kind.format is logging.Handler.format
        self._is_own_enqueue = kind.enqueue is Delivery.enqueue
        is_plain = self._is_own_format and _log_records.is_plain(fmt)
        self._plain: object = fmt if is_plain else _NO_FORMATTER
        self._adds_nothing: object = fmt if fmt and _log_records.adds_no_fields(fmt) else _NO_FORMATTER
        # No step on the way is overridden: the core may take it.
        is_ours = self._is_own_enqueue and kind.prepare is DiskLogHandler.prepare
        self._direct: object = fmt if is_plain and is_ours else _NO_FORMATTER
        self._is_unfiltered = kind.filter is logging.Filterer.filter

    # -- errors ------------------------------------------------------------------------------------------

    def begin_in_child(self) -> None:
        """See Delivery."""
        super().begin_in_child()
        self._errors_left, self._errors_until = ERRORS_A_SECOND, 0.0

    def handleError(self, record: logging.LogRecord) -> None:
        """Say on stderr, as the standard library does, why a record was not logged.

        At most 20 times a second, and what the record says no longer than can be read.  Where stderr leads
        back to logging, what is said there is not handled by this handler again.
        """
        thread, now = threading.get_ident(), time.monotonic()
        if thread in self._telling:
            return
        if now >= self._errors_until:
            self._errors_left, self._errors_until = ERRORS_A_SECOND, now + 1
        if self._errors_left <= 0:
            return
        self._errors_left -= 1
        self._telling.add(thread)
        try:
            super().handleError(_shortened(record))
        finally:
            self._telling.discard(thread)

    def _may_print(self) -> bool:
        return logging.raiseExceptions

    # -- leaving -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Detach.  Twice is fine; a record after that attaches again."""
        Delivery.close(self)
        logging.Handler.close(self)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        for key in ("_plain", "_direct", "_adds_nothing", "_trouble"):
            del state[key]
        return {**state, "_directory": self.directory}

    def __setstate__(self, state: dict[str, Any]) -> None:
        logging.Handler.__init__(self)
        self.__dict__.update(state)
        self._begin()
        self.setFormatter(self.formatter)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.log_name!r} ({logging.getLevelName(self.level)})>"


def _shortened(record: logging.LogRecord) -> logging.LogRecord:
    """Return a record whose message and arguments are no longer than stderr should show."""
    short = copy.copy(record)
    message, arguments = _structured.show(record.msg), _structured.show(record.args)
    if len(message) > LONGEST_SHOWN:
        short.msg = f"{message[:LONGEST_SHOWN]}... ({len(message):,} characters)"
    if len(arguments) > LONGEST_SHOWN:
        short.args = (f"{arguments[:LONGEST_SHOWN]}... ({len(arguments):,} characters)",)
    return short
