"""Processes: what tells one from all others, whether it runs, and since which boot.

It knows nothing of producers and writers.
"""

import io
import os
from typing import NamedTuple


class Identity(NamedTuple):
    """What tells one process from all others on this machine, pids being reused."""

    pid: int
    start: int  # ticks after boot
    namespace: int  # inode of the pid namespace the pid is in


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks after boot; None if there is none of that pid."""
    told = _status(pid)
    return int(told[19]) if told else None


def is_running(pid: int, start: int) -> bool:
    """True if the process of that pid and start is there, and not a zombie."""
    told = _status(pid)
    return told[:1] not in _OVER and int(told[19]) == start


def is_there(pid: int) -> bool:
    """True if there is a process of that pid, and it is not a zombie."""
    return _status(pid)[:1] not in _OVER


def is_stopped(pid: int) -> bool:
    """True if there is a process of that pid, and a signal or a debugger has stopped it."""
    return _status(pid)[:1] in ([b"T"], [b"t"])


_OVER: list[list[bytes]] = [[], [b"Z"], [b"X"]]  # no such process, or only what is not reaped of it


def _status(pid: int) -> list[bytes]:
    """What /proc tells of a process behind its name; [] if there is none."""
    try:
        # Not open(): a destructor may log while the interpreter shuts down, and that name goes first.
        with io.FileIO(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, PermissionError, ProcessLookupError):  # proc may hide other users' processes
        return []


def identity() -> Identity:
    """Return the identity of this process."""
    pid = os.getpid()
    return Identity(pid, start_ticks(pid) or 0, os.stat("/proc/self/ns/pid").st_ino)


def boot_id() -> str:
    """Return what is new at every boot of the machine: what was written in an earlier one and not synced
    may be gone.
    """
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
