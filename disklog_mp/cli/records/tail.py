"""disklog-mp tail: the last records of logs on stdout, and with -f those to come."""

from __future__ import annotations

from typing import Any

import click

from disklog_mp.cli import _text
from disklog_mp.cli.records._following import ALL, follow_logs, resume_log
from disklog_mp.cli.records._options import (
    CountingCommand,
    follow_option,
    lines_option,
    logs_argument,
    output_options,
)
from disklog_mp.cli.records._shown import show_logs
from disklog_mp.errors import CursorError


@click.command(cls=CountingCommand)
@logs_argument
@lines_option("10")
@follow_option
@click.option(
    "--cursor-file",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Resume after the position stored in FILE, and update it.",
)
@click.option("--from-start", is_flag=True, help="Begin with the oldest record: -n all.")
@click.option(
    "--if-lost",
    type=click.Choice(("oldest", "newest")),
    help="If the position in FILE does not fit the log any more: resume at the oldest record, or at the end.",
)
@output_options
def tail(
    logs: tuple[str, ...],
    *,
    lines: int,
    follow: bool,
    cursor_file: str | None,
    from_start: bool,
    if_lost: str | None,
    ring_dir: str | None,
    **how: Any,
) -> int:
    """Print the last records of LOG, and with -f those to come.

    The formats and conditions are those of cat; several logs are merged by time.  With -f, a log that is not
    there yet is waited for.

    If the cursor file exists, -n is ignored, and so is --from-start: all records since are shown.  The file
    is replaced after the records were printed, so no record is missed; after a kill some may be shown again.

    Exit code 1 if records were skipped because they are damaged or were removed; with a condition on records,
    that of grep: 0 if any was found, 1 if none, 2 for trouble.

    A stored position does not fit a log that was restored from a backup or lost its end.  Then one line says
    so, and the exit code is 2, but for --if-lost.  What happened to the log at that position is told again.
    """
    count = ALL if from_start else lines
    if cursor_file is None:
        return follow_logs(logs, count, ring_dir, how) if follow else show_logs(logs, count, ring_dir, how)
    if len(logs) > 1:
        raise click.UsageError("--cursor-file takes one LOG: its place is that in one log")
    try:
        return resume_log(
            logs[0], count, ring_dir, how, follow=follow, cursor_file=cursor_file, if_lost=if_lost
        )
    except CursorError as problem:
        _text.say(f"{problem}; --if-lost says where to resume")
        return 2
