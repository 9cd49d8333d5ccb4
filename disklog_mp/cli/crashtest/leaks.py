"""What a crash test must not leave behind: shared memory, processes, files, descriptors."""

from __future__ import annotations

import contextlib
import os

from disklog_mp._ring import names as _names


def left_behind(name: str, place: str, log: str, before: dict[str, str]) -> dict[str, list[str]]:
    """Return what is left of the log of that name, by kind; `before` is what descriptors() returned first."""
    return {
        "shared memory": [entry for entry in os.listdir(_names.SHM) if name in entry],
        "processes": processes_of(place),
        "files": [entry for entry in _listed(log) if entry.startswith(".")],
        "descriptors": [target for fd, target in descriptors().items() if before.get(fd) != target],
    }


def remove_rest(name: str) -> None:
    """Remove what stood beside a ring of that log that is gone."""
    for entry in os.listdir(_names.SHM):
        if name in entry:
            os.unlink(os.path.join(_names.SHM, entry))


def descriptors() -> dict[str, str]:
    """Return the open descriptors of this process and their targets."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the descriptor of this listing
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
    return found


def pidfds(pid: int) -> int:
    """Return how many pidfds that process holds."""
    count = 0
    for fd in _listed(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            count += "pidfd" in os.readlink(f"/proc/{pid}/fd/{fd}")
    return count


def processes_of(place: str) -> list[str]:
    """Return the pids of the other processes that have a file in that directory mapped."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", "rb") as file:
            if int(pid) != os.getpid() and os.fsencode(place) in file.read():
                found.append(pid)
    return found


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
