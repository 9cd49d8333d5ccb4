"""celery with a redis of its own: prefork, threads, recycled and killed pool processes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.machine import wait_until

import disklog_mp
from disklog_mp._loggers import structured as _structured
from integrations.killing import SECONDS, SMALL, Lanes, account, balance
from integrations.serving import TESTS, Server, redis, running

pytestmark = pytest.mark.usefixtures("writer_ends")
TASK = 0.2  # seconds
ENOUGH = int(4 * (SECONDS + 20) / TASK)
Events = list[_structured.Event]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A broker that stays."""
    with redis(tmp_path) as process:
        yield process


@pytest.fixture
def environment(name: str, path: Path, tmp_path: Path) -> dict[str, str]:
    """What the application is to know."""
    return {
        "BROKER": f"redis+socket://{tmp_path}/redis",
        "LOG": json.dumps({"name": name, "path": str(path), **SMALL}),
    }


@pytest.fixture
def celery(tmp_path: Path, environment: dict[str, str]) -> Iterator[Callable[..., Server]]:
    """Start a worker with these arguments and settings."""
    with ExitStack() as stack:

        def celery(*arguments: str, **conf: Any) -> Server:
            environment["CONF"] = json.dumps(conf)
            command = ["celery", "-A", "integrations.jobs", "worker", "-l", "INFO", "-c", "4", *arguments]
            return stack.enter_context(running(tmp_path, *command, **environment))

        yield celery


def send(environment: dict[str, str], tasks: int = ENOUGH, seconds: float = TASK) -> None:
    """Send tasks, as any client does."""
    subprocess.run(
        [sys.executable, "-m", "integrations.jobs", str(tasks), str(seconds)],
        env={**os.environ, "PYTHONPATH": str(TESTS), **environment},
        check=True,
        timeout=60,
    )


def stop(server: Server) -> set[int]:
    """Have the worker finish its tasks and end; return the processes that had to be ended.

    celery may wait half a minute and more for what a killed process was to answer; nobody waits for us.
    """
    server.process.terminate()
    try:
        assert server.process.wait(15) == 0
        return set()
    except subprocess.TimeoutExpired:
        said = len(server.said())
        workers = server.workers()
        for pid in (server.pid, *workers):
            os.kill(pid, signal.SIGUSR2)
        time.sleep(1)
        stacks = server.said()[said:]
        print(stacks)
        assert "most recent call first" in stacks
        assert "disklog_mp" not in stacks
        server.process.kill()  # and the kernel its pool
        server.process.wait()
        return set(workers)


def events_of(path: Path) -> Events:
    """What was logged; each record is a structured one, but for ours at the end."""
    found = [_structured.parse(record.data) for record in disklog_mp.Reader(path)]
    return [event for event in found if event is not None]


def check_tasks(events: Events) -> None:
    """Each record of a task says which; those of the worker itself say none."""
    ids = {}
    for event in events:
        if event.logger in ("shop", "shop.tasks"):
            assert event.fields["task_name"] == "shop.sell"
            if event.message == "sold":
                ids[event.fields["task_id"]] = event.process
        elif event.logger == "celery.worker.strategy":
            assert "task_name" not in event.fields or event.fields["task_name"] != "shop.fail"
    assert len(ids) > 10


@pytest.mark.parametrize(
    ("title", "arguments"),
    [("prefork", ()), ("prefork, max_tasks_per_child=2", ("--max-tasks-per-child", "2"))],
)
def test_pool_processes_killed_each_second_lose_nothing(
    title: str,
    arguments: tuple[str, ...],
    celery: Callable[..., Server],
    broker: object,
    environment: dict[str, str],
    name: str,
    path: Path,
    lanes: Lanes,
) -> None:
    """What a task logged before its process was killed is there, and so is what celery says about it."""
    send(environment)
    server = celery(*arguments)
    lanes.kill_each_second()
    ended = stop(server)

    account(f"celery, {title}", name, path, lanes, ended)
    events = events_of(path)
    check_tasks(events)
    messages = [(event.logger, event.level, event.message) for event in events]
    assert ("celery.redirected", "WARNING", "said with print") in messages
    # The multiprocessing logger's; which of the deaths it gets to tell is celery's affair.
    assert any("exited with 'signal 9 (SIGKILL)'" in text for _, _, text in messages)
    assert "Traceback" not in server.said()
    assert "records are dropped" not in server.said()
    balance(name, path)


