"""disklog-mp ls: the logs that are open on this machine.  It takes no slot and changes nothing."""

from __future__ import annotations

import os

import click

from disklog_mp._ring import file as _ring
from disklog_mp._ring import names as _names
from disklog_mp._ring import stats as _stats
from disklog_mp.cli import _find as _logs
from disklog_mp.cli import _text
from disklog_mp.errors import DiskLogError


@click.command()
@_logs.json_option
@_logs.ring_dir_option
def ls(as_json: bool, ring_dir: str | None) -> int:
    """List the logs that are open on this machine.

    Exit code 1 if the ring of a log cannot be read.
    """
    rows, failed = [], 0
    for path in _logs.rings(ring_dir):
        try:
            file = _ring.attach(path)
        except (DiskLogError, PermissionError) as problem:
            _text.say(f"{_names.log_of(path)}: {_text.error_line(problem)}")
            failed = 1
            continue
        try:
            stats = _stats.read(file)
        finally:
            os.close(file.fd)
        if as_json:
            keys = ("name", "path", "writer_pid", "ring_used", "ring_capacity")
            told = {key: getattr(stats, key) for key in keys}
            click.echo(_text.to_json({**told, "producers": len(stats.producers)}))
        rows.append(_row(stats))
    if rows and not as_json:
        heads = ("NAME", "WRITER", "RING", "USED", "PRODUCERS", "DIRECTORY")
        click.echo("\n".join(_text.table(heads, rows, right=("WRITER", "RING", "USED", "PRODUCERS"))))
    return failed


def _row(stats: _stats.Stats) -> tuple[str, ...]:
    return (
        _text.printable(stats.name),
        str(stats.writer_pid or "none"),
        _text.size(stats.ring_capacity),
        f"{100 * stats.ring_used // stats.ring_capacity} %",
        str(len(stats.producers)),
        _text.printable(stats.path),
    )
