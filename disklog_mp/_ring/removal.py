"""Removing a ring that a crash left behind, unless a process uses it or records would be lost.

Page files are not touched.
"""

from __future__ import annotations

import os

from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring import names as _names
from disklog_mp.errors import FormatVersionError


def remove(name: str, ring_dir: str | None, *, force: bool) -> str | None:
    """Remove the ring of that name; return why it was not removed, None if it was.

    `force` removes records that no writer has written, and what is not a ring of this version.
    Raises LogNotFoundError, PermissionError, ValueError.
    """
    _names.check_name(name)
    try:
        file = _ring.attach(name, ring_dir)
    except FormatVersionError as problem:
        return _remove_unknown(name, ring_dir, force, problem)
    try:
        return _remove(name, ring_dir, force, file)
    finally:
        os.close(file.fd)


def _remove(name: str, ring_dir: str | None, force: bool, file: _ring.RingFile) -> str | None:
    ring = file.ring
    # The lock is held until the name is gone, so that no writer starts on this ring meanwhile.
    if not _liveness.lock_as_writer(file):
        return f"process {ring.writer_pid} is writing it"
    alive = [slot.pid for slot in _liveness.living_producers(file)]
    if alive:
        processes = "1 process" if len(alive) == 1 else f"{len(alive):,} processes"
        return f"{processes} attached: {', '.join(map(str, alive))}"
    waiting = ring.frontier(ring.released) - ring.released
    if waiting and not force:
        return (
            f"{waiting:,} bytes of its records are in no page yet: `disklog-mp serve {name} {ring.path}` "
            f"writes them, --force deletes them"
        )
    if not _ring.is_current(file, name, ring_dir) or not _ring.unlink(name, ring_dir):
        return "another process replaced its ring a moment ago"
    return None


def _remove_unknown(name: str, ring_dir: str | None, force: bool, problem: Exception) -> str | None:
    """Remove a ring of another version, or a damaged one: its contents cannot be read."""
    if not force:
        return f"its contents cannot be read ({problem}); --force removes it all the same"
    fd = _ring.open_object(name, ring_dir)
    try:
        if _liveness.is_in_use(fd):
            return "a process is using it"
    finally:
        os.close(fd)
    _ring.unlink(name, ring_dir)
    return None
