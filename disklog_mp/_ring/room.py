"""Whether a place has the memory for a ring and keeps it, and what to say where it has not.

A store into a ring must never need anything more of the kernel: there is no error that it could return, only
a signal that ends the process that logs.
"""

import errno
import os
import resource

from disklog_mp._options import size_text
from disklog_mp._os import attributes as _attributes
from disklog_mp._os import files as _files
from disklog_mp._ring.names import SHM

IN_MEMORY = {"tmpfs", "ramfs"}
IN_PLACE = {
    *IN_MEMORY,
    "hugetlbfs",
    "ext2",
    "ext3",
    "ext4",
    "xfs",
}  # an allocated block stays there
COPIES = {"btrfs", "bcachefs", "zfs", "f2fs"}  # a block written anew may go to another place, if there is one
PIECE = bytes(1 << 20)
WAY_OUT = "give ring_dir= a directory in memory (tmpfs) or on a disk"


def prepare(fd: int, where: str) -> bool:
    """Have an empty file keep the space that it is going to get; True if it must be tried by writing.

    Raises OSError for a file system that gives no such promise.
    """
    kind = _attributes.kind_of(where)
    if kind in IN_PLACE or _attributes.set_attribute(fd, _attributes.NO_COPY_ON_WRITE):
        return False
    if kind in COPIES:
        text = (
            f"{kind} writes each change to a new place and cannot be told not to (chattr +C): on a full disk "
            "that would end the processes that log; give ring_dir= a directory on tmpfs, ext4 or XFS"
        )
        raise OSError(errno.EOPNOTSUPP, text, where)
    return True


def write_all(fd: int, size: int) -> None:
    """Write every page of a file once, for a file system whose allocation may be no promise.  OSError."""
    file = _files.RealFile(fd)
    for offset in range(0, size, len(PIECE)):
        file.write_at(memoryview(PIECE)[: size - offset], offset)
    file.sync()


def keep_own_blocks(fd: int, size: int, path: str) -> None:
    """Have a ring's file share no blocks with a copy of it: a store would need room for blocks of its own.

    Raises OSError if it shares some and there is no room now.
    """
    if os.path.dirname(path) == SHM or not _attributes.has_shared_blocks(fd):
        return
    number = errno.EOPNOTSUPP
    try:
        if _attributes.give_own_blocks(fd, size):
            return
    except OSError as error:
        number = errno.ENOSPC if error.errno == errno.EFAULT else error.errno or number
    text = (
        "the ring shares blocks with a copy of its file (reflink, snapshot), and has no room for its own: on "
        "a full disk that would end the processes that log; make room, or remove the copy"
    )
    raise OSError(number, text, path)


def check_memory_limit(size: int, where: str) -> None:
    """Raise OSError if the kernel would end this process for the memory that a ring takes."""
    limit, place = memory_limit()
    if size >= limit and _attributes.kind_of(where) in IN_MEMORY:
        text = (
            f"a ring of {size_text(size)} is more than the memory that this process may use "
            f"({size_text(limit)}, {place}): give a smaller ring_bytes, or raise the limit"
        )
        raise OSError(errno.ENOMEM, text, where)


def memory_limit(root: str = "/", pid: int | str = "self") -> tuple[int, str]:
    """Return the lowest memory limit of the cgroups of a process, and the file that says so.

    Without any it is 2**63.
    """
    lowest, named = 2**63, ""
    for name, places in (("memory.limit_in_bytes", "memory"), ("memory.max", "")):
        for place in groups_of(pid, places, root):
            path = os.path.join(place, name)
            limit = number_in(path)
            if limit < lowest:
                lowest, named = limit, path
    return lowest, named


