"""Whose turn it is to start a log's next writer: one session at a time, and seldom if writers die at once.

All processes that are attached notice at the same moment that the writer is dead.  A word of the ring says
from when on the next one may be started, and how often that was tried since a writer last worked.  A
compare-and-swap decides which session takes the turn.  The pause after it grows from 0.1 s to 30 s with each
attempt; a writer that has drained what it could clears the word.  So a writer that is killed is replaced at
once, and one that dies at each start does not become many.

The word is not trusted: what it says counts for the longest pause at most.
"""

from __future__ import annotations

import time

from disklog_mp import _core

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0  # seconds between two starts
_ATTEMPTS_BITS, _ATTEMPTS_MOST = 8, 16


def pause_after(attempts: int) -> float:
    """Return the seconds between the start of that number, from 0, and the next."""
    return float(min(FIRST_PAUSE * 2 ** min(attempts, _ATTEMPTS_MOST), LONGEST_PAUSE))


def take_turn(ring: _core.Ring) -> bool:
    """True if this session is the one that starts a writer now."""
    word, now = ring.start_turn, _now()
    following, made = word >> _ATTEMPTS_BITS, _attempts_in(word)
    if now < following <= now + 1000 * LONGEST_PAUSE:
        return False
    return ring.take_start_turn(word, _word(now, made, pause_after(made)))


def return_turn(ring: _core.Ring) -> None:
    """Give the turn back at once: this session could start none, and another may be able to."""
    word = ring.start_turn
    ring.take_start_turn(word, _now() << _ATTEMPTS_BITS | max(_attempts_in(word) - 1, 0))


def extend_turn(ring: _core.Ring) -> None:
    """Have the others wait on: the writer that this session started is not ready yet, and lives."""
    word = ring.start_turn
    following, now = word >> _ATTEMPTS_BITS, _now()
    if word and following < now + 1000 * FIRST_PAUSE:
        ring.take_start_turn(word, _word(now, max(_attempts_in(word) - 1, 0), FIRST_PAUSE))


def until_next_turn(ring: _core.Ring) -> float:
    """Return the seconds until a session may start the next writer."""
    left = ((ring.start_turn >> _ATTEMPTS_BITS) - _now()) / 1000
    return left if 0 < left <= LONGEST_PAUSE else 0.0


def attempts(ring: _core.Ring) -> int:
    """Return how often a writer was started since one last worked."""
    return _attempts_in(ring.start_turn)


def _attempts_in(word: int) -> int:
    return word & (1 << _ATTEMPTS_BITS) - 1


def _now() -> int:
    """Milliseconds on the machine's clock."""
    return int(time.monotonic() * 1000)


def _word(now: int, attempts: int, pause: float) -> int:
    return now + int(1000 * pause) << _ATTEMPTS_BITS | min(attempts + 1, _ATTEMPTS_MOST)


# -- what the last start failed of -----------------------------------------------------------------------


def failure(ring: _core.Ring) -> str:
    """Return what the last start of a writer failed of, "" if it did not; printable."""
    text = ring.start_error.decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def store_failure(ring: _core.Ring, text: str) -> None:
    """Tell all sessions that wait for a writer what its start failed of, cut to its place."""
    ring.start_error = text.encode("utf-8", "replace")[: _core.START_ERROR_LENGTH - 1]
