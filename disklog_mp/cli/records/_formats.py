"""Records as bytes for stdout: text for people, JSON lines, logfmt, a template, raw.

A structured record shows its parts, any other its bytes as text.  What cannot be printed is escaped, in every
format but the raw one: no record steers the terminal it is shown on, or looks like two.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from disklog_mp._core import Record
from disklog_mp._loggers import structured as _structured
from disklog_mp._loggers.structured import Event
from disklog_mp.cli import _text

Format = Callable[[Record], bytes]

NAMES = ("text", "json", "logfmt", "message", "raw")
INDENT = "    "
BARE = re.compile(r"""[^\s="'\\]+""")
NOT_IN_KEY = re.compile(r'[\s="]')


def choose(name: str, *, null: bool, utc: bool, encoding: str) -> Format:
    """Return the function that makes a record's line: by one of NAMES, or with a template for %.

    Raises ValueError for what is neither.
    """
    if name == "raw":
        end = b"\0" if null else b"\n"
        return lambda record: record.data + end
    if name == "json":
        return lambda record: _text.to_json(fields(record)).encode("utf-8") + b"\n"
    if name == "text":
        line: Callable[[Record], str] = _TextFormat(utc)
    elif name == "message":
        line = message
    elif name == "logfmt":
        line = _logfmt
    elif "%" in name:
        line = _Template(name, utc)
    else:
        raise ValueError(
            f"{name!r} is neither one of {', '.join(NAMES)} nor a template such as '%(message)s'"
        )
    return lambda record: f"{line(record)}\n".encode(encoding, "backslashreplace")


def event_of(record: Record) -> Event | None:
    """Return what a structured record says, None for every other."""
    return None if record.gap else _structured.parse(record.data)


def fields(record: Record) -> dict[str, Any]:
    """Return what is known of a record, for JSON: a structured one as `event`, any other as `data`, bytes
    that are not UTF-8 as base64.
    """
    values: dict[str, Any] = {
        "number": record.number,
        "position": record.position,
        "time": _text.iso(record.timestamp),
        "time_ns": record.timestamp,
        "pid": record.pid,
        "tag": record.tag,
    }
    event = event_of(record)
    if event is not None:
        values["event"] = {key: value for key, value in event._asdict().items() if value not in (None, {})}
        return values
    data = record.data
    try:
        values["data"] = data.decode("utf-8")
    except UnicodeDecodeError:
        values["data_base64"] = base64.b64encode(data).decode()
    if record.gap:
        values["gap"] = True
    return values


def message(record: Record) -> str:
    """Return the message alone; of a record that has no parts, its text."""
    event = event_of(record)
    return (
        gap_text(record.data) if record.gap else _text.printable(event.message if event else _decoded(record))
    )


def _decoded(record: Record) -> str:
    return record.data.decode("utf-8", "backslashreplace")


class _Clock:
    """Shows times to the microsecond; neighbours have most of it in common."""

    def __init__(self, utc: bool) -> None:
        self._convert = time.gmtime if utc else time.localtime
        self._zone = "Z" if utc else ""
        self._second = -1
        self._shown = ""

    def __call__(self, nanoseconds: int) -> str:
        second, fraction = divmod(nanoseconds, 10**9)
        if second != self._second:
            self._second = second
            self._shown = time.strftime("%Y-%m-%d %H:%M:%S", self._convert(second))
        return f"{self._shown}.{fraction // 1000:06d}{self._zone}"


class _TextFormat:
    """Time, pid, tag if there is one, and the record on one line; a structured one has level, logger, message
    and fields there, exception and stack below, indented.

    A backslash of the record's own stays as it is: the exact bytes are what --raw and --json are for.
    """

    def __init__(self, utc: bool) -> None:
        self._clock = _Clock(utc)

    def __call__(self, record: Record) -> str:
        begin = f"{self._clock(record.timestamp)} {record.pid}"
        event = event_of(record)
        if event is None:
            return f"{begin}{f' #{record.tag}' if record.tag else ''} {message(record)}"
        said = _text.printable(f"{event.level} {event.logger}: {event.message}")
        words = "".join([f" {word}" for word in _words(event.fields)])
        return begin + " " + said + words + _indented(event.exception) + _indented(event.stack)


def _indented(text: str | None) -> str:
    """The lines of a text, each on one of its own."""
    return "".join([f"\n{INDENT}{_text.printable(line)}" for line in text.split("\n")]) if text else ""


def _words(fields: Mapping[str, Any]) -> Iterator[str]:
    """Fields as logfmt has them: key=value, the value in quotes where it must."""
    for key, value in fields.items():
        yield f"{NOT_IN_KEY.sub('_', _text.printable(key)) or '_'}={_word(value)}"


def _word(value: Any) -> str:
    text = value if isinstance(value, str) else _structured.encode_value(value)
    plain = BARE.fullmatch(text) and text.isprintable()
    return text if plain else _text.to_json(text)


def _logfmt(record: Record) -> str:
    event = event_of(record)
    known: dict[str, Any] = {"time": _text.iso(record.timestamp), "pid": record.pid}
    if event is None:
        if record.tag:
            known["tag"] = record.tag
        known["message"] = gap_text(record.data) if record.gap else _decoded(record)
        return " ".join(_words(known))
    parts = event._asdict()
    del parts["time"], parts["fields"]
    known |= {key: value for key, value in parts.items() if value is not None}
    return " ".join([*_words(known), *_words(event.fields)])


class _Template:
    """A template for Python's % with the parts by name, or any field; what is not there is empty."""

    def __init__(self, template: str, utc: bool) -> None:
        self._template = template
        self._clock = _Clock(utc)
        try:
            self(Record(b""))
        except (ValueError, TypeError) as problem:
            raise ValueError(f"{template!r} is no template: {problem}") from None

    def __call__(self, record: Record) -> str:
        event = event_of(record)
        values = _Parts({key: _shown(value) for key, value in event.fields.items()} if event else {})
        if event is not None:
            values |= {key: _shown(value) for key, value in event._asdict().items() if value is not None}
            values["fields"] = " ".join(_words(event.fields))
        values |= {"number": record.number, "pid": record.pid, "tag": record.tag}
        values |= {"time": self._clock(record.timestamp), "message": message(record)}
        return self._template % values


def _shown(value: Any) -> str:
    return _text.printable(value if isinstance(value, str) else _structured.encode_value(value))


class _Parts(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return ""


def gap_text(data: bytes) -> str:
    """Say what a gap record stands for."""
    try:
        told = json.loads(data)
        return f"-- {int(told['dropped']):,} dropped here since {_text.moment(int(told['since']))} --"
    except (ValueError, KeyError, TypeError, OverflowError, OSError, RecursionError):  # no producer of ours
        return "-- dropped here: " + _text.printable(data.decode("utf-8", "backslashreplace"))
