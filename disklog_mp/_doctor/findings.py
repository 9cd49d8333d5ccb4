"""What a look finds, and what it may not see."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """Something that is wrong, or will go wrong, and what mends it."""

    text: str
    fix: str


class Unseen(NamedTuple):
    """Something that could not be looked at, and why."""

    text: str


Told = Finding | Unseen
