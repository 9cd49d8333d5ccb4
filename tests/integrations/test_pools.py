"""multiprocessing.Pool and ProcessPoolExecutor, in each start method."""

import functools
import logging
import multiprocessing
import os
import time
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from support.machine import wait_until

import disklog_mp
from disklog_mp import pools
from disklog_mp._loggers import structured as _structured
from disklog_mp.logging import DiskLogHandler
from integrations.killing import SECONDS, SMALL, TASK, Lanes, account, balance, kill_pool
from integrations.work import DIRECTORY, task

METHODS = ["fork", "spawn", "forkserver"]


def start(lanes: str, name: str, path: Path) -> None:
    """Start a worker; the fork server is older than the test, and so is its environment."""
    os.environ[DIRECTORY] = lanes
    pools.start(name, path, **SMALL)


pytestmark = pytest.mark.usefixtures("writer_ends", "root")


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_whose_workers_are_killed_loses_nothing(
    name: str, path: Path, lanes: Lanes, method: str
) -> None:
    """Four workers, each replaced when it is killed; the pool ends its workers as it likes."""
    kill_pool(method, start, name, path, lanes)
    account(f"multiprocessing.Pool, {method}", name, path, lanes, ended=set(lanes.pids()))
    balance(name, path)


@pytest.mark.parametrize("method", METHODS)
def test_an_executor_whose_workers_are_killed_loses_nothing(
    name: str, path: Path, lanes: Lanes, method: str
) -> None:
    """A ProcessPoolExecutor breaks when a worker is killed, and ends the others: another takes its place.

    The writer is killed too: its place is taken by what these workers start, or the next executor's.
    """
    context = multiprocessing.get_context(method)
    arguments = (str(lanes.directory), name, path)
    for number in range(max(2, round(SECONDS))):
        with ProcessPoolExecutor(4, context, initializer=start, initargs=arguments) as executor:
            futures: list[Future[int]] = [executor.submit(task, TASK) for _ in range(40)]
            before = lanes.accepted()
            wait_until(
                lambda before=before: lanes.accepted() > before, 20
            )  # the first call starts the writer
            time.sleep(0.5)
            lanes.kill_round(number)
            with pytest.raises(BrokenProcessPool):
                for future in futures:
                    future.result(30)
    account(f"ProcessPoolExecutor, {method}", name, path, lanes, ended=set(lanes.pids()))
    balance(name, path)


def test_workers_that_are_recycled_and_a_writer_that_is_killed(name: str, path: Path, lanes: Lanes) -> None:
    """maxtasksperchild; the writer is killed, too: whoever logs starts another."""
    context = multiprocessing.get_context("fork")
    with context.Pool(4, start, (str(lanes.directory), name, path), maxtasksperchild=1) as pool:
        for _ in range(int(40 * (SECONDS + 20))):
            pool.apply_async(task, (0.1,))
        for _ in range(max(1, round(SECONDS))):  # no worker: it may hold a lock of the pool's own
            wait_until(lanes.busy, 20)
            time.sleep(1)
            lanes.kill_writer()
        lanes.wait_for_writer()
    account("multiprocessing.Pool, maxtasksperchild=1, writer killed", name, path, lanes, set(lanes.pids()))
    balance(name, path)


def test_a_worker_that_inherits_the_handler_gets_no_second_one(
    name: str, path: Path, root: logging.Logger
) -> None:
    """Each line stands in the log once when the parent had its logging set up before the fork."""
    pools.start(name, path, logging.WARNING, **SMALL)
    logging.warning("from the parent")
    with multiprocessing.get_context("fork").Pool(
        2, initializer=functools.partial(pools.start, **SMALL), initargs=(name, path)
    ) as pool:
        pool.map(logging.info, ["a", "b", "c"], chunksize=1)
    handlers = [handler for handler in root.handlers if isinstance(handler, DiskLogHandler)]
    for handler in handlers:
        handler.flush()

    assert len(handlers) == 1
    assert root.level == logging.WARNING  # here; the workers have theirs
    events = [_structured.parse(record.data) for record in disklog_mp.Reader(path)]
    said = [(event.message, (event.process or "").partition("-")[0]) for event in events if event]
    assert sorted(said) == [(letter, "ForkPoolWorker") for letter in "abc"] + [("from the parent", "")]


def test_without_a_log_the_work_goes_on(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """No path, nobody who opened it: workers say so once each, and do their work."""
    with multiprocessing.get_context("fork").Pool(2, initializer=pools.start, initargs=(name,)) as pool:
        pool.map(logging.info, range(20), chunksize=1)

    said = capfd.readouterr().err.splitlines()
    assert 1 <= len(said) <= 2
    assert all(f"no log {name!r} is open" in line for line in said)


def test_what_is_wrong_with_the_options_is_said_at_once(name: str, path: Path) -> None:
    """In the process that starts the pool, if it asks."""
    with pytest.raises(TypeError, match="page_lines"):
        pools.start(name, path, page_lines=3)
