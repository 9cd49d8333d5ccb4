"""disklog-mp top: what logs do now.  It takes no slot, and no process notices it."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING

import click

from disklog_mp import _options
from disklog_mp.cli import _find as _logs
from disklog_mp.cli import _text
from disklog_mp.cli._complete import complete_logs
from disklog_mp.cli.top import text
from disklog_mp.cli.top.gather import Gatherer

if TYPE_CHECKING:
    from disklog_mp.cli.top.app import TopApp

NARROWEST, LOWEST = 40, 12  # columns and lines of a terminal
SHORTEST, LONGEST = 0.1, 60.0  # seconds between two looks
MISSING = "top needs textual: pip install 'disklog-mp[top]'; --once works without it"


def to_interval(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """Take an interval from the command line, as seconds; a callback for click."""
    try:
        seconds = _options.parse_duration(value, "interval")
    except ValueError:
        seconds = -1.0
    if not SHORTEST <= seconds <= LONGEST:
        raise click.BadParameter(
            f"{value!r} is no time from {SHORTEST} s to {LONGEST:.0f} s: write 1s, 500ms"
        )
    return seconds


@click.command(short_help="Watch logs: rates, levels, producers, ring, disk, events.")
@click.argument("logs", metavar="[LOG]...", nargs=-1, shell_complete=complete_logs)
@click.option("--once", is_flag=True, help="Print the figures of one interval: for pipes, needs no extra.")
@click.option(
    "--interval", default="1s", metavar="TIME", callback=to_interval, help="Between two looks.  [1s]"
)
@click.option(
    "--svg",
    type=click.Path(dir_okay=False, writable=True),
    metavar="FILE",
    help="Write a picture of the view into FILE after some looks; needs no terminal.",
)
@_logs.json_option
@_logs.ring_dir_option
def top(
    logs: tuple[str, ...],
    *,
    once: bool,
    interval: float,
    svg: str | None,
    as_json: bool,
    ring_dir: str | None,
) -> int:
    """Watch LOG live: records and bytes a second, levels, producers, ring, disk, pages, events.

    Without LOG it watches all logs that are open, also those that come.  --json is --once as JSON.

    The figures come from the counters in the ring, which is mapped for reading alone: no process waits for
    this, and none notices it.  Rates by level are counted from the pages, for a tenth of the time at the
    most; where that is not enough, it says what part of the records was looked at.  Delays are as exact as
    the looks at the ring are frequent: twenty in an interval.

    Keys: s sorts the producers, / filters them, f or Enter follows one into its records, p pauses, n goes to
    the next log, q leaves.  It needs the extra top, and a terminal of 40 columns.
    """
    if once or as_json:
        if svg is not None:
            raise click.UsageError("--once and --svg exclude each other")
        return _print_once(Gatherer(logs, ring_dir, interval), as_json)
    if svg is None:
        _check_terminal()
    app_class = _app_class()
    gatherer = Gatherer(logs, ring_dir, interval)
    try:
        app = app_class(gatherer, interval)
        if svg is not None:
            return app.draw(svg)
        app.run()
        return app.return_code or 0
    finally:
        gatherer.close()


def _check_terminal() -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("top needs a terminal: --once prints the figures for a pipe")
    columns, rows = shutil.get_terminal_size()
    if columns < NARROWEST or rows < LOWEST:
        raise click.UsageError(
            f"the terminal has {columns} columns and {rows} lines, top needs {NARROWEST} and {LOWEST}: "
            f"enlarge it, or take --once"
        )


def _app_class() -> type[TopApp]:
    """The view's class; raises UsageError with what to install if its library is missing."""
    try:
        from disklog_mp.cli.top.app import TopApp
    except ModuleNotFoundError as problem:
        if (problem.name or "").split(".")[0] not in ("textual", "rich"):
            raise
        raise click.UsageError(MISSING) from None
    return TopApp


def _print_once(gatherer: Gatherer, as_json: bool) -> int:
    try:
        if not gatherer.logs:
            _text.say("no log is open on this machine")
            return 0
        gatherer.take_once()
        now = time.monotonic()
        for place, log in enumerate(gatherer.logs):
            if as_json:
                click.echo(_text.to_json(text.to_values(log, now)))
            else:
                click.echo("\n" * (place > 0) + "\n".join(text.lines(log, now)))
    finally:
        gatherer.close()
    return 0
