"""disklog-mp serve: a log's writer in the foreground, for systemd, a container or a terminal."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import click

import disklog_mp
from disklog_mp._os.background import Stderr
from disklog_mp.cli import _text
from disklog_mp.cli._find import ring_dir_option

WRITER_OPTIONS = (
    click.option("--page-records", type=int, metavar="N", help="Roll when a page has N records."),
    click.option("--page-bytes", metavar="SIZE", help="Roll when a page has SIZE bytes.  [64M]"),
    click.option("--page-age", metavar="TIME", help="Roll when a page is older, such as 10min or 1d."),
    click.option("--page-at", metavar="TIMES", help="Roll at times of the day: 00:00, 06:00,18:00, hourly."),
    click.option(
        "--page-tz", metavar="ZONE", help="Time zone of these, such as Europe/Berlin.  [the machine's]"
    ),
    click.option("--ring-bytes", metavar="SIZE", help="Size of the ring.  [16M]"),
    click.option("--keep-pages", type=int, metavar="N", help="Keep the newest N pages."),
    click.option("--keep-bytes", metavar="SIZE", help="Remove the oldest pages beyond SIZE bytes."),
    click.option("--keep-age", metavar="TIME", help="Remove pages that were sealed longer ago than TIME."),
    click.option("--max-bytes", metavar="SIZE", help="Refuse records when the log has reached this size."),
    click.option("--sync", metavar="WHEN", help="always, a time between syncs, page, or never.  [1s]"),
    click.option("--mode", metavar="OCTAL", help="File mode of ring and pages, such as 0660.  [0600]"),
    click.option("--group", metavar="GROUP", help="Group of the ring and the page files."),
    click.option(
        "--linger", metavar="TIME", help="Exit this long after the last producer detached.  [never]"
    ),
    click.option(
        "--kill-stalled", metavar="TIME", help="Kill a process that blocks the log this long.  [never]"
    ),
    click.option("--event-bytes", metavar="SIZE", help="Space for the log's own events; 0: none.  [4M]"),
    click.option("--metrics", metavar="HOST:PORT", help="Serve the log's metrics to Prometheus there."),
)


def writer_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a writer to a command."""
    return functools.reduce(lambda so_far, option: option(so_far), reversed(WRITER_OPTIONS), command)


@click.command()
@click.argument("name", required=False)
@click.argument("directory", type=click.Path(), required=False)
@click.option(
    "--config",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write all logs of a TOML file in this process: name, path and options in one [[log]] for each.",
)
@writer_options
@ring_dir_option
def serve(
    name: str | None, directory: str | None, config: str | None, ring_dir: str | None, **options: Any
) -> int:
    """Write the log NAME into DIRECTORY until SIGTERM or SIGINT.

    Creates the directory and the ring if missing, repairs what a crash left, tells systemd when it is ready.
    Producers attach by NAME and may stay attached over a restart.

    With --config one process writes several logs, a thread each: a log whose disk hangs delays no other.
    SIGHUP has it read the file again: changed options apply, new logs are served, logs that are gone are let
    go.  A file with an error changes nothing.  Exit code 1 if a log could not be served.

    Sizes are 64k, 16M, 1G; times 200ms, 10s, 2h, 7d.
    """
    if config is not None:
        if name is not None or ring_dir is not None or any(value is not None for value in options.values()):
            raise click.UsageError("--config takes no NAME and no options: they stand in its file")
        return serve_config(config)
    if name is None or directory is None:
        raise click.UsageError("write NAME and DIRECTORY, or --config FILE")
    stderr = Stderr()  # printing never blocks: the reader of stderr may have stopped

    def say(text: str) -> None:
        stderr.say(_text.printable(f"{name}: {text}"))

    disklog_mp.serve(
        name, directory, ring_dir=ring_dir, started=functools.partial(_introduce, say, name), **options
    )
    say("stopped: all committed records are written")
    stderr.close()
    return 0


def serve_config(file: str) -> int:
    """Write all logs of a configuration file."""
    from disklog_mp.cli.control import _config

    stderr = Stderr()

    def started(work: Any) -> None:
        _introduce(lambda text: stderr.say(_text.printable(f"{work.name}: {text}")), work.name, work)

    try:
        well = disklog_mp.serve_all(
            _config.read(file), started=started, reread=functools.partial(_config.read, file)
        )
    except TypeError as problem:  # an option that is none, or has a value of another type
        raise ValueError(f"{file}: {problem}") from None
    stderr.say("stopped: all committed records of the logs that were served are written")
    stderr.close()
    return 0 if well else 1


def _introduce(say: Callable[[str], None], name: str, work: Any) -> None:
    """Print what is served."""
    found = work.recovered
    say(
        f"process {os.getpid()} writes to {work.path}, ring of {_text.size(work.ring.capacity)}; "
        f"producers attach with disklog_mp.attach({name!r})"
    )
    if found.number or found.position:
        say(f"continues at record {found.number:,}, position {found.position:,}")
