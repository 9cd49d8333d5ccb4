"""The ring as an object of the machine: create, attach, unlink, who is alive.

It knows the name, the access rights and the slots of a ring; what is in it is the core's business, and
what to do when there is none is the session's.
"""

import array
import contextlib
import errno
import io
import os
import re
import resource
import select
import signal
import stat
import time
from collections.abc import Callable
from typing import NamedTuple

import posix_ipc

from disklog_mp import _core
from disklog_mp._os import files as _files
from disklog_mp.errors import FormatVersionError, LogNotFoundError, TooManyProducersError

SHM = "/dev/shm"  # where Linux keeps POSIX shared memory
PREFIX = "disklog-"
SPARE_DESCRIPTORS = 64  # of the writer's, for pages and what comes and goes; the others watch producers
COLLAPSING = 0.25  # seconds at most that a ring is kept from use for them: enough for half a gigabyte
TALLIES = 20  # looks, half a millisecond apart
NO_NOTE = 2**64 - 1  # DL_NO_NOTE in layout.h
NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")


def check_name(name: str) -> str:
    """Return the name of a log if it is one: 1 to 100 of A-Z a-z 0-9 . _ -"""
    if not isinstance(name, str):
        raise TypeError(f"the name of a log is a str, not {name!r}")
    if NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not a name for a log: it takes 1 to 100 of A-Z a-z 0-9 . _ -")
    return name


def ring_path(name: str, ring_dir: str | None) -> str:
    """Return the file behind the ring of that name."""
    return os.path.join(ring_dir or SHM, PREFIX + name)


class Identity(NamedTuple):
    """What tells one process from all others on this machine, pids being reused."""

    pid: int
    start: int  # ticks after boot
    namespace: int  # inode of the pid namespace the pid is in


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks after boot; None if there is none of that pid."""
    told = _process_status(pid)
    return int(told[19]) if told else None


def _is_running(pid: int, start: int) -> bool:
    """True if the process of that pid and start is there, and not a zombie."""
    told = _process_status(pid)
    return not _is_over(told) and int(told[19]) == start


def _is_over(told: list[bytes]) -> bool:
    """True if there is no process, or only what nobody has reaped of it."""
    return told[:1] in ([], [b"Z"], [b"X"])


def is_stopped(pid: int) -> bool:
    """True if there is a process of that pid, and a signal or a debugger has stopped it."""
    return _process_status(pid)[:1] in ([b"T"], [b"t"])


def _process_status(pid: int) -> list[bytes]:
    """What /proc tells of a process behind its name; [] if there is none."""
    try:
        # Not open(): a destructor may log while the interpreter shuts down, and that name goes first.
        with io.FileIO(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, PermissionError, ProcessLookupError):  # proc may hide other users' processes
        return []


def identity() -> Identity:
    """Return the identity of this process."""
    pid = os.getpid()
    return Identity(pid, start_ticks(pid) or 0, os.stat("/proc/self/ns/pid").st_ino)


def boot_id() -> bytes:
    """Return the 16 bytes that are new at every boot."""
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return bytes.fromhex(file.read().strip().replace(b"-", b"").decode())


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
            memory, capacity, base, generation, salt, boot_id(), log_id, name.encode(), os.fsencode(path)
        )
        _files.set_access(fd, mode, gid)
        ring = _core.Ring(fd, size, writable=True)
        _use_huge_pages(ring)
        fill(ring)
        fd = _reopen(fd)
        _files.lock_byte(fd, _core.WRITER_LOCK)
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
        if int(pid) == os.getpid() or _is_over(_process_status(int(pid))):
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


def writer_alive(file: RingFile) -> bool:
    """True if a process holds the writer's lock on this ring; the kernel drops it with the process."""
    return _files.is_locked(file.fd, _core.WRITER_LOCK)


class SlotsReturnedError(TooManyProducersError):
    """Every slot is taken, but some by producers that have left: the writer frees those when it sees it."""


def take_slot(file: RingFile, who: Identity, since: int) -> int:
    """Take a free producer slot for this process and return its index.  Does not wait for one.

    The kernel's lock on the slot's byte comes first: killed before ATTACHED, nothing is left behind.
    Raises TooManyProducersError.
    """
    for most in (16, _core.SLOTS):
        for index in file.ring.slots(_core.SLOT_FREE, most):
            if not _files.lock_byte(file.fd, index):
                continue
            if file.ring.attach(index, who.pid, who.start, who.namespace, since):
                file.ring.wake()  # a writer at rest has to know who may die
                return index
            _files.unlock_byte(file.fd, index)
    if file.ring.slots(_core.SLOT_DETACHED, 1):
        file.ring.wake()
        raise SlotsReturnedError(_core.SLOTS)
    file.ring.wake()  # some may have died a moment ago
    raise TooManyProducersError(_core.SLOTS)


class Slot(NamedTuple):
    """One producer's slot as it stands in the ring; nothing in it is trusted."""

    index: int  # type: ignore[assignment]  # of the slot in its table; nobody asks a tuple for that
    state: int
    incarnation: int
    pid: int
    start: int
    namespace: int
    since: int
    logged: int
    dropped: int
    waited: int
    again: int


