"""The claims of a ring, seen from outside: which records are committed in it and not written yet.

It only reads, unlike a drain.  The layout of a claim word is in csrc/core/layout.h.  A ring in use changes
during the walk, so the result is a snapshot at best; a ring without a writer and producers does not change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from disklog_mp._core import FRAME_HEADER, GRANULE, SLOTS, Frames, Record, Ring

MAP_OFFSET = 8192 + SLOTS * 64  # DL_MAP_OFFSET
TAG_MASK = (1 << 28) - 1
CLAIMED, COMMITTED, ABANDONED, CLOSED, COMMITTED_GROUP = 1, 2, 3, 5, 6  # enum dl_state
PID = 16  # in a frame's header


class Claim(NamedTuple):
    """One frame of the ring: its position, length, state and owner."""

    position: int
    span: int
    state: int
    owner: int
    offset: int  # of its frame, in bytes from the start of the ring object


def walk(ring: Ring, position: int) -> Iterator[Claim]:
    """Iterate the claims from a frame boundary to the frontier."""
    capacity, data_offset = ring.capacity, ring.data_offset
    limit = position + capacity
    if position % GRANULE:  # no frame boundary: the word it came from was overwritten
        return
    while position < limit:
        index = position & (capacity - 1)
        word = ring.load64(MAP_OFFSET + index // GRANULE * 8)
        span, state = (word & 0xFFFFF) * GRANULE, word >> 33 & 7
        lap = position // capacity + 1 & TAG_MASK
        if word >> 36 != lap or state == CLOSED or span == 0 or index + span > capacity:
            return
        yield Claim(position, span, state, word >> 20 & 0x1FFF, data_offset + index)
        position += span


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
            group = claim.state == COMMITTED_GROUP
            pid = ring.load32(claim.offset + PID)
            producers[pid] += ring.load32(claim.offset + FRAME_HEADER) if group else 1
        claims += claim.state == CLAIMED
        abandoned += claim.state == ABANDONED
    return Contents(producers.total(), claims, abandoned, producers)


def records(ring: Ring, position: int, number: int) -> Iterator[Record]:
    """Iterate the committed records from a position on; `number` is the number of the first one.

    A claim that is not committed yet becomes a record or padding, so the numbers after it are provisional.
    """
    for claim in walk(ring, position):
        if claim.state in (COMMITTED, COMMITTED_GROUP):
            frames = Frames(ring, claim.offset, claim.offset + claim.span, claim.position, number, ring.salt)
            yield from frames
            number = frames.number
