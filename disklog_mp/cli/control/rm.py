"""disklog-mp rm: remove a ring that was left behind."""

from __future__ import annotations

import click

from disklog_mp._ring import removal
from disklog_mp._ring.names import log_of
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
    path = _logs.ring_of(log, ring_dir)
    if path is None:
        refused = removal.remove(log, ring_dir, force=force)
    else:
        refused = removal.remove_ring(path, force=force)
    if refused is not None:
        _text.say(f"{log if path is None else log_of(path)}: not removed: {refused}")
        return 1
    return 0
