"""disklog-mp rm: remove a ring that was left behind."""

from __future__ import annotations

import click

from disklog_mp._ring import removal
from disklog_mp.cli import _text
from disklog_mp.cli._find import ring_dir_option


@click.command()
@click.argument("name")
@click.option("-f", "--force", is_flag=True, help="Remove it even if records in it were never written.")
@ring_dir_option
def rm(name: str, force: bool, ring_dir: str | None) -> int:
    """Remove the shared memory that a crash of log NAME left behind.

    Page files stay.  Refuses, with exit code 1, while the writer or a producer is alive, and if the ring
    holds records that are in no page yet.
    """
    refused = removal.remove(name, ring_dir, force=force)
    if refused is not None:
        _text.say(f"{name}: not removed: {refused}")
        return 1
    return 0
