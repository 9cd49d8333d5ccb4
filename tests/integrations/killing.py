"""Workers and the log's writer killed while they work, and the account of what they logged.

An account is right when the lines found in the log are those accepted: each once, in its lane's order, and
beyond them at most the one line of a killed lane whose log call had not returned, or was not noted any more.
"""

import functools
import logging
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, cast

import psutil
import pytest
from support.machine import stop_writer, wait_until
from support.rings import attach_ring

import disklog_mp
from disklog_mp._os.processes import is_running
from disklog_mp._ring.liveness import writer_alive
from integrations import work

SECONDS = float(os.environ.get("INTEGRATION_SECONDS", "6"))  # of killing, a worker each second
EACH_WRITER = 3  # rounds: in the second one, the fifth, and so on the writer is killed beside a worker
TASK = 0.4  # seconds, of an executor's task
ROLLS = 5  # at least so many while workers are killed
# Seconds that a handler waits for room.  The usual one is too short where the next writer, started beside
# eight workers on two cores, gets no processor: 1.5 s were seen.  What is refused then is told, not accepted.
PATIENCE = 5.0
SMALL = {"page_records": 200, "ring_bytes": 1 << 20, "linger": 2.0, "timeout": PATIENCE}  # of the doors
UNSCHEDULED = 4.0  # seconds that a busy machine may leave a worker without a processor
LINE = re.compile(rb"work (\d+-\d+-[0-9a-f]+) (\d+)")
ACCESS = re.compile(rb"access (\d+-\d+-[0-9a-f]+) (\d+)")


class Account(NamedTuple):
    """What came of a run."""

    accepted: int
    found: int
    killed: int
    writers: int  # killed, and each replaced
    beyond: int  # lines of killed lanes whose call had not returned
    pages: int
    workers: int
    first: float  # seconds that the longest first call of a worker took
    longest: float  # and the longest of all the others


class Writer(NamedTuple):
    """A process that was a log's writer."""

    pid: int
    start: int  # in clock ticks after boot


class Lanes:
    """The lanes of a test's workers, and its killer."""

    def __init__(self, directory: Path, name: str, tell: Callable[[str], object]) -> None:
        self.directory = directory
        self.name = name
        self.tell = tell
        self.killed: list[int] = []
        self.writers: list[Writer] = []  # that were killed

    def pids(self) -> dict[int, float]:
        """The processes that have lanes, and when each last noted a line."""
        latest: dict[int, float] = {}
        for entry in os.scandir(self.directory):
            pid = int(entry.name.partition("-")[0])
            latest[pid] = max(latest.get(pid, 0.0), entry.stat().st_mtime)
        return latest

    def alive(self, within: float = 1e9) -> list[int]:
        """The processes that are alive, and noted a line within so many seconds."""
        found = []
        for pid, noted in self.pids().items():
            if time.time() - noted < within and pid not in self.killed:
                try:
                    process = psutil.Process(pid)
                    if process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= noted:
                        found.append(pid)
                except psutil.NoSuchProcess:
                    continue
        return found

    def busy(self) -> list[int]:
        """The processes that noted a line a moment ago."""
        return self.alive(within=0.1)

    def notes(self) -> dict[str, tuple[int, int, int]]:
        """How many lines of each lane were accepted, and how long it took."""
        return {
            file.name: work.NOTE.unpack(content)
            for file in self.directory.iterdir()
            if (content := file.read_bytes())
        }

    def accepted(self) -> int:
        """How many lines were accepted, of all lanes."""
        return sum(count for count, _, _ in self.notes().values())

    def kill_one(self) -> None:
        """Kill a process that works."""
        while True:
            victim = random.choice(wait_until(self.busy, 20))
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:  # it has ended meanwhile
                continue
            self.killed.append(victim)
            return

    def kill_writer(self) -> None:
        """Kill the log's writer.  Waits for it: the one that was killed before must have been replaced."""
        victim = self.wait_for_writer()
        os.kill(victim.pid, signal.SIGKILL)
        self.writers.append(victim)

    def wait_for_writer(self) -> Writer:
        """Wait until the log has a writer that is none of those that were killed."""
        return cast(Writer, wait_until(self._next_writer, 20))

    def _next_writer(self) -> Writer | None:
        """Look without a session, which would start the next writer itself: that is the workers' part."""
        try:
            file = attach_ring(self.name)
        except disklog_mp.LogNotFoundError:
            return None
        try:
            writer = Writer(file.ring.writer_pid, file.ring.writer_start)
            is_there = is_running(*writer) and writer_alive(file)
            return writer if is_there and writer not in self.writers else None
        finally:
            os.close(file.fd)

    def kill_round(self, number: int, *, writer: bool = True) -> None:
        """Kill a worker, and in some rounds the writer just before it: that worker may start the next one."""
        if writer and number % EACH_WRITER == 1:
            self.kill_writer()
            time.sleep(random.uniform(0, 0.05))
        self.kill_one()

    def kill_each_second(
        self, seconds: float = SECONDS, each: Callable[[int], object] | None = None, *, writer: bool = True
    ) -> None:
        """Kill a worker every second, for so many seconds; call `each` with the round's number after it.

        The writer is killed too, every third second unless it is to live, and the workers replace it.
        """
        wait_until(lambda: len(self.busy()) >= 1, 30)
        for number in range(max(1, round(seconds))):
            time.sleep(1)
            self.kill_round(number, writer=writer)
            if each is not None:
                each(number)
        if writer:
            self.wait_for_writer()
            assert len(self.writers) >= seconds // 4


