"""The log in tests: what a program logs, as a list.

def test_login(disklog):                       # a fixture of pytest: nothing has to be set up
    login("ann")
    assert disklog.messages == ["user logged in"]

with disklog_mp.testing.capture() as events:   # without a log, in any test
    login("ann")
assert events[0].fields == {"user": "ann"}
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator

from disklog_mp._core import Record
from disklog_mp._loggers import log_records as _log_records
from disklog_mp._loggers import structured as _structured
from disklog_mp._loggers.structured import Event
from disklog_mp._loggers.taps import configured, tapped
from disklog_mp._os.processes import is_there
from disklog_mp._reader.reader import Reader
from disklog_mp._ring.removal import remove
from disklog_mp._session.opening import open as _open
from disklog_mp._session.session import Session
from disklog_mp.errors import DiskLogError
from disklog_mp.logging import DiskLogHandler

__all__ = ["Log", "capture", "temporary_log", "to_logging"]

FORWARDED = "disklog_event"  # attribute of LogRecords that to_logging() makes
PATIENCE = 5.0  # seconds for the writer to leave by itself
_numbers = itertools.count(1)


class Log:
    """A temporary log, with what was logged so far; each look waits until it can be read."""

    def __init__(self, session: Session, name: str, path: str) -> None:
        self.session = session
        self.name = name
        self.path = path

    def flush(self) -> None:
        """Wait until all that was logged can be read, by all processes; raises what Session.flush() does."""
        self.session.flush()

    @property
    def records(self) -> list[Record]:
        """The records, reports of drops included."""
        self.flush()
        return list(Reader(self.path))

    @property
    def events(self) -> list[Event]:
        """What structured records say."""
        return [event for record in self.records if (event := record.event) is not None]

    @property
    def messages(self) -> list[str]:
        """The message of each structured record, the text of any other."""
        return [
            record.event.message if record.event else record.data.decode("utf-8", "backslashreplace")
            for record in self.records
            if not record.gap
        ]

    def __repr__(self) -> str:
        return f"<Log {self.name!r} in {self.path}>"


@contextlib.contextmanager
def temporary_log(level: int = logging.DEBUG) -> Iterator[Log]:
    """Have logging's root logger and get_logger() log into a new log, from that level on.

    At the end all is put back as it was, and nothing of the log remains: no writer, ring, or directory.
    Loggers that were made with a log of their own keep it.
    """
    name = f"testing-{os.getpid()}-{next(_numbers)}"
    path = tempfile.mkdtemp(prefix=f"disklog-{name}-")
    root = logging.getLogger()
    former = root.level
    try:
        with _open(name, path, linger=0, sync="never", ring_bytes="1M") as session:
            writer = session.stats().writer_pid
            handler = DiskLogHandler(name, timeout=5.0)
            handler.addFilter(_is_not_forwarded)
            root.addHandler(handler)
            root.setLevel(level)
            try:
                with configured(session, level):
                    yield Log(session, name, path)
            finally:
                root.removeHandler(handler)
                root.setLevel(former)
                handler.close()
        _end(name, writer)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _end(name: str, writer: int) -> None:
    """Wait until the writer has left, and remove the ring if it was killed.

    While processes are attached it stays; without its directory it leaves when they do.
    """
    deadline = time.monotonic() + PATIENCE
    while is_there(writer) and time.monotonic() < deadline:
        time.sleep(0.002)
    with contextlib.suppress(DiskLogError, OSError):
        remove(name, None, force=True)


@contextlib.contextmanager
def capture(level: int = logging.DEBUG) -> Iterator[list[Event]]:
    """Collect what is logged, as a list of events: of get_logger() and of Python's logging.

    The events of get_logger() go nowhere else meanwhile, and no log is needed.
    """
    events: list[Event] = []

    def tap(data: bytes, level: int) -> bool:
        event = _structured.parse(data)
        if event is not None:
            events.append(event)
        return False

    root = logging.getLogger()
    former = root.level
    collector = _Collector(events)
    root.addHandler(collector)
    root.setLevel(level)
    try:
        with tapped(tap):
            yield events
    finally:
        root.removeHandler(collector)
        root.setLevel(former)


class _Collector(logging.Handler):
    """Keeps LogRecords as events."""

    def __init__(self, events: list[Event]) -> None:
        super().__init__()
        self._events = events
        self.addFilter(_is_not_forwarded)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            event = _structured.parse(_log_records.encode(record, _log_records.PLAIN))
        except Exception:
            self.handleError(record)
        else:
            if event is not None:
                self._events.append(event)


@contextlib.contextmanager
def to_logging() -> Iterator[None]:
    """Hand the events of get_logger() to Python's logging as well, to loggers of the same names.

    So they reach what tests collect there, such as pytest's caplog.
    """

    def tap(data: bytes, level: int) -> bool:
        event = _structured.parse(data)
        if event is not None:
            logger = logging.getLogger(event.logger)
            if logger.isEnabledFor(level):
                logger.handle(_log_record(event, level))
        return True

    with tapped(tap):
        yield


def _log_record(event: Event, level: int) -> logging.LogRecord:
    fields = {key: value for key, value in event.fields.items() if key not in _structured.STANDARD}
    return logging.makeLogRecord(
        {
            **fields,
            "name": event.logger,
            "levelno": level,
            "levelname": event.level,
            "msg": event.message,
            "args": (),
            "created": event.time / 1e9,
            "exc_text": event.exception,
            "stack_info": event.stack,
            FORWARDED: event,
        }
    )


def _is_not_forwarded(record: logging.LogRecord) -> bool:
    return FORWARDED not in record.__dict__
