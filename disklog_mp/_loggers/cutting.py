"""Records that are longer than a ring takes: their beginning, and how long they were.  No I/O."""

from __future__ import annotations

from typing import Any

from disklog_mp._loggers import structured as _structured
from disklog_mp._loggers.structured import Event

FULL_LENGTH = "full_length"  # the field that says how many bytes the record had
ROOM_FOR_NAMES = 2048  # bytes, at first, for all that is not cut
SHORTEST = 16  # characters that are kept of each part; where that is too much, fields are left out


def cut(data: bytes, limit: int) -> bytes:
    """Return at most `limit` bytes: the beginning of the record, or of its parts, and its full length."""
    event = _structured.parse(data)
    return cut_text(data, limit, len(data)) if event is None else _cut_event(event, len(data), limit)


def cut_text(data: bytes, limit: int, length: int) -> bytes:
    """Return at most `limit` bytes: the beginning of a text of `length` bytes in all, and that number."""
    end = f" [{FULL_LENGTH}={length}]".encode()
    beginning = data[: max(0, limit - len(end))]
    # A character that is cut in two is left out; what was no UTF-8 before remains as it is.
    for back in range(1, min(4, len(beginning)) + 1):
        byte = beginning[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            width = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            if back < width:
                beginning = beginning[:-back]
            break
    return (beginning + end)[:limit]


def _cut_event(event: Event, length: int, limit: int) -> bytes:
    longest = max(SHORTEST, limit - ROOM_FOR_NAMES)
    while True:
        data = _encode(event, length, longest, len(event.fields))
        if len(data) <= limit:
            return data
        if longest == SHORTEST:
            break
        longest = max(SHORTEST, min(longest * 9 // 10, longest * limit // len(data) - 64))
    few = len(event.fields)
    while few:
        few //= 2
        data = _encode(event, length, SHORTEST, few)
        if len(data) <= limit:
            return data
    return cut_text(data, limit, length)


def _encode(event: Event, length: int, longest: int, fields: int) -> bytes:
    """Encode an event with so many of its fields, no part longer than so many characters."""
    kept: dict[str, Any] = {}
    for key, value in list(event.fields.items())[:fields]:
        text = value if isinstance(value, str) else _structured.encode_value(value)
        kept[key[:longest]] = value if len(text) <= longest else text[:longest]
    kept[FULL_LENGTH] = length
    parts: dict[str, Any] = event._asdict() | {"fields": kept}
    for key, value in parts.items():
        if isinstance(value, str):
            parts[key] = value[:longest]
    return _structured.encode(**parts)
