"""Processes: what tells one from all others, whether it runs, and since which boot.

It knows nothing of producers and writers.  /proc may hide other users' processes (hidepid, ProtectProc=), or
be that of another pid namespace: what cannot be seen there is not known, and not gone.
"""

import contextlib
import io
import os
from typing import NamedTuple

from disklog_mp._os import pidfds as _pidfds

BOOT_ID = "/proc/sys/kernel/random/boot_id"
EXIT_CODE = 49  # place in what _status() returns
SIGNAL = 0x7F  # in an exit code, as of wait()


class Identity(NamedTuple):
    """What tells one process from all others on this machine, although pids are reused."""

    pid: int
    start: int  # clock ticks after boot, in any time namespace
    namespace: int  # inode of the pid namespace the pid is in


def identity() -> Identity:
    """Return the identity of this process."""
    pid = os.getpid()
    return Identity(pid, start_ticks(pid) or 0, os.stat("/proc/self/ns/pid").st_ino)


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks after boot; None if no process of that pid is seen."""
    status = _status(pid)
    return int(status[19]) - _offset_of_boot() if status else None


def may_have_started(pid: int, start: int) -> bool:
    """False if the process of that pid is seen, and started at another time."""
    seen = start_ticks(pid)
    # Ticks are rounded; no pid comes again within two of them.
    return seen is None or abs(seen - start) <= 1


def _offset_of_boot() -> int:
    """Return how much earlier the machine was started in this process's time namespace, in clock ticks."""
    with contextlib.suppress(OSError):
        mine, childrens = (os.stat(f"/proc/self/ns/{name}").st_ino for name in ("time", "time_for_children"))
        if mine == childrens:  # the offsets are those of children
            with io.FileIO("/proc/self/timens_offsets") as file:
                clock, seconds, nanoseconds = file.read().split()[-3:]
            if clock == b"boottime":
                return (int(seconds) * 10**9 + int(nanoseconds)) * os.sysconf("SC_CLK_TCK") // 10**9
    return 0


def shows_our_pids() -> bool:
    """True if /proc shows the pids of this process's pid namespace."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def parent_of(pid: int) -> int | None:
    """Return the pid of a process's parent; None if there is no process of that pid."""
    status = _status(pid)
    return int(status[1]) if status else None


def name_of(pid: int) -> str:
    """Return the name that the kernel has of a process's program; "" if there is no process of that pid.

    The command line would wait for a lock of that process, which may hang.
    """
    try:
        with io.FileIO(f"/proc/{pid}/comm") as file:
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return ""


def is_running(pid: int, start: int) -> bool:
    """False if the process of that pid and start is certainly gone, or a zombie."""
    status = _status(pid)
    if status:
        return status[0] not in (b"Z", b"X") and may_have_started(pid, start)
    try:
        os.getpgid(pid)  # the kernel tells this of every process
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except OSError:
        pass
    return True


def signal_that_ended(pid: int, start: int, pidfd: int | None) -> int | None:
    """Return the signal that ended a process, 0 if it was none; None if that is not known.

    While its parent has not waited for it, /proc tells that to processes of its user and to root.  Behind
    that the kernel tells it through a pidfd, from Linux 6.15 on.  waitid() would tell parents alone.
    """
    status = _status(pid)
    if status[:1] in ([b"Z"], [b"X"]) and int(status[19]) == start and len(status) > EXIT_CODE:
        code = int(status[EXIT_CODE])
        return code & SIGNAL if code or _may_know(pid) else None
    exit_code = None if pidfd is None or pidfd < 0 else _pidfds.exit_code(pidfd)
    return None if exit_code is None else exit_code & SIGNAL


def _may_know(pid: int) -> bool:
    """False if /proc says 0 to this user instead of how a process ended."""
    try:
        return os.geteuid() in (0, os.stat(f"/proc/{pid}").st_uid)
    except OSError:
        return False


def _status(pid: int) -> list[bytes]:
    """The fields of /proc/<pid>/stat behind the process's name; [] if no such process is seen there.

    By hand, because psutil tells starts in seconds of the wall clock, which may be set.
    """
    is_own = pid == os.getpid()
    if not is_own and not shows_our_pids():
        return []
    try:
        # Not open(): a destructor may log during interpreter shutdown, when that name is gone already.
        with io.FileIO("/proc/self/stat" if is_own else f"/proc/{pid}/stat") as file:
            return file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, PermissionError, ProcessLookupError):  # /proc may hide other users' processes
        return []


def is_stopped(pid: int) -> bool:
    """True if there is a process of that pid, and a signal or a debugger has stopped it."""
    return _state(pid) in ("stopped", "tracing-stop")


def waits_for_disk(pid: int) -> bool:
    """True if a thread of that process sleeps uninterruptibly; False also if the kernel does not tell."""
    try:
        return any(_thread_state(pid, thread) == b"D" for thread in os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return False


def _thread_state(pid: int, thread: str) -> bytes:
    with io.FileIO(f"/proc/{pid}/task/{thread}/stat") as file:
        return file.read().rpartition(b")")[2].split()[0]


def is_zombie(pid: int) -> bool:
    """True if a process of that pid has ended, and its parent has not waited for it."""
    return _status(pid)[:1] == [b"Z"]


def is_there(pid: int) -> bool:
    """True if there is a process of that pid, and it is not a zombie."""
    return _state(pid) not in ("", "zombie", "dead")


def _state(pid: int) -> str:
    """What psutil calls the state of a process; "" if there is no process of that pid."""
    import psutil  # not at the top: a producer does not need it

    try:
        return str(psutil.Process(pid).status())
    except psutil.Error:
        return ""


def boot_id() -> str:
    """Return what is new at every boot: data written in an earlier boot and not synced may be lost."""
    try:
        with open(BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError as problem:
        text = (
            "/proc has no sys (ProcSubset=pid, perhaps): a writer cannot know whether the machine was "
            "started again; let it see all of /proc (ProcSubset=all)"
        )
        raise OSError(problem.errno, text, BOOT_ID) from None