def test_threads_of_a_worker_that_is_killed_lose_nothing(
    celery: Callable[..., Server],
    broker: object,
    environment: dict[str, str],
    name: str,
    path: Path,
    lanes: Lanes,
) -> None:
    """All tasks run in one process: that is killed, with the tasks of its four threads, and the writer.

    The writer is killed in every round, before it or while the worker that starts the next one is killed.
    """
    send(environment)
    for number in range(max(2, round(SECONDS / 2))):
        server = celery("--pool", "threads")
        wait_until(lanes.busy, 30)
        time.sleep(0.5)
        lanes.kill_writer()
        time.sleep(0.5 if number % 2 else random.uniform(0, 0.05))
        lanes.kill_one()
        server.process.wait()
    server = celery("--pool", "threads")
    wait_until(lanes.busy, 30)
    ended = stop(server)

    account("celery, threads", name, path, lanes, ended)
    events = events_of(path)
    check_tasks(events)
    assert {event.thread is None for event in events if event.logger == "shop"} == {False}
    balance(name, path)


def test_a_broker_that_is_killed_and_comes_back(
    celery: Callable[..., Server],
    environment: dict[str, str],
    name: str,
    path: Path,
    tmp_path: Path,
    lanes: Lanes,
) -> None:
    """The worker waits for it, and says so in the log; no line is lost meanwhile."""
    with redis(tmp_path) as first:
        send(environment)
        server = celery()
        lanes.kill_each_second(2)
        first.kill()
        time.sleep(1)
    (tmp_path / "redis").unlink(missing_ok=True)
    with redis(tmp_path):
        wait_until(lanes.busy, 30)
        lanes.kill_each_second(2)
        ended = stop(server)

    account("celery, redis killed", name, path, lanes, ended)
    assert any("Connection" in event.message for event in events_of(path) if event.level == "ERROR")
    balance(name, path)


def test_the_worker_is_killed_and_its_pool_with_it(
    celery: Callable[..., Server],
    broker: object,
    environment: dict[str, str],
    name: str,
    path: Path,
    lanes: Lanes,
) -> None:
    """As the kernel kills them when the parent dies: all at once."""
    send(environment)
    server = celery()
    wait_until(lambda: len(lanes.busy()) == 4, 30)
    time.sleep(1)
    server.process.kill()
    server.process.wait()

    account("celery, parent killed", name, path, lanes, ended=set(lanes.pids()))
    balance(name, path)


def test_settings_and_failures(
    celery: Callable[..., Server],
    broker: object,
    environment: dict[str, str],
    name: str,
    path: Path,
    lanes: Lanes,
) -> None:
    """A failure with its traceback; text in celery's own format; print() left alone where it is to be."""
    environment["LOG"] = json.dumps({**json.loads(environment["LOG"]), "encoding": "text"})
    send(environment, 8)
    server = celery(
        worker_redirect_stdouts=False, worker_task_log_format="%(task_name)s %(task_id).3s %(message)s"
    )
    wait_until(
        lambda: path.exists() and b"no apples" in b"".join(r.data for r in disklog_mp.Reader(path)), 30
    )
    time.sleep(2 * TASK)
    stop(server)

    texts = [record.data.decode() for record in disklog_mp.Reader(path)]
    assert any(text.startswith("shop.sell ") and text.endswith(" sold") for text in texts)
    assert any(text.startswith("- - celery@") and text.endswith(" ready.") for text in texts)
    assert any("LookupError: no apples" in text and "Traceback" in text for text in texts)
    assert "said with print" in server.said()
    assert not any("said with print" in text for text in texts)


def test_without_a_log_the_tasks_are_done(
    celery: Callable[..., Server], broker: object, environment: dict[str, str], name: str, lanes: Lanes
) -> None:
    """No path, nobody who opened it: workers say so, and work."""
    environment["LOG"] = json.dumps({"name": name})
    send(environment, 8)
    server = celery()
    wait_until(lambda: sum(count for count, _, _ in lanes.notes().values()) > 100, 30)
    stop(server)

    assert f"no log {name!r} is open" in server.said()
