"""Finding a log: by its name, through its ring, or by its directory.

It takes no slot and changes no byte of a ring.
"""

from __future__ import annotations

import errno
import os

from disklog_mp._ring import file as _ring
from disklog_mp._ring import names as _names
from disklog_mp._ring.observing import look, observe
from disklog_mp._verify import survey as _survey
from disklog_mp.errors import DiskLogError, FormatVersionError, LogNotFoundError


class NoSuchLogError(FileNotFoundError):
    """There is neither an open log of that name nor a directory with a log."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.ENOENT, text)


class Found:
    """A log: its directory, its name ("" if unknown), its ring if it has one.  Use it in `with`.

    `problem` says why the ring of a log that has one cannot be read.
    """

    def __init__(self, path: str, name: str, file: _ring.RingFile | None, problem: str = "") -> None:
        self.path, self.name, self.file, self.problem = path, name, file, problem

    def __enter__(self) -> Found:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.file is not None:
            os.close(self.file.fd)


def find(log: str, ring_dir: str | None, *, reads_pages: bool = True) -> Found:
    """Find a log and its ring.  `reads_pages` False: what the ring tells will do.

    A word is the name of an open log, or else a directory; with a slash in it, it is a directory.
    Raises what directory() raises, and what observing.look() raises for a name.
    """
    if _names.NAME.fullmatch(log) and log not in (".", ".."):
        try:
            file = look(log, ring_dir)
        except LogNotFoundError:
            pass
        else:
            if reads_pages:
                _refuse_another_log(file, log)
            return Found(file.ring.path, log, file)
    return in_directory(directory(log), ring_dir)


def directory(path: str) -> str:
    """Return the absolute path of a directory in which there is a log.

    Raises NoSuchLogError, NotADirectoryError, ValueError for what is neither a path of anything nor a name.
    An empty text is no path: the current directory is ".".
    """
    if not path or ("/" not in path and not os.path.lexists(path)):
        _names.check_name(path)
    where = _survey.absolute(path)
    if not _survey.is_directory(path):
        raise NoSuchLogError(
            f"no log {path!r}: no log of that name is open on this machine, and there is no directory {where}"
        )
    if not _survey.is_log(path):
        raise NoSuchLogError(f"{where} holds no log: neither a page file nor a writer's lock file")
    return where


def in_directory(path: str, ring_dir: str | None) -> Found:
    """Return the log in a directory, and its ring: in `ring_dir`, or else where the log's file says it is."""
    name = _survey.name_of(path)
    ring_path = _survey.ring_path_of(path, ring_dir)
    if ring_path is None:
        return Found(path, name, None)
    try:
        return Found(path, name, observe(ring_path))
    except LogNotFoundError:
        return Found(path, name, None)
    except (FormatVersionError, PermissionError) as problem:
        why = str(problem) if isinstance(problem, DiskLogError) else problem.strerror
        return Found(path, name, None, f"the ring of log {name!r} cannot be read: {why}")


def _refuse_another_log(file: _ring.RingFile, name: str) -> None:
    """A ring can be written by all producers, so the directory that it names must have its log."""
    where = file.ring.path
    if os.path.lexists(where) and not _survey.is_log_of(where, file):
        os.close(file.fd)
        raise NoSuchLogError(
            f"the ring of log {name!r} names {where}, and the log there is another one: give its directory"
        )


def at(path: str) -> Found:
    """Return the log of a ring, by the ring's path; raises what observe() raises."""
    file = observe(path)
    return Found(file.ring.path, _names.log_of(path), file)


def ring_of(log: str, ring_dir: str | None) -> str | None:
    """Return the path of the ring of a log, which is a directory; None if `log` is a name.

    Raises NoSuchLogError for a directory without a log, or with one whose ring is gone, and what directory()
    raises.
    """
    is_name = _names.NAME.fullmatch(log) and log not in (".", "..")
    if is_name and not _is_only_a_directory(log, ring_dir):
        return None
    path = directory(log)
    ring_path = _survey.ring_path_of(path, ring_dir)
    if ring_path is None or not os.path.lexists(ring_path):
        raise NoSuchLogError(f"the log in {path} has no ring")
    return ring_path


def _is_only_a_directory(log: str, ring_dir: str | None) -> bool:
    has_ring = _names.rings_of(log, ring_dir) or os.path.lexists(_names.former_ring_path(log, ring_dir))
    return not has_ring and _survey.is_directory(log)
