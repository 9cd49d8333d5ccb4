"""The core's ring and mappings where processes fork, change their user or have no room."""

import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import threading
import warnings

import pytest
from support.memory_ring import (
    drain_all,
    make_producer,
    make_ring,
    memory,
)

from disklog_mp._core import (
    NEEDS_ATTACH,
    Mapping,
)


def test_the_core_is_loaded_once() -> None:
    """A second copy of its types in one process would not know the first one's objects: ImportError."""
    code = "import sys, disklog_mp._core; del sys.modules['disklog_mp._core']; import disklog_mp._core"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "ImportError" in result.stderr
    assert "once per process" in result.stderr


def test_where_there_is_no_room_to_align_a_mapping_is_made_anyhow() -> None:
    """A limit of address space may leave room for a ring, and for no more."""
    length = 16 << 20
    fd = memory(length)
    pid = os.fork()
    if pid == 0:
        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[0]) * 4096
        resource.setrlimit(resource.RLIMIT_AS, (now + length + (1 << 20),) * 2)
        try:
            Mapping(fd, length, writable=True).store64(0, 1)
        finally:
            os._exit(sys.exc_info()[0] is not None)
    os.close(fd)

    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize("kind", ["real", "effective"])
def test_a_path_is_looked_for_by_the_rights_that_open_has(kind: str) -> None:
    """Those of the effective user."""
    if os.geteuid() != 0:
        pytest.skip("takes root")
    fd = memory(4096)
    mapping = Mapping(fd, 4096)
    os.close(fd)
    with tempfile.TemporaryDirectory() as place:  # nobody else's
        path = os.path.join(place, "page")
        os.mkdir(path)
        pid = os.fork()
        if pid == 0:
            os.setresuid(*((1, 0, 0) if kind == "real" else (0, 1, 0)))
            os._exit(mapping.wait_watching(0, 0, 0.02, 0.01, 8, 0, os.fsencode(path)))
        status = os.waitpid(pid, 0)[1]

    assert os.waitstatus_to_exitcode(status) == (kind == "real")


@pytest.mark.parametrize("hooks", [True, False], ids=["by Python", "without Python's knowledge"])
def test_a_forked_child_asks_to_be_attached(hooks: bool) -> None:
    """The slot is the parent's: the child notices by itself, however it was made."""
    producer = make_producer(make_ring())
    fork = os.fork if hooks else ctypes.PyDLL(None).fork
    pid = fork()
    if pid == 0:
        os._exit(0 if producer.log(b"a") == NEEDS_ATTACH and not producer.is_bound else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert producer.log(b"a") == 0


def test_a_forked_child_waits_for_no_thread_of_its_parent() -> None:
    """A thread in the middle of a long copy is not there after a fork: close() must not wait for it."""
    ring = make_ring(1 << 26)
    producer = make_producer(ring)
    data = bytes(ring.record_limit)
    stop = False

    def log() -> None:
        while not stop:
            producer.log(data)
            drain_all(ring, ring.released)

    thread = threading.Thread(target=log)
    thread.start()
    exits = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork: that is the point
        for _ in range(10):
            pid = os.fork()
            if pid == 0:
                os._exit(producer.unbind())
            exits.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    stop = True
    thread.join()

    assert [0] * 10 == exits
    assert producer.unbind() == 0