def slots(ring: _core.Ring, state: int) -> list[Slot]:
    """Return the slots in that state."""
    return [Slot(*ring.slot(index)) for index in ring.slots(state)]


def tallies(ring: _core.Ring) -> tuple[list[int], list[tuple[int, Slot]]]:
    """Return what those who left have logged, dropped and waited, in all, and the slots of those who have
    not, with their states; at one moment, for a slot that is freed between two looks is in neither.
    """
    for _ in range(TALLIES):  # a writer may have died at it: the next one ends it
        before = _retirement(ring)
        totals = list(ring.totals())
        found = {
            slot.index: (state, slot)
            for state in (_core.SLOT_ATTACHED, _core.SLOT_DETACHED)
            for slot in slots(ring, state)
        }
        if before == _retirement(ring) and before[1] == NO_NOTE:
            break
        time.sleep(0.0005)
    return totals, list(found.values())


def _retirement(ring: _core.Ring) -> tuple[int, int]:
    """How many slots were freed, and whether one is being freed just now."""
    return ring.load64(_core.TOTALS - 16), ring.load64(_core.TOTALS - 8)


def _may_map_a_ring(pid: int, otherwise: bool = True) -> bool:
    """False if the process certainly runs another program by now, which has no ring mapped; `otherwise` if
    that cannot be seen.  A daemon that closed all its descriptors has its rings still.
    """
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            return PREFIX.encode() in file.read()
    except OSError:  # another user's, or gone meanwhile: the next look tells
        return otherwise


class Witnesses:
    """Tells which producers are dead, by the kernel's word: never by time, never by the pid alone.

    Two witnesses: the lock on the slot's byte, which the kernel drops with the process, and, for a process
    of the writer's own pid namespace, a pidfd, or /proc when there are no descriptors left for those.  If
    they disagree the producer is alive, unless it is seen to run another program by now (exec)
    that has no ring mapped.
    """

    def __init__(
        self, file: RingFile, who: Identity, watch: Callable[[int], None] = lambda pidfd: None
    ) -> None:
        """Asks nobody, so that it cannot fail; `who` is this process, `watch` is given each new pidfd."""
        self._file = file
        self._watch = watch
        self._namespace = who.namespace
        self._pidfds: dict[tuple[int, int], int] = {}  # (slot, incarnation) -> pidfd, -1: gone at first sight
        self._most = max(0, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS)

    def is_dead(self, slot: Slot) -> bool:
        """True if the process that owns the slot is certainly gone."""
        try:
            return self._is_gone(slot)
        except OSError:  # the kernel cannot say now: alive, until it can
            return False

    def _is_gone(self, slot: Slot) -> bool:
        if _files.is_locked(self._file.fd, slot.index):
            self._see(slot)
            return False
        if slot.namespace != self._namespace:
            return True
        pidfd = self._see(slot)
        if pidfd is None:
            alive = _is_running(slot.pid, slot.start)
        elif pidfd >= 0:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            alive = not poll.poll(0)
        else:
            alive = False
        return not alive or not _may_map_a_ring(slot.pid)

    def _see(self, slot: Slot) -> int | None:
        key = (slot.index, slot.incarnation)
        if key in self._pidfds:
            return self._pidfds[key]
        if slot.namespace == self._namespace and len(self._pidfds) >= self._most:
            return None
        pidfd = -1
        if slot.namespace == self._namespace:
            try:
                pidfd = os.pidfd_open(slot.pid)
            except (ProcessLookupError, ValueError, OverflowError):
                pidfd = -1
            except OSError as error:
                if error.errno != errno.EINVAL:  # no such pid can be
                    return None
            # The pid may be another's by now: then the one that owned the slot is gone.
            if pidfd >= 0 and not self._is_of(slot, pidfd):
                os.close(pidfd)
                pidfd = -1
        self._pidfds[key] = pidfd
        if pidfd >= 0:
            self._watch(pidfd)
        return pidfd

    def _is_of(self, slot: Slot, pidfd: int) -> bool:
        try:
            return start_ticks(slot.pid) == slot.start
        except OSError:
            os.close(pidfd)
            raise

    def are_all_seen(self, slots: int) -> bool:
        """True if so many processes, all there are, are known by their pidfds."""
        return sum(pidfd >= 0 for pidfd in self._pidfds.values()) >= slots

    def pidfds(self) -> bytes:
        """Return the pidfds of those seen alive, as C integers."""
        return array.array("i", [pidfd for pidfd in self._pidfds.values() if pidfd >= 0]).tobytes()

    def kill(self, slot: Slot) -> bool:
        """Kill the process that owns the slot; True if there was one to kill.

        What the slot says is not trusted: only a process that has a ring mapped is killed, by a pidfd.
        """
        pidfd = self._see(slot)
        if pidfd is None or pidfd < 0 or not _may_map_a_ring(slot.pid, otherwise=False):
            return False
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def forget(self, slot: Slot) -> None:
        """The slot was retired."""
        pidfd = self._pidfds.pop((slot.index, slot.incarnation), -1)
        if pidfd >= 0:
            os.close(pidfd)

    def close(self) -> None:
        """Close all descriptors."""
        for pidfd in self._pidfds.values():
            if pidfd >= 0:
                os.close(pidfd)
        self._pidfds.clear()
