"""What the commands share that steer the pages of a log."""

from __future__ import annotations

import sys
from typing import Any

import click

from disklog_mp._session import requests
from disklog_mp.cli import _find as _logs
from disklog_mp.cli import _text

yes_option = click.option("-y", "--yes", is_flag=True, help="Do it without being asked.")


def ask(log: str, ring_dir: str | None, what: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    """Have the log's writer do something; return the log's name, and the answer."""
    with _logs.find(log, ring_dir) as found:
        answer = requests.ask_until_done(_logs.to_ask(found, ring_dir), what, **fields)
        return found.name, answer


def make_sure(what: str, yes: bool) -> None:
    """Have the user confirm what cannot be taken back.  Raises UsageError where there is no terminal."""
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError(
            f"{what} cannot be taken back, and there is no terminal to ask: give --yes",
            click.get_current_context(),
        )
    click.confirm(f"{what} cannot be taken back.  Go on?", abort=True, err=True)


def show(name: str, answer: dict[str, Any], did: str, *, as_json: bool) -> None:
    """Print which pages went."""
    if as_json:
        click.echo(_text.to_json({"name": name, **answer}))
    else:
        _text.say(f"{name}: {did} {describe(answer)}")


def describe(answer: dict[str, Any]) -> str:
    """Return `2 pages (3-4): 500 records, 12 KiB`."""
    if not answer["pages"]:
        return "no page"
    first, last = answer["first"], answer["last"]
    numbers = f"{first}-{last}" if last > first else f"{first}"
    records = _text.plural(answer["records"], "record")
    return f"{_text.plural(answer['pages'], 'page')} ({numbers}): {records}, {_text.size(answer['bytes'])}"
