"""A page and its records, read through a mapping that cannot write.

A page needs no writer and no ring: it can be read while it is being written, after it was sealed, and
after its file was removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, overload

from disklog_mp import _page_format
from disklog_mp._core import GRANULE, Frames, Mapping, Record
from disklog_mp._files import REAL
from disklog_mp._page_format import BELL, HEADER_LENGTH, PAGE_SEALED, STATE, WATERMARK, HeaderError
from disklog_mp.errors import CorruptPageError, FormatVersionError

CHECKPOINT = 512  # records between two remembered offsets
ALL = 2**64 - 1


class Damage(NamedTuple):
    """A range of a page that cannot be read: how long, and how many records stood in it at the least.

    `torn` is true where nothing valid follows in a page that was never sealed: the end of what a crash
    left, not corruption.
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
        self._counter: Frames | None = None
        self._checkpoints: list[tuple[int, int]] = []

    def _map(self) -> Mapping:
        size = self._file.size()
        if size < HEADER_LENGTH:
            raise CorruptPageError(
                self.path, size, f"{size} bytes", f"a page header of {HEADER_LENGTH} bytes: never a page, or cut"
            )
        return self._file.map(size, writable=False)

    def _read_header(self) -> _page_format.PageHeader:
        try:
            return _page_format.unpack(memoryview(self._mapping))
        except HeaderError as problem:
            if problem.offset == 8:
                found = f"a page of version {problem.found}"
                raise FormatVersionError(self.path, found, problem.expected) from None
            raise CorruptPageError(self.path, problem.offset, problem.found, problem.expected) from None

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
        return self._mapping.load32(STATE) == PAGE_SEALED and self.line().seal_crc == _page_format.seal_crc(
            memoryview(self._mapping)
        )

    def line(self) -> _page_format.PageLine:
        """Return the mutable part of its header as it is now, unchecked."""
        return _page_format.unpack_line(memoryview(self._mapping))

    def end(self) -> int:
        """Return the offset behind all that can be read now: the watermark, if the file holds it."""
        watermark = self._mapping.load64(WATERMARK)
        if watermark > len(self._mapping):
            size = self._file.size() if self._file.fd >= 0 else 0
            if size > len(self._mapping):
                self._mapping = self._file.map(size, writable=False)
            watermark = min(watermark, len(self._mapping))
        start = self._header.data_offset
        return max(start, start + (watermark - start) // GRANULE * GRANULE)

    def end_position(self) -> int:
        """Return the position behind all that can be read now."""
        return self.first_position + self.end() - self._header.data_offset

    def __repr__(self) -> str:
        state = "sealed" if self.sealed else "open"
        return f"<Page {self.number} of {self._header.name!r}, {len(self)} records, {state}>"

    # -- records -----------------------------------------------------------------------------------------

    def frames(self, number: int | None = None, position: int = 0, *, payloads: bool = False) -> Frames:
        """Return the core's iterator, at the record of that number (and at or behind that position)."""
        offset, at_number = self._header.data_offset, self.first_number
        if number is not None:
            for known_number, known_offset in reversed(self._checkpoints):
                if known_number <= number:
                    at_number, offset = known_number, known_offset
                    break
        end = self.end()
        frames = Frames(
            self._mapping,
            min(offset, end),
            end,
            self.first_position + offset - self._header.data_offset,
            at_number,
            self._header.salt,
            self.first_number + self.line().records if self.sealed else ALL,
            payloads,
        )
        if (number is not None and number > at_number) or position:
            frames.seek(number or 0, position)
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
        """Report damage the iterator met, each range once."""
        found = frames.damage
        if not found:
            return
        known = {damage.offset for damage in self.damage}
        for offset, length, crc, expected, records in found:
            if offset in known:
                continue
            torn = offset + length >= frames.end and not self.sealed
            damage = Damage(self.number, offset, length, records, crc, expected, torn)
            self.damage.append(damage)
            self._on_damage(damage)

    def __iter__(self) -> Iterator[Record]:
        return self._iterate(self.frames())

    def payloads(self) -> Iterator[bytes]:
        """Iterate the records' bytes alone: the fast path."""
        return self._iterate(self.frames(payloads=True))

    def _iterate(self, frames: Frames) -> Iterator[Record]:
        while True:
            yield from frames
            if not self.extend(frames):
                return

    def __len__(self) -> int:
        if self.sealed:
            return self.line().records
        return self._count(ALL) - self.first_number

    def _count(self, number: int) -> int:
        """Walk on up to that record number, remembering places on the way; return how far it went."""
        if self._counter is None:
            self._counter = self.frames()
        counter = self._counter
        self.extend(counter)
        while counter.number < number:
            before = counter.number
            counter.seek(min(number, before + CHECKPOINT))
            if counter.number == before:
                break
            if not counter.inside:
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
            if places.step != 1:
                return [self[place] for place in places]
            return list(self._between(places.start, places.stop))
        if index < 0:
            index += len(self)
        number = self.first_number + index
        if index < 0 or self._count(number + 1) <= number:
            raise IndexError(f"page {self.number} has {len(self)} records, no record {index}")
        frames = self.frames(number)
        record = next(frames, None)
        if record is None or record.number != number:
            self._take_note(frames)
            damage = min(self.damage, key=lambda range_: abs(range_.offset - frames.offset))
            raise CorruptPageError(
                self.path, damage.offset, f"crc {damage.found:#010x}", f"{damage.expected:#010x}"
            )
        return record

    def _between(self, start: int, stop: int) -> Iterator[Record]:
        frames = self.frames(self.first_number + start)
        for record in self._iterate(frames):
            if record.number >= self.first_number + stop:
                return
            yield record

    # -- waiting -----------------------------------------------------------------------------------------

    def bell(self) -> int:
        """Return the count of changes of this page, to pass to wait()."""
        return self._mapping.load32(BELL)

    def wait(self, bell: int, seconds: float) -> bool:
        """Sleep until the page changes (True), or the time is over; `bell` is what it was before looking."""
        return self._mapping.wait(BELL, bell, seconds)

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
