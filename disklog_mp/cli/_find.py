"""Finding the log that a command is given: by its name, through its ring, or by its directory.

It takes no slot and changes no byte of a ring.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import click

from disklog_mp._ring import file as _ring
from disklog_mp._ring import names as _names
from disklog_mp._verify import survey as _survey
from disklog_mp.cli import _text
from disklog_mp.errors import DiskLogError, FormatVersionError, LogNotFoundError

ring_dir_option = click.option(
    "--ring-dir",
    type=click.Path(),
    callback=lambda ctx, param, value: None if value is None else os.path.abspath(value),
    help="Directory of the ring, if it is not /dev/shm.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line.")


class NoSuchLogError(click.ClickException):
    """There is neither an open log of that name nor a directory."""

    exit_code = 2


@dataclass
class Found:
    """A log: its directory, its name ("" if unknown), its ring if it has one.  Use it in `with`."""

    path: str
    name: str
    file: _ring.RingFile | None

    def __enter__(self) -> Found:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.file is not None:
            os.close(self.file.fd)


def find(log: str, ring_dir: str | None) -> Found:
    """Find a log and its ring.

    A word is the name of an open log, or else a directory; with a slash in it, it is a directory.
    Raises NoSuchLogError, NotADirectoryError, what _ring.attach raises for a name.
    """
    if _names.NAME.fullmatch(log) and log not in (".", ".."):
        try:
            file = _ring.attach(log, ring_dir)
        except LogNotFoundError:
            pass
        else:
            return Found(file.ring.path, log, file)
    path = directory(log)
    name = _survey.name_of(path)
    return Found(path, name, _ring_of(path, name, ring_dir))


def directory_of(log: str, ring_dir: str | None) -> str:
    """Return the directory of a log; raises what find() raises."""
    with find(log, ring_dir) as found:
        return found.path


def directory(path: str) -> str:
    """Return the absolute path of a directory in which there is a log."""
    where = _survey.absolute(path)
    if not _survey.is_directory(path):
        raise NoSuchLogError(
            f"no log {path!r}: no log of that name is open on this machine, and there is no directory {where}"
        )
    if not _survey.is_log(path):
        raise NoSuchLogError(f"{where} holds no log: neither a page file nor a writer's lock file")
    return where


def _ring_of(path: str, name: str, ring_dir: str | None) -> _ring.RingFile | None:
    """The ring of the log in a directory: in `ring_dir`, or else where the lock file says that it is."""
    if ring_dir is None:
        noted = _survey.ring_dir_of(path)
        ring_dir = noted if os.path.isabs(noted) and noted != _names.SHM else None
    if _names.NAME.fullmatch(name) is None:
        return None
    try:
        file = _ring.attach(name, ring_dir)
    except LogNotFoundError:
        return None
    except (FormatVersionError, PermissionError) as problem:
        why = str(problem) if isinstance(problem, DiskLogError) else problem.strerror
        _text.say(f"the ring of log {name!r} cannot be read: {why}")
        return None
    if os.path.exists(file.ring.path) and os.path.samefile(file.ring.path, path):
        return file
    os.close(file.fd)  # the log of that name has another directory
    return None


def names(ring_dir: str | None) -> list[str]:
    """Return the names of the logs that have a ring on this machine."""
    where = ring_dir or _names.SHM
    found = [
        entry.removeprefix(_names.PREFIX) for entry in os.listdir(where) if entry.startswith(_names.PREFIX)
    ]
    return sorted(name for name in found if _names.NAME.fullmatch(name))
