"""disklog-mp ls: the logs that are open on this machine.  It takes no slot and changes nothing."""

from __future__ import annotations

import click

from disklog_mp._verify.calls import LogInfo, list_logs
from disklog_mp.cli import _find as _logs
from disklog_mp.cli import _text


@click.command()
@_logs.json_option
@_logs.ring_dir_option
def ls(as_json: bool, ring_dir: str | None) -> int:
    """List the logs that are open on this machine.

    Exit code 1 if the ring of a log cannot be read.
    """
    rows, failed = [], 0
    for log in list_logs(ring_dir):
        if log.problem:
            _text.say(f"{log.name}: {log.problem}")
            failed = 1
        elif as_json:
            keys = ("name", "path", "writer_pid", "ring_used", "ring_capacity", "producers")
            click.echo(_text.to_json({key: getattr(log, key) for key in keys}))
        else:
            rows.append(_row(log))
    if rows:
        heads = ("NAME", "WRITER", "RING", "USED", "PRODUCERS", "DIRECTORY")
        click.echo("\n".join(_text.table(heads, rows, right=("WRITER", "RING", "USED", "PRODUCERS"))))
    return failed


def _row(log: LogInfo) -> tuple[str, ...]:
    return (
        _text.printable(log.name),
        str(log.writer_pid or "none"),
        _text.size(log.ring_capacity),
        f"{100 * log.ring_used // log.ring_capacity} %",
        str(log.producers),
        _text.printable(log.path),
    )
