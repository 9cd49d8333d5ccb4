"""Loggers of structured events: what a program says, in one C call from there to the ring.

    log = disklog_mp.get_logger("app.web")
    log.info("user logged in", user=42)

The usual calls are in csrc/python/event_logger.c, where events go is in outlets.py.  The rest is here: how a
logger is made, and calls with an exception, a stack, arguments for the message, or the caller's place.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any, Unpack

from disklog_mp import _core
from disklog_mp._loggers import outlets as _outlets
from disklog_mp._loggers import structured as _structured
from disklog_mp._loggers.outlets import Outlet
from disklog_mp._options import LogOptions
from disklog_mp._session.session import Session

__all__ = ["Logger", "configure_loggers", "get_logger"]

Log = str | Session
FOLLOW = -1  # the level of a logger that has none of its own
NAMES = {0: "NOTSET", 10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}


def configure_loggers(
    log: str | Session,
    path: str | os.PathLike[str] | None = None,
    *,
    level: int | str = 0,
    on_full: str = "block",
    timeout: float | str = 1.0,
    missing: str = "stderr",
    **options: Unpack[LogOptions],
) -> None:
    """Say where all loggers log to that were, or will be, made without a log; and from which level on.

    `log` is a log's name, or a session on it.  With `path` it is opened there at the first event, with the
    options of open(), and its writer started if there is none; without, it is attached to.  on_full,
    timeout and missing are those of DiskLogHandler, but "raise" lets the logger's call raise.  To be called
    once per process, and again to change it; forked processes have it.

    Raises ValueError, TypeError for options that are wrong; never for a log that is not there.
    """
    number = _number(level)
    _outlets.default.configure(log, path, on_full=on_full, timeout=timeout, missing=missing, **options)
    _outlets.default.threshold = number


def name_of(log: Log) -> str:
    """Return the name of a log that is given by its name, or by a session."""
    return log if isinstance(log, str) else log.name


def configure_loggers_once(log: Log, path: str | os.PathLike[str] | None, **options: Any) -> None:
    """Do as configure_loggers(), unless that was done already for a log of this name."""
    if not (_outlets.default.is_configured and _outlets.default.log_name == name_of(log)):
        configure_loggers(log, path, **options)


def get_logger(
    name: str,
    log: str | Session | None = None,
    path: str | os.PathLike[str] | None = None,
    *,
    level: int | str | None = None,
    caller: bool = False,
    on_full: str = "block",
    timeout: float | str = 1.0,
    missing: str = "stderr",
    **options: Unpack[LogOptions],
) -> Logger:
    """Return a logger of structured events, by any name: "app.web", __name__.

    Without `log` its events go where configure_loggers() says, called before or after this.  With `log`, a
    name or a session, they go to that log, as configure_loggers() describes it.  Nothing is attached to
    before the first event.

    level: below it nothing is logged; left out, it is the one of configure_loggers().
    caller: note file, line and function of each call, which takes a few microseconds.

    Raises ValueError, TypeError.
    """
    if not isinstance(name, str):
        raise TypeError(f"a logger's name is a str, not {name!r}")
    if log is None:
        given = {"path": path, "on_full": on_full, "timeout": timeout, "missing": missing, **options}
        usual = {"path": None, "on_full": "block", "timeout": 1.0, "missing": "stderr"}
        if given != usual:
            wrong = sorted(key for key in given if given[key] != usual.get(key))
            raise TypeError(f"{', '.join(wrong)}: only with log=; or call configure_loggers()")
        outlet = _outlets.default
    else:
        outlet = _outlets.outlet_for(
            log, path, {"on_full": on_full, "timeout": timeout, "missing": missing, **options}
        )
    return Logger(name, outlet, {}, FOLLOW if level is None else _number(level), caller)


# -- loggers -------------------------------------------------------------------------------------------


@_core.with_own_methods
class Logger(_core.EventLogger):
    """Logs structured events: get one from disklog_mp.get_logger().

    log.info("user logged in", user=42)               # and debug, warning, error, critical, log(level, ...)
    log.exception("query failed", table="users")      # error() with exc_info=True
    log = log.bind(request="7f3a")                    # fields of all its events

    Values of any kind may be given; what JSON has no word for becomes text.  exc_info= takes True or an
    exception, stack_info=True notes the stack; every other name is a field.  Arguments for % in the message
    are taken, too.  For all threads, and forked processes; pickles.  No call raises, unless on_full or
    missing is "raise".
    """

    __slots__ = ("_caller", "_fields", "_name", "_outlet")

    def __init__(self, name: str, outlet: Outlet, fields: dict[str, Any], level: int, caller: bool) -> None:
        self._name = name
        self._outlet = outlet
        self._fields = fields
        self._caller = caller
        bound = _structured.encode_fields(fields).encode()
        keys = frozenset(fields) if fields else None
        self._set_up(outlet, _structured.opening(name), bound, keys, level, caller)

    @property
    def name(self) -> str:
        """The logger's name."""
        return self._name

    @property
    def level(self) -> int:
        """Below it nothing is logged."""
        return self._outlet.threshold if self._level == FOLLOW else self._level

    def setLevel(self, level: int | str) -> None:
        """Log nothing below that level, through this logger and those bound from it later."""
        self._level = _number(level)

    def bind(self, /, **fields: Any) -> Logger:
        """Return a logger of the same name with more fields; a call's own of the same name win."""
        return Logger(self._name, self._outlet, {**self._fields, **fields}, self._level, self._caller)

    def exception(self, message: Any, /, *args: Any, exc_info: Any = True, **fields: Any) -> None:
        """Log an error with the exception that is being handled."""
        self.error(message, *args, exc_info=exc_info, **fields)

    def flush(self) -> None:
        """Wait until what was logged can be read, no longer than for room; it is safe before that."""
        self._outlet.flush()

    def close(self) -> None:
        """Detach, for all loggers of the same log; an event after that attaches again."""
        self._outlet.close()

    @property
    def dropped(self) -> int:
        """How many events could not be logged in this process, by all loggers of the same log."""
        return self._outlet.dropped

    def _number(self, level: int | str) -> int:
        return _number(level)

    def _whole(self, level: int, message: Any, args: tuple[Any, ...], fields: dict[str, Any]) -> None:
        """Log what is more than a message and fields."""
        exc_info, stack_info = fields.pop("exc_info", None), fields.pop("stack_info", None)
        frame = _caller() if self._caller or stack_info else None
        data = _structured.encode(
            time.time_ns(),
            _level_name(level),
            self._name,
            _message(message, args),
            process=_structured.process_name(),
            thread=_structured.thread_name(),
            task=_structured.task_name(),
            caller=_place(frame) if self._caller else None,
            fields={**self._fields, **fields},
            exception=_structured.exception_text(exc_info) if exc_info else None,
            stack=_stack_text(frame) if stack_info else None,
        )
        self._outlet.log_or_count(data, level)

    def __reduce__(self) -> tuple[Any, ...]:
        asked = None if self._outlet is _outlets.default else self._outlet.asked
        return _unpickle, (self._name, asked, self._fields, self._level, self._caller)

    def __repr__(self) -> str:
        bound = "".join(f" {key}={value!r}" for key, value in self._fields.items())
        return f"<Logger {self._name!r} ({_level_name(self.level)}){bound}>"


