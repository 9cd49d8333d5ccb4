"""What a file system says of a file: the attributes that `chattr` sets, and which kind the system is of."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct

APPEND_ONLY = 0x20
IMMUTABLE = 0x10
NO_COPY_ON_WRITE = 0x800000
_GET, _SET = 0x80086601, 0x40086602  # FS_IOC_GETFLAGS, FS_IOC_SETFLAGS
_INT = struct.Struct("i")
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


def kind_of(path: str) -> str:
    """Return the kind of file system that a path is in, as the kernel calls it; "" if it is unknown."""
    path = os.path.join(os.path.realpath(path), "")
    longest, kind = "", ""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.readlines()
    except OSError:
        return ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = os.path.join(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), before.split(" ")[4]), "")
        if path.startswith(point) and len(point) >= len(longest):  # the later one covers the earlier one
            longest, kind = point, after.split(" ")[0]
    return kind


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
