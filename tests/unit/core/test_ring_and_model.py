"""The C ring and the Python ring are given the same calls and must give the same answers."""

import struct
from collections.abc import Iterator

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.chance import TIMES
from support.memory_ring import (
    ALL,
    BASES,
    SALT,
    SMALL,
    bytes_at,
    die_at,
    make_producer,
    make_ring,
    time_at,
)
from support.ring_model import (
    ABANDONED,
    CLAIMED,
    GROUP,
    PADDING,
    RECORD,
    ModelRing,
    encode,
    encode_group,
)

from disklog_mp import _core

LENGTHS = st.integers(0, 60) | st.integers(0, 1100)


class RingMachine(RuleBasedStateMachine):
    """The C ring and the Python ring are given the same calls and must give the same answers."""

    claims = Bundle("claims")

    @initialize(base=st.sampled_from(BASES), capacity=st.sampled_from([SMALL, 2 * SMALL]))
    def start(self, base: int, capacity: int) -> None:
        self.ring = make_ring(capacity, base)
        self.model = ModelRing(capacity, base)
        self.producers = {slot: make_producer(self.ring, slot, 1000 + slot) for slot in (1, 2, 3)}
        self.counts = dict.fromkeys(self.producers, 0)

    @rule(
        slot=st.sampled_from([1, 2, 3]),
        data=st.binary(max_size=40) | LENGTHS.map(bytes),
        tag=st.integers(0, 65535),
    )
    def log(self, slot: int, data: bytes, tag: int) -> None:
        expected = self.model.claim(slot, len(data))
        if expected >= 0:
            self.model.commit(expected, RECORD, tag, [data])
            self.counts[slot] += 1

        assert expected == self.producers[slot].log(data, tag=tag)

    @rule(slot=st.sampled_from([1, 2, 3]), lengths=st.lists(LENGTHS, min_size=1, max_size=6))
    def log_many(self, slot: int, lengths: list[int]) -> None:
        records = [bytes([i]) * length for i, length in enumerate(lengths)]
        expected = self.model.claim(slot, len(encode_group(0, 0, 0, records)))
        if expected >= 0:
            self.model.commit(expected, GROUP, 3, records)
            self.counts[slot] += len(records)
            expected += 24 + 8

        assert expected == self.producers[slot].log_many(records, tag=3)

    @rule(target=claims, slot=st.sampled_from([1, 2, 3]), length=LENGTHS)
    def die(self, slot: int, length: int) -> int:
        expected = self.model.claim(slot, length)
        self.counts[slot] += expected >= 0

        assert expected == die_at(self.ring, self.producers[slot], length)
        return expected

    @rule(position=claims)
    def abandon(self, position: int) -> None:
        if position >= self.model.released:
            assert self.model.abandon(position) == self.ring.abandon(position)

    @rule(
        max_bytes=st.integers(0, 3000) | st.just(ALL), max_records=st.integers(0, 20), release=st.booleans()
    )
    def drain(self, max_bytes: int, max_records: int, release: bool) -> None:
        start = self.model.released
        expected = self.model.drain(start, max_bytes, max_records)
        end, length, records, last_time, stop, following = self.ring.drain(start, max_bytes, max_records)

        assert expected == (end, length, records, stop, following)
        times = [0, *self._check_frames(start, end)]
        assert times[-1] == last_time
        if release:
            self.model.release(start, end)
            self.ring.release(start, end)

    def _check_frames(self, start: int, end: int) -> Iterator[int]:
        """Every frame of the run is, to the byte, what the model says; the times of its records."""
        for position, frame in self.model.frames.items():
            if not start <= position < end:
                continue
            found = bytes_at(self.ring, position, frame.span)
            pid, time = 1000 + frame.slot, time_at(self.ring, position)
            if frame.kind in (PADDING, ABANDONED):
                pid = 0 if frame.kind == PADDING else pid
                covered = struct.pack("<QQQIHHQ", SALT, position, 0, pid, frame.kind, 0, frame.span - 24)
                fields = (frame.span - 24, _core.crc32c(covered), 0, pid, frame.kind, 0)
                assert struct.pack("<IIQIHH", *fields) == found[:24]
                continue
            data = (
                frame.records[0]
                if frame.kind == RECORD
                else encode_group(time, pid, frame.tag, frame.records)
            )
            assert found.startswith(encode(SALT, position, time, pid, frame.kind, frame.tag, data))
            yield time

    @precondition(lambda self: self.model.frontier < self.model.released + self.model.capacity)
    @rule(place=st.sampled_from(["frontier", "released"]), dice=st.integers(0, 9))
    def close(self, place: str, dice: int) -> None:
        if dice == 0:
            position = getattr(self.model, place)
            assert self.model.close(position) == self.ring.close(position)
            assert self.model.closed == self.ring.is_closed()

    @rule(slot=st.sampled_from([1, 2, 3]))
    def retire(self, slot: int) -> None:
        if not any(frame.slot == slot and frame.kind == CLAIMED for frame in self.model.frames.values()):
            before = self.ring.totals()[0]
            self.ring.retire(slot)
            assert before + self.counts[slot] == self.ring.totals()[0]
            self.counts[slot] = 0
            self.producers[slot] = make_producer(self.ring, slot, 1000 + slot)

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "model"):
            assert self.model.frontier == self.ring.frontier(self.model.released)
            assert self.model.released == self.ring.released
            assert self.ring.hint <= self.model.frontier


RingMachine.TestCase.settings = settings(max_examples=30 * TIMES, stateful_step_count=60, deadline=None)
test_the_ring_does_what_the_model_does = RingMachine.TestCase
