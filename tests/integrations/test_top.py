"""top with its view: an incident watched as it happens, keys, sizes of terminals, several logs, a picture."""

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.children import child, end
from support.command import call
from support.machine import wait_until
from support.mounts import Mount, fill
from textual.widgets import DataTable

import disklog_mp
from disklog_mp.cli.top.app import TopApp
from disklog_mp.cli.top.gather import Gatherer
from integrations.terminals import running

OpenLog = Callable[..., disklog_mp.Session]
SECONDS = 100  # after which a worker of a test that failed ends by itself


@pytest.fixture(autouse=True)
def _tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)


def work(name: str, path: Path, label: str, tag: int) -> None:
    """Log records slowly, drop those that find no room."""
    log = disklog_mp.attach(name, path, label=label, on_full="drop")
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        log.log(b"order of %s" % label.encode(), tag=tag)
        time.sleep(0.005)


@pytest.mark.timeout(200)
def test_an_incident_watched_while_it_happens(name: str, open_log: OpenLog, mount: Mount) -> None:
    """A worker is killed, the disk fills up, the ring is full, records are dropped; then it is over."""
    disk = mount("-t", "tmpfs", "-o", "size=4m", "tmpfs")
    options: dict[str, Any] = {"ring_bytes": 1 << 16, "page_bytes": 1 << 20, "linger": 0.1}
    log = disklog_mp.open(name, disk / "log", **options, on_full="drop", label="shop")
    with contextlib.ExitStack() as stack:
        stack.callback(log.close)
        log.log(b"a complaint", tag=40)
        victim = stack.enter_context(child(lambda: work(name, disk / "log", "victim", 20)))
        terminal, process = stack.enter_context(running(170, 45, "top", disk / "log", "--interval", "200ms"))
        terminal.shows(name, "writer ", "2 producers by rate", "victim", "shop", "INFO ")

        end(victim)
        terminal.shows("producer-died", "1 producers by rate")
        assert terminal.is_red("producer-died")
        assert not terminal.is_red("records ")

        fill(disk / "ballast")

        def is_told() -> bool:
            for _ in range(100):
                log.log(b"order " * 100, tag=30)
            shown = terminal.text()
            return all(word in shown for word in ("cannot write: ", "records dropped", "% full"))

        wait_until(is_told, 60, 0.02)
        assert terminal.is_red("cannot write: ")
        terminal.press("s")
        terminal.shows("1 producers by dropped", "error what=write errno=28")

        (disk / "ballast").unlink()
        terminal.shows("recovered what=write", seconds=60)
        wait_until(lambda: "cannot write: " not in terminal.text(), 60, 0.02)
        dropped = log.stats().dropped
        assert dropped
        terminal.shows(f"{dropped:,} records dropped")

        terminal.press("f")
        terminal.shows("process ", "shop: ", "esc back")
        log.log(b"and a thank-you", tag=20)
        terminal.shows("and a thank-you")
        terminal.press("\x1b")
        terminal.shows("1 producers by dropped")
        terminal.press("q")
        assert 0 == process.wait(30)
    assert b"\x1b[?1049h" in terminal.recorded
    assert terminal.recorded.rindex(b"\x1b[?1049l") > terminal.recorded.rindex(b"\x1b[?1049h")


def test_a_terminal_that_is_too_narrow(log: disklog_mp.Session, path: Path) -> None:
    """20 columns: one line, exit code 2.  A terminal that becomes so says it, and grows again."""
    with running(20, 24, "top", path) as (terminal, process):
        assert 2 == process.wait(30)
    said = b"".join(terminal.recorded.split(b"\r\n"))
    assert (
        b"the terminal has 20 columns and 24 lines, top needs 40 and 12: enlarge it, or take --once" in said
    )
    assert 1 == terminal.recorded.count(b"\n")
    with running(80, 24, "top", path, "--interval", "100ms") as (terminal, process):
        terminal.shows("producers by rate", "durable", "opened", "quit")
        terminal.resize(30, 24)
        terminal.shows("too narrow: 40 column")
        terminal.resize(200, 50)
        terminal.shows("producers by rate", "durable", "COMMAND")
        terminal.press("\x03q")  # whatever Ctrl-C is, q ends it
        process.wait(30)


class Steady:
    """Producers that log in this process, in the background."""

    def __init__(self, log: disklog_mp.Session) -> None:
        self._log, self._ends = log, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ends.wait(0.002):
            self._log.log_many([b"request"] * 20, tag=20)
            self._log.log(b"slow", tag=30)

    def __enter__(self) -> "Steady":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ends.set()
        self._thread.join()


