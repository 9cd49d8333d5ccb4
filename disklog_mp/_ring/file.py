"""The ring as an object of the machine: create, attach, unlink, who is alive.

It knows the name, the access rights and the slots of a ring; what is in it is the core's business, and
what to do when there is none is the session's.
"""

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable
from typing import NamedTuple

import posix_ipc

from disklog_mp import _core
from disklog_mp._os import files as _files
from disklog_mp._os import locks as _locks
from disklog_mp._os import processes as _processes
from disklog_mp._ring.names import PREFIX, ring_path
from disklog_mp.errors import FormatVersionError, LogNotFoundError

COLLAPSING = 0.25  # seconds at most that a ring is kept from use for them: enough for half a gigabyte


def _boot_id() -> bytes:
    return bytes.fromhex(_processes.boot_id().replace("-", ""))


def is_of_this_boot(ring: _core.Ring) -> bool:
    """True if the machine has not been started again since the ring was made."""
    return ring.boot_id == _boot_id()


class RingFile(NamedTuple):
    """An attached ring, and the descriptor its locks stand on; whoever opens it closes the descriptor.

    The mapping was made through another descriptor: a mapping keeps its open file, and with it the locks
    of that open file, in every forked child that inherits the mapping.
    """

    ring: _core.Ring
    fd: int


def create(
    name: str,
    *,
    ring_dir: str | None,
    capacity: int,
    base: int,
    generation: int,
    salt: int,
    log_id: bytes,
    path: str,
    mode: int,
    gid: int,
    replace: bool,
    fill: Callable[[_core.Ring], None],
) -> RingFile:
    """Create a whole ring under a temporary name, take its writer's lock, then give it its own name.

    `fill` puts into it what must be there when others come.  With `replace` an old ring of the name gives
    way in the same instant; without, FileExistsError.
    Raises OSError(ENOSPC) with the size, the mount and the remedy if memory for it is not there.
    """
    target = ring_path(name, ring_dir)
    # No log's name begins with a dot and the prefix, so a temporary one is nobody's ring.
    temporary = os.path.join(os.path.dirname(target), f".{PREFIX}{name}.{os.getpid()}")
    size = _core.ring_size(capacity)
    tidy(name, ring_dir)
    if ring_dir is not None:
        _files.make_directory(ring_dir, mode, gid)
    try:
        if ring_dir is None:
            fd = posix_ipc.SharedMemory("/" + os.path.basename(temporary), posix_ipc.O_CREX, mode=0o600).fd
        else:
            fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except (posix_ipc.ExistentialError, FileExistsError):
        raise _refusal(temporary, "stands where a ring is made before it has its name: remove it") from None
    try:
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError as error:
            raise _no_room(error, size, os.path.dirname(target)) from None
        memory = _core.Mapping(fd, size, writable=True)
        _core.format_ring(
            memory, capacity, base, generation, salt, _boot_id(), log_id, name.encode(), os.fsencode(path)
        )
        _files.set_access(fd, mode, gid)
        ring = _core.Ring(fd, size, writable=True)
        _use_huge_pages(ring)
        fill(ring)
        fd = _reopen(fd)
        _locks.lock_byte(fd, _core.WRITER_LOCK)
        if replace:
            os.rename(temporary, target)
        else:
            os.link(temporary, target)
            os.unlink(temporary)
    except BaseException:
        os.close(fd)
        try:
            os.unlink(temporary)
        except FileNotFoundError:
            pass
        raise
    return RingFile(ring, fd)


def _use_huge_pages(ring: _core.Ring) -> None:
    """Put a ring that nobody uses yet into huge pages, as far as the kernel does (Linux 6.1 and later).

    What shared memory has otherwise on this machine does not matter.  Memory accesses all over the ring then
    take fewer walks of page tables.
    """
    end = time.monotonic() + COLLAPSING
    huge = _core.HUGE_PAGE
    for offset in range(0, len(ring) - huge + 1, huge):
        if not ring.collapse(offset, huge) or time.monotonic() > end:
            return


def check_room(name: str, ring_dir: str | None, capacity: int) -> None:
    """Raise the OSError that creating a ring of that capacity would meet."""
    import tempfile

    target = ring_path(name, ring_dir)
    size = _core.ring_size(capacity)
    with tempfile.TemporaryFile(dir=os.path.dirname(target)) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise _no_room(error, size, os.path.dirname(target)) from None


def tidy(name: str, ring_dir: str | None) -> None:
    """Remove what creators of this ring left under temporary names when they were killed.

    It may be a second name of the ring itself, which would keep its memory when the ring goes.
    """
    place, base = os.path.split(ring_path(name, ring_dir))
    if not os.path.isdir(place):
        return
    for entry in os.listdir(place):
        stem, _, pid = entry.rpartition(".")
        if stem != "." + base or not (pid.isascii() and pid.isdigit()):
            continue
        if int(pid) == os.getpid() or not _processes.is_there(int(pid)):
            with contextlib.suppress(OSError):  # gone, or another user's, who put it there
                os.unlink(os.path.join(place, entry))


