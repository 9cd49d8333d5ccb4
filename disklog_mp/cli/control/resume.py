"""disklog-mp resume: have a paused log go on."""

from __future__ import annotations

import click

from disklog_mp.cli import _text
from disklog_mp.cli._complete import complete_logs
from disklog_mp.cli._find import json_option, ring_dir_option
from disklog_mp.cli.control import _steered


@click.command(short_help="Have LOG go on that was paused.")
@click.argument("log", shell_complete=complete_logs)
@json_option
@ring_dir_option
def resume(log: str, as_json: bool, ring_dir: str | None) -> int:
    """Take back all pauses of LOG, also those of other processes."""
    name, answer = _steered.ask(log, ring_dir, "resume")
    if as_json:
        click.echo(_text.to_json({"name": name, **answer}))
    else:
        _text.say(f"{name}: " + ("goes on" if answer["pauses"] else "was not paused"))
    return 0
