"""The census after a test that starts processes: what it left behind fails it.

It takes two collections and a walk over /proc, so only folders whose tests start processes import it.
"""

import gc
import os
import signal
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker

import pytest

from disklog_mp._ring import names as _names
from support.machine import RUN, descriptors, processes_of, shared_memory_of, wait_until


@pytest.fixture(scope="session", autouse=True)
def multiprocessing_helpers() -> None:
    """Start what multiprocessing keeps for good, so that its descriptors are no test's."""
    forkserver.ensure_running()
    resource_tracker.ensure_running()


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest, multiprocessing_helpers: None) -> Iterator[None]:
    """Fail a test that leaves shared memory, a process or a descriptor behind."""
    if "tmp_path" in request.fixturenames:
        request.getfixturevalue("tmp_path")  # made first, it goes last: a writer still needs its directory
    gc.collect()
    before = descriptors()
    yield
    gc.collect()
    try:
        wait_until(lambda: not shared_memory_of(RUN) and not processes_of(RUN), 15, 0.01)
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
