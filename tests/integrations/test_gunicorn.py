"""gunicorn: all its workers, what it does to them, and one log of them all."""

import os
import re
import signal
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from support.machine import processes_of, stop_writer, wait_until

import disklog_mp
from disklog_mp._loggers import structured as _structured
from integrations.killing import (
    ACCESS,
    SECONDS,
    SMALL,
    Lanes,
    Load,
    account,
    balance,
    lines,
    writer_of,
)
from integrations.serving import Server, UnansweredError, asks, get, running, wait_for

pytestmark = pytest.mark.usefixtures("writer_ends")
UVICORN = "uvicorn_worker.UvicornWorker"
RECIPE = """
    handler = {"class": "disklog_mp.logging.DiskLogHandler", "name": NAME, "path": PATH, **SMALL}
    logconfig_dict = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"disklog": handler},
        "root": {"level": "INFO", "handlers": ["disklog"]},
        "loggers": {
            "gunicorn.error": {"level": "INFO", "handlers": ["disklog"], "propagate": False},
            "gunicorn.access": {"level": "INFO", "handlers": ["disklog"], "propagate": False},
        },
    }
"""
LOGGER = """
    from disklog_mp import gunicorn
    class logger_class(gunicorn.Logger):
        options = SMALL
    errorlog = accesslog = PATH
"""


@pytest.fixture
def path(name: str, tmp_path: Path) -> Path:
    """The log's directory, by which gunicorn's logger knows its name."""
    return tmp_path / name


@pytest.fixture
def gunicorn(tmp_path: Path, name: str, path: Path) -> Iterator[Callable[..., Server]]:
    """Start gunicorn with these lines in its configuration; it listens at tmp_path/web."""
    with ExitStack() as stack:

        def gunicorn(config: str = "", logger: str = LOGGER, app: str = "wsgi") -> Server:
            file = tmp_path / "gunicorn.conf.py"
            file.write_text(
                f"NAME, PATH, SMALL = {name!r}, {str(path)!r}, {SMALL!r}\n"
                f"bind = 'unix:{tmp_path}/web'\nworkers = 4\n"
                "access_log_format = 'access %({x-work}o)s'\ngraceful_timeout = 5\n"
                f"pidfile = '{tmp_path}/pid'\n{textwrap.dedent(logger)}\n{textwrap.dedent(config)}\n"
            )
            module = app if ":" in app else f"integrations.web:{app}"
            server = stack.enter_context(running(tmp_path, "gunicorn", "-c", file, module))
            wait_for(tmp_path / "web")
            return server

        yield gunicorn


@contextmanager
def load(tmp_path: Path) -> Iterator[list[Load]]:
    """Requests from three clients at a time."""
    with ExitStack() as stack:
        yield [stack.enter_context(Load(asks(tmp_path / "web"))) for _ in range(3)]


def check_answers(path: Path, loads: list[Load]) -> None:
    """What a client was told has happened is in the log."""
    found = lines(path)
    for each in loads:
        assert len(each.answers) > 10
        for _, text in each.answers:
            lane, _, number = text.partition(" ")
            assert found[lane][int(number)] == int(number)


def check_access(path: Path, lanes: Lanes) -> int:
    """The access log has each request's line, but for the last one of a worker that was killed."""
    work, access = lines(path), lines(path, ACCESS)
    for lane, numbers in work.items():
        more = len(numbers) - len(access.get(lane, []))
        killed = int(lane.partition("-")[0]) in lanes.killed
        assert access.get(lane, []) == numbers[: len(numbers) - more], lane
        assert more in ((0, 1, 2) if killed else (0,)), (lane, more)
    return sum(map(len, access.values()))


def error_log(path: Path) -> list[str]:
    """Messages of gunicorn's own."""
    events = [_structured.parse(record.data) for record in disklog_mp.Reader(path)]
    return [event.message for event in events if event is not None and event.logger.endswith("error")]


