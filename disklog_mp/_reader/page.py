"""A page and its records.

A page needs no writer and no ring: it can be read while it is being written, after it was sealed, and
after its file was removed.
"""

from __future__ import annotations

import bisect
import itertools
import operator
import os
from collections.abc import Callable, Iterator
from typing import Any, overload

from disklog_mp._core import GRANULE, Record, RecordIterator
from disklog_mp._pages.format import PAGE_OPEN, STATE
from disklog_mp._pages.labels import LabelTable
from disklog_mp._reader.damage import Damage, Missing, report
from disklog_mp._reader.mapped_page import ALL, MappedPage
from disklog_mp.errors import CorruptPageError

CHECKPOINT = 512  # records between two remembered offsets; untuned: a seek decodes at most so many


class Page(MappedPage):
    """A numbered run of records.  Iterating it gives records; indexing starts at 0; slices give lists.

    Raises FileNotFoundError, CorruptPageError for a damaged header, FormatVersionError for a page of
    another format version.  Damage inside is passed over while iterating and reported: see `damage`.

    The page is memory that the file is mapped to.  This package never cuts a page file below what was
    published.  If another process does, while it is read, there are zeros, which are reported as damage.
    """

    __module__ = "disklog_mp"  # where users find it, before they have looked

    def __init__(
        self,
        path: str,
        *,
        on_damage: Callable[[Damage], object] = report,
        labels: LabelTable | None = None,
    ) -> None:
        super().__init__(path, on_damage=on_damage)
        self._labels = labels or LabelTable(os.path.dirname(os.path.abspath(path)))
        self._counter: RecordIterator | None = None
        self._counted_to = ALL
        self.checkpoints: list[tuple[int, int]] = [(self.first_number, self._header.data_offset)]

    def __repr__(self) -> str:
        state = "sealed" if self.sealed else "open"
        return f"<Page {self.number} of {self._header.name!r}, {len(self)} records, {state}>"

    def records_from(
        self, number: int | None = None, position: int = 0, *, payloads: bool = False
    ) -> RecordIterator:
        """Return the core's iterator, at the record of that number (and at or behind that position)."""
        place = self.checkpoints[0]
        if number is not None:
            known = bisect.bisect_right(self.checkpoints, (number, ALL))
            place = self.checkpoints[max(0, known - 1)]
        frames = self._frames_at(place, payloads)
        if (number is not None and number > place[0]) or position:
            frames.seek(min(number or 0, ALL), position)
        return frames

    def _frames_at(self, place: tuple[int, int], payloads: bool = False) -> RecordIterator:
        end = self.end()
        number, offset = place
        if offset > end:  # recovery has taken back what could be read before
            (number, offset), *_ = self.checkpoints
        return RecordIterator(
            self._mapping,
            offset,
            end,
            self._header.position_of(offset),
            number,
            self._header.salt,
            self.end_number(),
            payloads,
            self._labels.text,
        )

    def places(self) -> list[tuple[int, int]]:
        """Return record numbers and offsets at which reading begins without a walk: every 512th or so."""
        self._count(ALL)
        return self.checkpoints[:]

    def run_before(self, position: int) -> list[Record]:
        """Return the last records before that position, in order, about 512 of them; [] if none is.

        Frames have no links back.  So the page is passed over once, up to there, and the places of every
        512th record are remembered; each run is then read on its own.
        """
        self._count(ALL, position)
        known = bisect.bisect_left(
            self.checkpoints, position, key=lambda place: self._header.position_of(place[1])
        )
        while known:
            known -= 1
            frames = self._frames_at(self.checkpoints[known])
            run = list(itertools.takewhile(lambda record: record.position < position, frames))
            if run:  # else all of it is damaged
                return run
        return []

    def extend(self, frames: RecordIterator) -> bool:
        """Let `frames` go on to what was published since; False if nothing was."""
        self.report_damage(frames)
        end = self.end()
        if end <= frames.end:
            return False
        frames.extend(end, self._mapping)
        return True

    def report_damage(self, frames: RecordIterator) -> None:
        """Report the damage that the iterator met, each once, and bytes that are missing behind its end."""
        open_, missing = self._mapping.load32(STATE) == PAGE_OPEN, self._missing(frames.end)
        for found in frames.damage:
            offset, length, crc, expected, records = found
            torn = offset + length >= frames.end
            if torn:
                length, missing = length + missing, 0
            damage = Damage(self.number, offset, length, records, crc, expected, torn and open_)
            if records:
                damage = Missing.of(damage, found.number, found.before, found.after)
            self.report_once(damage)
        if frames.offset != frames.end or frames.inside:
            return
        # The seal counts records that no frame holds: the file was cut, or recovery set bytes aside.
        is_all = self.sealed and frames.end == self.end()
        lost = max(0, self.end_number() - frames.number) if is_all else 0
        if missing or lost:
            damage = Damage(self.number, frames.end, missing, lost, 0, 0, open_)
            self.report_once(Missing.of(damage, frames.number, frames.time) if lost else damage)

    def _missing(self, end: int) -> int:
        """Return how many published bytes behind `end` are no longer in the file: it was cut."""
        line = self.line()
        if end + GRANULE <= self.limit(line.watermark) or not (self.sealed or line.state == PAGE_OPEN):
            return 0
        return max(0, line.watermark - end) if self.is_plausible() else 0

    def __iter__(self) -> Iterator[Record]:
        return self.rest_of(self.records_from())

    def payloads(self) -> Iterator[bytes]:
        """Iterate the records' bytes alone: the fast path."""
        return self.rest_of(self.records_from(payloads=True))

    def rest_of(self, frames: RecordIterator) -> Iterator[Any]:
        """Iterate what `frames` has yet to give, also what is published meanwhile."""
        # The chain takes records from the core itself; a generator in between would cost as much as reading.
        return itertools.chain.from_iterable(self._runs(frames))

    def _runs(self, frames: RecordIterator) -> Iterator[RecordIterator]:
        """Yield the same iterator again, as long as there is more for it."""
        yield frames
        while self.extend(frames):
            yield frames

    def check(self) -> None:
        """Report all damage in it, as iterating it does."""
        frames = self.records_from()
        frames.seek(ALL)
        while self.extend(frames):
            frames.seek(ALL)

    def __len__(self) -> int:
        if self.sealed:
            return self.line().records
        return self._count(ALL) - self.first_number

    def _count(self, number: int, position: int = ALL) -> int:
        """Walk up to that record number, or position, remembering offsets; return the number reached."""
        if self._counter is None or (self.damage and self._counted_to != self.end_number()):
            # The seal of a page says how many records the damage took: count again.
            del self.checkpoints[1:]
            self._counted_to = self.end_number()
            self._counter = self.records_from()
        counter = self._counter
        self.extend(counter)
        while counter.number < number and counter.position < position:
            before = counter.number
            counter.seek(min(number, before + CHECKPOINT))
            if counter.number == before:
                break
            # A place to remember is between frames, not inside a group.
            while counter.position != self._header.position_of(counter.offset):
                counter.seek(counter.number + 1)
            self.checkpoints.append((counter.number, counter.offset))
        self.report_damage(counter)
        return counter.number

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            places = range(*index.indices(len(self)))
            if not places:
                return []
            low, high = sorted((places[0], places[-1]))
            found = [
                record
                for record in self._between(low, high + 1)
                if record.number - self.first_number in places
            ]
            return found if places.step > 0 else found[::-1]
        index = operator.index(index)
        place = index + len(self) if index < 0 else index
        number = self.first_number + place
        if place < 0 or (self._count(number + 1) <= number and place >= len(self)):
            raise IndexError(f"page {self.number} has {len(self)} records, no record {index}")
        frames = self.records_from(number)
        record: Record | None = next(frames, None)
        if record is None or record.number != number:
            raise self._damage_at(frames, number)
        return record

    def _damage_at(self, frames: RecordIterator, number: int) -> CorruptPageError:
        """The error for a record that is not where it should be."""
        self.extend(frames)
        before = [
            each for each in self.damage if each.offset <= frames.offset and each.found != each.expected
        ]
        if not before:
            return CorruptPageError(self.path, frames.offset, "no frame", f"record {number}")
        nearest = max(before)
        return CorruptPageError(
            self.path, nearest.offset, f"crc {nearest.found:#010x}", f"{nearest.expected:#010x}"
        )

    def _between(self, start: int, stop: int) -> Iterator[Record]:
        frames = self.records_from(self.first_number + start)
        for record in self.rest_of(frames):
            if record.number >= self.first_number + stop:
                return
            yield record

    def first_time(self) -> int:
        """Return the time of the first record that can be read, 0 if there is none."""
        record: Record | None = next(self.records_from(), None)
        return 0 if record is None else record.timestamp

    def last_time(self) -> int:
        """Return the time of the last record that can be read now, 0 if that is not known."""
        return self.place()[2]

    def place(self) -> tuple[int, int, int]:
        """Return position and number behind the last record that can be read now, and its time.

        All three of one moment: others log meanwhile.  The time is 0 if it is not known.
        """
        if self.sealed:
            return self.end_position(), self.end_number(), self.line().last_time
        number = self._count(ALL)
        assert self._counter is not None
        return self._counter.position, number, self._counter.time

    def time_before(self, number: int, expected: int) -> int:
        """Return the time of its last record if the next one has that number; 0 if it is not known.

        If it is not as `expected`, the records are read: a reader that was here may have met damage.
        """
        _, behind, time = self.place()
        if behind != number or time == expected:
            return time if behind == number else 0
        frames = self.records_from()
        frames.seek(ALL)
        return 0 if frames.damage else frames.time
