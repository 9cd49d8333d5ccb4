"""Where an export goes: one file, or a directory with files for each day.

A file is written under a temporary name and gets its own when all of it is on the disk.  Of a directory's
files many get their names at once: first the journal says which ones, and where the next export begins, then
they are renamed, and an export that goes on finishes that.  So each record is there once, wherever an export
is killed.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from itertools import filterfalse, groupby
from operator import attrgetter

from disklog_mp._core import Record
from disklog_mp._os import output as _output
from disklog_mp._os.output import Output
from disklog_mp._reader.cursor import Cursor
from disklog_mp._reader.reader import Reader
from disklog_mp.cli.questions._resuming import Start, start_at, start_behind
from disklog_mp.cli.questions._sheet import FORMATS, Plan, Sheet

DAY = 86400 * 10**9  # ns
JOURNAL, LOCK = ".disklog-export.json", ".disklog-export.lock"
PART = re.compile(r"\.part-\d{20}\.[a-z]+\.new")
MOST_RECORDS = 20_000_000  # that get their names at once
MOST_DAYS = 16
_is_gap = attrgetter("gap")


class OneFile:
    """An export into one file."""

    def __init__(self, path: str, plan: Plan, end: Cursor | None, *, resume: bool) -> None:
        self._path, self._plan, self._end, self._resume = path, plan, end, resume
        self._output = Output(path)
        self._sheet: Sheet | None = None

    def start(self, reader: Reader) -> Start:
        """Return where to begin."""
        start = start_behind(reader, self._path, self._plan) if self._resume else Start()
        has_file = self._resume and os.path.exists(self._path) and os.path.getsize(self._path)
        if not has_file or self._end is None or start.number < self._end.number:
            self._sheet = self._plan.sheet(self._output, self._end)
            if has_file:
                self._sheet.copy(self._path)
        return start

    def add(self, records: list[Record]) -> None:
        """Write records."""
        if self._sheet is not None:
            self._sheet.add(records)

    def finish(self) -> None:
        """Put the file in its place, if there was anything to write."""
        if self._sheet is not None:
            self._sheet.finish()
            self._output.commit()

    def close(self) -> None:
        """Remove what is not in its place."""
        if self._sheet is not None:
            self._sheet.discard()
        self._output.discard()


class ByDay:
    """An export into a directory: `day=2026-01-31/part-N.parquet`, N the number of its first record."""

    def __init__(self, path: str, plan: Plan, end: Cursor | None, *, resume: bool) -> None:
        self._path, self._plan, self._end, self._resume = os.path.realpath(path), plan, end, resume
        self._sheets: dict[int, Sheet] = {}
        self._records = 0
        self._reader: Reader | None = None
        _output.make_directory(self._path)
        known = set(os.listdir(self._path)) - {LOCK, f".{JOURNAL}.new"}
        if known and (not resume or JOURNAL not in known):
            advice = (
                "it was not begun by `export --partition`" if resume else "--resume goes on with an export"
            )
            raise ValueError(f"{path} is not empty: {advice}")
        self._lock = _output.Lock(os.path.join(self._path, LOCK))

    def start(self, reader: Reader) -> Start:
        """Finish what an export that was killed had begun, and return where to go on."""
        self._reader = reader
        journal = os.path.join(self._path, JOURNAL)
        if not os.path.exists(journal):
            self._remove_unfinished()
            try:
                self._write_journal(None, [])
            except OSError:
                self._is_without_journal()
                raise
            return Start()
        try:
            with open(journal, encoding="utf-8") as file:
                told = json.load(file)
            columns, cursor, parts = told["columns"], told["cursor"], [*map(str, told["parts"])]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{journal} is no journal of an export: choose another directory") from None
        if columns != self._plan.columns():
            raise ValueError(f"{self._path} cannot be resumed: it has {', '.join(map(str, columns))}")
        for part in parts:
            self._name(part)
        self._remove_unfinished()
        return Start() if cursor is None else start_at(reader, Cursor.parse(cursor))

    def add(self, records: list[Record]) -> None:
        """Write records, each to its day."""
        for gap in filter(_is_gap, records):
            self._plan.on_gap(gap)
        self._add([*filterfalse(_is_gap, records)])

    def _add(self, records: list[Record]) -> None:
        days = {record.timestamp // DAY for record in records}
        if len(days) == 1:
            self._sheet(days.pop(), records[0]).add(records)
        else:
            for day, some in groupby(records, lambda record: record.timestamp // DAY):
                part = list(some)
                self._sheet(day, part[0]).add(part)
        self._records += len(records)
        if self._records >= MOST_RECORDS or len(self._sheets) > MOST_DAYS:
            assert self._reader is not None
            self._commit(self._reader.cursor_at(records[-1].number + 1))

    def _sheet(self, day: int, first: Record) -> Sheet:
        sheet = self._sheets.get(day)
        if sheet is None:
            place = os.path.join(self._path, time.strftime("day=%Y-%m-%d", time.gmtime(day * 86400)))
            _output.make_directory(place)
            name = f"part-{first.number:020}{FORMATS[self._plan.layout]}"
            sheet = self._sheets[day] = self._plan.sheet(Output(os.path.join(place, name)), None)
        return sheet

    def finish(self) -> None:
        """Give all files their names."""
        self._commit(self._end)

    def _commit(self, cursor: Cursor | None) -> None:
        sheets = list(self._sheets.values())
        for sheet in sheets:
            sheet.finish()
        parts = [os.path.relpath(sheet.output.path, self._path) for sheet in sheets]
        self._sheets.clear()
        try:
            self._write_journal(cursor, parts)
        except BaseException:
            if self._is_without_journal():  # else an export that goes on does the rest
                for sheet in sheets:
                    sheet.discard()
            raise
        for sheet, part in zip(sheets, parts, strict=True):
            self._name(part)
            sheet.output.release()
        self._records = 0

    def _write_journal(self, cursor: Cursor | None, parts: list[str]) -> None:
        told = {"columns": self._plan.columns(), "cursor": cursor and str(cursor), "parts": parts}
        journal = Output(os.path.join(self._path, JOURNAL))
        try:
            journal.write(json.dumps(told).encode() + b"\n")
            journal.commit()
        except BaseException:
            journal.release()
            raise

    def _is_without_journal(self) -> bool:
        """True if a journal that could not be written did not get its name; it is removed."""
        try:
            os.unlink(os.path.join(self._path, f".{JOURNAL}.new"))
        except FileNotFoundError:
            return False
        return True

    def _name(self, part: str) -> None:
        """Give a part its name, if it has not got it already."""
        place, name = os.path.split(os.path.join(self._path, part))
        if os.path.isdir(place):
            _output.move(os.path.join(place, f".{name}.new"), os.path.join(place, name))

    def _remove_unfinished(self) -> None:
        """Remove the files of an export that was killed before it could name them."""
        for path in self._unfinished():
            os.unlink(path)

    def _unfinished(self) -> Iterator[str]:
        for day in os.scandir(self._path):
            if day.name.startswith("day=") and day.is_dir(follow_symlinks=False):
                yield from (entry.path for entry in os.scandir(day.path) if PART.fullmatch(entry.name))

    def close(self) -> None:
        """Remove what is not in its place."""
        for sheet in self._sheets.values():
            sheet.discard()
        self._lock.close()
