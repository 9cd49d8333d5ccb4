"""A page and its records, read through a mapping that cannot write.

A page needs no writer and no ring: it can be read while it is being written, after it was sealed, and
after its file was removed.
"""

from __future__ import annotations

import bisect
import itertools
import operator
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, overload

from disklog_mp._core import GRANULE, Frames, Mapping, Record, census
from disklog_mp._os.files import REAL
from disklog_mp._pages import format as _page_format
from disklog_mp._pages.format import (
    BELL,
    HEADER_LENGTH,
    PAGE_OPEN,
    PAGE_SEALED,
    SEAL_CRC,
    STATE,
    WATERMARK,
    HeaderError,
)
from disklog_mp.errors import CorruptPageError, FormatVersionError

CHECKPOINT = 512  # records between two remembered offsets
ALL = 2**64 - 1


class Damage(NamedTuple):
    """A range of a page that cannot be read: how long, and how many records stood in it at the least.

    `torn` is true where nothing valid follows in a page that was never sealed: the end of what a crash
    left, not corruption.  Offset 0: the whole page, for want of a header; and of length 0, there is no such
    page file, though there are some before and after it.
    """

    page: int
    offset: int
    length: int
    records: int
    found: int
    expected: int
    torn: bool


def report(damage: Damage) -> None:
    """Say it on the logging channel "disklog_mp": damage is never passed over in silence."""
    import logging

    logging.getLogger("disklog_mp").warning(
        "page %d: %s of %d bytes at offset %d (%d records; crc %#010x, expected %#010x)",
        damage.page,
        "torn tail" if damage.torn else "corrupt range",
        damage.length,
        damage.offset,
        damage.records,
        damage.found,
        damage.expected,
    )


