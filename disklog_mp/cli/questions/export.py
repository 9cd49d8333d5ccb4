"""disklog-mp export: the records of a log as a file of another format, or as many."""

from __future__ import annotations

import os
from typing import Any

import click

from disklog_mp._core import Record
from disklog_mp._reader.columns import Field, fields_of
from disklog_mp._reader.damage import Damage, Missing
from disklog_mp._reader.reader import Reader
from disklog_mp.cli import _complete, _find, _text
from disklog_mp.cli.questions._sheet import FORMATS, Plan
from disklog_mp.cli.questions._target import ByDay, OneFile
from disklog_mp.cli.records._notes import Notes
from disklog_mp.cli.records._options import CountingCommand, selection_options
from disklog_mp.cli.records._output import selection_of


def to_columns(ctx: click.Context, param: click.Parameter, value: str) -> tuple[Field, ...]:
    """Take columns for fields from the command line; a callback for click."""
    try:
        return fields_of(value)
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from None


@click.command(
    cls=CountingCommand, short_help="Write the records of LOG to a file: JSON, CSV, Parquet, Arrow."
)
@click.argument("log", metavar="LOG", shell_complete=_complete.complete_logs)
@click.option("-o", "--output", required=True, metavar="FILE", help="The file; with --partition a directory.")
@click.option(
    "--format",
    "layout",
    type=click.Choice(tuple(FORMATS)),
    help="[from the ending of FILE]",
)
@click.option(
    "--columns",
    "columns",
    default="",
    callback=to_columns,
    metavar="FIELD:TYPE,...",
    help="Fields with a column of their own: user:int,ms:float,user.id:str; str, int, float, bool.  "
    "Another name for the column stands before: id=user.id:str.",
)
@click.option("--partition", type=click.Choice(("day",)), help="A directory for each day (UTC): FILE/day=...")
@click.option("--resume", is_flag=True, help="Go on exactly behind the records that are in FILE.")
@click.option("-q", "--quiet", is_flag=True, help="No messages.")
@selection_options
def export(
    log: str,
    *,
    output: str,
    layout: str | None,
    columns: tuple[Field, ...],
    partition: str | None,
    resume: bool,
    quiet: bool,
    ring_dir: str | None,
    **how: Any,
) -> int:
    """Write the records of LOG that are in its pages now to FILE.

    jsonl is what `cat --json` prints.  csv, parquet and arrow have columns: time, level, logger, message,
    those asked for, fields (the other ones, as JSON), pid, label, tag, number, position, process, thread,
    task, caller, exception, stack, and data_base64, the bytes of a record that is no UTF-8.  Times are UTC,
    to the nanosecond.  These formats need pyarrow: pip install 'disklog-mp[arrow]'.

    FILE is there whole and on the disk, or as it was before.  With --resume each record comes once, also if
    an export was killed.  A single file is copied for that; with --partition there are new files beside the
    old ones.

    Drops, damage and missing records are told on stderr.  Exit code 1 if records are damaged or missing.
    """
    plan_layout = layout or _layout_of(output)
    if plan_layout is None:
        raise click.UsageError(f"the ending of {output!r} is none of {', '.join(FORMATS.values())}: --format")
    if columns and plan_layout == "jsonl":
        raise click.UsageError("--columns is for csv, parquet and arrow: jsonl has all fields")
    wanted = selection_of(how)
    notes = Notes({**how, "quiet": quiet, "notes": None}, "raw")
    told = _Told(notes)
    reader = Reader(_find.directory_of(log, ring_dir), on_damage=told)
    gaps: list[int] = []

    def on_gap(gap: Record) -> None:
        gaps.append(gap.number)
        notes.gap(gap)

    plan = Plan(plan_layout, columns, reader.label, on_gap)
    chosen = wanted.for_log(reader)
    end = reader.end()
    written = 0
    target = (ByDay if partition else OneFile)(output, plan, end, resume=resume)
    try:
        start = target.start(reader)
        told.begin(start.number)
        for records in chosen.batches(reader, start=start.number, stop=0 if end is None else end.number):
            target.add(records)
            written += len(records)
        target.finish()
    finally:
        target.close()
    if not quiet:
        _text.say(f"{_text.plural(written - len(gaps), 'record')} written to {output}")
    return 1 if start.is_behind_a_gap else notes.exit_code


class _Told:
    """Tells of damage and missing records from the record on with which an export begins."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._begin: int | None = None

    def begin(self, number: int) -> None:
        """Tell from now on of what is behind that record."""
        self._begin = number

    def __call__(self, damage: Damage) -> None:
        is_exported = isinstance(damage, Missing) and self._begin and damage.last_number < self._begin
        if self._begin is not None and not is_exported:
            self._notes(damage)


def _layout_of(path: str) -> str | None:
    ending = os.path.splitext(path)[1]
    return next((layout for layout, known in FORMATS.items() if known == ending), None)
