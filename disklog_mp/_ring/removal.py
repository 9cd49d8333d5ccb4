"""Removing a ring that a crash left behind, unless a process uses it or records would be lost.

Page files are not touched.
"""

from __future__ import annotations

import os

from disklog_mp._ring import file as _ring
from disklog_mp._ring import finding as _finding
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring import names as _names
from disklog_mp.errors import FormatVersionError, LogNotFoundError


def remove(name: str, ring_dir: str | None, *, force: bool) -> str | None:
    """Remove the ring of that name; return why it was not removed, None if it was.

    `force` removes records that no writer has written, and what is not a ring of this version.
    Raises LogNotFoundError, AmbiguousLogError, PermissionError, ValueError.
    """
    _names.check_name(name)
    former = _names.former_ring_path(name, ring_dir)
    try:
        path = _finding.find_path(name, ring_dir)
    except (LogNotFoundError, FormatVersionError):
        if not os.path.lexists(former):
            raise
        path = former
    return remove_ring(path, force=force)


def remove_ring(path: str, *, force: bool) -> str | None:
    """Remove the ring of that path, as remove() does."""
    try:
        file = _ring.attach(path)
    except FormatVersionError as problem:
        return _remove_unknown(path, force, problem)
    try:
        return _remove(_names.log_of(path), force, file)
    finally:
        os.close(file.fd)


def _remove(name: str, force: bool, file: _ring.RingFile) -> str | None:
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
    if not _ring.is_current(file) or not _ring.unlink(file.path):
        return "another process replaced its ring a moment ago"
    return None


def _remove_unknown(path: str, force: bool, problem: Exception) -> str | None:
    """Remove a ring of another version, or a damaged one: its contents cannot be read."""
    if not force:
        return f"its contents cannot be read ({problem}); --force removes it all the same"
    fd = _ring.open_object(path)
    try:
        if _liveness.is_in_use(fd):
            return "a process is using it"
    finally:
        os.close(fd)
    _ring.unlink(path)
    return None
