"""The log behind structlog: a logger factory, and the processor that makes structured records.

structlog.configure(
    processors=[structlog.contextvars.merge_contextvars, disklog_mp.structlog.render],
    wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    logger_factory=disklog_mp.structlog.LoggerFactory("api", "/var/log/api"),
    cache_logger_on_first_use=True,
)

Any other last processor will do that returns text or bytes, such as structlog.processors.JSONRenderer.
"""

from __future__ import annotations

import os
import time
from collections.abc import MutableMapping
from typing import Any, Unpack

from disklog_mp._loggers import structured as _structured
from disklog_mp._loggers.delivery import Delivery
from disklog_mp._options import LogOptions

__all__ = ["Logger", "LoggerFactory", "render"]


class Logger:
    """Logs what the last processor returned, with the level as the tag; `name` is the logger's."""

    def __init__(self, factory: LoggerFactory, name: str = "") -> None:
        self.name = name
        self._factory = factory
        self._enqueue = factory._delivery.enqueue

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._factory, self.name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Logger:
        return type(self)(self._factory, self.name)

    def debug(self, event: str | bytes) -> None:
        """Log with level 10."""
        self._log(event, 10)

    def info(self, event: str | bytes) -> None:
        """Log with level 20."""
        self._log(event, 20)

    def warning(self, event: str | bytes) -> None:
        """Log with level 30."""
        self._log(event, 30)

    def error(self, event: str | bytes) -> None:
        """Log with level 40."""
        self._log(event, 40)

    def critical(self, event: str | bytes) -> None:
        """Log with level 50."""
        self._log(event, 50)

    log = msg = info
    warn = warning
    err = exception = failure = error
    fatal = critical

    def _log(self, event: str | bytes, level: int) -> None:
        self._enqueue(event.encode("utf-8", "backslashreplace") if isinstance(event, str) else event, level)


class LoggerFactory:
    """Makes loggers for structlog; they share this process's way to the log.

    `name`, `path` and the options are those of DiskLogHandler.
    """

    def __init__(
        self,
        name: str,
        path: str | os.PathLike[str] | None = None,
        *,
        on_full: str = "block",
        timeout: float | str = 1.0,
        missing: str = "stderr",
        **options: Unpack[LogOptions],
    ) -> None:
        self._set_up(
            name, path, {"on_full": on_full, "timeout": timeout, "missing": missing, **options}, None
        )

    def _set_up(
        self,
        name: str,
        path: str | os.PathLike[str] | None,
        options: dict[str, Any],
        directory: str | None,
    ) -> None:
        self._options = options
        self._delivery = Delivery(name, path, directory=directory, **options)

    def __call__(self, *args: Any) -> Logger:
        """Return a logger; structlog hands over what get_logger() was given."""
        return Logger(self, str(args[0]) if args else "")

    def __reduce__(self) -> tuple[Any, ...]:
        delivery = self._delivery
        return _make, (delivery.log_name, delivery.path, self._options, delivery.directory)

    def flush(self) -> None:
        """Wait until what was logged can be read, no longer than for room; it is safe before that."""
        self._delivery.flush()

    def close(self) -> None:
        """Detach.  Twice is fine; a record after that attaches again."""
        self._delivery.close()


def _make(
    name: str, path: str | None, options: dict[str, Any], directory: str | None = None
) -> LoggerFactory:
    factory = LoggerFactory.__new__(LoggerFactory)
    factory._set_up(name, path, options, directory)
    return factory


def render(logger: Any, method: str, event_dict: MutableMapping[str, Any]) -> bytes:
    """Return the event as a structured record: a processor, the last one.

    The values of event, level, logger, exc_info, exception and stack go where they belong, the others into
    the fields.
    """
    exception = event_dict.pop("exception", None)
    exc_info = event_dict.pop("exc_info", method == "exception")
    if exc_info and exception is None:
        exception = _structured.exception_text(exc_info)
    stack = event_dict.pop("stack", None)
    return _structured.encode(
        time.time_ns(),
        str(event_dict.pop("level", "error" if method == "exception" else method)).upper(),
        str(event_dict.pop("logger", getattr(logger, "name", None) or "")),
        _structured.show(event_dict.pop("event", "")),
        process=_structured.process_name(),
        task=_structured.task_name(),
        fields=event_dict,
        exception=None if exception is None else str(exception),
        stack=None if stack is None else str(stack),
    )
