"""Structured records: one JSON object in a record's bytes, and back.  No I/O.

    {"time":1764262800000000000,"level":"INFO","logger":"app.web","message":"user logged in",
     "process":"Worker-1","thread":"pool_0","task":"Task-7","caller":"views.py:12 login",
     "fields":{"user":42},"exception":"Traceback ...","stack":"Stack ..."}

In one line, without blanks, in this order, in UTF-8; what has no value is left out, and so are the names of
the main process and of the main thread.  The first four are always there.  A record is a structured one if
it begins with `{"time":` and parses as such an object; every other is text.

Any value can be logged, and the same value always becomes the same bytes: what JSON has no word for becomes
text.  Encoding a value raises nothing, even if the value's own code does.
"""

from __future__ import annotations

import json
import math
import sys
import threading
from collections.abc import Mapping
from json.encoder import encode_basestring as _quote  # in C, and all but the quotes stays readable
from typing import Any, NamedTuple

from disklog_mp import _core

BEGINNING = b'{"time":'
MAIN_PROCESS = "MainProcess"
MAIN_THREAD = "MainThread"
LEVELS = {"DEBUG": 10, "INFO": 20, "WARN": 30, "WARNING": 30, "ERROR": 40, "CRITICAL": 50, "FATAL": 50}
DEPTH = 8  # containers inside each other; deeper ones are shown by their repr
# Modules whose values are logged as their text, which says all of them.
AS_TEXT = frozenset({"decimal", "fractions", "ipaddress", "pathlib", "pathlib._local", "uuid"})
# The attributes that logging itself puts into a LogRecord; all others came with extra=.
STANDARD = frozenset(
    [
        "args",
        "asctime",
        "created",
        "exc_info",
        "exc_text",
        "filename",
        "funcName",
        "levelname",
        "levelno",
        "lineno",
        "message",
        "module",
        "msecs",
        "msg",
        "name",
        "pathname",
        "process",
        "processName",
        "relativeCreated",
        "stack_info",
        "taskName",
        "thread",
        "threadName",
    ]
)
ALWAYS = len(STANDARD) - 3  # of them: without asctime, message, and before Python 3.12 taskName


class Event(NamedTuple):
    """A structured record as read back."""

    time: int  # ns since the epoch
    level: str
    logger: str
    message: str
    process: str | None = None
    thread: str | None = None
    task: str | None = None
    caller: str | None = None
    fields: Mapping[str, Any] = {}
    exception: str | None = None
    stack: str | None = None


# -- to bytes ------------------------------------------------------------------------------------------


def encode(
    time: int,
    level: str,
    logger: str,
    message: str,
    *,
    process: str | None = None,
    thread: str | None = None,
    task: str | None = None,
    caller: str | None = None,
    fields: Mapping[str, Any] | None = None,
    exception: str | None = None,
    stack: str | None = None,
) -> bytes:
    """Return the bytes of a structured record."""
    text = (
        f'{{"time":{time},"level":{_text(level)},"logger":{_text(logger)},"message":{_text(message)}'
        f"{origin(process, thread, task)}"
    )
    if caller:
        text += f',"caller":{_text(caller)}'
    if fields:
        text += f',"fields":{{{encode_fields(fields)}}}'
    if exception:
        text += f',"exception":{_text(exception)}'
    if stack:
        text += f',"stack":{_text(stack)}'
    return (text + "}").encode()


def origin(process: str | None, thread: str | None, task: str | None) -> str:
    """Return the part that says where a record comes from; "" for the main thread of the main process."""
    text = ""
    if process and process != MAIN_PROCESS:
        text = f',"process":{_text(process)}'
    if thread and thread != MAIN_THREAD:
        text += f',"thread":{_text(thread)}'
    if task:
        text += f',"task":{_text(task)}'
    return text


def opening(logger: str) -> bytes:
    """Return the part between an event's level and its message, which is the same for all of a logger's."""
    return f',"logger":{_text(logger)},"message":'.encode()


def encode_fields(fields: Mapping[str, Any]) -> str:
    """Return the members of an object, without its braces."""
    return ",".join([f"{_key(key)}:{encode_value(value)}" for key, value in fields.items()])


def show(value: Any) -> str:
    """Return what str() does, or says why not."""
    try:
        return str(value)
    except Exception as error:
        return _no_repr(type(value), error)


def encode_value(value: Any) -> str:
    """Return any value as JSON."""
    return _encode(value, ())


