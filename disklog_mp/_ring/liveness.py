"""Which processes of a ring are alive: its writer, by its lock, and its producers, as the kernel says.

Nothing here goes by time.  What follows from a death is decided elsewhere.
"""

import array
import errno
import os
import resource
import select
import signal
from collections.abc import Callable

from disklog_mp import _core
from disklog_mp._core import Slot
from disklog_mp._os import locks as _locks
from disklog_mp._os import processes as _processes
from disklog_mp._ring import file as _ring
from disklog_mp._ring.file import RingFile
from disklog_mp._ring.names import PREFIX
from disklog_mp._ring.slots import read_slots

SPARE_DESCRIPTORS = 64  # the writer keeps these for pages and the like; all others may watch producers


def writer_alive(file: RingFile) -> bool:
    """True if a process holds the writer's lock on this ring; the kernel drops it with the process."""
    return _locks.is_locked(file.fd, _core.WRITER_LOCK)


def lock_as_writer(file: RingFile) -> bool:
    """Take the writer's lock; False if another process has it."""
    return _locks.lock_byte(file.fd, _core.WRITER_LOCK)


def unlock_as_writer(file: RingFile) -> None:
    """Give the writer's lock back."""
    _locks.unlock_byte(file.fd, _core.WRITER_LOCK)


def locked_slots(file: RingFile) -> set[int]:
    """Return the indexes of the slots whose locks are held: their producers are alive."""
    return _locks.locked_bytes(file.fd, 0, _core.SLOTS)


def is_of_this_boot(file: RingFile) -> bool:
    """True if the machine has not been started again since the ring was made.

    Not every process sees the same boot id, but locks end with the machine: a ring whose locks are held by
    processes that live is of this boot.
    """
    return _ring.is_of_this_boot(file.ring) or bool(locked_slots(file))


def is_in_use(fd: int) -> bool:
    """True if another process holds any lock of the ring behind this descriptor, which may be damaged."""
    return bool(_locks.locked_bytes(fd, 0, _core.WRITER_LOCK + 1))


def living_producers(file: RingFile) -> list[Slot]:
    """Return the slots of the producers that are not certainly dead."""
    witnesses = Witnesses(file, _processes.identity())
    try:
        return [slot for slot in read_slots(file.ring, _core.SLOT_ATTACHED) if not witnesses.is_dead(slot)]
    finally:
        witnesses.close()


def _may_map_a_ring(pid: int, otherwise: bool = True) -> bool:
    """False if the process certainly runs another program by now, with no ring mapped.

    Returns `otherwise` if that cannot be seen.  A daemon that closed all its descriptors still has its rings.
    By hand: the writer does this for each dead producer; psutil.memory_maps() takes 4.4 ms, this 0.2 ms.
    """
    if not _processes.shows_our_pids():
        return otherwise
    try:
        with open(f"/proc/{pid}/maps", "rb") as file:
            return PREFIX.encode() in file.read()
    except OSError:  # another user's process, or one that is gone meanwhile: the next look tells
        return otherwise


class Witnesses:
    """Tells which producers are dead, as the kernel says: never by time, never by the pid alone.

    There are two witnesses.  One is the lock on the slot's byte, which the kernel drops with the process, or
    when that runs another program (exec); closed descriptors do not free it.  The other, for a process of the
    writer's pid namespace, is a pidfd, or /proc when no descriptors are left.  If they disagree, the producer
    is alive, unless it runs another program by now with no ring mapped.  What /proc does not show, or shows
    of another pid namespace, is no sign of a death.
    """

    def __init__(
        self, file: RingFile, observer: _processes.Identity, watch: Callable[[int], None] = lambda pidfd: None
    ) -> None:
        """`observer` is this process; `watch` is called with each new pidfd.  This cannot fail."""
        self._file = file
        self._watch = watch
        self._namespace = observer.namespace
        self._pidfds: dict[tuple[int, int], int] = {}  # (slot, incarnation) -> pidfd, -1: gone at first sight
        self._most = max(0, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS)

    def is_dead(self, slot: Slot) -> bool:
        """True if the process that owns the slot is certainly gone."""
        try:
            return self._is_gone(slot)
        except OSError:  # the kernel cannot say now
            return False

    def _is_gone(self, slot: Slot) -> bool:
        if _locks.is_locked(self._file.fd, slot.index):
            self._pidfd_of(slot)
            return False
        if slot.namespace != self._namespace:
            return True
        pidfd = self._pidfd_of(slot)
        if pidfd is None:
            alive = _processes.is_running(slot.pid, slot.start)
        elif pidfd >= 0:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            alive = not poll.poll(0)
        else:
            alive = False
        return not alive or not _may_map_a_ring(slot.pid)

    def _pidfd_of(self, slot: Slot) -> int | None:
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
                if error.errno != errno.EINVAL:  # EINVAL: no process can have that pid
                    return None
            # The pid may be another process's by now: then the owner of the slot is gone.
            if pidfd >= 0 and not self._is_owner(slot, pidfd):
                os.close(pidfd)
                pidfd = -1
        self._pidfds[key] = pidfd
        if pidfd >= 0:
            self._watch(pidfd)
        return pidfd

    def _is_owner(self, slot: Slot, pidfd: int) -> bool:
        try:
            return _processes.may_have_started(slot.pid, slot.start)
        except OSError:
            os.close(pidfd)
            raise

    def are_all_seen(self, slots: int) -> bool:
        """True if all processes, `slots` of them, are known by their pidfds."""
        return sum(pidfd >= 0 for pidfd in self._pidfds.values()) >= slots

    def pidfds(self) -> bytes:
        """Return the pidfds of those seen alive, as C integers."""
        return array.array("i", [pidfd for pidfd in self._pidfds.values() if pidfd >= 0]).tobytes()

    def kill(self, slot: Slot) -> bool:
        """Kill the process that owns the slot; True if it was there to be killed.

        The slot is not trusted: only a process that has a ring mapped is killed, through its pidfd.
        """
        pidfd = self._pidfd_of(slot)
        if pidfd is None or pidfd < 0 or not _may_map_a_ring(slot.pid, otherwise=False):
            return False
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def signal_that_ended(self, slot: Slot) -> int | None:
        """Return the signal that ended the process of a slot, 0 if it was none; None if that is not known."""
        if slot.namespace != self._namespace:
            return None
        pidfd = self._pidfds.get((slot.index, slot.incarnation))
        return _processes.signal_that_ended(slot.pid, slot.start, pidfd)

    def forget(self, slot: Slot) -> None:
        """Drop what is known of a slot that is free again."""
        pidfd = self._pidfds.pop((slot.index, slot.incarnation), -1)
        if pidfd >= 0:
            os.close(pidfd)

    def close(self) -> None:
        """Close all descriptors."""
        for pidfd in self._pidfds.values():
            if pidfd >= 0:
                os.close(pidfd)
        self._pidfds.clear()
