"""The records that stand in a ring, read from its frames and not from its claim map."""

import logging

import pytest
from support.layout import word_offset
from support.memory_ring import SALT, SMALL, bytes_at, make_producer, make_ring

from disklog_mp import _core
from disklog_mp._ring import contents

MANY = 2**40  # no limit


def damage(ring: _core.Ring, position: int) -> None:
    """Change a byte of the frame there, behind its header."""
    memoryview(ring)[ring.offset_of(position) + _core.FRAME_HEADER] ^= 1


def told(
    ring: _core.Ring, start: int, end: int, records: int = MANY, length: int = MANY
) -> list[tuple[int, ...]]:
    """The runs between two positions: where each begins and ends, and how many records it holds."""
    found = list(contents.runs(ring, start, end, SALT, records=records, length=length))
    for run in found:
        assert bytes(run.data) == bytes_at(ring, run.position, run.end - run.position)
    return [(run.position, run.end, run.records) for run in found]


def test_records_are_found_though_the_claim_map_is_damaged() -> None:
    """What a frame says of itself counts."""
    ring = make_ring()
    producer = make_producer(ring)
    for data in (b"one", b"two"):
        producer.log(data)
    producer.log_many([b"three", b"four"])
    ring.store64(word_offset(ring, 32), 2**64 - 1)

    assert [record.data for record in contents.records_between(ring, 0, producer.end)] == [
        b"one",
        b"two",
        b"three",
        b"four",
    ]


def test_a_damaged_frame_is_told_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """The frames around it are there."""
    ring = make_ring()
    producer = make_producer(ring)
    for data in (b"one", b"two", b"three"):
        producer.log(data)
    damage(ring, 32)

    with caplog.at_level(logging.WARNING, "disklog_mp"):
        found = contents.records_between(ring, 0, producer.end)

    assert [record.data for record in found] == [b"one", b"three"]
    assert "is damaged: it is not saved" in caplog.text


def test_runs_end_at_damage_and_at_their_limits() -> None:
    """One frame at least is in a run, however small the limits are."""
    ring = make_ring()
    producer = make_producer(ring)
    for data in (b"0", b"1", b"2", b"3"):
        producer.log(data)
    producer.log_many([b"4", b"5", b"6"])
    end = producer.end

    assert told(ring, 0, end) == [(0, end, 7)]
    assert told(ring, 0, end, records=2) == [(0, 64, 2), (64, 128, 2), (128, end, 3)]
    assert told(ring, 0, end, length=40) == [
        (0, 32, 1),
        (32, 64, 1),
        (64, 96, 1),
        (96, 128, 1),
        (128, end, 3),
    ]
    damage(ring, 32)
    assert told(ring, 0, end) == [(0, 32, 1), (64, end, 5)]


def test_runs_go_on_at_the_start_of_the_ring() -> None:
    """A run does not reach over the end of the memory: the next one begins at its start."""
    ring = make_ring(base=SMALL - 64)
    producer = make_producer(ring)
    for data in (b"a", b"b", b"c"):
        producer.log(data)

    assert told(ring, SMALL - 64, producer.end) == [(SMALL - 64, SMALL, 2), (SMALL, SMALL + 32, 1)]


def test_another_log_s_frames_are_none() -> None:
    """The salt is in every checksum."""
    ring = make_ring()
    producer = make_producer(ring)
    producer.log(b"one")

    assert list(contents.runs(ring, 0, producer.end, SALT + 1, records=MANY, length=MANY)) == []
