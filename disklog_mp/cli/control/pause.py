"""disklog-mp pause: keep a log's writer off the directory while a backup is made."""

from __future__ import annotations

import subprocess

import click

from disklog_mp import _options
from disklog_mp.cli import _text
from disklog_mp.cli._complete import complete_logs
from disklog_mp.cli._find import json_option, ring_dir_option
from disklog_mp.cli.control import _steered

NOT_FOUND = 127  # exit code of a command that is not there, as of a shell
BY_SIGNAL = 128  # added to the number of the signal that ended the command


@click.command(
    short_help="Keep the writer of LOG off the directory while COMMAND runs.",
    context_settings={"allow_interspersed_args": True},
)
@click.argument("log", shell_complete=complete_logs)
@click.option("--for", "limit", default="10m", metavar="TIME", help="Pause no longer than this.  [10m]")
@json_option
@ring_dir_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
def pause(log: str, limit: str, as_json: bool, ring_dir: str | None, command: tuple[str, ...]) -> int:
    """Have the writer of LOG sync what it wrote, and keep its hands off the directory: for a snapshot.

    Processes log on into the ring until it is full.  With COMMAND, the log goes on when that ends, whose
    exit code is this one's; also if this process dies.  Without, after --for, or with `disklog-mp resume`.
    """
    seconds = _options.parse_duration(limit, "--for")
    name, answer = _steered.ask(log, ring_dir, "pause", seconds=seconds, held=bool(command))
    if as_json:
        click.echo(_text.to_json({"name": name, "seconds": seconds, **answer}))
    else:
        _text.say(f"{name}: paused for at most {limit}")
    if not command:
        return 0
    try:
        code = subprocess.call(command)
    except FileNotFoundError:
        _text.say(f"there is no program {command[0]!r}")
        code = NOT_FOUND
    finally:
        _, ended = _steered.ask(log, ring_dir, "resume", pause=answer["pause"])
    if not ended["pauses"]:
        _text.say(f"{name}: the pause ended before the command did, after {limit}")
        code = code or 1
    return code if code >= 0 else BY_SIGNAL - code
