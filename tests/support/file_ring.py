"""Rings in files of a directory: for tests that need locks and names, and no process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from disklog_mp._ring import file as _ring
from disklog_mp._ring import names
from disklog_mp._ring.file import RingFile

CAPACITY = 4096
LOG_ID = b"l" * 16


def path_in(directory: Path, name: str = "app") -> str:
    """The path of the ring that new_ring() makes there."""
    return names.ring_path(name, LOG_ID, str(directory))


def new_ring(directory: Path, name: str = "app", *, mode: int = 0o600, **other: Any) -> RingFile:
    """Create the ring of that name, its writer's lock held by the descriptor."""
    reserved = _ring.reserve(path_in(directory, name), capacity=CAPACITY, mode=mode, gid=-1)
    given: dict[str, Any] = {
        "base": 0,
        "generation": 1,
        "salt": 7,
        "log_id": LOG_ID,
        "path": "/path",
        "replace": False,
        "fill": lambda ring: None,
        **other,
    }
    return _ring.create(reserved, name, **given)


@contextmanager
def closing(*files: RingFile) -> Iterator[None]:
    """Close the descriptors of these rings at the end."""
    try:
        yield
    finally:
        for file in files:
            os.close(file.fd)