def groups_of(pid: int | str, controller: str, root: str = "/") -> list[str]:
    """Return the directories of the cgroup of a process and of those above it, as far as they are mounted.

    `controller` is one of version 1, or "" for version 2.
    """
    try:
        with open(
            os.path.join(root, f"proc/{pid}/cgroup"), encoding="utf-8", errors="surrogateescape"
        ) as file:
            groups = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return []
    found = []
    for _, controllers, own in groups:
        if controllers != controller:
            continue
        base, path = os.path.join(root, "sys/fs/cgroup", controllers), own
        while True:
            found.append(os.path.join(base, path.lstrip("/")).rstrip("/"))
            if path in ("", "/"):
                break
            path = os.path.dirname(path)
    return found


def number_in(path: str) -> int:
    """Return the number in a file of a cgroup, 2**63 for no limit and for no such file."""
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):  # "max"
        return 2**63


def no_room(error: OSError, size: int, mount: str) -> OSError:
    """Return the error with the size of the ring, the limit that it met, and the way out."""
    if error.filename is not None:  # it says all of this
        return error
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if error.errno == errno.EFBIG and limit != resource.RLIM_INFINITY and limit < size:
        return OSError(
            errno.EFBIG,
            f"a ring of {size_text(size)} is longer than a file of this process may be ({size_text(limit)}, "
            "`ulimit -f`): raise the limit, or give a smaller ring_bytes",
            mount,
        )
    if error.errno not in (errno.ENOSPC, errno.ENOMEM, errno.EDQUOT, errno.EFBIG):
        return error
    if error.errno == errno.EDQUOT:
        text = f"a ring of {size_text(size)} passes a disk quota: raise it, or give a smaller ring_bytes"
        return OSError(errno.EDQUOT, text, mount)
    space = os.statvfs(mount)
    if space.f_files and not space.f_favail:
        text = (
            "no ring can be made: the file system has no inode left; remove files, or give another ring_dir="
        )
        return OSError(errno.ENOSPC, text, mount)
    total, free = space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize
    return OSError(
        errno.ENOSPC,
        f"a ring of {size_text(size)} does not fit into {mount} ({size_text(total)}, {size_text(free)} "
        "free): give a smaller ring_bytes, or the mount more room (docker run --shm-size=256m, "
        "compose shm_size: 256m, Kubernetes emptyDir with medium: Memory and ring_dir=)",
    )


def not_mapped(error: OSError, size: int, mount: str) -> OSError:
    """Return the error of a ring that has its memory and could not be mapped, with the limit it met."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if error.errno == errno.ENOMEM and limit != resource.RLIM_INFINITY:
        text = (
            f"a ring of {size_text(size)} cannot be mapped: this process may have {size_text(limit)} of "
            "addresses (`ulimit -v`): raise the limit, or give a smaller ring_bytes"
        )
        return OSError(errno.ENOMEM, text, mount)
    if _attributes.maps_no_files(error):
        text = f"this file system maps no files for several processes, as a ring is: {WAY_OUT}"
        return OSError(error.errno, text, mount)
    return error


def no_place(error: OSError, size: int, where: str) -> OSError:
    """Return the error for a place in which no ring can be made, with what can be seen of it."""
    number = error.errno or errno.EIO
    if number in (errno.ENOSPC, errno.EDQUOT):
        return no_room(error if error.filename is None else OSError(number, ""), size, where)
    if number not in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
        return error
    try:
        what = f"it is {_files.describe(os.stat(where))}, you are uid {os.geteuid()}"
        if number == errno.EROFS:
            what = "it is read-only"
    except OSError:
        what = "it is missing"
    mount = "mount a tmpfs there with mode 1777, or " if where == SHM else ""
    text = f"no ring of {size_text(size)} can be made in {where}, {what}: {mount}{WAY_OUT}"
    return OSError(number, text)


def number_of(error: Exception, path: str, *, creating: bool) -> int:
    """Return the number of an error of posix_ipc, which has classes instead."""
    name = type(error).__name__
    if name == "PermissionsError":
        return errno.EACCES
    if name == "ExistentialError":
        return errno.EEXIST if creating and os.path.lexists(path) else errno.ENOENT
    return error.errno or errno.EIO if isinstance(error, OSError) else errno.EIO
