"""What every test gets: names of its own, logs that are taken down, and the proof that nothing is left."""

import contextlib
import gc
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any

import pytest

import disklog_mp
from disklog_mp import _ring

pytest_plugins = ["mounts", "integrations.killing"]
RUN = f"test-{os.getpid()}"

# Shells start what runs in the background with SIGINT ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
_numbers = itertools.count(1)


def processes_of(text: str) -> list[int]:
    """Return the pids of live processes with that text in their command line, this one left out."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if text.encode() in command and state != "Z" and int(pid) != os.getpid():
            found.append(int(pid))
    return found


def shared_memory_of(text: str) -> list[str]:
    """Return the shared-memory objects with that text in their names."""
    return [entry for entry in os.listdir(_ring.SHM) if text in entry]


def writer_of(file: _ring.RingFile) -> int:
    """Return the pid of the writer, 0 while what says so is scribbled over: it might be anybody's."""
    pid = file.ring.writer_pid
    return pid if _ring.start_ticks(pid) == file.ring.writer_start else 0


def stop_writer(name: str, number: int = signal.SIGTERM, ring_dir: str | None = None) -> None:
    """Signal the writer of a log, if it has one, and wait until the kernel says it is gone."""
    try:
        file = _ring.attach(name, ring_dir)
    except disklog_mp.LogNotFoundError:
        return
    try:
        wait_until(lambda: writer_of(file) or not _ring.writer_alive(file))
        pid = writer_of(file)
        if not pid:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        wait_until(lambda: not _ring.writer_alive(file), 20)
    finally:
        os.close(file.fd)


@contextlib.contextmanager
def stopped_writer(name: str) -> Iterator[None]:
    """Freeze the log's writer, as a machine under pressure may."""
    file = _ring.attach(name, None)
    pid = writer_of(file)
    os.close(file.fd)
    assert pid  # 0 would be all of us
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> Any:
    """Return the condition's value as soon as it is true; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still not true after {seconds} s"
        time.sleep(0.002)
    return value


@pytest.fixture
def name() -> str:
    """A name for a log that no other test has."""
    return f"{RUN}-{next(_numbers)}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A directory for a log, not made yet."""
    return tmp_path / "log"


@pytest.fixture
def open_log(name: str, path: Path) -> Iterator[Callable[..., disklog_mp.Session]]:
    """Open the test's log with any options; closed, and its writer stopped, at the end."""
    sessions = []

    def open_log(**options: Any) -> disklog_mp.Session:
        session = disklog_mp.open(name, path, **{"linger": 0.1, "ring_bytes": 1 << 20, **options})
        sessions.append(session)
        return session

    yield open_log
    for session in sessions:
        session.close()
    stop_writer(name)


@pytest.fixture
def log(open_log: Callable[..., disklog_mp.Session]) -> disklog_mp.Session:
    """The test's log with default options (but a ring of 1 MiB)."""
    return open_log()


@pytest.fixture(scope="session", autouse=True)
def multiprocessing_helpers() -> None:
    """Start what multiprocessing keeps for good, so that its descriptors are no test's."""
    forkserver.ensure_running()
    resource_tracker.ensure_running()


def descriptors() -> dict[str, str]:
    """This process's descriptors, and what they lead to; but for those of multiprocessing's own heap."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
    return {fd: target for fd, target in found.items() if "/pym-" not in target}


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves shared memory, a process or a descriptor behind."""
    gc.collect()
    before = descriptors()
    yield
    gc.collect()
    try:
        wait_until(lambda: not shared_memory_of(RUN) and not processes_of(RUN), 15)
    except AssertionError:
        left = shared_memory_of(RUN), processes_of(RUN)
        for pid in left[1]:
            os.kill(pid, signal.SIGKILL)
        for entry in left[0]:
            os.unlink(os.path.join(_ring.SHM, entry))
        pytest.fail(f"left behind: shared memory {left[0]}, processes {left[1]}")
    after = descriptors()
    more = {fd: target for fd, target in after.items() if fd not in before}
    assert len(after) <= len(before), f"left behind: open descriptors {more}"
