"""disklog-mp cat and tail: records on stdout."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import click

from disklog_mp._core import Record
from disklog_mp._reader.reader import Cursor, Reader, Stream
from disklog_mp.cli import _find as _logs
from disklog_mp.cli import _text
from disklog_mp.cli._times import to_moment
from disklog_mp.cli.records import _formats
from disklog_mp.cli.records._formats import Format
from disklog_mp.cli.records._selection import DamageReport, Selection, to_fields, to_level
from disklog_mp.cli.state import _claims
from disklog_mp.errors import PageRetiredError

OUTPUT_OPTIONS = (
    click.option("--raw", is_flag=True, help="The records' bytes, a newline after each."),
    click.option("-0", "--null", is_flag=True, help="With --raw: a NUL byte after each."),
    click.option("--json", "as_json", is_flag=True, help="One JSON object a line."),
    click.option(
        "--format",
        "layout",
        metavar="FORMAT",
        help="text, json, logfmt, message, raw, or a template: '%(time)s %(level)s %(message)s %(user)s'.",
    ),
    click.option("--utc", is_flag=True, help="Show times in UTC, not in local time."),
    click.option(
        "--since",
        metavar="TIME",
        callback=to_moment,
        help="Records from then on: 2026-01-31T12:00, 12:00, '5 min ago', @0.",
    ),
    click.option("--until", metavar="TIME", callback=to_moment, help="Records before then."),
    click.option(
        "--tag", "tags", type=int, multiple=True, metavar="N", help="Only that tag; may be repeated."
    ),
    click.option(
        "--pid", "pids", type=int, multiple=True, metavar="N", help="Only that producer; may be repeated."
    ),
    click.option(
        "--level", callback=to_level, metavar="LEVEL", help="That level or above: WARNING, or a number."
    ),
    click.option(
        "--logger", "loggers", multiple=True, metavar="A.B", help="Only that logger and those below it."
    ),
    click.option(
        "--field",
        "fields",
        multiple=True,
        callback=to_fields,
        metavar="KEY=VALUE",
        help="Only with that field; may be repeated, then each.  Also process, thread, task.",
    ),
    _logs.ring_dir_option,
)


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options about which records to show, and how."""
    return functools.reduce(lambda so_far, option: option(so_far), reversed(OUTPUT_OPTIONS), command)


