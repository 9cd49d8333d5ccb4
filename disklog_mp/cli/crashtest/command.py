"""disklog-mp crashtest: kill processes of a log at random, and compare all counters at the end."""

from __future__ import annotations

import random

import click

from disklog_mp import _options
from disklog_mp.cli import _text
from disklog_mp.cli._find import json_option
from disklog_mp.cli.crashtest import report as _report
from disklog_mp.cli.crashtest.run import Run, interrupts_held_back


def to_size(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Take the size of a ring from the command line; a callback for click."""
    try:
        return int(_options.check({"ring_bytes": value})["ring_bytes"])
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from None


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(0.5, 3600),
    default=10.0,
    metavar="S",
    help="Duration in seconds.  [10]",
)
@click.option(
    "--workers", type=click.IntRange(1, 256), default=8, metavar="N", help="Processes that log.  [8]"
)
@click.option(
    "--ring-bytes",
    callback=to_size,
    default="1M",
    metavar="SIZE",
    help="Size of the ring, at least 4k.  [1M]",
)
@click.option(
    "--length",
    type=click.IntRange(1, 4096),
    default=100,
    metavar="N",
    help="Approximate record size in bytes.  [100]",
)
@click.option("--seed", type=int, metavar="N", help="Random seed.  [a new one]")
@click.option(
    "--dir", "directory", type=click.Path(), help="Directory to write in.  [the system's temporary one]"
)
@json_option
def crashtest(
    *,
    seconds: float,
    workers: int,
    ring_bytes: int,
    length: int,
    seed: int | None,
    directory: str | None,
    as_json: bool,
) -> int:
    """Kill processes at random; prove nothing is lost.

    Workers of every start method log numbered records.  Workers, the writer and readers are killed and
    frozen at random, and replaced.  At the end every accepted record must be in the log, once and in order.
    Exit code 1 if anything is wrong; on failure the log is kept for inspection.

    A stall is a call of log() or log_many() that takes more than 100 ms although it could return.

    \b
    Time does not count in which:
    1. The ring is more than half full and is being emptied.
    2. No writer has started yet, or a process is stopped on purpose.
    3. The worker, the writer, or the live worker whose record is written
       next is ready to run and has no core.
    4. The writer waits for its disk.

    Each worker times its calls that may not wait for room (on_full="raise").  A call that met a full ring is
    repeated with permission to wait.  The crash test checks all calls under way from outside, every 5 ms.
    So what a killed process costs the others does count, as soon as a writer runs.  The time to start a new
    writer process is not counted.
    """
    chosen = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    result = _report.Result(chosen, seconds, workers, ring_bytes, length)
    with interrupts_held_back():
        Run(result, directory).run()
    click.echo(_text.to_json(result.to_dict()) if as_json else "\n".join(_report.lines(result)))
    for finding in result.findings:
        _text.say(finding)
    return 0 if result.is_right else 1
