"""What is wrong with a log's directory, its ring or its group, as far as it shows before a writer starts."""

from __future__ import annotations

import errno
import os

from disklog_mp._options import Options
from disklog_mp._os.files import is_same
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.identity import read_identity
from disklog_mp._ring import file as _ring
from disklog_mp._ring.names import SHM
from disklog_mp.errors import ConfigMismatchError, WriterActiveError


def check_log(name: str, path: str) -> None:
    """Refuse a directory that holds other files, or another log.

    Raises ConfigMismatchError, WriterActiveError, FormatVersionError, OSError.
    """
    directory = Directory(path)
    if not directory.exists():
        return
    directory.refuse_foreign_files()
    identity = read_identity(path)
    if identity is not None and identity.name != name:
        raise ConfigMismatchError("name", identity.name, name)
    pid, other = directory.read_note()
    if identity is None and other not in ("", name) and directory.is_locked():
        raise WriterActiveError(other, path, pid)


def check_directory(path: str) -> None:
    """Raise OSError if a writer of this user could not use the directory, nor make it."""
    directory = Directory(path)
    directory.refuse_long_path()
    directory.exists()
    _check_writable(path)


def check_ring(ring_dir: str, ring_bytes: int | None) -> None:
    """Raise OSError if a writer of this user could not make a ring of that size there."""
    if not is_same(ring_dir, SHM):
        _check_writable(ring_dir)
    _ring.check_room(_existing(ring_dir), ring_bytes or Options().ring_bytes)


def check_group(path: str, gid: int) -> None:
    """Raise PermissionError if this user cannot give files to the group (-1: to none)."""
    may = gid in (-1, os.getegid(), *os.getgroups()) or os.geteuid() == 0
    if not may and os.stat(_existing(path)).st_gid != gid:
        text = f"you (uid {os.geteuid()}) are not in group {gid}, and so cannot give it the log"
        raise PermissionError(errno.EPERM, text, path)


def _existing(path: str) -> str:
    """Return the path, or its nearest parent that there is."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def _check_writable(path: str) -> None:
    place = _existing(path)
    if not os.path.isdir(place):
        raise NotADirectoryError(errno.ENOTDIR, "no log can be made in what is no directory", place)
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        raise PermissionError(
            errno.EACCES, f"user {os.geteuid()} may not write there, and so not log there", place
        )
