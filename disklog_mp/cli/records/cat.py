"""disklog-mp cat: the records of logs on stdout."""

from __future__ import annotations

from typing import Any

import click

from disklog_mp.cli.records._following import follow_logs
from disklog_mp.cli.records._options import (
    CountingCommand,
    follow_option,
    lines_option,
    logs_argument,
    output_options,
)
from disklog_mp.cli.records._shown import show_logs

LAST = 10  # records that --follow begins with, as tail


@click.command(cls=CountingCommand)
@logs_argument
@lines_option(None)
@click.option(
    "--start", type=int, metavar="NUMBER", help="First record number to show (0 is the oldest ever logged)."
)
@click.option("--stop", type=int, metavar="NUMBER", help="Show only records before that number.")
@click.option("--ring", is_flag=True, help="Also show committed records that no writer has written yet.")
@follow_option
@output_options
def cat(
    logs: tuple[str, ...], *, lines: int | None, ring: bool, follow: bool, ring_dir: str | None, **how: Any
) -> int:
    """Print the records of LOG, of several logs merged by time.

    A line has local time, label/pid, #tag, and the text with unprintable bytes escaped.  A structured record
    shows level, logger, message and fields, with its exception below.  Several logs have a column for the
    log.  No writer is needed.  With --follow it is `tail -f`.

    Drops, damage, missing records and what happened to the log are told in one line each, which no condition
    hides: on stderr, on a terminal within the output.

    Exit code 1 if records are damaged or missing.  With a condition on records (not on their times or
    numbers), it is that of grep: 0 if any was found, 1 if none, 2 for trouble, damage included.
    """
    if follow:
        if ring:
            raise click.UsageError("--follow excludes --ring")
        return follow_logs(logs, LAST if lines is None else lines, ring_dir, how)
    return show_logs(logs, lines, ring_dir, how, ring=ring)
