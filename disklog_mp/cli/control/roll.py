"""disklog-mp roll: seal the page being written."""

from __future__ import annotations

import click

from disklog_mp.cli import _text
from disklog_mp.cli._complete import complete_logs
from disklog_mp.cli._find import json_option, ring_dir_option
from disklog_mp.cli.control import _steered


@click.command(short_help="Seal the page of LOG that is being written.")
@click.argument("log", shell_complete=complete_logs)
@json_option
@ring_dir_option
def roll(log: str, as_json: bool, ring_dir: str | None) -> int:
    """Seal the page of LOG that is being written, with all that was logged until now.

    The next record begins another page.  A page without records is not sealed.
    """
    name, answer = _steered.ask(log, ring_dir, "roll")
    page = answer["page"]
    if as_json:
        click.echo(_text.to_json({"name": name, "page": page}))
    else:
        _text.say(f"{name}: " + ("nothing to seal" if page is None else f"sealed page {page}"))
    return 0
