"""What cat and tail share: the options about which records to show and how."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from typing import Any

import click

from disklog_mp._core import Record
from disklog_mp.cli import _find as _logs
from disklog_mp.cli._times import to_moment
from disklog_mp.cli.records import _formats
from disklog_mp.cli.records._formats import Format
from disklog_mp.cli.records._notes import Notes
from disklog_mp.cli.records._selection import Selection, to_fields, to_level

OUTPUT_OPTIONS = (
    click.option("--raw", is_flag=True, help="Print the bytes of each record and a newline."),
    click.option("-0", "--null", is_flag=True, help="With --raw: a NUL byte instead of the newline."),
    click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line."),
    click.option(
        "--format",
        "layout",
        metavar="FORMAT",
        help="text, json, logfmt, message, raw, or a template: '%(time)s %(level)s %(message)s %(user)s'.",
    ),
    click.option(
        "--notes/--no-notes",
        default=None,
        help="Show drops, damage and missing records in the output, or not at all.  [on stderr; within the "
        "output of a terminal]",
    ),
    click.option("--utc", is_flag=True, help="Show times in UTC, not in local time."),
    click.option(
        "--since",
        metavar="TIME",
        callback=to_moment,
        help="Only records from that time on: 2026-01-31T12:00, 12:00, '5 min ago', @0.",
    ),
    click.option("--until", metavar="TIME", callback=to_moment, help="Only records before that time."),
    click.option(
        "--tag",
        "tags",
        type=int,
        multiple=True,
        metavar="N",
        help="Only tag N; repeat for several.",
    ),
    click.option(
        "--pid", "pids", type=int, multiple=True, metavar="N", help="Only process N; repeat for several."
    ),
    click.option(
        "--label",
        "labels",
        multiple=True,
        metavar="LABEL",
        help="Only producers of that label; repeat for several.",
    ),
    click.option(
        "--level",
        callback=to_level,
        metavar="LEVEL",
        help="Only this level and above: WARNING, or a number.",
    ),
    click.option(
        "--logger",
        "loggers",
        multiple=True,
        metavar="A.B",
        help="Only this logger and those below it; repeat for several.",
    ),
    click.option(
        "--field",
        "fields",
        multiple=True,
        callback=to_fields,
        metavar="KEY=VALUE",
        help="Only records where KEY equals VALUE; repeat to require all.  Also process, thread, task.",
    ),
    _logs.ring_dir_option,
)


def output_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options about which records to show and how to a command."""
    return functools.reduce(lambda so_far, option: option(so_far), reversed(OUTPUT_OPTIONS), command)


def format_of(how: dict[str, Any]) -> tuple[Format, Notes]:
    """Return the format that the options ask for, and where notes go.

    Raises UsageError if the options exclude each other.
    """
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
        raise click.UsageError(f"{asked[0][0]} and {asked[1][0]} exclude each other")
    layout = asked[0][1] if asked else "text"
    if how["null"] and layout != "raw":
        raise click.UsageError("-0 needs --raw")
    try:
        encoding = sys.stdout.encoding or "utf-8"
        show = _formats.choose(layout, null=how["null"], utc=how["utc"], encoding=encoding)
        return show, Notes(how, layout)
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None


def selection_of(how: dict[str, Any]) -> Selection:
    """Return the conditions that the options set."""
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
        how["labels"],
    )


def write(records: Iterable[Record], show: Format, notes: Notes) -> None:
    """Print records on stdout, and what they say about drops where notes go."""
    out = sys.stdout.buffer
    for record in records:
        if record.gap:
            notes.gap(record)
        else:
            out.write(show(record))
    out.flush()