@click.command()
@click.argument("log")
@click.option("-n", "--lines", type=click.IntRange(0), metavar="N", help="Only the last N.")
@click.option(
    "--start", type=int, metavar="NUMBER", help="Records from that number on; the log's first is 0."
)
@click.option("--stop", type=int, metavar="NUMBER", help="Records before that number.")
@click.option("--ring", is_flag=True, help="Show committed records that no writer has written yet, too.")
@output_options
def cat(log: str, lines: int | None, ring: bool, ring_dir: str | None, **how: Any) -> int:
    """Print the records of LOG.

    A line has local time, pid, #tag, and the text with unprintable bytes escaped; of a structured record
    level, logger, message and fields, exceptions below.  Needs no writer.
    Exit code 1 if damaged bytes were passed over; each range is one line on stderr.
    """
    damage = DamageReport()
    show = _format(how)
    wanted = _selection(how)
    with _logs.find(log, ring_dir) as found:
        reader = Reader(found.path, on_damage=damage)
        end = reader.end() if ring else None
        stop = end.number if end else None
        unwritten = filter(wanted.matches, _unwritten(found, end)) if ring else iter(())
        if lines is None:
            _write(wanted.records(reader, stop), show)
            _write(unwritten, show)
        else:
            newest = list(unwritten)[-lines:] if lines else []
            _write(wanted.last(reader, lines - len(newest), stop), show)
            _write(newest, show)
    return damage.exit_code


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
@click.option(
    "-f", "--follow", is_flag=True, help="Go on with new ones, over page rolls and writer restarts."
)
@click.option(
    "--cursor-file",
    type=click.Path(dir_okay=False),
    help="Begin behind the last record shown with this file, and keep the place in it.",
)
@output_options
def tail(
    log: str, *, lines: int | None, follow: bool, cursor_file: str | None, ring_dir: str | None, **how: Any
) -> int:
    """Print the last records of LOG, and with -f those to come.

    The formats are those of cat.  With a --cursor-file that exists, -n is not looked at: all records
    since are shown.  The file is replaced after they were written out, so that none is missed, whatever
    happens; after a kill some may be shown again.  Exit code 1 if damaged bytes were passed over.
    """
    damage = DamageReport()
    show = _format(how)
    wanted = _selection(how)
    reader = Reader(_logs.directory_of(log, ring_dir), on_damage=damage)
    place = None if cursor_file is None else _load_cursor(cursor_file)
    if place is None and lines is not None:
        place = reader.end()
        newest = wanted.last(reader, lines, None if place is None else place.number)
        _write(newest, show)
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
    """Show records from a place on; 1 if retention was faster."""
    stream, expected, missed = Stream(reader, place), place.number if place else None, 0
    while True:
        try:
            for record in stream:
                if expected is not None and record.number > expected:
                    missed = 1
                    _text.say(
                        f"records {expected:,} to {record.number - 1:,} could not be read or are retired"
                    )
                expected = record.number + 1
                if wanted.matches(record):
                    sys.stdout.buffer.write(show(record))
        except PageRetiredError:  # go on with the oldest there is
            stream = Stream(reader, None)
            continue
        sys.stdout.buffer.flush()
        if cursor_file is not None and stream.cursor() != place:
            place = stream.cursor()
            _save_cursor(cursor_file, place)
        if not follow:
            return missed
        stream.rest()


def _format(how: dict[str, Any]) -> Format:
    asked = [
        (option, layout)
        for option, layout in (
            ("--raw", how["raw"] and "raw"),
            ("--json", how["as_json"] and "json"),
            ("--format", how["layout"]),
        )
        if layout
    ]
    if len(asked) > 1:
        raise click.UsageError(f"{asked[0][0]} and {asked[1][0]} contradict each other")
    layout = asked[0][1] if asked else "text"
    if how["null"] and layout != "raw":
        raise click.UsageError("-0 needs --raw")
    try:
        return _formats.choose(
            layout, null=how["null"], utc=how["utc"], encoding=sys.stdout.encoding or "utf-8"
        )
    except ValueError as problem:
        raise click.UsageError(f"--format: {problem}") from None


def _selection(how: dict[str, Any]) -> Selection:
    return Selection(
        how.get("start"),
        how.get("stop"),
        how["since"],
        how["until"],
        how["tags"],
        how["pids"],
        how["level"],
        how["loggers"],
        how["fields"],
    )


def _unwritten(found: _logs.Found, end: Cursor | None) -> Iterator[Record]:
    """The records in the ring behind the end of the pages."""
    if found.file is None:
        return iter(())
    ring = found.file.ring
    return _claims.records(ring, end.position if end else ring.base, end.number if end else 0)


def _write(records: Iterable[Record], show: Format) -> None:
    out = sys.stdout.buffer
    for record in records:
        out.write(show(record))
    out.flush()


def _load_cursor(path: str) -> Cursor | None:
    try:
        with open(path, encoding="ascii") as file:
            return Cursor.parse(file.read().strip())
    except FileNotFoundError:
        return None
    except ValueError as problem:
        raise ValueError(f"{path}: {problem}") from None


def _save_cursor(path: str, place: Cursor | None) -> None:
    """Replace the file in one step; no record yet, no file."""
    if place is None:
        return
    new = f"{path}.{os.getpid()}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    try:
        with open(new, "x", encoding="ascii") as file:  # never through a link that waits there
            file.write(f"{place}\n")
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        raise
