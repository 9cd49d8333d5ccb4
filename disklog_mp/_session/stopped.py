"""Whether a log was stopped on purpose: then no attached process starts its writer again."""

from __future__ import annotations

import time
from typing import NamedTuple

from disklog_mp._pages.identity import read_identity
from disklog_mp.errors import DiskLogError, LogStoppedError


class Stop(NamedTuple):
    """What LogStoppedError takes.

    Not the error itself: an error that a frame keeps while it is raised keeps that frame, and its session.
    """

    name: str
    pid: int
    uid: int
    when: str


def stopped(name: str, path: str | None) -> Stop | None:
    """Return which process stopped the log in a directory, and when; None if none did.

    None for a directory that is not known: one that only a ring names is not believed.
    """
    if path is None:
        return None
    try:
        identity = read_identity(path)
    except (DiskLogError, OSError):
        return None
    if identity is None or identity.stopped is None:
        return None
    told = [identity.stopped.get(key, 0) for key in ("pid", "uid", "time_ns")]
    pid, uid, nanoseconds = (value if isinstance(value, int) else 0 for value in told)
    return Stop(name, pid, uid, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(nanoseconds // 10**9)))


def raise_if_stopped(name: str, path: str | None) -> None:
    """Raise LogStoppedError if the log was stopped."""
    told = stopped(name, path)
    if told is not None:
        raise LogStoppedError(*told)
