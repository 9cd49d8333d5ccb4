"""A ring that version 0.1.0 made: it has another name and version, and no labels behind its data.

Programs of version 0.1.0 refuse a ring of this version, so none of them may be attached when it becomes one.
"""

from __future__ import annotations

import os

from disklog_mp import _core
from disklog_mp._os import files as _files
from disklog_mp._os import processes as _processes
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring.file import RingFile
from disklog_mp._ring.slots import read_slots
from disklog_mp.errors import FormatVersionError

FORMER_VERSION = 1
VERSION_AT, SIZE_AT, CAPACITY_AT, CRC_AT = 8, 16, 24, 4088  # in the constants
CONSTANTS = 4096  # bytes; the control block follows
SLOTS_END = 8192 + _core.SLOTS * 64  # constants, control block and slots


def look_at(path: str) -> RingFile | None:
    """Return a copy of what a ring of version 0.1.0 tells of itself, and the ring's own descriptor.

    Its constants and slots can be read, not its records.  None if there is no such ring, or not one of a user
    that we trust.
    """
    try:
        fd = _ring.open_object(path)
    except OSError:
        return None
    try:
        _ring.check_owner(os.fstat(fd), path)
        ring = _copy(fd)
    except (OSError, ValueError):
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    if ring is None:
        os.close(fd)
        return None
    return RingFile(ring, fd, path)


def _copy(fd: int) -> _core.Ring | None:
    if os.fstat(fd).st_size < SLOTS_END or _ring.version_of(fd) not in (FORMER_VERSION, _core.RING_VERSION):
        return None
    constants, size = _of_this_version(os.pread(fd, CONSTANTS, 0))
    copy = os.memfd_create("disklog-copy")
    try:
        os.ftruncate(copy, size)
        file = _files.RealFile(copy)
        file.write_at(constants, 0)
        file.write_at(os.pread(fd, SLOTS_END - CONSTANTS, CONSTANTS), CONSTANTS)
        return _core.Ring(copy, size, writable=True)
    finally:
        os.close(copy)


def _of_this_version(constants: bytes) -> tuple[bytes, int]:
    """Return the constants with this version, and the ring's size; ValueError if they are damaged."""
    if int.from_bytes(constants[CRC_AT:], "little") != _core.crc32c(constants[:CRC_AT]):
        raise ValueError("the constants are damaged")
    changed = bytearray(constants[:CRC_AT])
    changed[VERSION_AT : VERSION_AT + 4] = _core.RING_VERSION.to_bytes(4, "little")
    size = _core.ring_size(int.from_bytes(changed[CAPACITY_AT : CAPACITY_AT + 8], "little"))
    changed[SIZE_AT : SIZE_AT + 8] = size.to_bytes(8, "little")
    return bytes(changed) + _core.crc32c(changed).to_bytes(8, "little"), size


def take_over(seen: RingFile, path: str) -> None:
    """Make a ring that look_at() returned one of this version, of that path.

    Refuses with FormatVersionError, which has the pids, if processes are attached to it.  Each step can be
    interrupted and the whole be repeated.
    """
    _refuse_if_used(seen)
    if _ring.version_of(seen.fd) == FORMER_VERSION:
        former, file = os.pread(seen.fd, CONSTANTS, 0), _files.RealFile(seen.fd)
        constants, size = _of_this_version(former)
        file.allocate(size)
        file.write_at(constants, 0)  # from here on no program of 0.1.0 attaches
        again = look_at(seen.path)
        assert again is not None
        try:
            _refuse_if_used(again)
        except BaseException:
            file.write_at(former, 0)
            file.truncate(int.from_bytes(former[SIZE_AT : SIZE_AT + 8], "little"))
            raise
        finally:
            os.close(again.fd)
    os.rename(seen.path, path)
    if os.path.dirname(path) != "/dev/shm":
        _files.REAL.sync_directory(os.path.dirname(path))


def _refuse_if_used(seen: RingFile) -> None:
    witnesses = _liveness.Witnesses(seen, _processes.identity())
    try:
        pids = [
            slot.pid for slot in read_slots(seen.ring, _core.SLOT_ATTACHED) if not witnesses.is_dead(slot)
        ]
    finally:
        witnesses.close()
    if _liveness.writer_alive(seen):
        pids.append(seen.ring.writer_pid)
    if pids:
        listed = ", ".join(map(str, pids))
        found = (
            f"a ring of disklog-mp 0.1.0 that is in use: end the processes {listed}, then open the log again"
        )
        raise FormatVersionError(seen.path, found, _core.RING_VERSION)
