"""Looking at a ring without the right to log into it: members of a log's group (mode 0640), and root."""

from __future__ import annotations

import errno
import os
import stat

from disklog_mp._os import files as _files
from disklog_mp._ring import file as _ring
from disklog_mp._ring import finding as _finding
from disklog_mp._ring.names import log_of
from disklog_mp.errors import FormatVersionError, LogNotFoundError


def look(name: str, ring_dir: str | None = None) -> _ring.RingFile:
    """Find a ring as finding.find() does; one that this user may not use is mapped to look at it."""
    try:
        return _finding.find(name, ring_dir)
    except PermissionError:
        return _finding.find(name, ring_dir, observe)


def observe(path: str) -> _ring.RingFile:
    """Map an existing ring to look at it: the right to read it is enough, and no store reaches the file.

    Root may look at any ring, another user at those of its own and of groups that it is in.  Raises what
    attach() raises.
    """
    try:
        return _ring.attach(path)
    except PermissionError as refusal:
        problem = refusal
    return _map_apart(path, problem)


def watch(path: str) -> _ring.RingFile:
    """Map an existing ring so that no store reaches it, also for a user that may log.

    Raises what observe() raises.
    """
    refusal = PermissionError(errno.EACCES, "the ring is another user's, or no file", path)
    return _map_apart(path, refusal)


def _map_apart(path: str, problem: PermissionError) -> _ring.RingFile:
    """Map a ring to look at it; raises `problem` if it is not for this user."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise LogNotFoundError(log_of(path)) from None
    except PermissionError:
        raise _unseen(path) or problem from None
    except OSError:  # a link, perhaps
        raise problem from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or not _may_look(status):
            raise problem
        return _ring.RingFile(_ring.map_ring(fd, status.st_size, path, apart=True), fd, path)
    except FormatVersionError:  # a ring of no use to look at: then it is foremost another user's
        os.close(fd)
        raise problem from None
    except BaseException:
        os.close(fd)
        raise


def _may_look(status: os.stat_result) -> bool:
    """True if a ring of that owner and mode is no other user's trap."""
    is_shared = bool(status.st_mode & stat.S_IRGRP) and status.st_gid in {os.getegid(), *os.getgroups()}
    return os.geteuid() in (0, status.st_uid) or is_shared


def _unseen(path: str) -> PermissionError | None:
    """The error for a ring that this user may not even look at; None if it cannot be reached."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    what = f"ring of {log_of(path)!r} is {_files.owner_and_mode(status)}, you are uid {os.geteuid()}"
    who_may = "its owner, root, and members of a group that may read it can look at it"
    return PermissionError(errno.EACCES, f"permission denied: {what}: {who_may}", path)
