"""disklog-mp archive: move the pages of a log into another directory."""

from __future__ import annotations

import os

import click

from disklog_mp.cli._complete import complete_logs
from disklog_mp.cli._find import json_option, ring_dir_option
from disklog_mp.cli.control import _steered


@click.command(short_help="Move all pages of LOG into DIRECTORY.")
@click.argument("log", shell_complete=complete_logs)
@click.argument("directory", type=click.Path())
@_steered.yes_option
@json_option
@ring_dir_option
def archive(log: str, directory: str, yes: bool, as_json: bool, ring_dir: str | None) -> int:
    """Seal the page of LOG that is being written, and move all pages into DIRECTORY, which exists.

    The log goes on in a new page.  No page is ever in neither place.  `disklog-mp cat DIRECTORY` prints what
    was moved.  Only a user that may write the log's directory can do it.  Asks first, unless --yes is given.
    """
    to = os.path.abspath(directory)
    _steered.make_sure(f"moving all pages of log {log!r} to {to}", yes)
    name, answer = _steered.ask(log, ring_dir, "archive", to=to)
    _steered.show(name, answer, "moved", as_json=as_json)
    return 0