class Load(threading.Thread):
    """Calls something over and over, in a thread, until the block ends; refusals are part of it."""

    def __init__(
        self, call: Callable[[], object], refusals: tuple[type[Exception], ...] = (OSError,)
    ) -> None:
        super().__init__(daemon=True)
        self.call = call
        self.refusals = refusals
        self.refused = 0
        self.answers: list[object] = []
        self._stop_now = threading.Event()

    def run(self) -> None:
        """Until told to stop."""
        while not self._stop_now.is_set():
            try:
                self.answers.append(self.call())
            except self.refusals:
                self.refused += 1
                time.sleep(0.01)

    def __enter__(self) -> "Load":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_now.set()
        self.join(30)
        assert not self.is_alive()


def lines(path: Path, pattern: re.Pattern[bytes] = LINE) -> dict[str, list[int]]:
    """The numbers found in the log, by lane, in the log's order.  No record was dropped or damaged."""
    damages: list[object] = []
    found = defaultdict(list)
    for record in disklog_mp.Reader(path, on_damage=damages.append):
        assert not record.gap, record.data
        if match := pattern.search(record.data):
            found[match[1].decode()].append(int(match[2]))
    assert damages == []
    return dict(found)


def account(title: str, name: str, path: Path, lanes: Lanes, ended: set[int] | None = None) -> Account:
    """Hold the log against what was accepted.

    Only lanes of processes that were killed (or are in `ended`: made an end of by their pool or server) may
    have one line more than was noted.
    """
    wait_until(lambda: not lanes.alive())
    notes = lanes.notes()
    accepted = {lane: count for lane, (count, _, _) in notes.items()}
    with disklog_mp.open(name, path) as log:  # if its writer was killed, this starts another
        log.log(b"the end")
        log.flush()  # that, and what stands before it
    found = lines(path)
    killed = set(lanes.killed) | (ended or set())
    wrong = []
    beyond = 0
    for lane in sorted(accepted.keys() | found.keys()):
        count, numbers = accepted.get(lane, 0), found.get(lane, [])
        more = len(numbers) - count
        may_be = (0, 1) if int(lane.partition("-")[0]) in killed else (0,)
        if numbers != list(range(len(numbers))) or more not in may_be:
            wrong.append(describe(lane, count, numbers))
        else:
            beyond += more
    assert not wrong, "\n".join(wrong[:10])
    pages = len(disklog_mp.Reader(path).page_numbers())
    it = Account(
        sum(accepted.values()),
        sum(map(len, found.values())),
        len(lanes.killed),
        len(lanes.writers),
        beyond,
        pages,
        len({lane.partition("-")[0] for lane in accepted}),
        max(first for _, first, _ in notes.values()) / 1e9,
        max(longest for _, _, longest in notes.values()) / 1e9,
    )
    lanes.tell(
        f"{title}: {it.accepted:,} accepted, {it.found:,} found ({it.beyond} beyond, of the killed), "
        f"0 lost, 0 doubled, 0 out of order; {it.workers} workers, {it.killed} killed, {it.writers} writers "
        f"killed; {it.pages} pages; "
        f"a worker's first call up to {1000 * it.first:,.0f} ms, the others up to {1000 * it.longest:,.0f} ms"
    )
    assert it.found - it.accepted == beyond
    assert len(set(lanes.writers)) == it.writers
    assert not any(is_running(*writer) for writer in lanes.writers), "a writer that was killed is there"
    assert it.pages > ROLLS, "too little was logged for that many rolls"
    assert it.longest < PATIENCE + UNSCHEDULED, "a call took longer than the handler is to wait"
    return it


