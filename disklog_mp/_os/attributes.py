"""What a file system says of a file: the attributes that `chattr` sets, and which kind the system is of."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import re
import struct
from typing import NamedTuple

APPEND_ONLY = 0x20
IMMUTABLE = 0x10
NO_COPY_ON_WRITE = 0x800000
_GET, _SET = 0x80086601, 0x40086602  # FS_IOC_GETFLAGS, FS_IOC_SETFLAGS
_INT = struct.Struct("i")
_FIEMAP = struct.Struct("=QQIIII")  # begin, length, flags, extents found, extents there is room for
_EXTENT = struct.Struct("=QQQ16xI12x")  # logical, physical, length, flags
_FIEMAP_CALL, _SHARED, _LAST = 0xC020660B, 0x2000, 0x1  # FS_IOC_FIEMAP, FIEMAP_EXTENT_...
EXTENTS = 64  # asked for at once
POPULATE_WRITE = 23  # MADV_POPULATE_WRITE, Linux 5.14
_ESCAPED = re.compile(r"\\([0-7]{3})")  # a space in the path of a mount


def attributes(fd: int) -> int:
    """Return the attributes of an open file; 0 where the file system has none."""
    try:
        return int(_INT.unpack(fcntl.ioctl(fd, _GET, bytes(_INT.size)))[0])
    except OSError:
        return 0


def set_attribute(fd: int, attribute: int) -> bool:
    """Set one attribute of an open file; False if the file system does not."""
    try:
        fcntl.ioctl(fd, _SET, _INT.pack(attributes(fd) | attribute))
    except OSError:
        return False
    return bool(attributes(fd) & attribute)


def has_shared_blocks(fd: int) -> bool:
    """True if a file has blocks that belong to another file, too (a reflink, a snapshot)."""
    begin = 0
    while True:
        call = bytearray(
            _FIEMAP.pack(begin, 2**64 - 1 - begin, 0, 0, EXTENTS, 0) + bytes(EXTENTS * _EXTENT.size)
        )
        try:
            fcntl.ioctl(fd, _FIEMAP_CALL, call)
        except OSError:  # no blocks, as in memory
            return False
        found = _FIEMAP.unpack_from(call)[3]
        extents = list(_EXTENT.iter_unpack(call[_FIEMAP.size :]))[:found]
        if any(flags & _SHARED for *_, flags in extents):
            return True
        if not extents or extents[-1][3] & _LAST:
            return False
        begin = extents[-1][0] + extents[-1][2]


def give_own_blocks(fd: int, size: int) -> bool:
    """Have a file write its shared blocks anew, while others may write it; False if it still shares some.

    Raises OSError if there is no room, or the kernel cannot.
    """
    with mmap.mmap(fd, size) as memory:
        memory.madvise(POPULATE_WRITE)  # as if each page was stored to, but an error is no signal
        os.fsync(fd)  # while they are mapped: a block gets its place when it is written
    return not has_shared_blocks(fd)


class Mount(NamedTuple):
    """The mount that a path is in."""

    point: str
    kind: str  # of file system, as the kernel calls it
    options: frozenset[str]  # of this mount, and of its file system


def mount_of(path: str) -> Mount | None:
    """Return the mount that a path is in; None if that is unknown."""
    path = os.path.join(os.path.realpath(path), "")
    longest, found = "", None
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.readlines()
    except OSError:
        return None
    for line in lines:
        before, _, after = line.rstrip("\n").partition(" - ")
        words, behind = before.split(" "), after.split(" ")
        named = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), words[4])
        point = os.path.join(named, "")
        if path.startswith(point) and len(point) >= len(longest):  # the later one covers the earlier one
            options = frozenset([*words[5].split(","), *behind[-1].split(",")])
            longest, found = point, Mount(named, behind[0], options)
    return found


def kind_of(path: str) -> str:
    """Return the kind of file system that a path is in, as the kernel calls it; "" if it is unknown."""
    found = mount_of(path)
    return found.kind if found else ""


def why_not_permitted(path: str) -> str:
    """Return which attribute of a directory forbids what EPERM was the answer to, "" if none does."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        found = attributes(fd)
    finally:
        os.close(fd)
    if found & APPEND_ONLY:
        return "the directory is append-only, and pages are renamed and removed: chattr -a"
    if found & IMMUTABLE:
        return "the directory is immutable: chattr -i"
    return ""


def maps_no_files(error: OSError) -> bool:
    """True if a file system answers so to a shared mapping, of which it has none."""
    return error.errno in (errno.ENODEV, errno.EOPNOTSUPP, errno.ENOSYS)
