"""disklog-mp: a log that many processes write without ever waiting for a disk.

import disklog_mp

with disklog_mp.open("app", "/var/log/app") as log:   # join the log's writer, or start one
    log.log(b"a record")                              # committed: survives any process's death
log = disklog_mp.attach("app")                        # in any worker
for record in disklog_mp.Reader("/var/log/app"):      # no writer needed
    print(record.number, record.pid, record.data)
"""

import sys
from typing import TYPE_CHECKING, Any

if sys.platform != "linux":
    raise ImportError(
        f"disklog-mp runs on Linux (x86-64 and arm64), not on {sys.platform}: it needs futexes, "
        "open-file-description locks and pidfds"
    )

try:
    from disklog_mp._core import Record
    from disklog_mp._core import use_parser as _use_parser
except ModuleNotFoundError as missing:
    if missing.name != "disklog_mp._core":
        raise
    raise ImportError(
        f"{__path__[0]} is the source tree of disklog-mp, and its C core is not built there: change to "
        "another directory to use the installed package, or build in place with `pip install --editable .`"
    ) from None
from disklog_mp.errors import (
    AmbiguousLogError,
    ConfigMismatchError,
    CorruptPageError,
    CursorError,
    DiskLogError,
    FormatVersionError,
    LogFullError,
    LogNotFoundError,
    LogStoppedError,
    PageNotFoundError,
    PageRetiredError,
    RecordTooLargeError,
    RingFullError,
    SessionClosedError,
    TooManyProducersError,
    WaitTimeoutError,
    WriterActiveError,
    WriterDiedError,
)

if TYPE_CHECKING:
    from disklog_mp import aio as aio
    from disklog_mp import celery as celery
    from disklog_mp import gunicorn as gunicorn
    from disklog_mp import logging as logging
    from disklog_mp import loguru as loguru
    from disklog_mp import metrics as metrics
    from disklog_mp import otel as otel
    from disklog_mp import pools as pools
    from disklog_mp import structlog as structlog
    from disklog_mp import testing as testing
    from disklog_mp._doctor.examination import Diagnosis, doctor
    from disklog_mp._loggers.logger import Logger, configure_loggers, get_logger
    from disklog_mp._loggers.structured import Event
    from disklog_mp._reader.cursor import Cursor
    from disklog_mp._reader.damage import Damage, Missing
    from disklog_mp._reader.events import LogEvent
    from disklog_mp._reader.page import Page
    from disklog_mp._reader.reader import Reader
    from disklog_mp._session.opening import attach, open
    from disklog_mp._session.session import Session
    from disklog_mp._session.steering import PageSpan
    from disklog_mp._verify.calls import LogInfo, LogState, list_logs, remove_ring, stat, verify
    from disklog_mp._verify.log import Report
    from disklog_mp._writer.serving import serve
    from disklog_mp._writer.serving_all import serve_all

    __version__: str

__all__ = [
    "AmbiguousLogError",
    "ConfigMismatchError",
    "CorruptPageError",
    "Cursor",
    "CursorError",
    "Damage",
    "Diagnosis",
    "DiskLogError",
    "Event",
    "FormatVersionError",
    "LogEvent",
    "LogFullError",
    "LogInfo",
    "LogNotFoundError",
    "LogState",
    "LogStoppedError",
    "Logger",
    "Missing",
    "Page",
    "PageNotFoundError",
    "PageRetiredError",
    "PageSpan",
    "Reader",
    "Record",
    "RecordTooLargeError",
    "Report",
    "RingFullError",
    "Session",
    "SessionClosedError",
    "TooManyProducersError",
    "WaitTimeoutError",
    "WriterActiveError",
    "WriterDiedError",
    "attach",
    "configure_loggers",
    "doctor",
    "freeze_support",
    "get_logger",
    "list_logs",
    "open",
    "remove_ring",
    "serve",
    "serve_all",
    "stat",
    "verify",
]


def freeze_support() -> None:
    """Let a frozen program (PyInstaller, cx_Freeze, Nuitka) be run again as the writer of its logs.

    To be called first thing in the program's main module, as multiprocessing.freeze_support() is.  In a
    process that was started to be a writer it does not return.  In a program that is not frozen it does
    nothing.
    """
    from disklog_mp._session import interpreter

    order = interpreter.order_of_frozen_program()
    if order is not None:
        from disklog_mp._writer import process  # named here, so that the tools that freeze programs find it

        process.main(order)
        sys.exit(0)


# Loaded with their first use: a process logs or reads, and seldom does both.
_LATER = {
    "Session": "disklog_mp._session.session",
    "attach": "disklog_mp._session.opening",
    "open": "disklog_mp._session.opening",
    "Diagnosis": "disklog_mp._doctor.examination",
    "doctor": "disklog_mp._doctor.examination",
    "Event": "disklog_mp._loggers.structured",
    "Cursor": "disklog_mp._reader.cursor",
    "Damage": "disklog_mp._reader.damage",
    "Missing": "disklog_mp._reader.damage",
    "LogEvent": "disklog_mp._reader.events",
    "Page": "disklog_mp._reader.page",
    "Reader": "disklog_mp._reader.reader",
    "PageSpan": "disklog_mp._session.steering",
    "Logger": "disklog_mp._loggers.logger",
    "configure_loggers": "disklog_mp._loggers.logger",
    "get_logger": "disklog_mp._loggers.logger",
    "serve": "disklog_mp._writer.serving",
    "serve_all": "disklog_mp._writer.serving_all",
    "LogInfo": "disklog_mp._verify.calls",
    "LogState": "disklog_mp._verify.calls",
    "list_logs": "disklog_mp._verify.calls",
    "remove_ring": "disklog_mp._verify.calls",
    "stat": "disklog_mp._verify.calls",
    "verify": "disklog_mp._verify.calls",
    "Report": "disklog_mp._verify.log",
}
_MODULES = (
    "aio",
    "celery",
    "errors",
    "gunicorn",
    "logging",
    "loguru",
    "metrics",
    "otel",
    "pools",
    "structlog",
    "testing",
)


def _parse(data: bytes) -> "Event | None":
    """Parse a structured record, for Record.event; what does it is loaded with the first one."""
    from disklog_mp._loggers.structured import parse

    _use_parser(parse)
    return parse(data)


_use_parser(_parse)

for _name in set(__all__).difference(_LATER):
    globals()[_name].__module__ = __name__  # reprs and tracebacks show where users find them
del _name


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _LATER:
        value = getattr(import_module(_LATER[name]), name)
        value.__module__ = __name__
    elif name in _MODULES:
        try:
            return import_module(f"{__name__}.{name}")  # and makes it an attribute
        except ModuleNotFoundError as missing:
            raise AttributeError(f"{__name__}.{name} cannot be imported: {missing}") from missing
    elif name == "__version__":
        from importlib.metadata import version

        value = version("disklog-mp")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES, "__version__"])
