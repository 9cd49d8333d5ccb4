"""disklog-mp bench: what logging and reading cost on this machine, beside what the system offers."""

from __future__ import annotations

import errno
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from disklog_mp import _core
from disklog_mp.cli import _text
from disklog_mp.cli._find import json_option
from disklog_mp.cli.bench import report
from disklog_mp.cli.bench.measure import Setting, run
from disklog_mp.cli.bench.measures import MEASURES
from disklog_mp.cli.version import text as version_text

QUICK = 0.2  # seconds per measurement below which pages and repetitions are fewer, too
LONGEST = 16 << 10  # bytes: groups of 64 must fit into a quarter of the ring


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(0.05, 60),
    default=1.0,
    metavar="S",
    help="Seconds per measurement.  [1]",
)
@click.option("--rounds", type=click.IntRange(1, 100), default=1, metavar="N", help="Rounds of each.  [1]")
@click.option(
    "--producers", type=click.IntRange(1, 256), default=4, metavar="N", help="Processes that log.  [4]"
)
@click.option(
    "--length", type=click.IntRange(1, LONGEST), default=100, metavar="N", help="Record size in bytes.  [100]"
)
@click.option("--dir", "directory", type=click.Path(), help="Where to write.  [the temporary directory]")
@json_option
def bench(
    *, seconds: float, rounds: int, producers: int, length: int, directory: str | None, as_json: bool
) -> int:
    """Measure what logging and reading cost on this machine.

    Four measures, each beside what the system offers: a call of log() and os.write(), several processes up
    to their files, iterating a page and the lines of a file, sync() and fdatasync().  Without --dir it writes
    into the directory for temporary files, about a gigabyte at a time, and removes it.
    """
    place = directory or tempfile.gettempdir()
    if not os.path.isdir(place):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), place)
    setting = Setting(seconds, Path(place), quick=seconds < QUICK, producers=producers, length=length)
    measured = [run(each, setting, rounds, ours_only=False, say=_progress, strict=True) for each in MEASURES]
    _progress("")
    told = machine()
    if as_json:
        results = [report.to_dict(each) for each in measured]
        facts = {"length": length, "producers": producers, "seconds": seconds, "rounds": rounds}
        click.echo(_text.to_json({"machine": told, **facts, "benchmarks": results}))
    else:
        size = f"{_text.plural(length, 'byte')} per record, {_text.plural(producers, 'process')}"
        click.echo("\n".join([*machine_lines(told), size, "", *report.table(measured, judged=False)]))
    return 0


def _progress(what: str) -> None:
    """Show on a terminal what is being measured."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{what}", err=True, nl=False)


def machine() -> dict[str, Any]:
    """Return the facts that a figure depends on."""
    model = platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        model = names[0] if names else model
    except OSError:
        pass
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "crc32c": _core.crc32c_name(),
        "version": version_text(),
    }


def machine_lines(machine: dict[str, Any]) -> list[str]:
    """Return these facts as text."""
    return [
        f"{machine['processor']}, {_text.plural(machine['cores'], 'core')}, Linux {machine['kernel']}, "
        f"Python {machine['python']}",
        f"{machine['version']}, crc32c by {machine['crc32c']}",
    ]
