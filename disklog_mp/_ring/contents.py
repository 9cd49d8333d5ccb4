"""The records that stand in a ring: between two positions, and where its claim map cannot be trusted.

It reads frames, not the claim map.  A frame's checksum covers its position and the log's salt, so a frame
that is whole where it stands was put there by a producer in this lap, also if the map says otherwise.
"""

from __future__ import annotations

import itertools
import operator
import sys
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from disklog_mp import _core


def records_between(ring: _core.Ring, position: int, end: int) -> list[_core.Record]:
    """Return the records that stand in the ring between two positions."""
    offset = ring.offset_of(position)
    frames = _core.RecordIterator(ring, offset, offset + end - position, position, 0, ring.salt)
    records = list(frames)
    if frames.damage:
        logging = sys.modules.get("logging")  # nothing is loaded now: its files may have been replaced
        if logging is not None:
            text = "a ring without writer and name: the frame at position %d is damaged: it is not saved"
            logging.getLogger("disklog_mp").warning(text, position)
    return records


class Run(NamedTuple):
    """Whole frames that follow each other."""

    position: int
    end: int
    data: memoryview
    records: int
    last_time: int


def runs(ring: _core.Ring, position: int, end: int, salt: int, *, records: int, length: int) -> Iterator[Run]:
    """Iterate the whole frames between two positions, in order and in runs.

    A run has one frame at least, and at most `records` records and `length` bytes beyond that.
    """
    memory = memoryview(ring)
    while position < end:
        shift = ring.offset_of(position) - position  # from a position to its place in memory
        stop = min(end, ring.data_offset + ring.capacity - shift)
        for first, last in _whole(ring, shift, position, stop, salt):
            start, behind, count, time = first, first, 0, 0
            for frame_end, frame_records, frame_time in _frames(ring, shift, first, last, salt):
                if count and (count + frame_records > records or frame_end - start > length):
                    yield Run(start, behind, memory[shift + start : shift + behind], count, time)
                    start, count = behind, 0
                behind, count, time = frame_end, count + frame_records, frame_time
            if count:
                yield Run(start, behind, memory[shift + start : shift + behind], count, time)
        position = stop


def _whole(ring: _core.Ring, shift: int, position: int, stop: int, salt: int) -> Iterator[tuple[int, int]]:
    """Iterate the ranges of positions in which all frames are whole."""
    frames = _core.RecordIterator(ring, shift + position, shift + stop, position, 0, salt, payloads=True)
    deque(frames, maxlen=0)
    for bad in frames.damage:
        if bad.offset - shift > position:
            yield position, bad.offset - shift
        position = bad.offset - shift + bad.length
    if stop > position:
        yield position, stop


def _frames(ring: _core.Ring, shift: int, first: int, last: int, salt: int) -> Iterator[tuple[int, int, int]]:
    """Iterate the end, the records and the time of the last record of each frame that holds records."""
    frames = _core.RecordIterator(ring, shift + first, shift + last, first, 0, salt)
    records = ((frames.offset - shift, record.timestamp) for record in frames)
    for end, group in itertools.groupby(records, key=operator.itemgetter(0)):
        times = [time for _, time in group]
        yield end, len(times), times[-1]
