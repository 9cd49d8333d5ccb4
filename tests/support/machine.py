"""What runs on this machine: processes and shared memory of this test run, the writer of a log."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import disklog_mp
from disklog_mp._os import processes as _processes
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring import names as _names
from support.rings import attach_ring

RUN = f"test-{os.getpid()}"


def processes_of(text: str) -> list[int]:
    """Return the pids of live processes with that text in their command line, this one left out."""
    found, wanted = [], text.encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
                if wanted not in file.read() or int(pid) == os.getpid():
                    continue
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(int(pid))
    return found


def shared_memory_of(text: str) -> list[str]:
    """Return the shared-memory objects with that text in their names."""
    return [entry for entry in os.listdir(_names.SHM) if text in entry]


def writer_of(file: _ring.RingFile) -> int:
    """Return the pid of the writer, 0 while what says so is scribbled over: it might be anybody's."""
    pid = file.ring.writer_pid
    return pid if _processes.start_ticks(pid) == file.ring.writer_start else 0


def stop_writer(name: str, number: int = signal.SIGTERM, ring_dir: str | None = None) -> None:
    """Signal the writer of a log, if it has one, and wait until the kernel says it is gone."""
    while True:
        try:
            file = attach_ring(name, ring_dir)
        except disklog_mp.LogNotFoundError:
            return
        try:

            def is_replaced(file: _ring.RingFile = file) -> bool:  # by its writer: it was scribbled over
                return not _ring.is_current(file)

            def is_known(file: _ring.RingFile = file) -> object:
                return writer_of(file) or is_replaced() or not _liveness.writer_alive(file)

            wait_until(is_known)
            pid = writer_of(file)
            if not pid and is_replaced():
                continue
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                wait_until(lambda file=file: not _liveness.writer_alive(file), 20)
            return
        finally:
            os.close(file.fd)


@contextlib.contextmanager
def stopped_writer(name: str) -> Iterator[None]:
    """Freeze the log's writer, as a machine under pressure may."""
    file = attach_ring(name)
    pid = writer_of(file)
    os.close(file.fd)
    assert pid  # 0 would be all of us
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def wait_until(condition: Callable[[], object], seconds: float = 10.0, pause: float = 0.002) -> Any:
    """Return the condition's value as soon as it is true; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still not true after {seconds} s"
        time.sleep(pause)
    return value


def descriptors() -> dict[str, str]:
    """This process's descriptors, and what they lead to; but for those of multiprocessing's own heap."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
    return {fd: target for fd, target in found.items() if "/pym-" not in target}
