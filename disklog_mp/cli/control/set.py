"""disklog-mp set: change options of a log while it runs."""

from __future__ import annotations

import click

from disklog_mp import _options
from disklog_mp._session import requests
from disklog_mp.cli import _find as _logs
from disklog_mp.cli import _text
from disklog_mp.cli._complete import complete_logs


@click.command("set", short_help="Change options of LOG while it runs.")
@click.argument("log", shell_complete=complete_logs)
@click.argument("assignments", nargs=-1, required=True, metavar="OPTION=VALUE...")
@_logs.ring_dir_option
def set(log: str, assignments: tuple[str, ...], ring_dir: str | None) -> int:
    """Change options of LOG for all processes that use it, such as keep_bytes=20G or sync=200ms.

    The options are those of `disklog-mp serve`; none takes a limit back.  They are in force when this
    returns, and stay until they are given another value.  Only a user that may write the log's directory
    can change them.
    """
    try:
        changes = _options.check_changes(dict(map(_parse, assignments)))
    except TypeError as problem:
        raise click.UsageError(str(problem), click.get_current_context()) from None
    with _logs.find(log, ring_dir) as found:
        answer = requests.ask(_logs.to_ask(found, ring_dir), "configure", options=changes)
    told = _options.assignments({name: changes[name] for name in answer["changed"]})
    _text.say(f"{found.name}: {told or 'nothing changed'}")
    return 0


def _parse(assignment: str) -> tuple[str, str]:
    option, equals, value = assignment.partition("=")
    if not equals:
        raise click.UsageError(f"{assignment!r} is not OPTION=VALUE", click.get_current_context())
    return option.strip().replace("-", "_"), value
