"""A page file mapped to memory: its header and line, checked, and how far it may be read.

It knows no records.  Nothing in the mapping is trusted: another process may write there, or cut the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Self

from disklog_mp._core import GRANULE, Mapping, census
from disklog_mp._os.files import REAL
from disklog_mp._pages import format as _page_format
from disklog_mp._pages.format import (
    BELL,
    HEADER_LENGTH,
    LINE,
    LINE_LENGTH,
    PAGE_OPEN,
    PAGE_SEALED,
    STATE,
    VERSION,
    WATERMARK,
    HeaderError,
)
from disklog_mp._reader.damage import Damage, report
from disklog_mp.errors import CorruptPageError, FormatVersionError

ALL = 2**64 - 1


class MappedPage:
    """A page file, mapped so that it cannot be written."""

    def __init__(self, path: str, *, on_damage: Callable[[Damage], object] = report) -> None:
        self.path = path
        self.damage: list[Damage] = []
        self._on_damage = on_damage
        self._reported: set[int] = set()  # offsets of the damage
        self._sealed = False
        self._scanned = (-1, 0)  # if the line is damaged: its watermark then, and the end found by a scan
        self._file = REAL.open(path, writable=False)
        try:
            self._mapping = self._map()
            self._header = self._read_header()
            if self.sealed:  # it never grows again: a mapping of all of it needs no descriptor
                self.limit(self.line().watermark)  # it may have grown since it was mapped
                self._file.close()
        except BaseException:
            self._file.close()
            raise

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
            if problem.offset == VERSION:
                found = f"a page of version {problem.found}"
                raise FormatVersionError(self.path, found, problem.expected) from None
            raise CorruptPageError(self.path, problem.offset, problem.found, problem.expected) from None
        size = len(self._mapping)
        if header.data_offset > size:
            raise CorruptPageError(
                self.path, size, f"{size} bytes", f"frames from offset {header.data_offset}"
            )
        return header

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
            self._sealed = _page_format.is_sealed(memoryview(self._mapping)) and self.is_plausible()
        return self._sealed

    def is_plausible(self) -> bool:
        """True if the line can be that of this page in a file of this size."""
        size = self._size()
        return _page_format.is_plausible(self._header, self.line(), size)

    def _size(self) -> int:
        """Return the size of its file; what is mapped of it if that is not known any more."""
        if self._file.fd < 0:
            return len(self._mapping)
        try:
            return self._file.size()
        except OSError:  # its file system is gone, as one in user space that crashed
            return len(self._mapping)

    def line(self) -> _page_format.PageLine:
        """Return the mutable part of its header as it is now, unchecked."""
        return _page_format.unpack_line(memoryview(self._mapping))

    def end(self) -> int:
        """Return the offset behind all that can be read now: the watermark, if the file holds it."""
        if self._mapping.load32(STATE) != PAGE_OPEN and not self.sealed:
            return self._end_without_line()
        watermark = self._mapping.load64(WATERMARK)
        limit = self.limit(watermark)
        start = self._header.data_offset
        return max(start, start + (min(watermark, limit) - start) // GRANULE * GRANULE)

    def limit(self, wanted: int) -> int:
        """Return the offset up to which memory may be read: the file may have grown, or have been cut."""
        size = self._size()
        if len(self._mapping) < wanted and len(self._mapping) < size:
            self._mapping = self._file.map(size, writable=False)
        return min(size, len(self._mapping))

    def _end_without_line(self) -> int:
        """Return the end of the last valid frame: the line, which should say it, is damaged."""
        line = self.line()
        if self._scanned[0] != line.watermark:
            header, limit = self._header, self.limit(ALL)
            if limit < header.data_offset:
                return header.data_offset
            found = census(self._mapping, header.data_offset, limit, header.first_position, header.salt)
            self._scanned = line.watermark, found.end
            seal = _page_format.seal_crc(memoryview(self._mapping))
            self.report_once(Damage(self.number, LINE, LINE_LENGTH, 0, line.seal_crc, seal, False))
        return self._scanned[1]

    def end_position(self) -> int:
        """Return the position behind all that can be read now."""
        return self._header.position_of(self.end())

    def end_number(self) -> int:
        """Return the number behind the last record of a sealed page, 2**64 - 1 while it is not known."""
        return self.first_number + self.line().records if self.sealed else ALL

    def report_once(self, damage: Damage) -> None:
        """Report damage, each offset once."""
        if damage.offset not in self._reported:
            self._reported.add(damage.offset)
            self.damage.append(damage)
            self._on_damage(damage)

    def bell(self) -> int:
        """Return the count of changes of this page, to pass to wait()."""
        return self._mapping.load32(BELL)

    def wait(self, bell: int, seconds: float) -> bool:
        """Sleep until the page changes (True), or the time is over; `bell` is what it was before looking."""
        return self._mapping.wait(BELL, bell, seconds)

    def wait_watching(self, bell: int, watermark: int, following: str, seconds: float, look: float) -> bool:
        """As wait(), but notice also what a writer did that was killed before it could ring the bell.

        Every `look` seconds it looks whether the watermark is another one, and whether the page file
        `following` exists.
        """
        path = os.fsencode(following)
        return self._mapping.wait_watching(BELL, bell, seconds, look, WATERMARK, watermark, path)

    def watermark(self) -> int:
        """Return the watermark as it is now, unchecked."""
        return self._mapping.load64(WATERMARK)

    def close(self) -> None:
        """Close the file; records that are held keep the bytes they show."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()
