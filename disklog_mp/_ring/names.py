"""What a log may be called, and where the ring of that name is."""

import os
import re

SHM = "/dev/shm"  # where Linux keeps POSIX shared memory
PREFIX = "disklog-"
NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")


def check_name(name: str) -> str:
    """Return the name of a log if it is one: 1 to 100 of A-Z a-z 0-9 . _ -"""
    if not isinstance(name, str):
        raise TypeError(f"the name of a log is a str, not {name!r}")
    if NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not a name for a log: it takes 1 to 100 of A-Z a-z 0-9 . _ -")
    return name


def ring_path(name: str, ring_dir: str | None) -> str:
    """Return the file behind the ring of that name."""
    return os.path.join(ring_dir or SHM, PREFIX + name)