@pytest.fixture
def two_logs(tmp_path: Path, name: str, log: disklog_mp.Session) -> Iterator[Gatherer]:
    """The test's log and a directory of a log that is closed."""
    closed = tmp_path / "closed"
    with disklog_mp.open(f"{name}.closed", closed, linger=0.0, ring_bytes=1 << 20) as other:
        other.log(b"x")
    wait_until(lambda: not [each for each in disklog_mp.list_logs() if each.path == str(closed)])
    gatherer = Gatherer([str(tmp_path / "log"), str(closed)], None, 0.1)
    yield gatherer
    gatherer.close()


def test_keys_and_several_logs(two_logs: Gatherer, log: disklog_mp.Session, name: str) -> None:
    """A line for each log; pausing, filtering, and going to the next log; readable at 80 columns."""

    def shown(app: TopApp) -> str:
        return "\n".join(
            "".join(part.text for part in line) for line in app.screen._compositor.render_strips()
        )

    async def use() -> None:
        app = TopApp(two_logs, 0.2)
        async with app.run_test(size=(80, 24)) as pilot:

            async def sees(*words: str) -> None:
                for _ in range(400):
                    if all(word in shown(app) for word in words):
                        return
                    await pilot.pause(0.05)
                raise AssertionError(f"{words} are not all shown in\n{shown(app)}")

            await sees(
                "LOG", f"{name}.closed", "1 producers by rate", "INFO", "WARNING", "0 % of 1 MiB", "quit"
            )
            await pilot.press("p")
            await sees("paused")
            await pilot.press("p", "slash", *"nothing")
            await sees("1 producers by rate, with 'nothing', 1 not shown")
            await pilot.press("escape")
            await sees("1 producers by rate─")
            assert 1 == app.query_one("#producers", DataTable).row_count
            await pilot.press("n")
            await sees("not open", "1 page (1)")
            await pilot.press("n", "s")
            await sees("1 producers by dropped")
            await pilot.press("enter")
            await sees(f"process {os.getpid()}", "INFO request", "back")
            await pilot.press("p", "escape", "q")

    with Steady(log):
        asyncio.run(use())


SHOP = """
import random, sys, time, disklog_mp
name, path, label, seconds = sys.argv[1:]
log = disklog_mp.attach(name, path, label=label)
ends = time.monotonic() + float(seconds)
while time.monotonic() < ends:
    log.log_many([b"GET /cart"] * random.randrange(100), tag=20)
    log.log(b"slow", tag=random.choice((20, 20, 30)))
    log.log(b"failed", tag=random.choice((10, 10, 40)))
    time.sleep(random.random() / 50)
"""


def test_a_picture(name: str, path: Path, tmp_path: Path) -> None:
    """The program draws the view as SVG, without a terminal: DISKLOG_TEST_PICTURE=FILE makes the README's."""
    picture = os.environ.get("DISKLOG_TEST_PICTURE", "")
    target = Path(picture or tmp_path / "top.svg").absolute()
    name, path = ("web", Path("/var/log/web")) if picture else (name, path)
    (tmp_path / "shop.py").write_text(SHOP)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with contextlib.ExitStack() as stack:
        options: dict[str, Any] = {"linger": 0.0, "ring_bytes": 1 << 20, "keep_bytes": "2G"}
        log = stack.enter_context(disklog_mp.open(name, path, **options, label="main"))
        for label in ("web-1", "web-2", "worker"):
            command = ["python", "shop.py", name, str(path), label, str(SECONDS)]
            process = subprocess.Popen(command, executable=sys.executable, cwd=tmp_path, env=environment)
            stack.enter_context(process)
            stack.callback(process.kill)
        wait_until(lambda: len(log.stats().producers) == 4, 30)
        done = call("top", path, "--svg", target, "--interval", "200ms" if picture else "100ms")
    assert (0, b"", b"") == (done.returncode, done.stdout, done.stderr)
    drawn = target.read_text().replace("&#160;", " ")
    assert drawn.startswith("<svg")
    assert len(drawn) < 60_000
    for word in (name, "web-1", "web-2", "worker", "python shop.py", "ERROR", "keep_bytes"):
        assert word in drawn, word
    assert 2 == call("top", path, "--svg", tmp_path / "no" / "such.svg").returncode
    assert [target] == [*target.parent.glob("*.svg*")]
