"""Looking at the claims of a ring from outside: what is committed in it and not written yet.

Reads only, like no drain does; the layout of a claim word is in csrc/core/layout.h.  A ring in use changes
under the look, so a walk is a snapshot at best; one without a writer stands still.
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
    """One frame of the ring: where, how long, in which state, and whose."""

    position: int
    span: int
    state: int
    owner: int
    offset: int  # of its frame, in the ring object


def walk(ring: Ring, position: int) -> Iterator[Claim]:
    """Iterate the claims from a frame boundary to the frontier."""
    capacity, data_offset = ring.capacity, ring.data_offset
    limit = position + capacity
    if position % GRANULE:  # what says so was scribbled over
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
    """What the walk over a ring counted."""

    records: int  # committed
    claims: int  # not committed: their owners are filling them in, or dead
    abandoned: int
    producers: Counter[int]  # committed records by pid


NOTHING = Contents(0, 0, 0, Counter())


def count(ring: Ring, position: int) -> Contents:
    """Count what is in the ring from a position on."""
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
    """Iterate the committed records from a position on, the first of which has that number.

    A claim that is not committed yet will be a record or nothing: the numbers behind it are provisional.
    """
    for claim in walk(ring, position):
        if claim.state in (COMMITTED, COMMITTED_GROUP):
            frames = Frames(ring, claim.offset, claim.offset + claim.span, claim.position, number, ring.salt)
            yield from frames
            number = frames.number
