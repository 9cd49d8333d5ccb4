"""Finding the log that a command is given.  It takes no slot and changes no byte of a ring."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from disklog_mp._ring import names as _names
from disklog_mp._verify import places as _places
from disklog_mp._verify import survey as _survey
from disklog_mp._verify.places import Found, NoSuchLogError, at, directory, ring_of
from disklog_mp.cli import _text

if TYPE_CHECKING:
    from disklog_mp._session.requests import Log as AskedLog

__all__ = ["Found", "NoSuchLogError", "at", "directory", "ring_of"]

ring_dir_option = click.option(
    "--ring-dir",
    type=click.Path(),
    callback=lambda ctx, param, value: None if value is None else os.path.abspath(value),
    help="Directory of the ring, if it is not /dev/shm.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")


def find(log: str, ring_dir: str | None, *, reads_pages: bool = True) -> Found:
    """Find a log and its ring, as places.find() does; a ring that cannot be read is told on stderr."""
    found = _places.find(log, ring_dir, reads_pages=reads_pages)
    if found.problem:
        _text.say(found.problem)
    return found


def directory_of(log: str, ring_dir: str | None) -> str:
    """Return the directory of a log; raises what find() raises."""
    with find(log, ring_dir) as found:
        return found.path


def to_ask(found: Found, ring_dir: str | None) -> AskedLog:
    """Return the log as one whose writer can be asked; where none lives, one is started.

    Raises NoSuchLogError if only its ring says where the log is.
    """
    if found.file is not None and not _survey.is_log_of(found.path, found.file):
        raise NoSuchLogError(
            f"the ring of log {found.name!r} names {found.path}, and the log's file there is missing or "
            f"another's: give its directory"
        )
    from disklog_mp._session import requests  # most commands ask no writer

    wake = (lambda: None) if found.file is None else found.file.ring.wake
    return requests.log_in(found.name, found.path, ring_dir, wake)


def is_written(path: str) -> bool:
    """True if a live process writes the log in this directory."""
    return _survey.is_written(path)


def rings(ring_dir: str | None) -> list[str]:
    """Return the paths of the rings on this machine, in the order of the logs' names."""
    return sorted(_names.all_rings(ring_dir), key=lambda path: (_names.log_of(path), path))
