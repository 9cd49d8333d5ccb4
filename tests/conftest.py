"""What every test gets: names of its own, logs that are taken down, and the proof that nothing is left."""

import gc
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any

import pytest
from support.machine import RUN, descriptors, processes_of, shared_memory_of, stop_writer, wait_until

import disklog_mp
from disklog_mp._ring import names as _names

pytest_plugins = ["support.mounts", "integrations.killing"]

# Shells start what runs in the background with SIGINT ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
_numbers = itertools.count(1)


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
            os.unlink(os.path.join(_names.SHM, entry))
        pytest.fail(f"left behind: shared memory {left[0]}, processes {left[1]}")
    after = descriptors()
    more = {fd: target for fd, target in after.items() if fd not in before}
    assert len(after) <= len(before), f"left behind: open descriptors {more}"
