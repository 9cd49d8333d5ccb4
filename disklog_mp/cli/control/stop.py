"""disklog-mp stop: end a log's writer, and keep attached processes from starting another."""

from __future__ import annotations

import time

import click

from disklog_mp import _options
from disklog_mp._session import requests
from disklog_mp.cli import _find as _logs
from disklog_mp.cli import _text
from disklog_mp.cli._complete import complete_logs

TRIES = 3  # a writer may be killed while it stops


@click.command(short_help="Write all that LOG holds, and end its writer.")
@click.argument("log", shell_complete=complete_logs)
@click.option("--timeout", default="30s", metavar="TIME", help="Wait at most this long.  [30s]")
@_logs.ring_dir_option
def stop(log: str, timeout: str, ring_dir: str | None) -> int:
    """Write and sync all that is in the ring of LOG, and end its writer.

    The log stays stopped until the next disklog_mp.open() or `disklog-mp serve`: processes that are attached
    log into the ring until it is full.  Exit code 1 if the writer has not ended in time.
    """
    deadline = time.monotonic() + _options.parse_duration(timeout, "--timeout")
    number = ""
    with _logs.find(log, ring_dir) as found:
        if found.file is None and not _logs.is_written(found.path):
            _text.say(f"{found.name}: is not running")
            return 0
        asked = _logs.to_ask(found, ring_dir)
        for _ in range(TRIES):
            number = number or requests.new_number()
            left = max(0.1, deadline - time.monotonic())
            answer = requests.ask(asked, "stop", timeout=left, number=number, until_end=True)
            if not answer["has_ended"]:
                _text.say(f"{found.name}: its writer has not ended after {timeout}: it is still writing")
                return 1
            if found.file is None or found.file.ring.released >= answer["end"]:
                _text.say(f"{found.name}: stopped; all records are written")
                return 0
    _text.say(f"{found.name}: stopped, but its writer died before all records were written")
    return 1
