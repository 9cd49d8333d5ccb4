"""What the options of cat and tail come to: the formats, the conditions, the exit code."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click

from disklog_mp._core import Record
from disklog_mp.cli._times import zone_of
from disklog_mp.cli.records import _formats, _terminal
from disklog_mp.cli.records._context import Context
from disklog_mp.cli.records._lines import Batch, Lines, lines_of
from disklog_mp.cli.records._notes import Notes
from disklog_mp.cli.records._patterns import patterns_of
from disklog_mp.cli.records._selection import Selection

SEPARATOR = b"--\n"
CONTEXT = ("context", "before_context", "after_context")


def format_of(how: dict[str, Any], log: str | None = None) -> tuple[Lines, Notes]:
    """Return the format that the options ask for, and where notes go; `log`: the name to show in a column.

    Raises UsageError if the options exclude each other.
    """
    asked = [
        (option, layout)
        for option, layout in (
            ("--raw", how["raw"] and "raw"),
            ("--json", how["as_json"] and "json"),
            ("--flat", how["flat"] and "flat"),
            ("--format", "flat" if how["layout"] == "lnav" else how["layout"]),
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
        style = _formats.Style(zone_of(how), log, _terminal.has_colours(how["color"]))
        show = _formats.choose(layout, null=how["null"], style=style, encoding=encoding)
        lines = lines_of(show, layout, null=how["null"], style=style, encoding=encoding)
        return lines, Notes(how, layout, log)
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None


def selection_of(how: dict[str, Any]) -> Selection:
    """Return the conditions that the options set."""
    patterns = patterns_of(how["patterns"], ignore_case=how["ignore_case"], inverted=how["invert_match"])
    return Selection(
        how.get("start"),
        how.get("stop"),
        how["since"],
        how["until"],
        how["tags"],
        how["pids"],
        how["levels"],
        how["loggers"],
        how["fields"],
        how["labels"],
        patterns,
    )


def context_of(how: dict[str, Any], wanted: Selection) -> Context | None:
    """Return what shows the records around those that are wanted; None if the options do not ask for it."""
    around = how["context"] or 0
    before, after = (
        how[name] if how[name] is not None else around for name in ("before_context", "after_context")
    )
    return Context(wanted.by_marks, before, after) if before or after else None


def write(records: Iterable[Record | None], show: Lines, notes: Notes, *, flush: bool = True) -> int:
    """Print records on stdout, and what they say about drops where notes go; return how many were printed.

    None is a line that separates what is not adjacent.
    """
    out = sys.stdout.buffer

    def on_other(record: Record | None) -> None:
        if record is None:
            out.write(SEPARATOR)
        else:
            notes.gap(record)

    batch = Batch(out.write, show, on_other, notes.cut)
    some = iter(records if notes.due == math.inf else _reached(records, notes))
    with notes.behind(batch.print):
        while batch.take(some):
            pass
    if flush:
        out.flush()
    return batch.printed


def _reached(records: Iterable[Record | None], notes: Notes) -> Iterator[Record | None]:
    """Iterate the same records; what happened to the log is told before the first one behind it."""
    due = notes.due
    for record in records:
        if record is not None and record.position >= due:
            notes.reach(record.position)
            due = notes.due
        yield record


def check(how: dict[str, Any]) -> None:
    """Raise UsageError for options that exclude each other or say nothing, before a log is looked for."""
    format_of(how)
    selection_of(how)
    if how["reverse"] and any(how[name] for name in CONTEXT):
        raise click.UsageError("--reverse excludes -A, -B and -C")


def exit_code(printed: int, wanted: Selection, trouble: int) -> int:
    """Return that of grep if there was a filter: 0 found, 1 nothing found, 2 trouble."""
    if not wanted.is_filter:
        return trouble
    return 2 if trouble else 0 if printed else 1
