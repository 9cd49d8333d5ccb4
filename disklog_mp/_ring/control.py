"""The ring's control block by name: the only Python file that knows where its texts and counts are.

Plain words are attributes of `Ring`: what they mean, and which process stores them, is in csrc/core/layout.h.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from disklog_mp import _core
from disklog_mp._core import Ring

NOT_RETIRING = 2**64 - 1  # DL_NO_NOTE in layout.h
REPAIR_COUNTS = 9


class Totals(NamedTuple):
    """What all producers whose slots were freed have counted."""

    logged: int
    dropped: int
    waited: int


class Retirement(NamedTuple):
    """Whether slots are being freed: equal before and after a look if none was freed meanwhile."""

    freed: int  # slots freed so far
    note: int  # NOT_RETIRING, or the slot that is being freed

    def is_under_way(self) -> bool:
        """True if the writer is freeing a slot, or died while it did."""
        return self.note != NOT_RETIRING


def totals(ring: Ring) -> Totals:
    """Return the counts of the producers whose slots were freed."""
    return Totals(*ring.totals())


def store_totals(ring: Ring, counts: Totals) -> None:
    """Begin a new ring's totals where those of its predecessor ended."""
    for place, count in enumerate(counts):
        ring.store64(_core.TOTALS + 8 * place, count)


def retirement(ring: Ring) -> Retirement:
    """Return how many slots were freed so far, and which one is being freed."""
    return Retirement(ring.load64(_core.TOTALS - 16), ring.load64(_core.TOTALS - 8))


def repair_counts(ring: Ring) -> tuple[int, ...]:
    """Return the nine numbers of the last repair."""
    return tuple(ring.load64(_core.REPAIR + 8 * place) for place in range(REPAIR_COUNTS))


def store_repair_counts(ring: Ring, counts: tuple[int, ...]) -> None:
    """Store the nine numbers of a repair; the first, its time, goes last: 0 there means none."""
    for place in reversed(range(REPAIR_COUNTS)):
        ring.store64(_core.REPAIR + 8 * place, counts[place])


def error_text(ring: Ring) -> str:
    """Return the text of the last error; characters that cannot be printed are escaped."""
    text = _text(ring, _core.ERROR_TEXT, _core.ERROR_TEXT_LENGTH).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def store_error_text(ring: Ring, text: str) -> None:
    """Store the text of an error, cut to its place."""
    _store_text(ring, _core.ERROR_TEXT, _core.ERROR_TEXT_LENGTH, text.encode("utf-8", "replace"))


def options(ring: Ring) -> dict[str, Any]:
    """Return the options of the ring's writer; {} if they cannot be read."""
    try:
        found = json.loads(_text(ring, _core.OPTIONS, _core.OPTIONS_LENGTH))
    except (ValueError, RecursionError):  # RecursionError: many brackets, one in another
        return {}
    return found if isinstance(found, dict) else {}


def store_options(ring: Ring, text: bytes) -> None:
    """Store the writer's options, as JSON."""
    if len(text) >= _core.OPTIONS_LENGTH:
        most = _core.OPTIONS_LENGTH - 1
        raise ValueError(f"the options take {len(text)} bytes as JSON: a ring has room for {most} bytes")
    _store_text(ring, _core.OPTIONS, _core.OPTIONS_LENGTH, text)


def _text(ring: Ring, start: int, length: int) -> bytes:
    return bytes(memoryview(ring)[start : start + length]).partition(b"\0")[0]


def _store_text(ring: Ring, start: int, length: int, text: bytes) -> None:
    memoryview(ring)[start : start + length] = text[: length - 1].ljust(length, b"\0")
