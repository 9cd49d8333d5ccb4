"""The claims of a ring, seen from outside: which records are committed in it and not written yet.

It only reads, unlike a drain.  A ring in use changes during the walk, so the result is a snapshot at best; a
ring without a writer and producers does not change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from disklog_mp._core import (
    ABANDONED,
    CLAIMED,
    COMMITTED,
    COMMITTED_GROUP,
    Claim,
    Record,
    RecordIterator,
    Ring,
)


def walk(ring: Ring, position: int) -> Iterator[Claim]:
    """Iterate the claims from a frame boundary to the frontier."""
    limit = position + ring.capacity
    while position < limit:
        claim = ring.claim_at(position)
        if claim is None:
            return
        yield claim
        position += claim.span


class Contents(NamedTuple):
    """The counts of one walk over a ring."""

    records: int  # committed
    claims: int  # not committed yet: the owner is still copying its record, or died
    abandoned: int
    producers: Counter[int]  # committed records by pid


NOTHING = Contents(0, 0, 0, Counter())


def count(ring: Ring, position: int) -> Contents:
    """Count the records and claims in the ring from a position on."""
    claims = abandoned = 0
    producers: Counter[int] = Counter()
    for claim in walk(ring, position):
        if claim.state in (COMMITTED, COMMITTED_GROUP):
            producers[claim.pid] += claim.records
        claims += claim.state == CLAIMED
        abandoned += claim.state == ABANDONED
    return Contents(producers.total(), claims, abandoned, producers)


def records(
    ring: Ring, position: int, number: int, labels: Callable[[int], str] | None = None
) -> Iterator[Record]:
    """Iterate the committed records from a position on; `number` is the number of the first one.

    `labels` returns the label of an index.

    A claim that is not committed yet becomes a record or padding, so the numbers after it are provisional.
    """
    for claim in walk(ring, position):
        if claim.state in (COMMITTED, COMMITTED_GROUP):
            end = claim.offset + claim.span
            frames = RecordIterator(ring, claim.offset, end, claim.position, number, ring.salt, labels=labels)
            yield from frames
            number = frames.number
