"""Records as bytes for stdout: text for people, raw, JSON lines."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

from disklog_mp._core import Record
from disklog_mp.cli import _text

Format = Callable[[Record], bytes]


def choose(*, raw: bool, as_json: bool, null: bool, utc: bool, encoding: str) -> Format:
    """Return the function that makes a record's line."""
    if raw:
        end = b"\0" if null else b"\n"
        return lambda record: record.data + end
    if as_json:
        return lambda record: _text.to_json(fields(record)).encode("utf-8") + b"\n"
    return _TextFormat(utc, encoding)


def fields(record: Record) -> dict[str, Any]:
    """Return what is known of a record, for JSON; bytes that are not UTF-8 as base64."""
    values: dict[str, Any] = {
        "number": record.number,
        "position": record.position,
        "time": _text.iso(record.timestamp),
        "time_ns": record.timestamp,
        "pid": record.pid,
        "tag": record.tag,
    }
    data = record.data
    try:
        values["data"] = data.decode("utf-8")
    except UnicodeDecodeError:
        values["data_base64"] = base64.b64encode(data).decode()
    if record.gap:
        values["gap"] = True
    return values


class _TextFormat:
    """Time, pid, tag if there is one, and the record on one line; what cannot be printed is escaped.

    A backslash of the record's own stays as it is: the exact bytes are what --raw and --json are for.
    """

    def __init__(self, utc: bool, encoding: str) -> None:
        self._encoding = encoding
        self._convert = time.gmtime if utc else time.localtime
        self._zone = "Z" if utc else ""
        self._second = -1
        self._shown = ""

    def __call__(self, record: Record) -> bytes:
        second, fraction = divmod(record.timestamp, 10**9)
        if second != self._second:
            self._second = second
            self._shown = time.strftime("%Y-%m-%d %H:%M:%S", self._convert(second))
        tag = f" #{record.tag}" if record.tag else ""
        data = record.data
        what = gap_text(data) if record.gap else _text.printable(data.decode("utf-8", "backslashreplace"))
        line = f"{self._shown}.{fraction // 1000:06d}{self._zone} {record.pid}{tag} {what}\n"
        return line.encode(self._encoding, "backslashreplace")


def gap_text(data: bytes) -> str:
    """Say what a gap record stands for."""
    try:
        told = json.loads(data)
        return f"-- {int(told['dropped']):,} dropped here since {_text.moment(int(told['since']))} --"
    except (ValueError, KeyError, TypeError, OverflowError, OSError, RecursionError):  # no producer of ours
        return "-- dropped here: " + _text.printable(data.decode("utf-8", "backslashreplace"))
