"""A cursor kept in a file, for a program that goes on where it stopped: durable, and one step back kept.

A power loss, or a copy that was cut, can leave any file empty or torn.  The place before the last one is kept
beside the file, under a hidden name: from there some records are seen again, and none is missed.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import NamedTuple

from disklog_mp._os import files as _files
from disklog_mp._reader.cursor import Cursor


class Loaded(NamedTuple):
    """What a cursor file says: None if there is no place yet."""

    cursor: Cursor | None
    trouble: str = ""  # why this is not what was stored last, "" if it is


def load_cursor(path: str) -> Loaded:
    """Read the place in a cursor file; if it is empty or torn, the place that was stored before.

    Raises ValueError for a file that is no cursor file, and OSError.
    """
    try:
        text = _read(path)
    except FileNotFoundError:
        return Loaded(None)
    stored, before = _parse(text), None
    if stored is not None and text.endswith("\n"):
        return Loaded(stored)
    with contextlib.suppress(OSError):
        before = _parse(_read(_before(path)))
    what = "is torn" if text.strip() else "is empty"
    if before is not None:
        return Loaded(before, f"{path} {what}: going on at the place before, {before}")
    if text.strip():  # a person wrote it, perhaps, without the end of its line
        return Loaded(stored or _refused(path, text))
    return Loaded(None, f"{path} {what}: beginning with the oldest record")


def save_cursor(path: str, cursor: Cursor) -> None:
    """Store a place, durably, in one step; a file that another user put in the way is not written to.

    Raises OSError, and then the place is what it was.
    """
    path = os.path.join(os.path.realpath(os.path.dirname(os.path.abspath(path))), os.path.basename(path))
    with contextlib.suppress(OSError):
        text, before = _read(path), _before(path)
        if text == f"{cursor}\n":
            return
        if _parse(text) is not None and text.endswith("\n"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(before)
            os.link(path, before, follow_symlinks=False)
    _files.write_small(path, f"{cursor}\n".encode(), _mode(path), -1)


def _before(path: str) -> str:
    return os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.before")


def _read(path: str) -> str:
    return _files.read_small(path).decode("ascii", "backslashreplace")


def _parse(text: str) -> Cursor | None:
    try:
        return Cursor.parse(text.strip())
    except ValueError:
        return None


def _refused(path: str, text: str) -> Cursor:
    try:
        return Cursor.parse(text.strip())
    except ValueError as problem:
        raise ValueError(f"{path}: {problem}") from None


def _mode(path: str) -> int:
    """Return the mode of the file that stands there, or what the umask leaves of a new one's."""
    with contextlib.suppress(OSError):
        return stat.S_IMODE(os.lstat(path).st_mode) & 0o666
    umask = os.umask(0o077)
    os.umask(umask)
    return 0o666 & ~umask
