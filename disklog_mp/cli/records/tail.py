"""disklog-mp tail: the last records of a log on stdout, and with -f those to come."""

from __future__ import annotations

import sys
from typing import Any

import click

from disklog_mp._reader.cursor import Cursor
from disklog_mp._reader.cursor_file import Loaded, load_cursor, save_cursor
from disklog_mp._reader.damage import RETIRED
from disklog_mp._reader.reader import Reader
from disklog_mp._reader.stream import Stream
from disklog_mp.cli import _find as _logs
from disklog_mp.cli import _text
from disklog_mp.cli.records._formats import Format
from disklog_mp.cli.records._notes import Notes
from disklog_mp.cli.records._output import format_of, output_options, selection_of, write
from disklog_mp.cli.records._selection import Selection
from disklog_mp.errors import CursorError, PageRetiredError


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
@click.option(
    "--if-lost",
    type=click.Choice(("oldest", "newest")),
    help="If the position in FILE does not fit the log any more: resume at the oldest record, or at the end.",
)
@output_options
def tail(
    log: str,
    *,
    lines: int | None,
    follow: bool,
    cursor_file: str | None,
    if_lost: str | None,
    ring_dir: str | None,
    **how: Any,
) -> int:
    """Print the last records of LOG, and with -f those to come.

    The formats are those of cat.  If the cursor file exists, -n is ignored: all records since are shown.
    The file is replaced after the records were printed, so no record is missed; after a kill some may be
    shown again.  Exit code 1 if records were skipped because they are damaged or were removed.

    A stored position does not fit a log that was restored from a backup or lost its end.  Then one line says
    so, and the exit code is 2, but for --if-lost.
    """
    show, notes = format_of(how)
    wanted = selection_of(how)
    reader = Reader(_logs.directory_of(log, ring_dir), on_damage=notes)
    wanted = wanted.for_log(reader, must_exist=not follow)
    place, trouble = load_cursor(cursor_file) if cursor_file is not None else Loaded(None)
    if trouble:
        _text.say(trouble)
    elif place is None and lines is not None:
        place = reader.end()
        newest = wanted.last(reader, lines, None if place is None else place.number)
        write(newest, show, notes)
        if cursor_file is not None:
            _save(cursor_file, place)
        if not follow:
            return notes.exit_code
    begin = _Begin(reader, place, if_lost)
    try:
        return _follow(begin, wanted, show, notes, follow=follow, cursor_file=cursor_file) or notes.exit_code
    except CursorError as problem:
        _text.say(f"{problem}; --if-lost says where to resume")
        return 2


class _Begin:
    """Where to begin to read, and to resume where that is not possible."""

    def __init__(self, reader: Reader, place: Cursor | None, if_lost: str | None) -> None:
        self.place = place
        self._reader = reader
        self._if_lost = if_lost

    def stream(self) -> Stream:
        """Return a stream from there."""
        return self._reader.stream(self.place)

    def after_retention(self) -> Stream:
        """Return a stream from the oldest record."""
        return self._reader.stream()

    def after(self, problem: CursorError) -> Stream:
        """Return a stream from where the caller wants to resume; raises the problem if that is nowhere."""
        if self._if_lost is None:
            raise problem
        _text.say(f"{problem}; resumed with the {self._if_lost} record")
        place = self._reader.end() if self._if_lost == "newest" else None
        self._if_lost = None  # no second time: it would read the same again and again
        return self._reader.stream(place)


def _follow(
    begin: _Begin,
    wanted: Selection,
    show: Format,
    notes: Notes,
    *,
    follow: bool,
    cursor_file: str | None,
) -> int:
    """Show the records from a place on; return 1 if some were skipped."""
    stream, place, missed = begin.stream(), begin.place, 0
    expected = place.number if place else None
    removed = False
    while True:
        try:
            for record in stream:
                if removed and expected is not None and record.number > expected:
                    missed = 1
                    _tell_removed(notes, expected, record.number - 1)
                expected, removed = record.number + 1, False
                if not wanted.matches(record):
                    continue
                if record.gap:
                    notes.gap(record)
                else:
                    sys.stdout.buffer.write(show(record))
        except PageRetiredError:  # continue with the oldest record on disk
            stream, removed = begin.after_retention(), True
            continue
        except CursorError as problem:
            stream, missed = begin.after(problem), 1
            continue
        sys.stdout.buffer.flush()
        if cursor_file is not None and stream.cursor() != place:
            place = stream.cursor()
            _save(cursor_file, place)
        if not follow:
            return missed
        stream.rest()


def _tell_removed(notes: Notes, first: int, last: int) -> None:
    """Tell of records that retention removed before they were shown."""
    numbers = f" {first:,}" if first == last else f"s {first:,}-{last:,}"
    told = {"records": last - first + 1, "first_number": first, "last_number": last, "why": RETIRED}
    notes.tell("missing", f"skipped record{numbers}: removed by retention", told)


def _save(path: str, place: Cursor | None) -> None:
    if place is not None:  # without a record there is no place, and so no file
        save_cursor(path, place)