@pytest.mark.parametrize(
    ("title", "config"),
    [
        ("sync", ""),
        ("sync, preloaded, max_requests", "preload_app = True\nmax_requests = 300\nmax_requests_jitter = 99"),
        ("gthread", "worker_class = 'gthread'\nthreads = 2"),
        ("uvicorn", f"worker_class = '{UVICORN}'"),
    ],
)
def test_workers_killed_each_second_lose_nothing(
    title: str,
    config: str,
    gunicorn: Callable[..., Server],
    name: str,
    path: Path,
    tmp_path: Path,
    lanes: Lanes,
) -> None:
    """Told to reload (HUP) and to reopen (USR1) meanwhile: neither takes or doubles a line."""
    server = gunicorn(config, app="asgi" if title == "uvicorn" else "wsgi")

    def signal_it(number: int) -> None:
        number == 1 and os.kill(server.pid, signal.SIGHUP)
        number == 3 and os.kill(server.pid, signal.SIGUSR1)

    with load(tmp_path) as loads:
        lanes.kill_each_second(each=signal_it)
    stop(server)

    account(f"gunicorn, {title}", name, path, lanes)
    check_answers(path, loads)
    if title == "uvicorn":
        check_uvicorns_access(path, loads)
    else:
        check_access(path, lanes)
    said = error_log(path)
    assert any("Hang up" in text for text in said)
    # One or another may have been ending by itself just then, recycled or reloaded.
    assert 0 <= len(lanes.killed) - sum("was sent SIGKILL" in text for text in said) <= 2
    repairs = server.said().splitlines()  # of writers, the first thing that each says
    assert all("repaired what a crash left" in line for line in repairs)
    assert len(repairs) <= len(lanes.writers)
    balance(name, path)


def check_uvicorns_access(path: Path, loads: list[Load]) -> None:
    """uvicorn logs a request before it answers: what was answered stands there once."""
    found = [
        int(match[1])
        for record in disklog_mp.Reader(path)
        if (match := re.search(rb"GET /\?(\d+) HTTP", record.data))
    ]
    answered = {number for each in loads for number, _ in each.answers}
    assert len(found) == len(set(found))
    assert answered <= set(found)


def stop(server: Server) -> None:
    """End the server, gracefully."""
    server.process.terminate()
    assert server.process.wait(30) == 0


def test_the_recipe_without_a_class_of_ours(
    gunicorn: Callable[..., Server], name: str, path: Path, tmp_path: Path, lanes: Lanes
) -> None:
    """logconfig_dict with the handler alone; the writer is killed as well, and the arbiter at the end."""
    server = gunicorn(logger=RECIPE)

    with load(tmp_path) as loads:
        lanes.kill_each_second(SECONDS / 2)
        wait_until(lanes.busy)
        server.process.kill()
        server.process.wait()
    # The workers notice that they have lost their parent.
    account("gunicorn, logconfig_dict, writer and arbiter killed", name, path, lanes)
    check_answers(path, loads)
    check_access(path, lanes)
    assert "records are dropped" not in server.said()
    balance(name, path)


def test_a_worker_that_is_aborted_leaves_no_hole(
    gunicorn: Callable[..., Server], name: str, path: Path, tmp_path: Path, lanes: Lanes
) -> None:
    """The arbiter aborts a worker that does not answer in time, in the middle of its logging."""
    server = gunicorn("timeout = 1")
    aborted = 0
    with load(tmp_path) as loads:
        for _ in range(3):
            with pytest.raises(UnansweredError):
                get(tmp_path / "web", "/hang")
            for _ in range(20):
                with pytest.raises(UnansweredError):
                    get(tmp_path / "web", "/abort")
                aborted += 1
    stop(server)

    it = account("gunicorn, workers aborted", name, path, lanes, ended=set(lanes.pids()))
    check_answers(path, loads)
    assert sum("WORKER TIMEOUT" in text for text in error_log(path)) >= 3
    assert it.workers > aborted / 2
    balance(name, path)


def test_the_next_generation_shares_the_writer(
    gunicorn: Callable[..., Server], name: str, path: Path, tmp_path: Path, lanes: Lanes
) -> None:
    """USR2 under load: two arbiters and their workers live side by side, then the first one ends."""
    server = gunicorn()
    writer = writer_of(name)
    with load(tmp_path) as loads:
        os.kill(server.pid, signal.SIGUSR2)
        wait_until((tmp_path / "pid.2").exists, 20)
        wait_until(lambda: len(lanes.alive()) == 8, 20)
        lanes.kill_each_second(2, writer=False)
        os.kill(server.pid, signal.SIGTERM)
        server.process.wait(30)
        lanes.kill_each_second(2, writer=False)
    successor = int((tmp_path / "pid").read_text())
    assert successor != server.pid
    assert writer_of(name) == writer
    os.kill(successor, signal.SIGTERM)
    wait_until(lambda: not processes_of(str(tmp_path / "gunicorn.conf.py")), 30)

    account("gunicorn, USR2", name, path, lanes)
    check_answers(path, loads)
    check_access(path, lanes)
    assert any("Master has been promoted" in text for text in error_log(path))
    balance(name, path)


