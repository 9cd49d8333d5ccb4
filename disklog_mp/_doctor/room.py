"""The place of the rings: is it there, in memory, open to this user, and has it room for a ring?"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator

from disklog_mp._doctor.findings import Finding, Told
from disklog_mp._doctor.subject import Subject
from disklog_mp._options import size_text
from disklog_mp._os import attributes as _attributes
from disklog_mp._os import files as _files
from disklog_mp._ring.names import SHM
from disklog_mp._ring.room import IN_MEMORY

FOR_ALL = 0o1777  # mode of /dev/shm
MIB = 1 << 20
IN_CONTAINERS = (
    "docker run --shm-size={0}m, compose `shm_size: {0}m`, Kubernetes emptyDir with medium: Memory"
)


def look_at_room(subject: Subject) -> Iterator[Told]:
    """Size and limits of the place of the rings."""
    where = subject.ring_dir
    try:
        status, space = os.stat(where), os.statvfs(where)
    except FileNotFoundError:
        yield Finding(f"{where}, the place of the rings, is missing", _making(where))
        return
    except OSError as problem:
        yield Finding(f"{where}, the place of the rings: {problem.strerror}", _another(subject))
        return
    if not stat.S_ISDIR(status.st_mode):
        yield Finding(f"{where}, the place of the rings, is no directory", _another(subject))
        return
    if where == SHM and (kind := _attributes.kind_of(where)) not in IN_MEMORY:
        yield Finding(f"{where} is on {kind or 'a disk'}, not in memory", _making(where))
    if where == SHM and status.st_mode & FOR_ALL != FOR_ALL:
        mode = _files.owner_and_mode(status)
        yield Finding(f"{where} is {mode}: other users can make no ring there", f"chmod 1777 {where}")
    elif not os.access(where, os.W_OK | os.X_OK) and not space.f_flag & os.ST_RDONLY:
        mode = _files.owner_and_mode(status)
        yield Finding(f"{where} is {mode}: uid {os.geteuid()} can make no ring there", _another(subject))
    yield from _look_at_space(subject, space)


def _look_at_space(subject: Subject, space: os.statvfs_result) -> Iterator[Told]:
    where, size = subject.ring_dir, subject.ring_size
    total, free = space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize
    if space.f_blocks and free < size:  # a file system without a limit counts no blocks
        more = -(-(total - free + 2 * size) // MIB)
        has_ring = subject.file is not None
        purpose = "a second ring, which replaces the first when options change," if has_ring else "a ring"
        larger = f"mount -o remount,size={more}m {where}"
        yield Finding(
            f"{where} has {size_text(free)} of {size_text(total)} free: {purpose} takes {size_text(size)}",
            f"`{larger}` ({IN_CONTAINERS.format(more)}), or a smaller ring_bytes"
            if _attributes.kind_of(where) in IN_MEMORY
            else f"make {size_text(size - free)} free on its disk, or give a smaller ring_bytes",
        )
    if space.f_files and not space.f_favail:
        yield Finding(
            f"{where} has no inode left: no ring can be made there",
            f"remove files there, or `mount -o remount,nr_inodes={2 * space.f_files} {where}`",
        )


def _making(where: str) -> str:
    if where == SHM:
        return f"mkdir -p {where} && mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs {where}"
    return f"`mkdir -p {shlex.quote(where)}`, or give the ring_dir= that there is"


def _another(subject: Subject) -> str:
    return f"give ring_dir= a directory that uid {os.geteuid()} may write, in memory or on a disk"
