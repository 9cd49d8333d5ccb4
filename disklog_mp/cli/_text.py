"""How numbers, sizes, times and foreign text are printed.  Only say() does I/O."""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

import click

from disklog_mp._options import size_text
from disklog_mp._verify import words as _words

size = size_text
plural = _words.plural


def say(text: str) -> None:
    """Print one message on stderr, in one line."""
    click.echo(f"disklog-mp: {printable(text)}", err=True)


def error_line(error: Exception) -> str:
    """Return the message of an error, in one line."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        return f"{where}{error.strerror}"
    return str(error) or type(error).__name__


def printable(text: str) -> str:
    """Return the text with all characters escaped that are neither printable nor tabs.

    Records, paths and command lines of other processes must not control the terminal.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\t" else _escape(char) for char in text)


def _escape(char: str) -> str:
    return {"\n": "\\n", "\r": "\\r"}.get(char) or char.encode("unicode_escape").decode()


_encode = json.JSONEncoder(ensure_ascii=False).encode


def to_json(value: Any) -> str:
    """Return JSON in one line; text stays readable unless it holds control characters."""
    line = _encode(value)
    return line if line.isprintable() else json.dumps(value).replace("\x7f", "\\u007f")


def moment(nanoseconds: int, zone: tzinfo | None = None) -> str:
    """Return a time of ns since the epoch to the second: local, or in a zone, which is shown."""
    second = nanoseconds // 10**9
    if zone is None:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
    when = datetime.fromtimestamp(second, zone)
    return f"{when:%Y-%m-%d %H:%M:%S}{offset(when)}"


def offset(when: datetime) -> str:
    """Return what shows the zone of a time: `Z`, or `+01:00`."""
    return "Z" if when.tzinfo is UTC else when.isoformat()[19:]


def iso(nanoseconds: int) -> str:
    """Return a time of ns since the epoch in ISO 8601, UTC, to the nanosecond."""
    second, fraction = divmod(nanoseconds, 10**9)
    return f"{_iso_second(second)}.{fraction:09d}Z"


@functools.lru_cache(64)
def _iso_second(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> list[str]:
    """Return lines with aligned columns; those whose head is in `right` are aligned to the right."""
    columns = list(zip(heads, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in (heads, *rows):
        cells = [
            cell.rjust(width) if head in right else cell.ljust(width)
            for cell, width, head in zip(row, widths, heads, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
