"""Workers that could not open the log themselves: they log through what their parent had open."""

import logging
import os
import resource
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.machine import stop_writer

import disklog_mp
import disklog_mp._ring.stats  # a child can not import it any more
from disklog_mp._loggers import outlets as _outlets
from disklog_mp.logging import DiskLogHandler

SMALL = {"linger": 0.1, "ring_bytes": 1 << 16}
NOBODY = 65534


def drop_privileges(path: Path) -> None:
    """As gunicorn, nginx, or any daemon does."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def change_root(path: Path) -> None:
    """Into an empty directory: no /proc, no /dev/shm, no Python."""
    empty = path.parent / "empty"
    empty.mkdir()
    os.chroot(empty)
    os.chdir("/")


def run_out_of_descriptors(path: Path) -> None:
    """All that the process may have are taken."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


@pytest.fixture(params=[drop_privileges, change_root, run_out_of_descriptors])
def become(request: pytest.FixtureRequest, name: str) -> Iterator[Callable[[Path], None]]:
    """What a worker does before it logs."""
    if os.geteuid() != 0:
        pytest.skip("only root can do that")
    yield request.param
    for outlet in _outlets.outlets.values():
        outlet.close()
    _outlets.outlets.clear()
    stop_writer(name)


def in_child(work: Callable[[], object]) -> int:
    """Run it in a forked child; return its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except Exception as problem:
            print(repr(problem), problem.__traceback__ and problem.__traceback__.tb_next)
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_session_that_was_open_logs(name: str, path: Path, become: Callable[[Path], None]) -> None:
    """And flushes, and closes: the slot is the child's own."""
    with disklog_mp.open(name, path, **SMALL) as log:
        log.log(b"parent")

        def work() -> None:
            become(path)
            log.log(b"child")
            log.flush()
            assert len(log.stats().producers) == 2
            log.close()

        assert in_child(work) == 0
        log.log(b"parent")
        log.flush()
        assert len(log.stats().producers) == 1

    records = list(disklog_mp.Reader(path))
    assert [record.data for record in records] == [b"parent", b"child", b"parent"]
    assert len({record.pid for record in records}) == 2


@pytest.mark.parametrize("is_used", [True, False])
def test_handlers_and_loggers_log(
    name: str, path: Path, become: Callable[[Path], None], is_used: bool
) -> None:
    """Used before or not: it is enough that the parent has the log open."""
    logger = logging.Logger("app")
    logger.addHandler(handler := DiskLogHandler(name, path, **SMALL))
    events = disklog_mp.get_logger("web", name, path, **SMALL)
    with disklog_mp.open(name, path, **SMALL) as log:
        if is_used:
            logger.info("parent")
            events.info("parent")

        def work() -> None:
            become(path)
            for _ in range(10):
                logger.info("child")
                events.info("child")
            assert handler.dropped == events.dropped == 0

        assert in_child(work) == 0
        log.log(b"end")
        log.flush()
    handler.close()

    texts = [record.event.message for record in disklog_mp.Reader(path) if record.event]
    assert texts == ["parent"] * 2 * is_used + ["child"] * 20


def test_no_descriptor_is_left_behind(name: str, path: Path) -> None:
    """In the parent none; in a child that opens the log itself none either."""
    with disklog_mp.open(name, path, **SMALL) as log:
        log.log(b"parent")
        before = len(os.listdir("/proc/self/fd"))

        def work() -> None:
            log.log(b"child")
            assert len(os.listdir("/proc/self/fd")) == before

        for _ in range(3):
            assert in_child(work) == 0
        assert len(os.listdir("/proc/self/fd")) == before
    stop_writer(name)
