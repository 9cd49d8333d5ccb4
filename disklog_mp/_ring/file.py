"""The ring as an object of the machine: create, attach, unlink, access rights.

What stands in a ring is the core's business; what to do when there is none is the session's.  An object in
/dev/shm is opened and created by posix_ipc, a file in a `ring_dir` by os.open().  All else is done by path,
for both alike: POSIX cannot rename shared memory, and a ring gets its name by a rename, when it is whole.
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
from disklog_mp._ring import room as _room
from disklog_mp._ring.names import SHM, log_of, sockets_left
from disklog_mp.errors import FormatVersionError, LogNotFoundError

# Seconds for moving a new ring into huge pages: enough for half a gigabyte.  What it buys: the
# writer drains a record in 4.3 ns instead of 6.8 ns (bench: huge-pages-drain).
COLLAPSING = 0.25


def _boot_id() -> bytes:
    return bytes.fromhex(_processes.boot_id().replace("-", ""))


def is_of_this_boot(ring: _core.Ring) -> bool:
    """True if the machine has not been started again since the ring was made."""
    return ring.boot_id == _boot_id()


class RingFile(NamedTuple):
    """An attached ring, and the descriptor that holds its locks, to be closed by the process that opened it.

    The mapping was made through another descriptor: a mapping keeps its open file, and with it the locks
    of that open file, in every forked child that inherits the mapping.
    """

    ring: _core.Ring
    fd: int
    path: str  # of the ring, where it was when it was attached


class Reserved(NamedTuple):
    """Memory for a ring, under a temporary name."""

    fd: int
    temporary: str
    target: str  # the path of the ring
    capacity: int
    mode: int
    gid: int


def reserve(path: str, *, capacity: int, mode: int, gid: int) -> Reserved:
    """Reserve the memory for the ring of that path, so that create() cannot fail for lack of it.

    Raises OSError(ENOSPC) with the size, the mount and the remedy if the memory is not there.
    """
    where, base = os.path.split(path)
    # Names of rings do not begin with a dot, so no log has a ring of the temporary name.
    temporary = os.path.join(where, f".{base}.{os.getpid()}")
    size = _core.ring_size(capacity)
    try:
        tidy(path)
        if where != SHM:
            _files.make_directory(where, mode, gid)
        fd = _open(temporary, os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        raise _refusal(temporary, "has the temporary name of a new ring: remove it") from None
    except OSError as error:
        raise _room.no_place(error, size, where) from None
    reserved = Reserved(fd, temporary, path, capacity, mode, gid)
    try:
        _room.check_memory_limit(size, where)
        must_be_tried = _room.prepare(fd, where)
        os.posix_fallocate(fd, 0, size)
        if must_be_tried:
            _room.write_all(fd, size)
    except BaseException as error:
        drop(reserved)
        if isinstance(error, OSError):
            raise _room.no_room(error, size, where) from None
        raise
    return reserved


def check_room(where: str, capacity: int) -> None:
    """Raise what reserve() would if a new ring is larger than the free memory of that directory."""
    size = _core.ring_size(capacity)
    try:
        space = os.statvfs(where)
    except OSError as error:
        raise _room.no_place(error, size, where) from None
    # A file system that counts no blocks has no limit.
    if space.f_blocks and size > space.f_bavail * space.f_frsize:
        raise _room.no_room(OSError(errno.ENOSPC, ""), size, where)


def drop(reserved: Reserved) -> None:
    """Give reserved memory back that no ring was made in."""
    os.close(reserved.fd)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(reserved.temporary)


def create(
    reserved: Reserved,
    name: str,
    *,
    base: int,
    generation: int,
    salt: int,
    log_id: bytes,
    path: str,
    replace: bool,
    fill: Callable[[_core.Ring], None],
) -> RingFile:
    """Make a whole ring in reserved memory, take its writer's lock, then give it its own name.

    `fill` stores what other processes must find in it.  With `replace`, the name changes from an old ring to
    this one in one step; without, an old ring raises FileExistsError.
    """
    fd, capacity = reserved.fd, reserved.capacity
    size = _core.ring_size(capacity)
    try:
        memory = _core.Mapping(fd, size, writable=True)
        _core.format_ring(
            memory, capacity, base, generation, salt, _boot_id(), log_id, name.encode(), os.fsencode(path)
        )
        _files.set_access(fd, reserved.mode, reserved.gid)
        ring = _core.Ring(fd, size, writable=True)
        use_huge_pages(ring)
        fill(ring)
        fd = _reopen(fd)
        _locks.lock_byte(fd, _core.WRITER_LOCK)
        if replace:
            os.rename(reserved.temporary, reserved.target)
        else:
            os.link(reserved.temporary, reserved.target)
            os.unlink(reserved.temporary)
    except BaseException as error:
        drop(reserved._replace(fd=fd))
        if isinstance(error, OSError):
            raise _room.not_mapped(error, size, os.path.dirname(reserved.target)) from None
        raise
    return RingFile(ring, fd, reserved.target)


def use_huge_pages(ring: _core.Ring) -> None:
    """Put a new ring into huge pages, as far as the kernel does (Linux 6.1 and later).

    The machine's setting for shared memory does not matter here.
    """
    end = time.monotonic() + COLLAPSING
    huge = _core.HUGE_PAGE
    for offset in range(0, len(ring) - huge + 1, huge):
        if not ring.collapse(offset, huge) or time.monotonic() > end:
            return


def tidy(path: str) -> None:
    """Remove the temporary names that creators of this ring left when they were killed.

    Such a name may be a second one of the ring itself, and keep its memory when the ring's name is removed.
    """
    place, base = os.path.split(path)
    if not os.path.isdir(place):
        return
    for entry in os.listdir(place):
        stem, _, pid = entry.rpartition(".")
        if stem != "." + base or not (pid.isascii() and pid.isdigit()):
            continue
        if int(pid) == os.getpid() or not _processes.is_there(int(pid)):
            with contextlib.suppress(OSError):  # it is gone, or another user put it there
                os.unlink(os.path.join(place, entry))


def attach(path: str, owner: int | None = None) -> RingFile:
    """Map an existing ring.  Raises what hold() raises."""
    held = hold(path, owner)
    return RingFile(held.ring, held.seat.give_up(), path)


class Held(NamedTuple):
    """An attached ring, and what owns its descriptor: the last reference to it closes that."""

    ring: _core.Ring
    seat: _core.Seat


def hold(path: str, owner: int | None = None) -> Held:
    """Map an existing ring; no exception at any line leaves a descriptor open.

    `owner`: a user whose ring it may be, because the log's directory, as the caller named it, is that user's.

    Raises LogNotFoundError if there is none, FormatVersionError if the file is not a ring of this version,
    PermissionError if another user's process could have planted it.
    """
    name = log_of(path)
    try:
        seat = _core.Seat(os.fsencode(path))
    except FileNotFoundError:
        raise LogNotFoundError(name) from None
    except PermissionError:
        raise _denied(name, path) from None
    except OSError as problem:
        if problem.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise OSError(problem.errno, problem.strerror, path) from None
        raise _refusal(path, "has the name of the ring: remove it") from None
    status = os.fstat(seat.fd)
    check_owner(status, path, owner)
    ring = map_ring(seat.fd, status.st_size, path)
    seat.reopen()
    return Held(ring, seat)


def map_ring(fd: int, size: int, path: str, *, apart: bool = False) -> _core.Ring:
    """Return the ring in an open file; raises FormatVersionError.  `apart`: see _core.Mapping."""
    if size < 4096:
        raise FormatVersionError(path, f"{size} bytes, no ring", _core.RING_VERSION)
    try:
        return _core.Ring(fd, size, writable=True, apart=apart)
    except ValueError as problem:
        found = str(problem)
        if found == "version":
            found = f"a ring of version {version_of(fd)}"
        hint = f"`disklog-mp rm --force {log_of(path)}` removes it"
        raise FormatVersionError(path, f"{found}; {hint}", _core.RING_VERSION) from None


def version_of(fd: int) -> int:
    """Return the version of the ring behind a descriptor; what is no ring has one, too."""
    return int.from_bytes(os.pread(fd, 4, 8), "little")


def open_object(path: str) -> int:
    """Open the object of that path, which may hold anything, and return the descriptor.

    Raises OSError.
    """
    return _open(path, 0)


def _open(path: str, flags: int) -> int:
    """Open an object in /dev/shm or elsewhere, or create it with O_CREAT and O_EXCL.  Raises OSError."""
    where, base = os.path.split(path)
    if where != SHM:
        flags |= os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        return os.open(path, flags, 0o600)
    try:
        return int(posix_ipc.SharedMemory("/" + base, flags, mode=0o600).fd)
    except (posix_ipc.Error, OSError) as problem:
        number = _room.number_of(problem, path, creating=bool(flags))
        raise OSError(number, os.strerror(number), path) from None
    except ValueError as problem:  # posix_ipc raises it for a directory
        raise IsADirectoryError(errno.EISDIR, str(problem)) from None


def _reopen(fd: int) -> int:
    """Open the same object once more, and close the first descriptor."""
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
    os.close(fd)
    return again


def check_owner(status: os.stat_result, path: str, owner: int | None = None) -> None:
    """Refuse an object that another user may have planted under the ring's name."""
    if not stat.S_ISREG(status.st_mode):
        raise _refusal(path, "has the name of the ring: remove it", status)
    if status.st_uid in (os.geteuid(), 0, owner):
        return
    if status.st_mode & 0o060 == 0o060 and status.st_gid in {os.getegid(), *os.getgroups()}:
        return
    why = "is not yours, not root's and not shared with your groups: choose another log name or ask its owner"
    raise _refusal(path, why, status)


