"""disklog-mp prune: remove the oldest pages of a log, once."""

from __future__ import annotations

import click

from disklog_mp import _options
from disklog_mp.cli._complete import complete_logs
from disklog_mp.cli._find import json_option, ring_dir_option
from disklog_mp.cli.control import _steered


@click.command(short_help="Remove the oldest pages of LOG, once.")
@click.argument("log", shell_complete=complete_logs)
@click.option("--pages", metavar="N", help="Keep at most so many pages.")
@click.option("--bytes", "size", metavar="SIZE", help="Keep at most so much, such as 20G.")
@click.option("--age", metavar="TIME", help="Keep no page that was sealed longer ago, such as 7d.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be removed.")
@_steered.yes_option
@json_option
@ring_dir_option
def prune(
    log: str,
    pages: str | None,
    size: str | None,
    age: str | None,
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    ring_dir: str | None,
) -> int:
    """Remove the oldest sealed pages of LOG, until what is left is within the limits.

    The newest page stays.  Only a user that may write the log's directory can do it.  Asks first, unless
    --yes or --dry-run is given.  keep_pages, keep_bytes and keep_age do the same all the time.
    """
    keep = _options.check_limits({"pages": pages, "bytes": size, "age": age})
    if not dry_run:
        _steered.make_sure(f"removing pages of log {log!r}", yes)
    name, answer = _steered.ask(log, ring_dir, "prune", keep=keep, dry_run=dry_run)
    _steered.show(name, answer, "would remove" if dry_run else "removed", as_json=as_json)
    return 0
