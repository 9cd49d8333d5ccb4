"""disklog-mp tail: the last records of a log on stdout, and with -f those to come."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

import click

from disklog_mp._reader.cursor import Cursor
from disklog_mp._reader.reader import Reader
from disklog_mp.cli import _find as _logs
from disklog_mp.cli import _text
from disklog_mp.cli.records._formats import Format
from disklog_mp.cli.records._output import DamageReport, format_of, output_options, selection_of, write
from disklog_mp.cli.records._selection import Selection
from disklog_mp.errors import PageRetiredError


def to_count(ctx: click.Context, param: click.Parameter, value: str) -> int | None:
    """Take a number of records, or all (None), from the command line; a callback for click."""
    if value == "all":
        return None
    if not value.isdecimal():
        raise click.BadParameter(f"{value!r} is neither a number nor all")
    return int(value)


@click.command()
@click.argument("log")
@click.option(
    "-n", "--lines", metavar="N", default="10", callback=to_count, help="The last N records, or `all`.  [10]"
)
@click.option("-f", "--follow", is_flag=True, help="Wait for new records, across rolls and writer restarts.")
@click.option(
    "--cursor-file",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Resume after the position stored in FILE, and update it.",
)
@output_options
def tail(
    log: str, *, lines: int | None, follow: bool, cursor_file: str | None, ring_dir: str | None, **how: Any
) -> int:
    """Print the last records of LOG, and with -f those to come.

    The formats are those of cat.  If the cursor file exists, -n is ignored: all records since are shown.
    The file is replaced after the records were printed, so no record is missed; after a kill some may be
    shown again.  Exit code 1 if records were skipped because they are damaged or were removed.
    """
    damage = DamageReport()
    show = format_of(how)
    wanted = selection_of(how)
    reader = Reader(_logs.directory_of(log, ring_dir), on_damage=damage)
    wanted = wanted.for_log(reader, must_exist=not follow)
    place = None if cursor_file is None else _load_cursor(cursor_file)
    if place is None and lines is not None:
        place = reader.end()
        newest = wanted.last(reader, lines, None if place is None else place.number)
        write(newest, show)
        if cursor_file is not None:
            _save_cursor(cursor_file, place)
        if not follow:
            return damage.exit_code
    return _follow(reader, place, wanted, show, follow=follow, cursor_file=cursor_file) or damage.exit_code


def _follow(
    reader: Reader,
    place: Cursor | None,
    wanted: Selection,
    show: Format,
    *,
    follow: bool,
    cursor_file: str | None,
) -> int:
    """Show the records from a place on; return 1 if some were skipped."""
    stream, expected, missed = reader.stream(place), place.number if place else None, 0
    removed = False
    while True:
        try:
            for record in stream:
                if removed and expected is not None and record.number > expected:
                    missed = 1
                    _text.say(_removed(expected, record.number - 1))
                expected, removed = record.number + 1, False
                if wanted.matches(record):
                    sys.stdout.buffer.write(show(record))
        except PageRetiredError:  # continue with the oldest record on disk
            stream, removed = reader.stream(), True
            continue
        sys.stdout.buffer.flush()
        if cursor_file is not None and stream.cursor() != place:
            place = stream.cursor()
            _save_cursor(cursor_file, place)
        if not follow:
            return missed
        stream.rest()


def _removed(first: int, last: int) -> str:
    """Return the message about records that retention removed before they were shown."""
    numbers = f" {first:,}" if first == last else f"s {first:,}-{last:,}"
    return f"skipped record{numbers}: removed by retention"


def _load_cursor(path: str) -> Cursor | None:
    try:
        with open(path, encoding="ascii") as file:
            return Cursor.parse(file.read().strip())
    except FileNotFoundError:
        return None
    except ValueError as problem:
        raise ValueError(f"{path}: {problem}") from None


def _save_cursor(path: str, place: Cursor | None) -> None:
    """Replace the file in one step; without a record there is no place, and so no file."""
    if place is None:
        return
    new = f"{path}.{os.getpid()}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    try:
        with open(new, "x", encoding="ascii") as file:  # it never follows a link that another user put there
            file.write(f"{place}\n")
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        raise