def _unpickle(name: str, asked: Any, fields: dict[str, Any], level: int, caller: bool) -> Logger:
    return Logger(
        name, _outlets.default if asked is None else _outlets.outlet_for(*asked), fields, level, caller
    )


# -- parts of an event ---------------------------------------------------------------------------------


def _number(level: int | str) -> int:
    """A level's number; logging's own names are known where logging is in use."""
    if isinstance(level, int) and not isinstance(level, bool):
        if level < 0:
            raise ValueError(f"level {level} is negative")
        return int(level)
    if not isinstance(level, str):
        raise TypeError(f"a level is a number or a name, not {level!r}")
    number = _structured.LEVELS.get(level.upper())
    if number is None and "logging" in sys.modules:
        number = sys.modules["logging"].getLevelNamesMapping().get(level)
    if number is None:
        raise ValueError(f"level {level!r} is not one of {', '.join(_structured.LEVELS)}")
    return number


def _level_name(level: int) -> str:
    if level not in NAMES and "logging" in sys.modules:
        return str(sys.modules["logging"].getLevelName(level))
    return NAMES.get(level, f"Level {level}")


def _message(message: Any, args: tuple[Any, ...]) -> str:
    """The message with its arguments; those that do not fit stand behind it."""
    text = _structured.show(message)
    if not args:
        return text
    try:
        return text % (args[0] if len(args) == 1 and args[0] and isinstance(args[0], Mapping) else args)
    except Exception:
        return f"{text} {_structured.show(args)}"


def _caller() -> FrameType | None:
    """The frame that called the logger: the first that is not of this file."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return frame


def _place(frame: FrameType | None) -> str | None:
    if frame is None:
        return None
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno} {frame.f_code.co_name}"


def _stack_text(frame: FrameType | None) -> str:
    import traceback

    return "Stack (most recent call last):\n" + "".join(traceback.format_stack(frame)).removesuffix("\n")
