"""Where an export goes on: exactly behind the last record that was exported, if it still is that record."""

from __future__ import annotations

import json
import os
from typing import Any

from disklog_mp._reader.cursor import Cursor
from disklog_mp._reader.reader import Reader
from disklog_mp.cli import _text
from disklog_mp.cli.questions._sheet import CURSOR, Plan
from disklog_mp.errors import PageRetiredError

TAIL = 1 << 16  # bytes at the end of a file that are looked through for its last line, at first


class Start:
    """The number of the record to go on with, and whether records before it were removed."""

    def __init__(self, number: int = 0, *, is_behind_a_gap: bool = False) -> None:
        self.number, self.is_behind_a_gap = number, is_behind_a_gap


def start_at(reader: Reader, cursor: Cursor) -> Start:
    """Return where to go on from a place.  Raises CursorError if it is no place of this log."""
    try:
        reader.stream(cursor).locate()
    except PageRetiredError:
        return _behind_retired(reader, cursor.number)
    return Start(cursor.number)


def start_behind(reader: Reader, path: str, plan: Plan) -> Start:
    """Return where to go on behind the records in a file.

    Raises ValueError if the file is no export of this log with the same columns.
    """
    if not os.path.lexists(path) or not os.path.getsize(path):
        return Start()
    try:
        if plan.layout == "jsonl":
            return _behind(reader, path, _last_of_lines(path))
        if plan.layout == "csv":
            return _behind(reader, path, _last_of_csv(path, plan))
        cursor = _cursor_in(path, plan)
        return Start() if cursor is None else start_at(reader, cursor)
    except (KeyError, TypeError, RecursionError, UnicodeDecodeError, json.JSONDecodeError):
        raise _no_export(path, plan) from None


def _behind(reader: Reader, path: str, last: tuple[int, int, str] | None) -> Start:
    """Return where to go on behind a record of that number, position and time."""
    if last is None:
        return Start()
    number, position, time = last
    for record in reader.records(start=number, stop=number + 1):
        if (record.position, _text.iso(record.timestamp)) == (position, time):
            return Start(number + 1)
        break
    oldest, end = reader.begin(), reader.end()
    if oldest is not None and end is not None and number < oldest.number:
        return _behind_retired(reader, number + 1)
    raise ValueError(f"{path} cannot be resumed: its last record, number {number:,}, is not in this log")


def _behind_retired(reader: Reader, number: int) -> Start:
    oldest = reader.begin()
    if oldest is None or oldest.number <= number:
        return Start(number)
    removed = f"{number:,}" if number + 1 == oldest.number else f"{number:,}-{oldest.number - 1:,}"
    _text.say(f"records {removed} were removed by retention before they were exported")
    return Start(oldest.number, is_behind_a_gap=True)


def _last_of_lines(path: str) -> tuple[int, int, str]:
    """Return number, position and time of the last record of JSON lines."""
    size, length = os.path.getsize(path), TAIL
    with open(path, "rb") as file:
        while True:
            file.seek(max(0, size - length))
            lines = file.read().split(b"\n")
            if len(lines) > 2 or length >= size:
                break
            length *= 4
    if lines[-1]:
        raise ValueError(f"{path} cannot be resumed: its last line has no end")
    last = json.loads(lines[-2])
    return int(last["number"]), int(last["position"]), str(last["time"])


def _last_of_csv(path: str, plan: Plan) -> tuple[int, int, str] | None:
    import pyarrow
    from pyarrow import csv

    names = _names(plan)
    last = None
    try:
        texts = {name: pyarrow.string() for name in names}
        convert = csv.ConvertOptions(include_columns=["number", "position", "time"], column_types=texts)
        with csv.open_csv(
            path, parse_options=csv.ParseOptions(newlines_in_values=True), convert_options=convert
        ) as file:
            for batch in file:
                if batch.num_rows:
                    last = batch.slice(batch.num_rows - 1).to_pylist()[0]
        with open(path, "rb") as opened:
            head = opened.readline().decode().rstrip("\n")
    except pyarrow.ArrowException:
        raise _no_export(path, plan) from None
    if head != ",".join(f'"{name}"' for name in names):
        raise _no_export(path, plan)
    return None if last is None else (int(last["number"]), int(last["position"]), _iso(last["time"]))


def _iso(shown: str) -> str:
    """Return a time as we write it; Arrow has a blank for the T."""
    return shown.replace(" ", "T")


def _cursor_in(path: str, plan: Plan) -> Cursor | None:
    import pyarrow

    try:
        schema = _schema_of(path, plan.layout)
    except pyarrow.ArrowException:
        raise _no_export(path, plan) from None
    if schema.names != _names(plan):
        raise _no_export(path, plan)
    place = (schema.metadata or {})[CURSOR].decode()
    return Cursor.parse(place) if place else None


def _schema_of(path: str, layout: str) -> Any:
    if layout == "parquet":
        from pyarrow import parquet

        return parquet.read_schema(path)
    from pyarrow import ipc, memory_map

    with memory_map(path) as mapped, ipc.open_file(mapped) as file:
        return file.schema


def _names(plan: Plan) -> list[str]:
    from disklog_mp._reader.arrow import Batches

    return list(Batches(plan.fields, plan.label).schema.names)


def _no_export(path: str, plan: Plan) -> ValueError:
    what = f"{plan.layout} with these columns" if plan.fields else plan.layout
    return ValueError(f"{path} cannot be resumed: it is no export in {what}")
