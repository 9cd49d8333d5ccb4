"""The bytes that each match of a regular expression holds, for a first look without it."""

from __future__ import annotations

import re

COUNT = re.compile(rb"\{[0-9]*,?[0-9]*\}")
SPECIAL = frozenset(b".^$*+?{}[]\\|()")
REPEATS = frozenset(b"*?{")  # a byte before one of these may be missing


def literal_of(pattern: re.Pattern[bytes]) -> bytes:
    """Return bytes that stand in each match of the pattern, the longest run that is seen; b"" if none.

    It reads no groups and no classes, so it may miss some, but never says too much.
    """
    if pattern.flags & (re.IGNORECASE | re.VERBOSE | re.LOCALE) or b"(?" in pattern.pattern:
        return b""
    runs = _runs(pattern.pattern)
    return max(runs, key=len, default=b"") if runs is not None else b""


def _runs(text: bytes) -> list[bytes] | None:
    """Return the runs of plain bytes outside of groups; None if there are alternatives."""
    runs, run, at = [], b"", 0
    while at < len(text):
        byte, at = text[at], at + 1
        if byte not in SPECIAL:
            run += bytes([byte])
            continue
        if byte == ord("|"):
            return None
        if byte == ord("\\") and not chr(text[at]).isalnum():
            run, at = run + text[at : at + 1], at + 1
            continue
        runs.append(run[:-1] if byte in REPEATS else run)
        run = b""
        at = _behind(text, at - 1)
    return [*runs, run]


def _behind(text: bytes, at: int) -> int:
    """Return where the text goes on behind the special byte there and what belongs to it."""
    opening = text[at : at + 1]
    if opening == b"\\":
        # An octal or hexadecimal escape is longer, but its digits would be no bytes of the match: skip them.
        at += 2
        while at < len(text) and text[at] in b"0123456789abcdefABCDEF":
            at += 1
        return at
    if opening == b"{":
        count = COUNT.match(text, at)
        return count.end() if count else at + 1
    if opening == b"[":
        return _behind_class(text, at)
    if opening == b"(":
        return _behind_group(text, at)
    return at + 1


def _behind_class(text: bytes, at: int) -> int:
    at += 2 if text[at + 1 : at + 2] == b"^" else 1
    at += 1  # the first member, which may be ]
    while text[at - 1 : at] == b"\\" and at < len(text):  # it was an escape
        at += 1
        break
    while at < len(text) and text[at] != ord("]"):
        at += 2 if text[at] == ord("\\") else 1
    return at + 1


def _behind_group(text: bytes, at: int) -> int:
    depth = 0
    while at < len(text):
        byte = text[at]
        if byte == ord("["):
            at = _behind_class(text, at)
            continue
        at += 2 if byte == ord("\\") else 1
        depth += (byte == ord("(")) - (byte == ord(")"))
        if depth == 0:
            break
    return at
