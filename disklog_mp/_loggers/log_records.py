"""LogRecords of Python's logging as structured records.

A formatter that the user sets is obeyed: what it makes of a record is the message.  Is it known to show only
what every record has, fields, exception and stack keep their own places beside it.  Any other may have put
them into its text already, so they are not stored a second time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from disklog_mp._loggers import structured as _structured

PLAIN = logging.Formatter()
MESSAGE_KEYS = ("event", "message", "msg")  # of a dict that is logged in place of a text
_OF_STRUCTLOG = ("_logger", "_name")  # structlog adds these to a LogRecord whose message is its event


def _format_of(formatter: object) -> object:
    """Return the format of a formatter of logging's own class, None for any other."""
    return formatter.__dict__.get("_fmt") if type(formatter) is logging.Formatter else None


def is_plain(formatter: logging.Formatter | None) -> bool:
    """Return True if the formatter shows the message and nothing more."""
    return formatter is None or _format_of(formatter) == "%(message)s"


def adds_no_fields(formatter: logging.Formatter) -> bool:
    """Return True if the formatter is known to show no fields and, but for its end, no exception."""
    kind, usual = type(formatter), logging.Formatter
    if kind.format is not usual.format or kind.formatMessage is not usual.formatMessage:
        return False
    trial = logging.makeLogRecord({"message": "", "asctime": "", "taskName": ""})
    try:
        style: Any = formatter.__dict__["_style"]
        if style.__dict__.get("_defaults"):  # these stand for missing fields
            return False
        style.format(trial)
    except Exception:  # it names what this record does not have
        return False
    return True


def is_from_basic_config(formatter: logging.Formatter | None, caller: object) -> bool:
    """Return True if logging.basicConfig() set its own default, for the user named no format.

    `caller` is the code that sets the formatter.
    """
    return _format_of(formatter) == logging.BASIC_FORMAT and caller is getattr(
        logging.basicConfig, "__code__", None
    )


def encode(record: logging.LogRecord, formatter: logging.Formatter) -> bytes:
    """Return a LogRecord's bytes; the formatter adds no fields.

    Raises what getMessage() raises when message and arguments do not fit together.
    """
    values = record.__dict__
    fields: Mapping[str, Any] | None = None
    if len(values) > _structured.ALWAYS:
        fields = {key: value for key, value in values.items() if key not in _structured.STANDARD}
    exception = record.exc_text
    if not exception and record.exc_info and record.exc_info[0]:
        record.exc_text = exception = formatter.formatException(record.exc_info)
    stack = formatter.formatStack(record.stack_info) if record.stack_info else None
    if isinstance(record.msg, dict) and not record.args and is_plain(formatter):
        given = dict(record.msg)
        if fields is not None and all(key in fields for key in _OF_STRUCTLOG):
            fields = {key: value for key, value in fields.items() if key not in _OF_STRUCTLOG}
            exception = exception or _take_exception(given)
            stack = stack or _take_text(given, "stack")
            given.pop("level", None)
            given.pop("logger", None)
        message = _take_message(given)
        fields = {**given, **(fields or {})}
    else:
        message = _message(record, formatter)
    return _encode(record, message, fields, exception, stack)


def encode_formatted(record: logging.LogRecord, text: Any) -> bytes:
    """Return the bytes of a LogRecord of which a formatter of the user's own made this text.

    Bytes are a whole record already, as disklog_mp.structlog.render makes them.
    """
    return text if isinstance(text, bytes) else _encode(record, str(text), None, None, None)


def _encode(
    record: logging.LogRecord,
    message: str,
    fields: Mapping[str, Any] | None,
    exception: str | None,
    stack: str | None,
) -> bytes:
    values = record.__dict__
    return _structured.encode(
        round(record.created * 1e6) * 1000,
        str(record.levelname),
        str(record.name),
        message,
        process=record.processName,
        thread=record.threadName,
        task=values["taskName"] if "taskName" in values else _structured.task_name(),
        caller=f"{record.filename}:{record.lineno} {record.funcName}" if record.lineno else None,
        fields=fields,
        exception=exception,
        stack=stack,
    )


def _message(record: logging.LogRecord, formatter: logging.Formatter) -> str:
    if is_plain(formatter):
        return record.getMessage()
    record.message = record.getMessage()
    if formatter.usesTime():
        record.asctime = formatter.formatTime(record, formatter.datefmt)
    return formatter.formatMessage(record)


def _take_message(given: dict[Any, Any]) -> str:
    """Take the message out of a dict that was logged; without one it is empty."""
    for key in MESSAGE_KEYS:
        if isinstance(given.get(key), str):
            return str(given.pop(key))
    return ""


def _take_text(given: dict[Any, Any], key: str) -> str | None:
    value = given.pop(key, None)
    return None if value is None else _structured.show(value)


def _take_exception(given: dict[Any, Any]) -> str | None:
    """Take the exception out of structlog's event: as text, or still to be shown."""
    text = _take_text(given, "exception")
    exc_info = given.pop("exc_info", None)
    return text if text or not exc_info else _structured.exception_text(exc_info)
