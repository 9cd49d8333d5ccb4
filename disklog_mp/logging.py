"""The log behind the standard library's logging: a handler that never breaks the program that logs.

A record is formatted in the process that logs it and committed with one call; there is no thread, no lock
and no queue that a fork, a signal or a killed process could leave in a bad state.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from disklog_mp._delivery import Delivery

__all__ = ["DiskLogHandler"]

_NO_FORMATTER = object()


class DiskLogHandler(Delivery, logging.Handler):
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
        Delivery.__init__(self, name, path, on_full=on_full, timeout=timeout, missing=missing, **options)
        logging.Handler.__init__(self, level)
        self.setFormatter(None)

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

    def setFormatter(self, fmt: logging.Formatter | None) -> None:
        """Set the formatter; "%(message)s", the default, takes a short cut."""
        super().setFormatter(fmt)
        is_plain = fmt is None or (type(fmt) is logging.Formatter and fmt._fmt == "%(message)s")
        is_plain = is_plain and type(self).format is logging.Handler.format
        self._plain: object = fmt if is_plain else _NO_FORMATTER

    def _may_tell(self) -> bool:
        return logging.raiseExceptions

    # -- leaving -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Detach.  Twice is fine; a record after that attaches again."""
        Delivery.close(self)
        logging.Handler.close(self)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state["_session"] = None
        del state["_plain"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        logging.Handler.__init__(self)
        self.__dict__.update(state)
        self._begin()
        self.setFormatter(self.formatter)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.log_name!r} ({logging.getLevelName(self.level)})>"
