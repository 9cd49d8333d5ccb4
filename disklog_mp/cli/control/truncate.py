"""disklog-mp truncate: remove all records of a log."""

from __future__ import annotations

import click

from disklog_mp.cli._complete import complete_logs
from disklog_mp.cli._find import json_option, ring_dir_option
from disklog_mp.cli.control import _steered


@click.command(short_help="Remove all records of LOG.")
@click.argument("log", shell_complete=complete_logs)
@_steered.yes_option
@json_option
@ring_dir_option
def truncate(log: str, yes: bool, as_json: bool, ring_dir: str | None) -> int:
    """Remove all that was logged in LOG until now.

    Positions, record numbers and page numbers go on.  Only a user that may write the log's directory can do
    it.  Asks first, unless --yes is given.
    """
    _steered.make_sure(f"removing all records of log {log!r}", yes)
    name, answer = _steered.ask(log, ring_dir, "truncate")
    _steered.show(name, answer, "removed", as_json=as_json)
    return 0
