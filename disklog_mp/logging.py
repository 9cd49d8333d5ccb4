"""The log behind the standard library's logging: a handler that never breaks the program that logs.

A record is formatted in the process that logs it and committed with one call; there is no thread, no lock
and no queue that a fork, a signal or a killed process could leave in a bad state.  What becomes of it where
the log is missing or full is decided in _loggers/delivery.py.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from disklog_mp import _core
from disklog_mp._loggers import structured as _structured
from disklog_mp._loggers.delivery import Delivery

__all__ = ["DiskLogHandler"]

ENCODINGS = ("text", "structured")
_PLAIN = logging.Formatter()
_NO_FORMATTER = object()


@_core.with_own_methods
class DiskLogHandler(Delivery, logging.Handler):
    """Logs records, with their level as the tag.

    `name` is the log's; with `path` it is opened there, with the options of disklog_mp.open(), and its
    writer started if there is none.  Without `path` it attaches.  Either happens at the first record.
    That first one waits for the writer to become ready, as open() does; later ones no longer than `timeout`.

    encoding="text" logs what the formatter makes of a record, as UTF-8: what FileHandler would write, without
    the newline.  "structured" logs time, level, logger, message, where it comes from, the fields given with
    extra=, exception and stack, as one JSON object; the formatter's formatException and formatStack are used.

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
        encoding: str = "text",
        on_full: str = "block",
        timeout: float = 1.0,
        missing: str = "stderr",
        **options: Any,
    ) -> None:
        Delivery.__init__(self, name, path, on_full=on_full, timeout=timeout, missing=missing, **options)
        if encoding not in ENCODINGS:
            raise ValueError(f"encoding={encoding!r} is not one of {', '.join(ENCODINGS)}")
        self.encoding = encoding
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
        # In C, the same: what a call costs is for most programs decided here.
        if self.formatter is self._direct:
            if self._log_text(record):
                return
        elif self._is_structured and self._log_record(record):
            return
        try:
            self.enqueue(self.prepare(record), record.levelno)
        except Exception:
            self.handleError(record)

    def prepare(self, record: logging.LogRecord) -> bytes:
        """Return the bytes to be logged for a record."""
        if self.encoding == "structured":
            return _structured.encode_record(record, self.formatter or _PLAIN)
        if self.formatter is self._plain and not (record.exc_info or record.exc_text or record.stack_info):
            return record.getMessage().encode("utf-8", "backslashreplace")
        return self.format(record).encode("utf-8", "backslashreplace")

    def setFormatter(self, fmt: logging.Formatter | None) -> None:
        """Set the formatter; "%(message)s", the default, takes a short cut."""
        super().setFormatter(fmt)
        kind = type(self)
        is_plain = fmt is None or (type(fmt) is logging.Formatter and fmt._fmt == "%(message)s")
        is_plain = is_plain and kind.format is logging.Handler.format
        self._plain: object = fmt if is_plain else _NO_FORMATTER
        # No step on the way is overridden: the core may take it.
        is_ours = kind.prepare is DiskLogHandler.prepare and kind.enqueue is Delivery.enqueue
        is_text = self.encoding == "text"
        self._direct: object = fmt if is_plain and is_ours and is_text else _NO_FORMATTER
        self._is_structured = is_ours and not is_text
        self._is_unfiltered = kind.filter is logging.Filterer.filter

    def _may_print(self) -> bool:
        return logging.raiseExceptions

    # -- leaving -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Detach.  Twice is fine; a record after that attaches again."""
        Delivery.close(self)
        logging.Handler.close(self)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_plain"], state["_direct"], state["_trouble"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        logging.Handler.__init__(self)
        self.__dict__.update(state)
        self._begin()
        self.setFormatter(self.formatter)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.log_name!r} ({logging.getLevelName(self.level)})>"