def describe(lane: str, count: int, numbers: list[int]) -> str:
    """What is wrong with a lane."""
    doubled = [number for number, times in Counter(numbers).items() if times > 1]
    lost = sorted(set(range(count)) - set(numbers))
    return (
        f"{lane}: {count} accepted, {len(numbers)} found, lost {lost[:5]}, doubled {doubled[:5]}, "
        f"{'in' if numbers == sorted(numbers) else 'out of'} order"
    )


def balance(name: str, path: Path) -> None:
    """Let the writer end, and have every byte and the books checked."""
    stop_writer(name)
    done = subprocess.run(
        [sys.executable, "-m", "disklog_mp", "verify", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def kill_pool(
    method: str,
    start: Callable[..., object],
    name: str,
    path: Path,
    lanes: Lanes,
    log: Callable[[str], object] | None = None,
) -> None:
    """Run a pool of four that works, and kill a worker each second, and the writer too.

    In the middle of a task: between two of them it may hold a lock of the pool's own, which then hangs.
    """
    with multiprocessing.get_context(method).Pool(4, start, (str(lanes.directory), name, path)) as pool:
        # A killed worker's task is nobody's any more: there are enough for the others.
        for _ in range(8 + round(SECONDS)):
            pool.apply_async(work.task, (SECONDS + 100, log))
        lanes.kill_each_second()
        wait_until(lanes.busy)


def writer_of(name: str) -> int:
    """The pid of the log's writer, once it has one."""
    with disklog_mp.attach(name) as log:
        return int(wait_until(lambda: log.stats().writer_pid, 20))


# -- for pytest ----------------------------------------------------------------------------------------


@pytest.fixture
def lanes(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> Lanes:
    """Where workers, in whatever process, note what was accepted."""
    directory = tmp_path / "lanes"
    directory.mkdir()
    monkeypatch.setenv(work.DIRECTORY, str(directory))
    return Lanes(directory, name, functools.partial(record_property, "account"))


@pytest.fixture
def writer_ends(name: str, nothing_left_behind: None) -> Iterator[None]:
    """No test waits for the log's writer to leave by itself."""
    yield
    stop_writer(name)


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back as it was."""
    root = logging.getLogger()
    level, kept = root.level, root.handlers[:]
    yield root
    for handler in root.handlers:
        if handler not in kept:
            handler.close()
    root.handlers[:] = kept
    root.setLevel(level)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the accounts."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, ())]
    told = sorted(text for report in reports for key, text in report.user_properties if key == "account")
    if told:
        terminalreporter.section("accounts")
        terminalreporter.write("\n".join([*told, ""]))
