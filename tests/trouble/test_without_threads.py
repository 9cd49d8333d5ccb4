"""A writer that may not start a thread, as in a full pids cgroup: what threads do for it, it does itself."""

import os
import resource
import shutil
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.machine import wait_until
from support.users import NOBODY

import disklog_mp
from disklog_mp._ring.names import rings_of
from disklog_mp._session import requests
from disklog_mp._writer.serving import serve as run_writer

LOADED = (psutil, requests)  # as in support.users: the other user can load nothing, perhaps

OPTIONS = {"keep_pages": 3, "page_records": 10, "sync": "0.1s", "ring_bytes": 1 << 20}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="being another user takes root")


def in_child(function: object, *, may_start: bool = True) -> int:
    """Run a function in a process of another user, root having no limit of processes; return its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if not may_start:
                resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
            NOBODY.become()
            assert callable(function)
            function()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


@pytest.fixture
def path() -> Iterator[Path]:
    """A directory of another user, where that user comes to."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    path = made / "log"
    path.mkdir()
    os.chown(path, NOBODY.uid, NOBODY.gid)
    if not all(os.stat(parent).st_mode & 0o001 for parent in path.parents):
        pytest.skip("the directory for temporary files is closed to other users")
    yield path
    shutil.rmtree(made)


def test_a_writer_without_threads_does_all_that_it_does(name: str, path: Path) -> None:
    """It writes, retires, syncs, finds a dead producer, answers a request and ends in good order."""

    def serve() -> None:
        with pytest.raises(RuntimeError):
            threading.Thread(target=print).start()
        run_writer(name, path, **OPTIONS)  # type: ignore[arg-type]

    def produce() -> None:
        log = disklog_mp.attach(name, path=path)
        for i in range(200):
            log.log(b"%d" % i)
        log.sync(20)
        os.kill(os.getpid(), signal.SIGKILL)

    def configure() -> None:
        log = disklog_mp.attach(name, path=path)
        time.sleep(1)  # the writer is at rest, and nothing tells it
        log.configure(keep_pages=2)
        log.log(b"x")
        log.sync(20)
        assert log.stats().error is None
        assert not [producer for producer in log.stats().producers if producer.pid == killed]

    server = in_child(serve, may_start=False)
    try:
        wait_until(lambda: rings_of(name), 20)
        killed = in_child(produce)
        assert os.WTERMSIG(os.waitpid(killed, 0)[1]) == signal.SIGKILL
        assert os.waitpid(in_child(configure), 0)[1] == 0
        assert sum(1 for entry in os.listdir(path) if entry.startswith("page-")) == 2
    finally:
        os.kill(server, signal.SIGTERM)
        status = os.waitpid(server, 0)[1]
    assert status == 0
    assert len(list(disklog_mp.Reader(path))) in range(10, 21)
