"""disklog-mp cat: the records of a log on stdout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from disklog_mp._core import Record
from disklog_mp._reader.cursor import Cursor
from disklog_mp._reader.reader import Reader
from disklog_mp._ring import claims as _claims
from disklog_mp.cli import _find as _logs
from disklog_mp.cli.records._output import format_of, output_options, selection_of, write


@click.command()
@click.argument("log")
@click.option("-n", "--lines", type=click.IntRange(0), metavar="N", help="Only the last N records.")
@click.option(
    "--start", type=int, metavar="NUMBER", help="First record number to show (0 is the oldest ever logged)."
)
@click.option("--stop", type=int, metavar="NUMBER", help="Show only records before that number.")
@click.option("--ring", is_flag=True, help="Also show committed records that no writer has written yet.")
@output_options
def cat(log: str, lines: int | None, ring: bool, ring_dir: str | None, **how: Any) -> int:
    """Print the records of LOG.

    A line has local time, label/pid, #tag, and the text with unprintable bytes escaped.  A structured record
    shows level, logger, message and fields, with its exception below.  No writer is needed.
    Drops, damage and missing records are told in one line each, which no condition hides: on stderr, on a
    terminal within the output.  Exit code 1 if records are damaged or missing.
    """
    show, notes = format_of(how)
    wanted = selection_of(how)
    with _logs.find(log, ring_dir) as found:
        reader = Reader(found.path, on_damage=notes)
        wanted = wanted.for_log(reader)
        end = reader.end() if ring else None
        stop = end.number if end else None
        unwritten = filter(wanted.matches, _unwritten(found, end, reader)) if ring else iter(())
        if lines is None:
            write(wanted.records(reader, stop), show, notes)
            write(unwritten, show, notes)
        else:
            newest = list(unwritten)[-lines:] if lines else []
            write(wanted.last(reader, lines - len(newest), stop), show, notes)
            write(newest, show, notes)
    return notes.exit_code


def _unwritten(found: _logs.Found, end: Cursor | None, reader: Reader) -> Iterator[Record]:
    """Iterate the records in the ring after the end of the pages."""
    if found.file is None:
        return iter(())
    ring = found.file.ring
    position, number = (end.position, end.number) if end else (ring.base, 0)
    return _claims.records(ring, position, number, reader.label)