def _encode(value: Any, within: tuple[int, ...]) -> str:
    """As encode_value, inside the containers of these ids."""
    kind = type(value)  # isinstance would believe a proxy
    try:
        if issubclass(kind, str):
            return _text(str.__str__(value))
        if value is None or kind is bool:
            return "null" if value is None else "true" if value else "false"
        if issubclass(kind, int):
            return _integer(value)
        if issubclass(kind, float):
            return float.__repr__(value) if math.isfinite(value) else f'"{float.__repr__(value)}"'
        if issubclass(kind, (dict, list, tuple, set, frozenset)):
            if len(within) < DEPTH and id(value) not in within:
                return _container(value, (*within, id(value)))
        elif issubclass(kind, (bytes, bytearray, memoryview)):
            return _text(bytes(value).decode("utf-8", "backslashreplace"))
        elif kind.__module__ == "datetime" and hasattr(value, "isoformat"):
            return _text(value.isoformat())
        elif kind.__module__ in AS_TEXT:
            return _text(str(value))
        return _text(repr(value))
    except Exception as error:  # of the value's own code; RecursionError, too
        return _text(_no_repr(kind, error))


_name_of = type.__dict__["__name__"].__get__  # a metaclass may have another __name__


def _no_repr(kind: type, error: Exception) -> str:
    return f"<{_name_of(kind)} without a repr: {_name_of(type(error))}>"


def _container(value: Any, within: tuple[int, ...]) -> str:
    if isinstance(value, dict):
        return f"{{{','.join([f'{_key(key)}:{_encode(item, within)}' for key, item in value.items()])}}}"
    return f"[{','.join([_encode(item, within) for item in value])}]"


def _key(key: Any) -> str:
    """Return a key; one that is no text as the text of what it would be as a value."""
    if isinstance(key, str):
        return _text(str.__str__(key))
    text = _encode(key, ())
    return text if text.startswith('"') else _text(text)


def _integer(value: int) -> str:
    try:
        return int.__repr__(value)
    except ValueError:  # more digits than Python would write
        return f'"{int.__format__(value, "#x")}"'


def _text(text: str) -> str:
    """Return text in quotes, lone surrogates as the text handler shows them."""
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    return _quote(text)


def exception_text(exc_info: Any) -> str | None:
    """Return the text of an exception, given as logging's exc_info= takes it."""
    if isinstance(exc_info, BaseException):
        exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
    elif not isinstance(exc_info, tuple):
        exc_info = sys.exc_info()
    try:
        if exc_info[1] is None:
            return None
        import traceback

        return "".join(traceback.format_exception(*exc_info)).removesuffix("\n")
    except Exception:  # the value is no exception, or cannot be shown
        return show(exc_info)


# -- from bytes ----------------------------------------------------------------------------------------

_TEXTS = ("level", "logger", "message")
_OPTIONAL = ("process", "thread", "task", "caller", "exception", "stack")


def parse(data: bytes) -> Event | None:
    """Return what a record says if it is a structured one, None if it is text."""
    if not data.startswith(BEGINNING):
        return None
    try:
        found = json.loads(data.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError):  # RecursionError: many brackets, one in another
        return None
    time = found.get("time")
    fields = found.get("fields", {})
    if (
        type(time) is not int
        or not isinstance(fields, dict)
        or not all(isinstance(found.get(key), str) for key in _TEXTS)
        or not all(isinstance(found.get(key, ""), str) for key in _OPTIONAL)
    ):
        return None
    return Event(**{key: value for key, value in found.items() if key in Event._fields})


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


# -- where a record comes from -------------------------------------------------------------------------


def process_name() -> str | None:
    """Return multiprocessing's name of this process, None where that is not in use."""
    multiprocessing = sys.modules.get("multiprocessing")
    try:
        return multiprocessing.current_process().name if multiprocessing else None
    except Exception:  # it is half imported, or replaced by another object
        return None


def task_name() -> str | None:
    """Return the name of the asyncio task this runs in, if it does."""
    asyncio = sys.modules.get("asyncio")
    try:
        if asyncio is None or asyncio._get_running_loop() is None:
            return None
        task = asyncio.current_task()
        return None if task is None else task.get_name()
    except Exception:
        return None


def thread_name() -> str:
    """Return the name of the thread this runs in."""
    return threading.current_thread().name


# The core calls these when it makes a record itself: they return parts of the JSON text.


def process_part() -> str:
    return origin(process_name(), None, None)


def thread_part() -> str:
    return origin(None, thread_name(), None)


def task_part() -> str:
    return origin(None, None, task_name())


_core.use_encoders(
    encode_value=encode_value,
    process_part=process_part,
    thread_part=thread_part,
    task_part=task_part,
    standard=STANDARD,
)
