"""What a log may be called, and what its ring is called.

Names of logs may repeat over directories.  A ring's name has the log's name and the first half of the log's
id, so the rings of logs of one name do not collide.
"""

import os
import re

from disklog_mp._os.files import list_directory

SHM = "/dev/shm"  # where Linux keeps POSIX shared memory
PREFIX = "disklog-"
NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
RING = re.compile(re.escape(PREFIX) + r"([A-Za-z0-9._-]{1,100})\.([0-9a-f]{16})")
ID_BYTES = 8  # of the log's id, in the ring's name


def check_name(name: str) -> str:
    """Return the name of a log if it is one: 1 to 100 of A-Z a-z 0-9 . _ -"""
    if not isinstance(name, str):
        raise TypeError(f"the name of a log is a str, not {name!r}")
    if NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not a name for a log: it takes 1 to 100 of A-Z a-z 0-9 . _ -")
    return name


def ring_path(name: str, log_id: bytes, ring_dir: str | None) -> str:
    """Return the file behind the ring of the log of that name and id."""
    return os.path.join(ring_dir or SHM, f"{PREFIX}{name}.{log_id[:ID_BYTES].hex()}")


def socket_path(ring: str) -> str:
    """Return where the writer of the ring of that path takes requests: beside the ring."""
    return f"{ring}.sock"


def sockets_left(ring: str) -> tuple[str, str]:
    """Return what a writer that was killed may leave of its socket, beside the ring of that path."""
    where, name = os.path.split(socket_path(ring))
    return socket_path(ring), os.path.join(where, f".{name}.new")


def former_ring_path(name: str, ring_dir: str | None) -> str:
    """Return the file behind the ring that version 0.1.0 made for a log of that name."""
    return os.path.join(ring_dir or SHM, PREFIX + name)


def log_of(path: str) -> str:
    """Return the name of the log of the ring at that path."""
    base = os.path.basename(path)
    match = RING.fullmatch(base)
    return match[1] if match else base.removeprefix(PREFIX)


def all_rings(ring_dir: str | None) -> list[str]:
    """Return the paths of all rings in a directory, in order; [] if there is no such directory.

    Raises PermissionError, with what to do.
    """
    where = ring_dir or SHM
    try:
        entries = list_directory(where)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [os.path.join(where, entry) for entry in sorted(entries) if RING.fullmatch(entry)]


def rings_of(name: str, ring_dir: str | None = None) -> list[str]:
    """Return the paths of the rings of all logs of that name, in order."""
    return [path for path in all_rings(ring_dir) if log_of(path) == name]
