"""Records as lines, many at a time: the core renders the formats it knows, Python all others."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from disklog_mp._core import Record, Renderer
from disklog_mp.cli import _text
from disklog_mp.cli.records._formats import Format, Style

RAW, JSON, TEXT = range(3)  # layouts of the core


class Lines:
    """A format, for one record or for many."""

    def __init__(self, show: Format, core: Renderer | None) -> None:
        self._show = show
        self._core = core

    def __call__(self, record: Record) -> bytes:
        """Return the line of one record."""
        return self._show(record)

    def of(self, records: list[Any], start: int) -> tuple[bytes, int]:
        """Return lines of the records from that index on, and the index behind them.

        They end, if not sooner, at a gap record and at what is no record.
        """
        if self._core is not None:
            return self._core.render(records, start)
        end = start
        while end < len(records) and records[end] is not None and not records[end].gap:
            end += 1
        return b"".join(map(self._show, records[start:end])), end


def lines_of(show: Format, layout: str, *, null: bool, style: Style, encoding: str) -> Lines:
    """Return the format of that name, which `show` renders, with the core where it knows it."""

    def moment(second: int) -> str:
        return _text.moment(second * 10**9, style.zone)

    core = None
    if layout == "raw":
        core = Renderer(RAW, b"\0" if null else b"\n", moment, show)
    elif layout == "json":
        first = "{" if style.log is None else f'{{"log": {_text.to_json(style.log)}, '
        core = Renderer(JSON, first.encode(), lambda second: f"{_text.iso(second * 10**9)[:19]}Z", show)
    elif layout == "text" and not style.colour and codecs.lookup(encoding).name == "utf-8":
        first = "" if style.log is None else f"{_text.printable(style.log)} "
        core = Renderer(TEXT, first.encode("utf-8", "backslashreplace"), moment, show)
    return Lines(show, core)


class Batch:
    """Records that are still to be printed, so that many are rendered at once."""

    MOST = 512  # records

    def __init__(
        self, write: Callable[[bytes], object], lines: Lines, on_other: Callable[[Record | None], object]
    ) -> None:
        self._write, self._lines, self._on_other = write, lines, on_other
        self._records: list[Record | None] = []
        self._next = 0  # index of the first one that is still to be printed
        self._is_printing = False
        self.printed = 0

    def take(self, records: Iterator[Record | None]) -> bool:
        """Take some records and print them; False if there were none."""
        self._records.clear()
        self._next = 0
        self._records.extend(islice(records, self.MOST))  # one by one: a note on the way calls print()
        taken = len(self._records) > 0
        self.print()
        return taken

    def print(self) -> None:
        """Print all that were taken so far; `on_other` is called for gap records, and for None."""
        if self._is_printing:  # a note of a gap record: what is behind it comes later
            return
        records = self._records
        self._is_printing = True
        while self._next < len(records):
            text, end = self._lines.of(records, self._next)
            self.printed += end - self._next
            self._next = end
            self._write(text)
            if end < len(records) and ((record := records[end]) is None or record.gap):
                self._next += 1
                self._on_other(record)
        self._is_printing = False
