"""Records as lines, many at a time: the core renders the formats it knows, Python all others."""

from __future__ import annotations

import codecs
from collections.abc import Callable
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

    MOST = 256  # records

    def __init__(
        self, write: Callable[[bytes], object], lines: Lines, on_other: Callable[[Record | None], object]
    ) -> None:
        self._write, self._lines, self._on_other = write, lines, on_other
        self._records: list[Record | None] = []
        self.printed = 0

    def add(self, record: Record | None) -> None:
        """Take a record; print all when there are many."""
        self._records.append(record)
        if len(self._records) >= self.MOST:
            self.print()

    def print(self) -> None:
        """Print all that were taken; `on_other` is called for gap records, and for None."""
        records, self._records = self._records, []  # on_other may come here again
        at = 0
        while at < len(records):
            text, end = self._lines.of(records, at)
            self._write(text)
            self.printed += end - at
            at = end
            if at < len(records) and ((record := records[at]) is None or record.gap):
                self._on_other(record)
                at += 1
