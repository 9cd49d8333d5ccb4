"""The constants of a ring: those it is made with, and those that make none."""

import os
from typing import Any

import pytest
from support.memory_ring import (
    SALT,
    SMALL,
    drain,
    make_producer,
    make_ring,
    memory,
)

from disklog_mp import _core
from disklog_mp._core import (
    STOP_EMPTY,
    Mapping,
    Ring,
)


def test_a_new_ring_has_what_its_creator_gave_it() -> None:
    """The constants come back as they were given, and the positions begin at the base."""
    ring = make_ring(8192, 2**40, generation=3, name="näme".encode(), path=b"/p/a\xff")

    assert (ring.capacity, ring.base, ring.generation, ring.salt) == (8192, 2**40, 3, SALT)
    assert (b"b" * 16, b"l" * 16, "näme", os.fsdecode(b"/p/a\xff")) == (
        ring.boot_id,
        ring.log_id,
        ring.name,
        ring.path,
    )
    assert [ring.hint, ring.released, ring.written, ring.durable, ring.frontier(2**40)] == [2**40] * 5
    assert ring.record_limit == 8192 // 4 - 24
    assert len(ring) == _core.ring_size(8192) == ring.data_offset + 8192 + 4096 * 72


@pytest.mark.parametrize(
    "wrong",
    [
        {"capacity": 2048},
        {"capacity": 5000},
        {"capacity": 2**41},
        {"base": 16},
        {"boot_id": b"short"},
        {"log_id": b"l" * 17},
        {"name": b"n" * 128},
        {"path": b"/" * 3856},
    ],
    ids=str,
)
def test_constants_that_make_no_ring_are_refused(wrong: dict[str, Any]) -> None:
    """A ring is formatted whole or not at all."""
    size = _core.ring_size(SMALL)
    fd = memory(size)
    given = {
        "capacity": SMALL,
        "base": 0,
        "generation": 1,
        "salt": 1,
        "boot_id": b"b" * 16,
        "log_id": b"l" * 16,
    }
    given = {**given, "name": b"name", "path": b"/path", **wrong}
    mapping = Mapping(fd, size, writable=True)
    os.close(fd)

    with pytest.raises(ValueError, match="do not make a ring"):
        _core.format_ring(mapping, *given.values())
    assert _core.all_zero(mapping)


def test_memory_of_another_size_is_no_ring() -> None:
    """The size must be that of the capacity, to the byte."""
    with pytest.raises(ValueError, match="do not make a ring"):
        _core.format_ring(bytearray(4096), SMALL, 0, 1, 1, b"b" * 16, b"l" * 16, b"name", b"/path")


@pytest.mark.parametrize(
    ("offset", "value", "problem"),
    [
        (0, b"X", "begin like a ring"),
        (8, b"\1", "version"),
        (12, b"\1\2\3\4", "other byte order"),
        (24, b"\0\x20", "checksum"),
        (104, b"X", "checksum"),
    ],
)
def test_what_is_no_whole_ring_is_not_attached(offset: int, value: bytes, problem: str) -> None:
    """Magic, version, byte order and checksum are looked at before anything else is believed."""
    ring = make_ring()
    fd = memory(len(ring))
    os.pwrite(fd, memoryview(ring), 0)
    os.pwrite(fd, value, offset)

    with pytest.raises(ValueError, match=problem):
        Ring(fd, len(ring), writable=True)
    os.close(fd)


def test_constants_that_contradict_the_size_are_refused() -> None:
    """A good checksum does not make up for a size that is not the object's."""
    ring = make_ring()
    fd = memory(len(ring) + 4096)
    os.pwrite(fd, memoryview(ring), 0)

    with pytest.raises(ValueError, match="contradict"):
        Ring(fd, len(ring) + 4096, writable=True)
    with pytest.raises(ValueError, match="begin like a ring"):
        Ring(fd, 4096, writable=True)
    os.close(fd)


def test_a_ring_needs_a_writable_mapping(ring: Ring) -> None:
    """Every use of a ring writes, so a read-only one is refused instead of faulting later."""
    fd = memory(len(ring))
    os.pwrite(fd, memoryview(ring), 0)

    with pytest.raises(ValueError, match="writable"):
        Ring(fd, len(ring))
    os.close(fd)


@pytest.mark.parametrize("capacity", [2**36, 2**37, 2**40])
def test_the_largest_rings_work(capacity: int) -> None:
    """Up to the limit a position, a length and a count of granules fit where they are kept."""
    try:
        ring = make_ring(capacity)
    except OSError as error:
        pytest.skip(f"no address space for {capacity} bytes: {error}")
    producer = make_producer(ring)

    positions = [producer.log(b"a"), producer.log(b"b")]

    assert positions == [0, 32]
    assert drain(ring, 0) == (64, 64, 2, STOP_EMPTY, 0)
