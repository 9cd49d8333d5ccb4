"""disklog-mp rm: remove a ring that was left behind."""

from __future__ import annotations

import errno

import click

from disklog_mp._verify.calls import remove_ring
from disklog_mp.cli import _find as _logs
from disklog_mp.cli import _text
from disklog_mp.cli._complete import complete_logs


@click.command()
@click.argument("log", shell_complete=complete_logs)
@click.option("-f", "--force", is_flag=True, help="Remove it even if records in it were never written.")
@_logs.ring_dir_option
def rm(log: str, force: bool, ring_dir: str | None) -> int:
    """Remove the shared memory that a crash of LOG left behind.

    LOG is the name of a log, or its directory.  Page files stay.  Refuses, with exit code 1, while the writer
    or a producer is alive, and if the ring holds records that are in no page yet.
    """
    try:
        remove_ring(log, force=force, ring_dir=ring_dir)
    except OSError as refusal:
        if refusal.errno != errno.EBUSY:
            raise
        _text.say(_text.error_line(refusal))
        return 1
    return 0
