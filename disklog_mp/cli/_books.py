"""The books of a ring: what its producers counted against what can be found in pages and ring.

    logged = written + in the ring

A producer counts a call after it committed, so one that is killed between the two leaves records that
nobody counted: at most those of one log() or log_many() for each thread of it that was logging.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from disklog_mp import _core, _ring
from disklog_mp.cli import _claims
from disklog_mp.cli._page_check import DAMAGE, NOTE
from disklog_mp.reader import Cursor, Reader

PATIENCE = 2.0  # seconds for a moment in which nothing moves
GRACE = 0.5  # for a producer that committed to count
PAUSE = 0.01


@dataclass(frozen=True)
class Books:
    """Counts of one ring, at one moment; or, if records keep coming in, around one."""

    logged: int  # counted by producers, attached now or before
    logged_later: int  # the same, read when all those were seen to be written; at one moment: the same
    dropped: int
    written: int  # records in pages since the ring's counts began
    in_ring: int  # committed, not written
    claimed: int  # claims in the ring that are not committed
    abandoned: int
    closed: bool  # False: records kept coming in, and the writer did not catch up with them

    @property
    def missing(self) -> int:
        """Records that were counted and are not there."""
        return max(0, self.logged - self.written - self.in_ring)

    @property
    def uncounted(self) -> int:
        """Records that are there and that no producer counted."""
        return max(0, self.written + self.in_ring - self.logged_later)

    @property
    def balance(self) -> bool | None:
        """True if all that was counted is there; None if that cannot be told."""
        return not self.missing if self.closed else None

    def findings(self) -> Iterator[tuple[str, str]]:
        """What is to be said about them."""
        if not self.closed:
            yield NOTE, "the books cannot be closed: records come in faster than they are written"
        elif self.missing:
            yield (
                DAMAGE,
                f"{self.missing:,} records that producers counted are in no page and not in the ring",
            )
        elif self.uncounted:
            yield (
                NOTE,
                f"{self.uncounted:,} records were logged by processes that died before they counted them",
            )


def close_books(path: str, file: _ring.RingFile) -> Books:
    """Read the books of a ring at a moment in which nothing moves, or around one if there is none."""
    reader = Reader(path, on_damage=lambda damage: None)
    began = file.ring.base_records
    began_at = time.monotonic()
    while (waited := time.monotonic() - began_at) < PATIENCE:
        look = _look(reader, file.ring)
        if look == _look(reader, file.ring):
            counts, end, contents, _ = look
            books = _books(file.ring, began, (counts, counts), end, contents)
            # Between its commit and its count a producer may have to wait for a core.
            if not books.uncounted or waited > GRACE:
                return books
        time.sleep(PAUSE)
    return _around(reader, file.ring, began)


def _around(reader: Reader, ring: _core.Ring, began: int) -> Books:
    """All that is counted by now must be in the pages once those reach what is the frontier after it."""
    before = _counts(ring)
    frontier = ring.frontier(ring.released)
    deadline = time.monotonic() + PATIENCE
    while True:
        end = reader.end()
        caught_up = end is not None and end.position >= frontier
        if caught_up or time.monotonic() > deadline:
            break
        time.sleep(PAUSE)
    time.sleep(PAUSE)  # for those who committed and have not counted yet
    return _books(ring, began, (before, _counts(ring)), end, _claims.Contents(0, 0), closed=caught_up)


def _books(
    ring: _core.Ring,
    began: int,
    counts: tuple[tuple[int, int], tuple[int, int]],
    end: Cursor | None,
    contents: _claims.Contents,
    *,
    closed: bool = True,
) -> Books:
    return Books(
        logged=counts[0][0],
        logged_later=counts[1][0],
        dropped=counts[1][1],
        written=max(0, (end.number if end else began) - began),
        in_ring=contents.records,
        claimed=contents.claims,
        abandoned=ring.abandoned,
        closed=closed,
    )


def _look(reader: Reader, ring: _core.Ring) -> tuple[tuple[int, int], Cursor | None, _claims.Contents, int]:
    """The producers' counts, the end of the pages, the ring behind it, and the frontier."""
    counts, end = _counts(ring), reader.end()
    position = max(ring.released, end.position if end else ring.base)
    return counts, end, _claims.count(ring, position), ring.frontier(position)


def _counts(ring: _core.Ring) -> tuple[int, int]:
    """How many records were logged and dropped, by all who are or were attached."""
    logged, dropped, _ = ring.totals()
    for state in (_core.SLOT_ATTACHED, _core.SLOT_DETACHED):
        for slot in _ring.slots(ring, state):
            logged += slot.logged
            dropped += slot.dropped
    return logged, dropped
