"""Finding the log a command is about: by its name, through its ring, or by its directory.

Nothing here takes a slot or changes a byte of a ring.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import click

from disklog_mp._pages.directory import Directory
from disklog_mp._reader.reader import Reader
from disklog_mp._ring import file as _ring
from disklog_mp.cli import _text
from disklog_mp.errors import DiskLogError, FormatVersionError, LogNotFoundError

ring_dir_option = click.option(
    "--ring-dir",
    type=click.Path(),
    callback=lambda ctx, param, value: None if value is None else os.path.abspath(value),
    help="Where the ring is, if not in /dev/shm.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")


class NoSuchLogError(click.ClickException):
    """Neither an open log of that name nor a directory."""

    exit_code = 2


@dataclass
class Found:
    """A log: its directory, its name if it is known, its ring if there is one.  Use it in `with`."""

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
    if _ring.NAME.fullmatch(log) and log not in (".", ".."):
        try:
            file = _ring.attach(log, ring_dir)
        except LogNotFoundError:
            pass
        else:
            return Found(file.ring.path, log, file)
    path = directory(log)
    name = name_of(path)
    return Found(path, name, _ring_of(path, name, ring_dir))


def directory_of(log: str, ring_dir: str | None) -> str:
    """Return the directory of a log; raises what find() raises."""
    with find(log, ring_dir) as found:
        return found.path


def directory(path: str) -> str:
    """Return the absolute path of a directory in which there is a log."""
    where = Directory(path)
    if not where.exists():
        raise NoSuchLogError(
            f"no log {path!r}: none of that name is open on this machine, and no directory {where.path}"
        )
    if not where.is_log():
        raise NoSuchLogError(f"{where.path} holds no log: neither a page file nor a writer's lock file")
    return where.path


def name_of(path: str) -> str:
    """Return the name of the log in a directory, "" if nothing says it."""
    where = Directory(path)
    _, name = where.read_note()
    if name:
        return name
    reader = Reader(path, on_damage=lambda damage: None)
    for page in reader.pages():
        with page:
            return page.header.name
    return ""


def _ring_of(path: str, name: str, ring_dir: str | None) -> _ring.RingFile | None:
    if _ring.NAME.fullmatch(name) is None:
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
    os.close(file.fd)  # another directory's log of the same name
    return None


def names(ring_dir: str | None) -> list[str]:
    """Return the names of the logs that have a ring on this machine."""
    where = ring_dir or _ring.SHM
    found = [
        entry.removeprefix(_ring.PREFIX) for entry in os.listdir(where) if entry.startswith(_ring.PREFIX)
    ]
    return sorted(name for name in found if _ring.NAME.fullmatch(name))