def test_a_worker_that_reloads_its_code(
    gunicorn: Callable[..., Server], name: str, path: Path, tmp_path: Path, lanes: Lanes
) -> None:
    """--reload: each worker ends by itself when the application changes, and another comes."""
    (tmp_path / "shop.py").write_text("from integrations.web import wsgi\n")
    server = gunicorn("reload = True\nreload_engine = 'poll'\nworkers = 2", app="shop:wsgi")
    with load(tmp_path) as loads:
        wait_until(lambda: len(lanes.alive()) == 2)
        before = set(lanes.pids())
        deadline = time.monotonic() + 30
        while len(set(lanes.alive()) - before) < 2:
            assert time.monotonic() < deadline
            os.utime(tmp_path / "shop.py")  # again, for a reloader that had not looked before
            time.sleep(1.2)
        time.sleep(1)
    stop(server)

    account("gunicorn, reload", name, path, lanes, ended=before)
    check_answers(path, loads)
    balance(name, path)


def test_what_is_logged_as_fields(
    gunicorn: Callable[..., Server], name: str, path: Path, tmp_path: Path, lanes: Lanes
) -> None:
    """A request's method, path, status, size, duration and id; the application's own records are there."""
    stop(gunicorn("workers = 1"))

    events = [_structured.parse(record.data) for record in disklog_mp.Reader(path)]
    of = {event.logger: event for event in events if event is not None}
    fields = of["gunicorn.access"].fields
    assert list(fields) == ["method", "path", "status", "bytes", "duration_us", "request_id"]
    assert (fields["method"], fields["path"], fields["status"], fields["request_id"]) == (
        "GET",
        "/",
        200,
        "42",
    )
    assert of["shop"].message.startswith("work ")
    assert of["shop"].level == "INFO"
    assert of["gunicorn.error"].message == "Shutting down: Master"


def test_text_and_streams_as_usual(
    gunicorn: Callable[..., Server], name: str, path: Path, tmp_path: Path, lanes: Lanes
) -> None:
    """encoding="text" has gunicorn's formats, without time and process; "-" is still a stream."""
    server = gunicorn("logger_class.options = {**SMALL, 'encoding': 'text'}\naccesslog = '-'\nworkers = 1")
    stop(server)

    texts = [record.data.decode() for record in disklog_mp.Reader(path)]
    assert texts[0].startswith("[INFO] Starting gunicorn")
    assert any(text.startswith("[INFO] shop: work ") for text in texts)
    assert "access " in server.said()
    assert not any("access " in text for text in texts)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run workers as somebody else")
def test_workers_of_another_user_are_let_in(
    gunicorn: Callable[..., Server], name: str, path: Path, tmp_path: Path, lanes: Lanes
) -> None:
    """The arbiter is root, the workers are not; they come and go, and all log."""
    for directory in (lanes.directory, tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == 0 and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o007)
    server = gunicorn("user = 65534\ngroup = 65534\nmax_requests = 50")
    with load(tmp_path) as loads:
        lanes.kill_each_second(2, lambda number: stop_writer(name, signal.SIGKILL), writer=False)
        deadline = time.monotonic() + 60
        while len(list(path.glob("page-*.dlog"))) <= 6:
            assert time.monotonic() < deadline
            # Where the workers' user cannot run this Python, the arbiter starts the writer when it logs.
            os.kill(server.pid, signal.SIGUSR1)
            time.sleep(0.5)
    stop(server)

    account("gunicorn, root and nobody", name, path, lanes)
    check_answers(path, loads)
    assert {path.stat().st_gid, next(path.glob("page-*")).stat().st_gid} == {65534}
    balance(name, path)


def test_a_directory_that_cannot_be_is_said_at_the_start(tmp_path: Path) -> None:
    """gunicorn does not start, and says what is wrong with it."""
    (tmp_path / "file").write_text("")
    with running(
        tmp_path,
        "gunicorn",
        "--logger-class",
        "disklog_mp.gunicorn.Logger",
        "--error-logfile",
        tmp_path / "file" / "log",
        "integrations.web:wsgi",
    ) as server:
        assert server.process.wait(20) != 0

    assert "no log can be made in what is no directory" in server.said()


def test_standard_output_cannot_be_captured(tmp_path: Path, path: Path) -> None:
    """That needs a file; gunicorn says so and does not start."""
    with running(
        tmp_path,
        "gunicorn",
        "--logger-class",
        "disklog_mp.gunicorn.Logger",
        "--capture-output",
        "--error-logfile",
        path,
        "integrations.web:wsgi",
    ) as server:
        assert server.process.wait(20) != 0

    assert "capture_output needs a file" in server.said()
    assert not path.exists()
