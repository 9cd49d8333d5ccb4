"""Draining: runs of complete frames, and where a ring ends."""

import struct

import pytest
from support.memory_ring import (
    ALL,
    BASES,
    SMALL,
    Raw,
    bytes_at,
    die_at,
    drain,
    drain_all,
    make_producer,
    make_ring,
    time_at,
)
from support.ring_model import (
    ABANDONED,
)

from disklog_mp._core import (
    ENDED,
    STOP_CLAIMED,
    STOP_CLOSED,
    STOP_EMPTY,
    STOP_LIMIT,
    TOO_LARGE,
    Ring,
)


def test_an_empty_ring_has_nothing_to_drain(ring: Ring) -> None:
    """Empty is an answer of its own."""
    assert ring.drain(0, ALL, ALL) == (0, 0, 0, 0, STOP_EMPTY, 0)


def test_a_drain_keeps_to_its_limits(ring: Ring, producer: Raw) -> None:
    """It stops before the frame that would pass one, and says how many bytes that takes."""
    for length in (8, 8, 100):
        producer.log(bytes(length))
    producer.log_many([b"a", b"b"])

    assert drain(ring, 0, 63) == (32, 32, 1, STOP_LIMIT, 32)
    assert drain(ring, 0, 64) == (64, 64, 2, STOP_LIMIT, 128)
    assert drain(ring, 0, ALL, 2) == (64, 64, 2, STOP_LIMIT, 128)
    assert drain(ring, 0, ALL, 4) == (192, 192, 3, STOP_LIMIT, 96)
    assert drain(ring, 0, 288, 5) == (288, 288, 5, STOP_EMPTY, 0)
    assert (0, 0, 0, STOP_LIMIT, 32) == drain(ring, 0, 31) == drain(ring, 0, ALL, 0)


def test_a_drain_can_be_repeated_byte_for_byte(ring: Ring, producer: Raw) -> None:
    """Until something is released it gives the same: a writer that died in between is repeated."""
    ring.attach(9, 909, 1, 1, 1)
    dead = make_producer(ring, slot=9)
    producer.log(b"a")
    die_at(ring, dead, 50)
    ring.abandon(32)
    producer.log(bytes(1000))
    producer.log(bytes(1000))
    producer.log(bytes(1000))
    ring.release(0, 32)
    producer.log(bytes(930))
    first = ring.drain(32, ALL, ALL), bytes_at(ring, 32, SMALL - 32)

    assert first == (ring.drain(32, ALL, ALL), bytes_at(ring, 32, SMALL - 32))
    assert struct.unpack("<IIQIHH", bytes_at(ring, 32, 24))[3:5] == (909, ABANDONED)


def test_a_run_has_the_time_of_its_last_record(ring: Ring, producer: Raw) -> None:
    """A group's counts as a record's; an abandoned frame has none."""
    producer.log(b"a")
    producer.log_many([b"b"])
    ring.abandon(die_at(ring, producer, 1))

    assert time_at(ring, 32) == ring.drain(0, ALL, ALL)[3] >= time_at(ring, 0) > 0


def test_a_group_that_lies_about_its_count_costs_the_count(ring: Ring, producer: Raw) -> None:
    """The bytes of a record are not trusted with more than a number."""
    producer.log_many([b"b", b"c"])
    memoryview(ring)[ring.data_offset + 24 : ring.data_offset + 28] = b"\xff\xff\xff\xff"

    assert drain(ring, 0) == (96, 96, 1, STOP_EMPTY, 0)


def test_a_claim_that_is_not_committed_stops_the_run(ring: Ring, producer: Raw) -> None:
    """What stands behind it waits; its owner is named; abandoned, it is passed over."""
    ring.attach(7, 707, 1, 1, 1)
    dead = make_producer(ring, slot=7)
    producer.log(b"before")
    position = die_at(ring, dead, 200)
    producer.log(b"behind")

    assert drain(ring, 0) == (32, 32, 1, STOP_CLAIMED, 7)
    assert drain(ring, 32) == (32, 0, 0, STOP_CLAIMED, 7)
    assert [ring.abandon(position), ring.abandon(position), ring.abandon(0)] == [True, False, False]
    assert drain_all(ring, 0)[0] == [b"before", b"behind"]
    length, _, time, pid, kind, tag = struct.unpack("<IIQIHH", bytes_at(ring, 32, 24))
    assert (length, time, pid, kind, tag) == (224 - 24, 0, 707, ABANDONED, 0)


def test_a_closed_ring_sends_all_producers_on(ring: Ring, producer: Raw) -> None:
    """The end has a place in the order: what was logged before is drained, nothing comes after."""
    producer.log(b"last")

    assert [ring.close(0), ring.is_closed(), ring.close(32)] == [False, False, True]
    assert ENDED == producer.log(b"a") == producer.log_many([b"a"]) == make_producer(ring, 2).log(b"b")
    assert ring.is_closed()
    assert not ring.close(32)
    assert drain_all(ring, 0) == ([b"last"], 32)
    assert drain(ring, 32) == (32, 0, 0, STOP_CLOSED, 0)
    assert producer.log(bytes(5000)) == TOO_LARGE


@pytest.mark.parametrize("base", BASES)
def test_a_ring_can_end_anywhere(base: int) -> None:
    """Also at its very end, where the next word is that of the lap before."""
    ring = make_ring(base=base)
    producer = make_producer(ring)
    position = base
    while position % SMALL != SMALL - 32:
        producer.log(b"a")
        position = drain_all(ring, position)[1]

    assert ring.close(position)
    assert ENDED == producer.log(bytes(500)) == producer.log(b"")
