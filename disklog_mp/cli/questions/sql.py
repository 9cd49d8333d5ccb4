"""disklog-mp sql: questions to a log, which DuckDB answers."""

from __future__ import annotations

import csv
import io
import itertools
import math
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, time
from typing import Any

import click

from disklog_mp._reader.arrow import Batches
from disklog_mp._reader.columns import Field
from disklog_mp._reader.conditions import Conditions
from disklog_mp._reader.reader import Reader
from disklog_mp.cli import _complete, _extras, _find, _text
from disklog_mp.cli.questions._dataset import Bounds, dataset_of
from disklog_mp.cli.questions.export import to_columns
from disklog_mp.cli.records._notes import Notes

ROWS = 1 << 15  # in a batch of records
FETCHED = 1000  # rows of an answer at a time; a table's columns are as wide as the first of these need


class SqlError(click.ClickException):
    """DuckDB refuses a question."""

    exit_code = 2


@click.command(short_help="Answer a question in SQL to the table `log`.")
@click.argument("log", metavar="LOG", shell_complete=_complete.complete_logs)
@click.argument("question", metavar="SQL")
@click.option(
    "--format", "layout", type=click.Choice(("table", "csv", "json")), default="table", help="[table]"
)
@click.option(
    "--columns",
    "columns",
    default="",
    callback=to_columns,
    metavar="FIELD:TYPE,...",
    help="Fields with a column of their own, as in export: user:int,ms:float.",
)
@click.option("-q", "--quiet", is_flag=True, help="No messages.")
@_find.ring_dir_option
def sql(
    log: str, question: str, *, layout: str, columns: tuple[Field, ...], quiet: bool, ring_dir: str | None
) -> int:
    """Answer a question in SQL, such as "select level, count(*) from log group by 1".

    The records of LOG are the table `log`.  Its columns are those of `export`; of the other fields
    fields->>'user' is one.  Conditions of WHERE on time, level and tag are met while reading.  Times are UTC,
    to the microsecond.  It needs DuckDB: pip install 'disklog-mp[sql]'.

    Drops, damage and missing records are told on stderr.  Exit code 1 if records are damaged or missing.
    """
    duckdb = _extras.needed("duckdb", "sql", "sql")
    _extras.needed("pyarrow", "sql", "sql")
    notes = Notes({"quiet": quiet, "notes": None}, "raw")
    reader = Reader(_find.directory_of(log, ring_dir), on_damage=notes)
    records = _Records(reader, columns, notes)
    with tempfile.TemporaryDirectory(prefix="disklog-mp-sql-") as spilled:
        try:
            with duckdb.connect(":memory:", config={"python_enable_replacements": False}) as database:
                database.execute("set timezone = 'UTC'")
                database.execute("set temp_directory = ?", [spilled])
                database.register("log", dataset_of(records.schema, records.read))
                _print(database.execute(question), layout)
        except (duckdb.Error, RuntimeError) as problem:  # the latter if it was interrupted
            raise records.problem or _cause_of(problem, duckdb) from None
    return notes.exit_code


def _cause_of(problem: Exception, duckdb: Any) -> BaseException:
    """Return an error of DuckDB as its first line, or what a Ctrl-C does."""
    if not isinstance(problem, duckdb.Error) or isinstance(problem, duckdb.InterruptException):
        return KeyboardInterrupt() if "interrupt" in str(problem).lower() else problem
    return SqlError(next(filter(None, str(problem).splitlines()), type(problem).__name__))


class _Records:
    """Reads the records that can meet a question."""

    def __init__(self, reader: Reader, fields: tuple[Field, ...], notes: Notes) -> None:
        self._reader, self._fields, self._notes = reader, fields, notes
        self._told: set[int] = set()  # gap records, of a log that is read twice
        self.problem: BaseException | None = None  # the error that ended the reading
        self.schema = self._batches(()).schema

    def _batches(self, passed: tuple[str, ...]) -> Batches:
        return Batches(
            self._fields, self._reader.label, rows=ROWS, unit="us", passed=passed, on_gap=self._tell
        )

    def _tell(self, gap: Any) -> None:
        if gap.number not in self._told:
            self._told.add(gap.number)
            self._notes.gap(gap)

    def read(self, bounds: Bounds) -> Iterator[Any]:
        """Iterate record batches of the records within bounds."""
        if bounds.times is None or bounds.tags is None:
            return iter(())
        since, until = bounds.times[0] * 1000, (bounds.times[1] + 1) * 1000
        wanted = Conditions(levels=bounds.tags)
        return self._noting(
            self._batches(bounds.passed).of(self._reader.batches(wanted, since=since, until=until))
        )

    def _noting(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Keep an exception: DuckDB makes it a text of its own."""
        try:
            yield from batches
        except GeneratorExit:
            raise
        except BaseException as problem:
            self.problem = problem
            raise


# -- answers -------------------------------------------------------------------------------------------------


def _print(answer: Any, layout: str) -> None:
    """Print an answer as it comes."""
    if answer is None:
        raise SqlError("nothing was asked: write a question such as 'select count(*) from log'")
    names = [column[0] for column in answer.description or ()]
    parts = iter(lambda: answer.fetchmany(FETCHED), [])
    lines = {"table": _table, "csv": _csv, "json": _json}[layout](names, parts)
    for text in lines:
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))


def _table(names: list[str], parts: Iterator[list[tuple[Any, ...]]]) -> Iterator[str]:
    first = next(parts, [])
    shown = [[_cell(value) for value in row] for row in first]
    widths = [max(map(len, column)) for column in zip(names, *shown, strict=True)]
    numeric = [
        bool(first) and all(isinstance(row[i], (int, float)) or row[i] is None for row in first)
        for i in range(len(names))
    ]
    if names:
        yield _aligned([_text.printable(name) for name in names], widths, numeric)
    for part in itertools.chain([first], parts):
        for row in part:
            yield _aligned([_cell(value) for value in row], widths, numeric)


def _aligned(cells: list[str], widths: list[int], numeric: list[bool]) -> str:
    shown = [
        cell.rjust(width) if is_number else cell.ljust(width)
        for cell, width, is_number in zip(cells, widths, numeric, strict=True)
    ]
    return "  ".join(shown).rstrip() + "\n"


def _cell(value: Any) -> str:
    return "" if value is None else _text.printable(str(_plain(value)))


def _csv(names: list[str], parts: Iterator[list[tuple[Any, ...]]]) -> Iterator[str]:
    for rows in itertools.chain([[tuple(names)]] if names else [], parts):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(map(_plain, row) for row in rows)
        yield text.getvalue()


def _json(names: list[str], parts: Iterator[list[tuple[Any, ...]]]) -> Iterator[str]:
    for row in itertools.chain.from_iterable(parts):
        yield _text.to_json(dict(zip(names, map(_plain, row), strict=True))) + "\n"


def _plain(value: Any) -> Any:
    """Return a value as JSON has one: times in ISO 8601, UTC; others that JSON has no word for as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, (datetime, time)):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return str(value)
