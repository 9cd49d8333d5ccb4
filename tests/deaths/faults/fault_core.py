"""The core and the files of a test build, in which every step has a name and can kill, freeze or fail.

`build` compiles the core with a body for DL_POINT; `Faults` loads it in place of the installed one, which
must not be imported yet, and gives the system calls of the package's Python part points of the same kind.
"""

import ctypes
import errno
import importlib.machinery
import importlib.util
import io
import mmap
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[2]
NATIVE = TESTS / "native"
CSRC = TESTS.parent / "disklog_mp" / "csrc"
CC = shutil.which("gcc") or shutil.which("cc")
KILL, FREEZE = -1, -2
SHORT = 10_000  # not an errno: write half of it, then go on
RECORD_BYTES = 1 << 20
# The system calls of the package: each is a step that others can see, or that can fail.  With what: see
# their manual pages, EBADF, EINVAL and the like left out, which would be our own mistakes.  Python repeats
# its own calls after a signal (PEP 475), so EINTR comes up from a handler that raises at the most.
FAILURES = {
    "close": ("EIO", "ENOSPC"),  # a network file system says it late; the descriptor is gone all the same
    "FileIO": ("EMFILE", "ENFILE", "ENOMEM", "EACCES"),  # of /proc/<pid>/stat
    "fchmod": ("EIO", "EPERM", "EROFS"),
    "fdatasync": ("EIO", "ENOSPC", "EDQUOT", "EINTR"),
    "fstat": ("EIO", "ENOMEM"),
    "fsync": ("EIO", "ENOSPC", "EDQUOT", "EINTR"),
    "ftruncate": ("EIO", "EINTR", "EPERM"),
    "futex wait": ("EINTR",),
    "futex wake": (),
    "link": ("EIO", "ENOSPC", "EPERM"),
    "listdir": ("EIO", "EMFILE", "ENFILE", "ENOMEM", "EACCES"),
    "lock": ("ENOLCK", "EINTR"),
    "mkdir": ("EIO", "ENOSPC", "EACCES", "EROFS"),
    "mmap": ("ENOMEM", "EAGAIN", "EACCES"),
    "open": ("EMFILE", "ENFILE", "ENOMEM", "ENOSPC", "EACCES", "EINTR", "EIO"),
    "pidfd_open": ("EMFILE", "ENFILE", "ENOMEM", "ENODEV", "EPERM", "ENOSYS"),
    "posix_fallocate": ("ENOSPC", "EDQUOT", "EIO", "EINTR", "EFBIG", "EOPNOTSUPP"),
    "pwrite": ("ENOSPC", "EDQUOT", "EIO", "EINTR", "EFBIG", "short"),
    "rename": ("EIO", "ENOSPC", "EACCES", "EROFS"),
    "shm_open": ("EMFILE", "ENFILE", "ENOMEM", "ENOSPC", "EACCES", "EINTR"),
    "stat": ("EIO", "ENOMEM", "EACCES"),
    "unlink": ("EIO", "EACCES", "EROFS"),
}


def build(directory: Path) -> Path:
    """Compile the test build of the core; return its path."""
    assert CC is not None
    path = directory / "_core.abi3.so"
    sources = [str(source) for source in sorted(CSRC.rglob("*.c"))]
    options = ["-std=gnu11", "-O2", "-g", "-fPIC", "-shared", "-fvisibility=hidden"]
    # Tags refreshed every second lap: or no test would live to see it.
    options += ["-DDL_REFRESH_LAPS=2"]
    faults = ["-include", str(NATIVE / "faults.h"), str(NATIVE / "faults.c")]
    linking = ["-Wl,-z,now,--wrap=mmap,--wrap=syscall"]  # bound now, or most instructions are the linker's
    subprocess.run([CC, *options, *faults, *sources, *linking, "-o", str(path)], check=True)
    return path


class _Calls:
    """A module some functions of which have a point before them."""

    def __init__(self, module: Any, wrap: dict[str, Callable[..., Any]]) -> None:
        self._module, self._wrap = module, wrap

    def __getattr__(self, name: str) -> Any:
        return self._wrap.get(name) or getattr(self._module, name)