def _denied(name: str, path: str) -> PermissionError:
    """The error for a ring that this user may not open."""
    status = None
    with contextlib.suppress(OSError):  # its directory may not be entered
        status = os.lstat(path)
    what = f"is {_files.owner_and_mode(status)}" if status else "cannot be reached"
    text = (
        f"permission denied: ring of {name!r} {what}, you are uid {os.geteuid()}; "
        f"logging and live commands need to read and write it: {_files.how_to_share(status)}"
    )
    return PermissionError(errno.EACCES, text, path)


def _refusal(path: str, why: str, status: os.stat_result | None = None) -> PermissionError:
    """The error for an object that is not attached to, with what can be seen of it."""
    try:
        what = _files.describe(status or os.lstat(path))
    except OSError:  # its directory may not be entered, or it is gone
        what = "the object"
    return PermissionError(errno.EACCES, f"{what} {why}", path)


def renew_access(file: RingFile, mode: int, gid: int) -> None:
    """Give a ring that an earlier writer made the mode and group asked for now.

    Raises PermissionError if more users than asked for could read what is logged.
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
        why = f"lets in more users than mode={mode:#o}: open the log with its mode and group, or remove it"
        raise _refusal(file.path, why, status)


def unlink(path: str) -> bool:
    """Remove the ring's name; processes that are attached keep their mapping.  False if it has none.

    What its last writer left beside it goes first, so that nothing is left when the ring is gone.
    """
    with contextlib.suppress(OSError):
        tidy(path)
    for left in sockets_left(path):
        with contextlib.suppress(OSError):
            os.unlink(left)
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def is_current(file: RingFile) -> bool:
    """True if the ring's name still leads to this ring."""
    try:
        status = os.stat(file.path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    mine = os.fstat(file.fd)
    return (status.st_dev, status.st_ino) == (mine.st_dev, mine.st_ino)


def place(file: RingFile) -> _files.Place:
    """Return the place of this ring; the writer watches it."""
    return _files.place_of(file.fd, file.path)


def is_replaced(file: RingFile) -> bool:
    """True if the name leads to another ring; False if the name is gone, which the writer puts right."""
    return os.path.exists(file.path) and not is_current(file)
