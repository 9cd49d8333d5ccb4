"""What a program writes to its output, as records: lines, JSON objects, tracebacks as a whole.  No I/O."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from disklog_mp._loggers import lines as _lines
from disklog_mp._loggers import structured as _structured

TRACEBACK = b"Traceback (most recent call last):"
CRASH = b"Fatal Python error: "  # faulthandler: all that follows belongs to it
CHAINED = (b"During handling of the above exception", b"The above exception was the direct cause")
MESSAGE_KEYS = ("message", "msg", "event")
LOGGER_KEYS = ("logger", "logger_name", "name")
LEVEL_NAMES = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}


class Spoken(NamedTuple):
    """A record to be logged."""

    data: bytes
    tag: int
    time: int  # ns since the epoch, 0: now


class Paragraphs:
    """Joins the lines of one stream that belong together; `longest` bounds the bytes that are held."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._held: list[bytes] = []
        self._length = 0
        self._is_whole = False  # the line that names the exception has come
        self.is_crash = False

    @property
    def holds(self) -> bool:
        """True if lines are held that may go on."""
        return bool(self._held)

    def add(self, line: bytes) -> Iterator[list[bytes]]:
        """Go on with a line; iterate what is complete by it."""
        if self._held and not self.is_crash and not self._belongs(line):
            yield from self.end()
        if self._held or TRACEBACK in line or line.startswith(CRASH):
            self.is_crash = self.is_crash or line.startswith(CRASH)
            self._hold(line)
            if self._length > self._longest:
                yield from self.end()
        else:
            yield [line]

    def _belongs(self, line: bytes) -> bool:
        """True if the line goes on with a traceback."""
        if not self._is_whole:
            return True
        if self._held[-1]:
            return not line
        return line.startswith(CHAINED)

    def _hold(self, line: bytes) -> None:
        begins = TRACEBACK in line or line.startswith(CHAINED)
        self._is_whole = (self._is_whole and not line) or (
            bool(line) and not begins and not line[:1].isspace()
        )
        self._held.append(line)
        self._length += len(line) + 1

    def end(self) -> Iterator[list[bytes]]:
        """Iterate what is held: nothing more will come."""
        held, self._held = self._held, []
        self._length, self._is_whole, self.is_crash = 0, False, False
        blank = []
        while len(held) > 1 and not held[-1]:
            blank.append([held.pop()])
        if held:
            yield held
        yield from blank


def spoken(lines: list[bytes], stream: str, logger: str) -> Spoken:
    """Return the record for a line, or for the lines of a traceback or crash."""
    if len(lines) > 1:
        texts = [line.decode("utf-8", "backslashreplace") for line in lines]
        is_crash = lines[0].startswith(CRASH)
        message = texts[0] if is_crash else next((text for text in reversed(texts) if text), "")
        level = "CRITICAL" if is_crash else "ERROR"
        return event(level, logger, message, {"stream": stream}, exception="\n".join(texts))
    if (found := _lines.object_in(lines[0])) is not None:
        return _from_object(found, lines[0], stream, logger)
    return event("INFO", logger, lines[0].decode("utf-8", "backslashreplace"), {"stream": stream})


def event(
    level: str, logger: str, message: str, fields: dict[str, Any], *, exception: str | None = None
) -> Spoken:
    """Return a structured record of now."""
    now = time.time_ns()
    data = _structured.encode(now, level, logger, message, fields=fields, exception=exception)
    return Spoken(data, _structured.LEVELS[level], 0)


def _from_object(found: dict[str, Any], line: bytes, stream: str, logger: str) -> Spoken:
    """Return the record for a line that is a JSON object: its level, time, message; the rest as fields."""
    origin = _lines.origin_of(line) or _lines.Origin(0, 0)
    tag = origin.level or _structured.LEVELS["INFO"]
    message = _take(found, MESSAGE_KEYS) or ""
    name = _take(found, LOGGER_KEYS) or logger
    level = _take(found, _lines.LEVEL_KEYS) if origin.level else None
    if level is None or level.isdecimal():
        level = LEVEL_NAMES.get(tag, str(tag))
    if origin.time:
        _take_any(found, _lines.TIME_KEYS)
    within = found.pop("fields", None)
    fields = {**(within if isinstance(within, dict) else {} if within is None else {"fields": within})}
    exception = found.pop("exception") if isinstance(found.get("exception"), str) else None
    fields |= {**found, "stream": stream}
    when = origin.time or time.time_ns()
    data = _structured.encode(when, level.upper(), name, message, fields=fields, exception=exception)
    return Spoken(data, tag, origin.time)


def _take(found: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    """Take the first of these keys that has a text."""
    for key in keys:
        if isinstance(found.get(key), str):
            return str(found.pop(key))
    return None


def _take_any(found: dict[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys:
        if key in found:
            del found[key]
            return