class Page:
    """A numbered run of records.  Iterating it gives records; indexing starts at 0; slices give lists.

    Raises FileNotFoundError, CorruptPageError for a damaged header, FormatVersionError for a page of
    another format version.  Damage inside is passed over while iterating and reported: see `damage`.

    The page is memory that the file is mapped to.  Nothing of this package cuts a page file below what was
    published; where somebody else did, while it is read, there are zeros, and so damage.
    """

    def __init__(self, path: str, *, on_damage: Callable[[Damage], object] = report) -> None:
        self.path = path
        self.damage: list[Damage] = []
        self._on_damage = on_damage
        self._file = REAL.open(path, writable=False)
        try:
            self._mapping = self._map()
            self._header = self._read_header()
        except BaseException:
            self._file.close()
            raise
        self._sealed = False
        self._noted: set[int] = set()  # offsets of the damage
        self._scanned = (-1, 0)  # watermark and end of a page whose line is damaged
        self._counter: Frames | None = None
        self._counted_to = ALL
        self._checkpoints: list[tuple[int, int]] = [(self.first_number, self._header.data_offset)]

    def _map(self) -> Mapping:
        size = self._file.size()
        if size < HEADER_LENGTH:
            raise CorruptPageError(
                self.path,
                size,
                f"{size} bytes",
                f"a page header of {HEADER_LENGTH} bytes: never a page, or cut",
            )
        return self._file.map(size, writable=False)

    def _read_header(self) -> _page_format.PageHeader:
        try:
            header = _page_format.unpack(memoryview(self._mapping))
        except HeaderError as problem:
            if problem.offset == 8:
                found = f"a page of version {problem.found}"
                raise FormatVersionError(self.path, found, problem.expected) from None
            raise CorruptPageError(self.path, problem.offset, problem.found, problem.expected) from None
        size = len(self._mapping)
        if header.data_offset > size:
            raise CorruptPageError(
                self.path, size, f"{size} bytes", f"frames from offset {header.data_offset}"
            )
        return header

    # -- facts -------------------------------------------------------------------------------------------

    @property
    def number(self) -> int:
        """The page's number, from 1."""
        return self._header.number

    @property
    def first_number(self) -> int:
        """The number of its first record."""
        return self._header.first_number

    @property
    def first_position(self) -> int:
        """The position at which it begins, bytes since the log began."""
        return self._header.first_position

    @property
    def header(self) -> _page_format.PageHeader:
        """The immutable part of its header."""
        return self._header

    @property
    def sealed(self) -> bool:
        """True if the page is complete: it never changes again."""
        # The state first: what it vouches for was stored before it.
        if not self._sealed and self._mapping.load32(STATE) == PAGE_SEALED:
            self._sealed = _page_format.is_sealed(memoryview(self._mapping)) and self._is_plausible()
        return self._sealed

    def _is_plausible(self) -> bool:
        size = len(self._mapping) if self._file.fd < 0 else self._file.size()
        return _page_format.is_plausible(self._header, self.line(), size)

    def line(self) -> _page_format.PageLine:
        """Return the mutable part of its header as it is now, unchecked."""
        return _page_format.unpack_line(memoryview(self._mapping))

    def end(self) -> int:
        """Return the offset behind all that can be read now: the watermark, if the file holds it."""
        if self._mapping.load32(STATE) != PAGE_OPEN and not self.sealed:
            return self._end_without_line()
        watermark = self._mapping.load64(WATERMARK)
        limit = self._limit(watermark)
        start = self._header.data_offset
        return max(start, start + (min(watermark, limit) - start) // GRANULE * GRANULE)

    def _limit(self, wanted: int) -> int:
        """The offset up to which memory may be read: the file may have grown, or have been cut."""
        if self._file.fd < 0:
            return len(self._mapping)
        size = self._file.size()
        if len(self._mapping) < wanted and len(self._mapping) < size:
            self._mapping = self._file.map(size, writable=False)
        return min(size, len(self._mapping))

    def _end_without_line(self) -> int:
        """The end of the last valid frame, where the line that should say it is damaged."""
        line = self.line()
        if self._scanned[0] != line.watermark:
            header, limit = self._header, self._limit(ALL)
            if limit < header.data_offset:
                return header.data_offset
            found = census(self._mapping, header.data_offset, limit, header.first_position, header.salt)
            self._scanned = line.watermark, found[5]
            seal = _page_format.seal_crc(memoryview(self._mapping))
            length = SEAL_CRC + 4 - WATERMARK
            self._note(Damage(self.number, WATERMARK, length, 0, line.seal_crc, seal, False))
        return self._scanned[1]

    def end_position(self) -> int:
        """Return the position behind all that can be read now."""
        return self.first_position + self.end() - self._header.data_offset

    def end_number(self) -> int:
        """Return the number behind the last record of a sealed page, 2**64 - 1 while it is not known."""
        return self.first_number + self.line().records if self.sealed else ALL

    def __repr__(self) -> str:
        state = "sealed" if self.sealed else "open"
        return f"<Page {self.number} of {self._header.name!r}, {len(self)} records, {state}>"

    # -- records -----------------------------------------------------------------------------------------

    def frames(self, number: int | None = None, position: int = 0, *, payloads: bool = False) -> Frames:
        """Return the core's iterator, at the record of that number (and at or behind that position)."""
        at_number, offset = self._checkpoints[0]
        if number is not None:
            known = bisect.bisect_right(self._checkpoints, (number, ALL))
            at_number, offset = self._checkpoints[max(0, known - 1)]
        end = self.end()
        if offset > end:  # a repair has taken back what could be read before
            (at_number, offset), *_ = self._checkpoints
        frames = Frames(
            self._mapping,
            offset,
            end,
            self.first_position + offset - self._header.data_offset,
            at_number,
            self._header.salt,
            self.end_number(),
            payloads,
        )
        if (number is not None and number > at_number) or position:
            frames.seek(min(number or 0, ALL), position)
        return frames

    def extend(self, frames: Frames) -> bool:
        """Let `frames` go on to what was published since; False if nothing was."""
        self._take_note(frames)
        end = self.end()
        if end <= frames.end:
            return False
        frames.extend(end, self._mapping)
        return True

    def _take_note(self, frames: Frames) -> None:
        """Report damage the iterator met, each range once; and what is missing behind where it ended."""
        open_, missing = self._mapping.load32(STATE) == PAGE_OPEN, self._missing(frames.end)
        for offset, length, crc, expected, records in frames.damage:
            if offset + length < frames.end:
                self._note(Damage(self.number, offset, length, records, crc, expected, False))
            else:
                self._note(Damage(self.number, offset, length + missing, records, crc, expected, open_))
                missing = 0
        if missing and frames.offset == frames.end:
            lost = 0 if open_ else self.end_number() - frames.number
            self._note(Damage(self.number, frames.end, missing, max(0, lost), 0, 0, open_))

    def _missing(self, end: int) -> int:
        """How many bytes behind `end` were published and are no longer in the file: it was cut."""
        line = self.line()
        if end + GRANULE <= self._limit(line.watermark) or not (self.sealed or line.state == PAGE_OPEN):
            return 0
        return max(0, line.watermark - end) if self._is_plausible() else 0

    def _note(self, damage: Damage) -> None:
        if damage.offset not in self._noted:
            self._noted.add(damage.offset)
            self.damage.append(damage)
            self._on_damage(damage)

    def __iter__(self) -> Iterator[Record]:
        return self._iterate(self.frames())

    def payloads(self) -> Iterator[bytes]:
        """Iterate the records' bytes alone: the fast path."""
        return self._iterate(self.frames(payloads=True))

    def _iterate(self, frames: Frames) -> Iterator[Any]:
        # The chain takes records from the core itself; a generator in between would cost as much as reading.
        return itertools.chain.from_iterable(self._runs(frames))

    def _runs(self, frames: Frames) -> Iterator[Frames]:
        """Give the iterator out for as long as it was moved on."""
        yield frames
        while self.extend(frames):
            yield frames

    def __len__(self) -> int:
        if self.sealed:
            return self.line().records
        return self._count(ALL) - self.first_number

    def _count(self, number: int) -> int:
        """Walk on up to that record number, remembering places on the way; return how far it went."""
        if self._counter is None or (self.damage and self._counted_to != self.end_number()):
            # Once the page is sealed it is known how many records damage took.
            del self._checkpoints[1:]
            self._counted_to = self.end_number()
            self._counter = self.frames()
        counter = self._counter
        self.extend(counter)
        while counter.number < number:
            before = counter.number
            counter.seek(min(number, before + CHECKPOINT))
            if counter.number == before:
                break
            # A place to remember is between frames, not inside a group.
            while counter.position != self.first_position + counter.offset - self._header.data_offset:
                counter.seek(counter.number + 1)
            self._checkpoints.append((counter.number, counter.offset))
        self._take_note(counter)
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
        frames = self.frames(number)
        record: Record | None = next(frames, None)
        if record is None or record.number != number:
            raise self._damage_at(frames, number)
        return record

    def _damage_at(self, frames: Frames, number: int) -> CorruptPageError:
        """The error for a record that is not where it should be."""
        self.extend(frames)
        before = [damage for damage in self.damage if damage.offset <= frames.offset]
        if not before:
            return CorruptPageError(self.path, frames.offset, "no frame", f"record {number}")
        nearest = max(before)
        return CorruptPageError(
            self.path, nearest.offset, f"crc {nearest.found:#010x}", f"{nearest.expected:#010x}"
        )

    def _between(self, start: int, stop: int) -> Iterator[Record]:
        frames = self.frames(self.first_number + start)
        for record in self._iterate(frames):
            if record.number >= self.first_number + stop:
                return
            yield record

    def place(self) -> tuple[int, int]:
        """Return position and number behind the last record that can be read now."""
        if self.sealed:
            return self.end_position(), self.end_number()
        number = self._count(ALL)
        assert self._counter is not None
        return self._counter.position, number

    # -- waiting -----------------------------------------------------------------------------------------

    def bell(self) -> int:
        """Return the count of changes of this page, to pass to wait()."""
        return self._mapping.load32(BELL)

    def wait(self, bell: int, seconds: float) -> bool:
        """Sleep until the page changes (True), or the time is over; `bell` is what it was before looking."""
        return self._mapping.wait(BELL, bell, seconds)

    def _wait_watching(self, bell: int, watermark: int, following: str, seconds: float, look: float) -> bool:
        """The same, also for what rings no bell, a writer having been killed before it could.

        Every `look` seconds: is the watermark what it was, and is the page of that path not there?
        """
        path = os.fsencode(following)
        return self._mapping.wait_watching(BELL, bell, seconds, look, WATERMARK, watermark, path)

    def _watermark(self) -> int:
        """What stands there, unchecked."""
        return self._mapping.load64(WATERMARK)

    def close(self) -> None:
        """Close the file; records that are held keep the bytes they show."""
        self._file.close()

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()
