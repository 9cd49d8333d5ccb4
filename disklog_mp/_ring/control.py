"""The texts and counts of a ring's control block, as Python values.

All words are attributes of `Ring`: what they mean, and which process stores them, is in csrc/core/layout.h.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from disklog_mp import _core
from disklog_mp._core import Ring


class Retirement(NamedTuple):
    """Whether slots are being freed: equal before and after a look if none was freed meanwhile."""

    freed: int  # slots freed so far
    is_under_way: bool  # the writer is freeing a slot, or died while it did


def retirement(ring: Ring) -> Retirement:
    """Return how many slots were freed so far, and which one is being freed."""
    return Retirement(*ring.retirement())


def error_text(ring: Ring) -> str:
    """Return the text of the last error; characters that cannot be printed are escaped."""
    text = ring.error_text.decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def store_error_text(ring: Ring, text: str) -> None:
    """Store the text of an error, cut to its place."""
    ring.error_text = text.encode("utf-8", "replace")[: _core.ERROR_TEXT_LENGTH - 1]


def options(ring: Ring) -> dict[str, Any]:
    """Return the options of the ring's writer; {} if they cannot be read."""
    try:
        found = json.loads(ring.options)
    except (ValueError, RecursionError):  # RecursionError: many brackets, one in another
        return {}
    return found if isinstance(found, dict) else {}


def store_options(ring: Ring, text: bytes) -> None:
    """Store the writer's options, as JSON."""
    check_length(text)
    ring.options = text


def check_length(text: bytes) -> None:
    """Raise ValueError if these options, as JSON, are too long for a ring."""
    if len(text) >= _core.OPTIONS_LENGTH:
        most = _core.OPTIONS_LENGTH - 1
        raise ValueError(f"the options take {len(text)} bytes as JSON: a ring has room for {most} bytes")