def _no_room(error: OSError, size: int, mount: str) -> OSError:
    if error.errno not in (errno.ENOSPC, errno.ENOMEM, errno.EDQUOT, errno.EFBIG):
        return error
    space = os.statvfs(mount)
    total, free = space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize
    return OSError(
        errno.ENOSPC,
        f"a ring of {size} bytes does not fit into {mount} ({total} bytes, {free} free): give a smaller "
        f"ring_bytes, or the mount more room (docker run --shm-size=256m, compose shm_size: 256m, "
        f"Kubernetes emptyDir with medium: Memory and ring_dir=)",
    )


def attach(name: str, ring_dir: str | None) -> RingFile:
    """Map an existing ring.

    Raises LogNotFoundError if there is none, FormatVersionError if what is there is no ring of this
    version, PermissionError if it is not ours, or may be a trap.
    """
    path = ring_path(name, ring_dir)
    try:
        if ring_dir is None:
            fd = posix_ipc.SharedMemory("/" + PREFIX + name).fd
        else:
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except (posix_ipc.ExistentialError, FileNotFoundError):
        raise LogNotFoundError(name) from None
    except (posix_ipc.PermissionsError, PermissionError):
        raise _refusal(
            path, "is not for this user: whoever opens the log can let a group in, with mode=0o660 and group="
        ) from None
    except (OSError, ValueError) as problem:  # posix_ipc's for a directory is a ValueError
        if isinstance(problem, OSError) and problem.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
        raise _refusal(path, "stands where the ring should be: remove it") from None
    try:
        status = os.fstat(fd)
        _check_owner(status, path)
        if status.st_size < 4096:
            raise FormatVersionError(path, f"{status.st_size} bytes, no ring", _core.RING_VERSION)
        try:
            ring = _core.Ring(fd, status.st_size, writable=True)
        except ValueError as problem:
            found = str(problem)
            if found == "version":
                found = f"a ring of version {int.from_bytes(os.pread(fd, 4, 8), 'little')}"
            raise FormatVersionError(
                path, f"{found}; `disklog-mp rm --force {name}` removes it", _core.RING_VERSION
            ) from None
        fd = _reopen(fd)
    except BaseException:
        os.close(fd)
        raise
    return RingFile(ring, fd)


def _reopen(fd: int) -> int:
    """Open the same object once more, and close the first descriptor."""
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
    os.close(fd)
    return again


def _check_owner(status: os.stat_result, path: str) -> None:
    """Refuse an object that somebody else may have planted under our name."""
    if not stat.S_ISREG(status.st_mode):
        raise _refusal(path, "stands where the ring should be: remove it", status)
    if status.st_uid in (os.geteuid(), 0):
        return
    if status.st_mode & 0o060 == 0o060 and status.st_gid in {os.getegid(), *os.getgroups()}:
        return
    raise _refusal(
        path,
        "belongs neither to this user nor to root, and lets no group of ours in: what it is, its owner knows",
        status,
    )


def _refusal(path: str, why: str, status: os.stat_result | None = None) -> PermissionError:
    """The error for an object that is not attached to, with what can be seen of it."""
    try:
        what = _files.describe(status or os.lstat(path))
    except OSError:  # nor may we look at it, or it is gone
        what = "what is there"
    return PermissionError(errno.EACCES, f"{what} {why}", path)


def renew_access(file: RingFile, mode: int, gid: int, path: str) -> None:
    """Give a ring that an earlier writer made the mode and group asked for now.

    Raises PermissionError where that cannot be, it being another user's, and somebody could read what is
    logged who is not asked in.
    """
    status = os.fstat(file.fd)
    mine = status.st_uid == os.geteuid()
    stranger = not mine and status.st_uid != 0
    if not stranger or mode & 0o060:
        _files.RealFile(file.fd).renew_access(mode, gid)
        status = os.fstat(file.fd)
    wanted = gid if gid >= 0 else status.st_gid if mine else os.getegid()
    if (
        status.st_mode & 0o066 & ~mode
        or (stranger and not mode & 0o060)
        or (status.st_mode & 0o060 and status.st_gid != wanted)
    ):
        why = f"lets in others than mode={mode:#o} does: give the mode and group it has, or remove it"
        raise _refusal(path, why, status)


def unlink(name: str, ring_dir: str | None) -> bool:
    """Remove the ring's name; processes that are attached keep their mapping.  False if there is none."""
    with contextlib.suppress(OSError):
        tidy(name, ring_dir)
    try:
        os.unlink(ring_path(name, ring_dir))
    except FileNotFoundError:
        return False
    return True


def is_current(file: RingFile, name: str, ring_dir: str | None) -> bool:
    """True if the name still leads to this ring."""
    try:
        status = os.stat(ring_path(name, ring_dir), follow_symlinks=False)
    except FileNotFoundError:
        return False
    mine = os.fstat(file.fd)
    return (status.st_dev, status.st_ino) == (mine.st_dev, mine.st_ino)


def place(file: RingFile, name: str, ring_dir: str | None) -> _files.Place:
    """Return where this ring is to be found."""
    return _files.place_of(file.fd, ring_path(name, ring_dir))


def is_replaced(file: RingFile, name: str, ring_dir: str | None) -> bool:
    """True if the name leads to another ring; not if it is gone, which its writer puts right."""
    return os.path.exists(ring_path(name, ring_dir)) and not is_current(file, name, ring_dir)
