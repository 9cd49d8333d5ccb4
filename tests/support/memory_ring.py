"""Rings in anonymous memory, and producers without a policy: the core alone."""

import os
import struct
from typing import Any

from disklog_mp import _core
from disklog_mp._core import (
    SLOT_FREE,
    STOP_DAMAGED,
    Mapping,
    Producer,
    RecordIterator,
    Ring,
)
from support.layout import word_offset

SMALL = 4096


SALT = 0x1234_5678_9ABC_DEF0


ALL = 2**63  # no limit


LAPS = 2**28  # until tags wrap


BASES = [0, 2**32 - 128, 2**63 - 4096 + 64, SMALL * (LAPS - 3), SMALL * (LAPS // 2 - 2) + 96]


class Raw(Producer):
    """A producer without a policy: the status is the answer."""

    looked = 0

    def _log_slowly(self, data: Any, tag: int, status: int) -> int:
        return status

    def _log_many_slowly(self, records: Any, tag: int, status: int) -> int:
        return status

    def _look_at_writer(self) -> None:
        self.looked += 1
        raise RuntimeError("no writer here")


def memory(length: int) -> int:
    """A descriptor of anonymous memory of that length; mapped, it can be closed."""
    fd = os.memfd_create("ring")
    os.ftruncate(fd, length)
    return fd


def make_ring(capacity: int = SMALL, base: int = 0, **other: Any) -> Ring:
    constants = {
        "generation": 1,
        "salt": SALT,
        "boot_id": b"b" * 16,
        "log_id": b"l" * 16,
        "name": b"name",
        "path": b"/path",
        **other,
    }
    size = _core.ring_size(capacity)
    fd = memory(size)
    try:
        _core.format_ring(Mapping(fd, size, writable=True), capacity, base, *constants.values())
        return Ring(fd, size, writable=True)
    finally:
        os.close(fd)


def make_producer(ring: Ring, slot: int = 1, pid: int = 1001) -> Raw:
    producer = Raw()
    if ring.slot(slot)[1] == SLOT_FREE:
        ring.attach(slot, pid, 5, 6, 7)
    producer.bind(ring, slot, pid)
    return producer


def word(tag: int, state: int, owner: int, granules: int) -> int:
    return (tag % LAPS) << 36 | state << 33 | owner << 20 | granules


def tag_of(ring: Ring, position: int) -> int:
    return (position // ring.capacity + 1) % LAPS


def set_state(ring: Ring, position: int, state: int) -> None:
    """As if the frame there were in that state: 1 claimed, 2 committed, ..."""
    offset = word_offset(ring, position)
    ring.store64(offset, ring.load64(offset) & ~(7 << 33) | state << 33)


def die_at(ring: Ring, producer: Raw, length: int) -> int:
    """Claim room for a record and never commit; the position, or a status."""
    position = producer.try_record(bytes(length), 0)
    if position >= 0:
        set_state(ring, position, 1)
    return position


def bytes_at(ring: Ring, position: int, length: int) -> bytes:
    start = ring.data_offset + position % ring.capacity
    return bytes(memoryview(ring)[start : start + length])


def time_at(ring: Ring, position: int) -> int:
    return struct.unpack("<Q", bytes_at(ring, position + 8, 8))[0]


def drain(ring: Ring, position: int, max_bytes: int = ALL, max_records: int = ALL) -> tuple[int, ...]:
    """End, length, records, why it stopped, what next: a run without its time."""
    end, length, records, _, stop, following = ring.drain(position, max_bytes, max_records)
    return end, length, records, stop, following


def drain_all(ring: Ring, position: int) -> tuple[list[bytes], int]:
    """Drain and release until nothing is left: the records' bytes, read as a page's, and the position."""
    records: list[bytes] = []
    while True:
        end, length, count, stop, _ = drain(ring, position)
        assert stop != STOP_DAMAGED
        if end == position:
            return records, position
        start = ring.data_offset + position % ring.capacity
        found = list(RecordIterator(ring, start, start + length, position, 0, SALT, payloads=True))
        assert count == len(found)
        records += found
        ring.release(position, end)
        position = end
