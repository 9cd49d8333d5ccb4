"""The ring in plain Python: what csrc/ring.c does, without the atomics that let many do it at once.

A model, and the shortest description of the algorithm; one test drives both with the same calls.
"""

import struct
from dataclasses import dataclass, field

from disklog_mp._core import (
    ENDED,
    FULL,
    STOP_CLAIMED,
    STOP_CLOSED,
    STOP_EMPTY,
    STOP_LIMIT,
    STOP_WRAP,
    TOO_LARGE,
    crc32c,
)

RECORD, PADDING, ABANDONED, GAP, GROUP = range(1, 6)
CLAIMED = 0  # not a kind on disk: a frame that is being filled
HEADER, GRANULE = 24, 32


def encode(salt: int, position: int, time: int, pid: int, kind: int, tag: int, data: bytes) -> bytes:
    """A frame's header and bytes, without padding to the granule."""
    covered = struct.pack("<QQQIHHQ", salt, position, time, pid, kind, tag, len(data)) + data
    return struct.pack("<IIQIHH", len(data), crc32c(covered), time, pid, kind, tag) + data


def encode_group(time: int, pid: int, tag: int, records: list[bytes]) -> bytes:
    """The bytes of a group's frame."""
    inner = (struct.pack("<IIQIHH", len(data), 0, time, pid, RECORD, tag) + data for data in records)
    return struct.pack("<Q", len(records)) + b"".join(
        data.ljust(-(-len(data) // 8) * 8, b"\0") for data in inner
    )


@dataclass
class Frame:
    """What stands at one position."""

    kind: int
    slot: int
    span: int
    tag: int = 0
    records: list[bytes] = field(default_factory=list)


class ModelRing:
    """Frames from `released` to `frontier`, one after the other."""

    def __init__(self, capacity: int, base: int) -> None:
        self.capacity = capacity
        self.limit = capacity // 4 - HEADER
        self.released = self.frontier = base
        self.closed = False
        self.frames: dict[int, Frame] = {}

    def claim(self, slot: int, length: int) -> int:
        """Take room for so many bytes at the frontier; the position, or why not."""
        span = -(-(length + HEADER) // GRANULE) * GRANULE
        if length > self.limit:
            return TOO_LARGE
        if self.closed:
            return ENDED
        rest = self.capacity - self.frontier % self.capacity
        if span > rest and self._has_room(rest):
            self._put(Frame(PADDING, slot, rest))  # a frame never goes around the end
            rest = self.capacity
        if span > rest or not self._has_room(span):
            return FULL
        return self._put(Frame(CLAIMED, slot, span))

    def _has_room(self, span: int) -> bool:
        return self.frontier + span - self.released <= self.capacity

    def _put(self, frame: Frame) -> int:
        position = self.frontier
        self.frames[position] = frame
        self.frontier += frame.span
        return position

    def commit(self, position: int, kind: int, tag: int, records: list[bytes]) -> None:
        """Make the frame complete."""
        frame = self.frames[position]
        frame.kind, frame.tag, frame.records = kind, tag, records

    def abandon(self, position: int) -> bool:
        """The owner is dead: the record will never be complete."""
        frame = self.frames.get(position)
        if frame is None or frame.kind != CLAIMED:
            return False
        frame.kind = ABANDONED
        return True

    def drain(self, start: int, max_bytes: int, max_records: int) -> tuple[int, int, int, int, int]:
        """The run of complete frames from there: end, bytes to write, records, why it stopped, what next."""
        position, length, records, kind = start, 0, 0, CLAIMED
        while True:
            if position != start and (position % self.capacity == 0 or kind == PADDING):
                return position, length, records, STOP_WRAP, 0
            frame = self.frames.get(position)
            if frame is None:
                return position, length, records, STOP_CLOSED if self.closed else STOP_EMPTY, 0
            kind = frame.kind
            if kind == CLAIMED:
                return position, length, records, STOP_CLAIMED, frame.slot
            if position + frame.span - start > max_bytes or records + len(frame.records) > max_records:
                return position, length, records, STOP_LIMIT, frame.span
            length = position - start + (HEADER if kind == PADDING else frame.span)
            records += len(frame.records)
            position += frame.span

    def release(self, start: int, end: int) -> None:
        """Give the space back."""
        self.frames = {position: frame for position, frame in self.frames.items() if position >= end}
        self.released = end

    def close(self, position: int) -> bool:
        """End the ring, unless something is claimed there."""
        if self.closed or position != self.frontier:
            return False
        self.closed = True
        return True