class Faults:
    """Fault points of this process; a forked child has its own, as they were at the fork."""

    def __init__(self, core: Path) -> None:
        assert "disklog_mp" not in sys.modules
        loader = importlib.machinery.ExtensionFileLoader("disklog_mp._core", str(core))
        spec = importlib.util.spec_from_file_location("disklog_mp._core", core, loader=loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        sys.modules["disklog_mp._core"] = module
        self._library = ctypes.CDLL(str(core))
        self.begin()
        self._wrap_calls()

    def _wrap_calls(self) -> None:
        import posix_ipc

        from disklog_mp._os import files as _files
        from disklog_mp._os import locks, processes
        from disklog_mp._pages import directory as _directory
        from disklog_mp._ring import file as _ring
        from disklog_mp._ring import liveness
        from disklog_mp._session import session

        wrapped = {name: self._wrapped(name, getattr(os, name)) for name in FAILURES if hasattr(os, name)}
        wrapped["pwrite"] = self._wrapped_pwrite
        wrapped["close"] = self._wrapped_close
        # Memory and /proc have nothing to say when they are closed.
        silent = {name: call for name, call in wrapped.items() if name != "close"}
        for module in (_directory, _files):
            module.os = _Calls(os, wrapped)  # type: ignore[attr-defined]
        for module in (_ring, liveness, processes, session):
            module.os = _Calls(os, silent)  # type: ignore[attr-defined]
        locking = {"fcntl": self._wrapped("lock", locks.fcntl.fcntl)}
        locks.fcntl = _Calls(locks.fcntl, locking)  # type: ignore[assignment]
        processes.io = _Calls(io, {"FileIO": self._wrapped("FileIO", io.FileIO)})  # type: ignore[assignment]
        memory = {"SharedMemory": self._wrapped("shm_open", posix_ipc.SharedMemory)}
        _ring.posix_ipc = _Calls(posix_ipc, memory)  # type: ignore[assignment]

    def _wrapped(self, label: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.point(label)
            return call(*args, **kwargs)

        return wrapped

    def _wrapped_pwrite(self, fd: int, data: Any, offset: int) -> int:
        error = self._library.dl_fault_point(b"pwrite")
        if error == SHORT and len(data) > 1:
            return os.pwrite(fd, memoryview(data)[: len(data) // 2], offset)
        if error not in (0, SHORT):
            raise OSError(error, os.strerror(error))
        return os.pwrite(fd, data, offset)

    def _wrapped_close(self, fd: int) -> None:
        error = self._library.dl_fault_point(b"close")
        os.close(fd)
        if error:
            raise OSError(error, os.strerror(error))

    def point(self, label: str) -> None:
        """A point in Python."""
        error = self._library.dl_fault_point(label.encode())
        if error:
            raise OSError(error, os.strerror(error))

    def arm(self, label: str, nth: int, action: int, times: int = 1, *, after: bool = False) -> None:
        """Kill, freeze or fail (an errno) when the label is met for the nth time from now on; `after`: from
        when another fault, of any process, has acted.
        """
        assert self._library.dl_fault_arm(label.encode(), nth, times, action, after) == 0

    def begin(self) -> None:
        """Give those who are forked from here on a memory of their own to count and record in."""
        self._memory = mmap.mmap(-1, RECORD_BYTES)
        self._acted = mmap.mmap(-1, mmap.PAGESIZE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._acted))
        self._library.dl_fault_share(ctypes.c_void_p(address))

    def forget(self) -> None:
        """Empty what was counted and recorded."""
        self._acted[:4] = bytes(4)
        self._memory[:] = bytes(RECORD_BYTES)

    def acted(self) -> int:
        """Return how often a fault has acted since forget()."""
        return int.from_bytes(self._acted[:4], sys.byteorder)

    def record(self) -> None:
        """From now on, keep the labels met; in memory that forked children share."""
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._library.dl_fault_record(ctypes.c_void_p(address), RECORD_BYTES)

    def recorded(self) -> list[str]:
        """Return the labels met since record()."""
        text = self._memory[:].rstrip(b"\0").decode()
        return text.split("\0") if text else []


def die_with(parent: int) -> None:
    """Have this process killed when the one that forked it ends, however that comes."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def errno_of(name: str) -> int:
    """Return the number of an action's name: kill, freeze, short, or an errno's."""
    return {"kill": KILL, "freeze": FREEZE, "short": SHORT}.get(name) or getattr(errno, name)


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
