"""Records as lines, many at a time: the core renders the formats it knows, Python all others."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from disklog_mp._core import Record, Renderer
from disklog_mp.cli import _text
from disklog_mp.cli.records import _formats
from disklog_mp.cli.records._formats import Format, Style

RAW, JSON, TEXT, LOGFMT, TEMPLATE = range(5)  # layouts of the core


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

        They end, if not sooner, at a gap record, at what is no record, and at one that is not intact.
        """
        if self._core is not None:
            return self._core.render(records, start)
        lines = []
        for record in records[start:]:
            if record is None or record.gap:
                break
            line = self._show(record)
            if not record.intact:
                break
            lines.append(line)
        return b"".join(lines), start + len(lines)


def lines_of(show: Format, layout: str, *, null: bool, style: Style, encoding: str) -> Lines:
    """Return the format of that name, which `show` renders, with the core where it knows it."""

    def moment(second: int) -> str:
        return _text.moment(second * 10**9, style.zone)

    def iso(second: int) -> str:
        return f"{_text.iso(second * 10**9)[:19]}Z"

    is_utf8 = codecs.lookup(encoding).name == "utf-8"
    core = None
    if layout == "raw":
        core = Renderer(RAW, b"\0" if null else b"\n", moment, show)
    elif layout == "json":
        first = "{" if style.log is None else f'{{"log": {_text.to_json(style.log)}, '
        core = Renderer(JSON, first.encode(), iso, show)
    elif layout == "text" and not style.colour and is_utf8:
        first = "" if style.log is None else f"{_text.printable(style.log)} "
        core = Renderer(TEXT, first.encode("utf-8", "backslashreplace"), moment, show)
    elif layout == "logfmt" and is_utf8:
        words = [] if style.log is None else ["", *_formats.words({"log": style.log})]
        core = Renderer(LOGFMT, " ".join(words).encode("utf-8", "backslashreplace"), iso, show)
    elif layout not in _formats.NAMES and "%(" not in layout and is_utf8:
        core = Renderer(TEMPLATE, b"", moment, show, _formats.tokens_of(layout, style).for_core())
    return Lines(show, core)


class Batch:
    """Records that are still to be printed, so that many are rendered at once."""

    MOST = 128  # records; the lines of more need memory from the kernel each time (bench: print)

    def __init__(
        self,
        write: Callable[[bytes], object],
        lines: Lines,
        on_other: Callable[[Record | None], object],
        on_cut: Callable[[Record, Record], object],
    ) -> None:
        self._write, self._lines, self._on_other, self._on_cut = write, lines, on_other, on_cut
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
        """Print all that were taken so far; `on_other` is called for gap records, and for None.

        `on_cut` is called with the first and the last of records that were cut since they were read.
        """
        if self._is_printing:  # a note of a gap record: what is behind it comes later
            return
        records = self._records
        self._is_printing = True
        while self._next < len(records):
            text, end = self._lines.of(records, self._next)
            has_printed = end > self._next
            self.printed += end - self._next
            self._next = end
            self._write(text)
            if end == len(records):
                break
            record = records[end]
            if record is None or record.gap:
                self._next += 1
                self._on_other(record)
            elif not has_printed:
                self._next = _end_of_cut(records, end)
                self._on_cut(record, records[self._next - 1])  # type: ignore[arg-type]
        self._is_printing = False


def _end_of_cut(records: list[Record | None], start: int) -> int:
    """Return the index behind records that are not intact, of which there is one at `start`."""
    end = start + 1
    while end < len(records) and (record := records[end]) is not None and not (record.gap or record.intact):
        end += 1
    return end
