"""Words that cannot be, and tags of laps long ago."""

import mmap
import os
import struct

import pytest
from support.layout import word_offset
from support.memory_ring import (
    BASES,
    LAPS,
    SALT,
    SMALL,
    Raw,
    drain,
    drain_all,
    make_producer,
    make_ring,
    memory,
    tag_of,
    word,
)
from support.ring_model import (
    GROUP,
    RECORD,
    encode,
)

from disklog_mp._core import (
    DAMAGED,
    SLOTS,
    STOP_DAMAGED,
    STOP_EMPTY,
    Mapping,
    RecordIterator,
    Ring,
)


@pytest.mark.parametrize(
    ("what", "tag", "state", "owner", "granules"),
    [
        ("no length", 0, 2, 1, 0),
        ("past the ring's end", 0, 2, 1, SMALL // 32),
        ("no state", 0, 0, 1, 1),
        ("an unknown state", 0, 7, 1, 1),
        ("no such slot", 0, 2, SLOTS, 1),
        ("of the next lap", 1, 2, 1, 1),
        ("of a far lap", 1000, 2, 1, 1),
        ("of a lap longer ago than can be", -(2**22), 2, 1, 1),
    ],
)
@pytest.mark.parametrize("base", BASES)
def test_a_word_that_cannot_be_is_noticed_by_all(
    what: str, tag: int, state: int, owner: int, granules: int, base: int
) -> None:
    """A walk ends there and says so; no process follows the word."""
    ring = make_ring(base=base)
    producer = make_producer(ring)
    producer.log(b"good")
    producer.log(b"bad")
    position = base + 32
    ring.store64(word_offset(ring, position), word(tag_of(ring, position) + tag, state, owner, granules))

    assert (position, 32, 1, STOP_DAMAGED, 0) == drain(ring, base)
    assert (position, 0, 0, STOP_DAMAGED, 0) == drain(ring, position)
    assert make_producer(ring, 2).log(b"new") == DAMAGED
    assert position == ring.frontier(base)
    assert not ring.abandon(position)


@pytest.mark.parametrize(
    ("hint", "answer"),
    [
        (2**64 - 1, DAMAGED),
        (2**63, DAMAGED),
        (2**64 - 32, DAMAGED),
        (SMALL + 1, DAMAGED),
        (33, DAMAGED),
        (96, 96),
    ],
)
def test_a_hint_gone_astray_is_noticed_by_the_writer(hint: int, answer: int) -> None:
    """Producers cannot tell a wrong hint from a right one, but for its size; the writer, waiting at a
    frontier that lies before the hint, can.
    """
    ring = make_ring()
    producer = make_producer(ring)
    producer.log(b"good")
    ring.hint = hint

    assert drain(ring, 0) == (32, 32, 1, STOP_EMPTY, 0)
    assert drain(ring, 32) == (32, 0, 0, STOP_DAMAGED, 0)
    assert answer == make_producer(ring, 2).log(b"new")
    assert drain(ring, 32) == (32, 0, 0, STOP_DAMAGED, 0)


def test_a_hint_that_is_too_low_costs_a_walk(ring: Ring, producer: Raw) -> None:
    """Too low is what a hint may be."""
    for _ in range(5 * SMALL // 64):
        producer.log(b"a" * 40)
        drain_all(ring, ring.released)
    ring.hint = 0

    assert ring.frontier(ring.released) == make_producer(ring, 2).log(b"new")


def test_a_position_that_is_none_is_damage(ring: Ring, producer: Raw) -> None:
    """Between granules nothing begins."""
    producer.log(bytes(100))

    assert drain(ring, 5) == (5, 0, 0, STOP_DAMAGED, 0)


def test_a_group_s_damaged_header_is_not_followed() -> None:
    """A header that claims more than there is counts as one lost record: its bytes are not looked at."""
    frames = [encode(SALT, 4096 + 32 * i, 1, 1, RECORD, 0, b"%08d" % i) for i in range(4)]
    liar = struct.pack("<IIQIHH", 2**32 - 1, 5, 1, 1, GROUP, 0) + struct.pack("<Q", 3)
    fd = memory(mmap.PAGESIZE)
    os.pwrite(fd, frames[0] + liar + b"".join(frames[2:]), 0)
    mapping = Mapping(fd, mmap.PAGESIZE)
    os.close(fd)
    found = RecordIterator(mapping, 0, 128, 4096, 0, SALT, payloads=True)

    assert list(found) == [b"00000000", b"00000002", b"00000003"]
    assert found.damage == [(32, 32, 5, 0, 1)]
    assert found.number == 4


@pytest.mark.parametrize("lap", [2**20 - 1, 2**21 - 1, LAPS - 1])
def test_granules_inside_frames_get_the_lap_s_tag_now_and_then(lap: int) -> None:
    """Once in 2^20 laps releasing renews the words at which no frame began, so that none is ever old."""
    ring = make_ring(base=SMALL * lap)
    producer = make_producer(ring)
    producer.log(bytes(100))
    old = [ring.load64(word_offset(ring, ring.base + at)) for at in (32, 64, 96, 128)]

    drain_all(ring, ring.base)

    tag = (lap + 1) % LAPS
    new = [ring.load64(word_offset(ring, ring.base + at)) for at in (32, 64, 96, 128)]
    assert [word(tag - 1, 0, 0, 0)] * 4 == old
    assert [word(tag, 0, 0, 0)] * 3 + [old[3]] == new
    assert ring.base + 128 == producer.log(b"next")
    assert drain_all(ring, ring.base + 128)[0] == [b"next"]
