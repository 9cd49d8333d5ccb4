"""disklog-mp crashtest: processes of a log killed at random, and the books balanced at the end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing import forkserver, resource_tracker, set_forkserver_preload

import click

import disklog_mp
from disklog_mp import _options
from disklog_mp._os import processes as _processes
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring import names as _names
from disklog_mp._verify.log import verify
from disklog_mp._verify.pages import DAMAGE
from disklog_mp.cli import _text
from disklog_mp.cli._find import json_option
from disklog_mp.cli.crashtest import ledger as _crash_check
from disklog_mp.cli.crashtest import processes as _crash_lives
from disklog_mp.cli.crashtest import report as _crash_report
from disklog_mp.cli.crashtest import run as _crash_work
from disklog_mp.cli.crashtest.processes import Life
from disklog_mp.cli.crashtest.roles import Child, Executed, Forked, Opened, Post
from disklog_mp.cli.crashtest.run import Notes, Order
from disklog_mp.cli.crashtest.stalls import TICK, Watch, Watched
from disklog_mp.errors import DiskLogError, LogNotFoundError

READERS = 2
AIMED_LOOKS = 1000  # at whether a worker is logging: about 0.2 ms
ENDING = 40.0  # seconds for all to come to their end
LINES_PER_SECOND = 100  # of the notes: more processes than that are not started


def to_size(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Take the size of a ring from the command line; a callback for click."""
    try:
        return int(_options.check({"ring_bytes": value})["ring_bytes"])
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from None


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(0.5, 3600), default=10.0, metavar="S", help="How long.  [10]"
)
@click.option(
    "--workers", type=click.IntRange(1, 256), default=8, metavar="N", help="Processes that log.  [8]"
)
@click.option(
    "--ring-bytes", callback=to_size, default="1M", metavar="SIZE", help="Size of the ring, from 4096.  [1M]"
)
@click.option(
    "--length", type=click.IntRange(1, 4096), default=100, metavar="N", help="Bytes per record, about.  [100]"
)
@click.option("--seed", type=int, metavar="N", help="Of all that is left to chance.  [a new one]")
@click.option("--dir", "directory", type=click.Path(), help="Where to write.  [the place of temporary files]")
@json_option
def crashtest(
    *,
    seconds: float,
    workers: int,
    ring_bytes: int,
    length: int,
    seed: int | None,
    directory: str | None,
    as_json: bool,
) -> int:
    """Kill processes of a log at random, and see that nothing is lost.

    Workers of every start method log numbered records; they, the writer and readers are killed and frozen
    at random and replaced.  At the end every record that was accepted must be there, once and in order.
    Exit code 1 if anything is wrong; what there is to see is kept then, else nothing.
    """
    chosen = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    result = _crash_report.Result(chosen, seconds, workers, ring_bytes, length)
    with _interrupts_held_back():
        _Run(result, directory).run()
    click.echo(_text.to_json(result.to_dict()) if as_json else "\n".join(_crash_report.lines(result)))
    for finding in result.findings:
        _text.say(finding)
    return 0 if result.is_right else 1


class _Run:
    """One run, from the first process to the last byte of its files."""

    def __init__(self, result: _crash_report.Result, directory: str | None) -> None:
        self._result = result
        seed, ring_bytes = result.seed, result.ring_bytes
        self._name = f"crashtest-{os.getpid()}"
        lag = max(8 << 20, 2 * ring_bytes)
        page_bytes = min(max(1 << 16, 4 * ring_bytes), 8 << 20)
        # What is removed was checked long before: the workers wait when the follower lags.
        self._options: dict[str, object] = {
            "ring_bytes": ring_bytes,
            "page_bytes": page_bytes,
            "keep_bytes": 3 * lag,
            "linger": 10.0,
        }
        self._descriptors = _descriptors()
        self._place = tempfile.mkdtemp(prefix="disklog-crashtest-", dir=directory)
        parent = os.getpid(), _processes.start_ticks(os.getpid()) or 0
        self._order = Order(self._name, self._place, 0, "", result.length, lag, *parent)
        os.mkdir(self._order.log)
        self._notes = Notes(self._order.notes, int(result.seconds * LINES_PER_SECOND) + 1000)
        self._watch = Watch(self._notes)
        self._file: _ring.RingFile | None = None
        self._watched: dict[int, Watched] = {}  # by pid
        self._writer = Post(
            "writer", _crash_lives.writer_lives(seed), self._start_writer, self._is_serving, self._is_writing
        )
        self._workers = [
            self._post("worker", _crash_lives.worker_lives(seed, place)) for place in range(result.workers)
        ]
        self._readers = [
            self._post("reader", _crash_lives.reader_lives(seed, place)) for place in range(READERS)
        ]
        self._follower: Forked | None = None
        self._told = 0  # stalls

    def _post(self, kind: str, lives: Iterator[Life]) -> Post:
        start = self._start_worker if kind == "worker" else self._start_reader
        post = Post(kind, lives, start, self._is_ready, self._is_logging)
        post.freezing = lambda frozen: self._note_freezing(post)
        return post

    @property
    def _posts(self) -> list[Post]:
        return [self._writer, *self._workers, *self._readers]

    def run(self) -> None:
        """Do it all; whatever happens, nothing stays behind but what there is to see if anything is wrong."""
        result = self._result
        try:
            self._torture()
            self._come_to_the_end()
            self._kill_all()
            self._sum_up()
        finally:
            self._kill_all()
            self._remove_ring()
            if result.is_right:
                shutil.rmtree(self._place)
            else:
                result.kept = self._place

    # -- starting processes ------------------------------------------------------------------------------

    def _next_order(self, seed: str) -> Order:
        line = self._notes.get(0, _crash_work.STARTED) + 1
        self._notes.set(0, _crash_work.STARTED, line)
        return self._order._replace(line=line, seed=seed)

    def _start_worker(self, life: Life) -> Child:
        order = self._next_order(life.seed)
        child: Child
        if life.method == "exec":
            child = Executed(["disklog_mp.cli.crashtest.run", json.dumps(order)], order)
        else:
            child = Forked(life.method, _crash_work.work, order)
        self._watched[child.pid] = Watched(child.pid, order.line)
        return child

    def _start_reader(self, life: Life) -> Child:
        order = self._next_order(life.seed)
        child = Forked(life.method, _crash_work.read, order)
        self._watched[child.pid] = Watched(child.pid, order.line)
        return child

    def _start_writer(self, life: Life) -> Child:
        child: Child
        if life.method == "serve":
            options = [f"--{name.replace('_', '-')}={value}" for name, value in self._options.items()]
            command = ["disklog_mp", "serve", self._name, self._order.log, *options]
            child = Executed(command, self._order)
        elif life.method == "open":
            child = Opened(self._order, self._options, self._find_ring)
        else:
            child = Forked("fork", _crash_work.serve, self._order, self._options)
        return child

    def _find_ring(self) -> _ring.RingFile | None:
        if self._file is None:
            with contextlib.suppress(LogNotFoundError):
                self._file = _ring.attach(self._name, None)
        return self._file

    def _is_serving(self, child: Child) -> bool:
        file = self._find_ring()
        return file is not None and file.ring.writer_pid == child.pid and _liveness.writer_alive(file)

    def _is_writing(self, child: Child) -> bool:
        """True if the writer has something to write."""
        file = self._find_ring()
        return file is not None and file.ring.frontier(file.ring.released) != file.ring.released

    def _is_logging(self, child: Child) -> bool:
        """True if there is a call under way; waits a little for one.  A reader has none."""
        line = self._watched[child.pid].line
        return any(self._notes.get(line, _crash_work.BEGAN) for _ in range(AIMED_LOOKS))

    def _is_ready(self, child: Child) -> bool:
        return self._notes.get(self._watched[child.pid].line, _crash_work.READY) != 0

    def _note_freezing(self, post: Post) -> None:
        assert post.child is not None
        line = self._watched[post.child.pid].line
        self._notes.set(line, _crash_work.FROZEN, self._notes.get(line, _crash_work.FROZEN) + 1)

    # -- the torture, and its end ------------------------------------------------------------------------

    def _torture(self) -> None:
        self._follower = Forked("fork", _crash_check.follow, self._order)
        end = time.monotonic() + self._result.seconds
        while time.monotonic() < end and self._result.is_right:
            self._turn(calm=False)
            _pause()

    def _turn(self, *, calm: bool) -> None:
        """Let every post have its turn, and look at the calls under way."""
        now = time.monotonic()
        file = self._find_ring()
        posts = self._posts if file is not None else [self._writer]
        kills = self._writer.kills
        for post in posts:
            trouble = post.turn(now, calm=calm)
            if trouble is not None:
                self._find(trouble)
        if self._writer.kills > kills and self._writer.takes_everybody:
            self._result.everybody += 1
            for post in self._workers:
                post.kill()
        if file is not None:
            self._look(now, file)
            if not _ring.is_current(file, self._name, None):
                self._find("the ring was replaced")

    def _look(self, now: float, file: _ring.RingFile) -> None:
        """Time the calls under way, and see whether anybody has complained."""
        busy = [post for post in self._workers if post.child is not None and not post.killed]
        writer = self._writer.child if self._writer.is_up and not self._writer.is_frozen else None
        present = {post.child.pid for post in self._posts if post.child is not None}
        for pid in set(self._watched) - present:
            self._watched.pop(pid).close()
        if writer is not None and writer.pid not in self._watched:
            self._watched[writer.pid] = Watched(writer.pid, 0)
        self._watch.look(
            now,
            file,
            None if writer is None else self._watched[writer.pid],
            [self._watched[post.child.pid] for post in busy if post.child is not None],
            frozen=any(post.is_frozen for post in busy),
        )
        for stall in self._watch.stalls[self._told :]:
            self._find(stall)
        self._told = len(self._watch.stalls)
        if self._notes.get(0, _crash_work.WRONG) and self._result.is_right:
            self._find("somebody met what should not be")

    def _find(self, text: str) -> None:
        self._result.findings.append(text)
        _crash_work.say(self._order, text)

    def _come_to_the_end(self) -> None:
        """Let the workers finish, the writer write, the follower read all of it; then balance the books."""
        if not self._wait(
            lambda: self._writer.is_up and not any(post.is_frozen for post in self._posts), calm=True
        ):
            self._find("there is no writer")
            return
        self._notes.set(0, _crash_work.STOP, 1)
        for post in self._readers:
            if post.child is not None:
                post.child.signal(signal.SIGKILL)
        if not self._wait(lambda: all(_is_gone(post) for post in (*self._workers, *self._readers))):
            self._find("some worker does not come to its end")
            return
        for post in self._workers:
            code = post.child.ended() if post.child is not None else 0
            if code and not post.killed:
                self._find(f"a worker ended with exit code {code}")
        try:
            with disklog_mp.attach(self._name, timeout=ENDING) as log:
                log.log(_crash_work.record_of(_crash_check.END, 0, 0))
                log.flush(ENDING)
        except DiskLogError as problem:
            self._find(f"the last record: {problem}")
            return
        follower = self._follower
        assert follower is not None
        if not self._wait(lambda: follower.ended() is not None) or follower.ended():
            self._find(
                f"the follower did not come to the end: it checked up to position {self._notes.get(0, 8)}"
            )
        self._verify()
        self._stop_writer()

    def _wait(self, condition: Callable[[], bool], *, calm: bool = False) -> bool:
        """Wait until the condition is met; False if it takes too long.  The calls are timed meanwhile."""
        deadline = time.monotonic() + ENDING
        while not condition():
            now = time.monotonic()
            if now > deadline:
                return False
            if calm:
                self._turn(calm=True)
            elif self._file is not None:
                self._look(now, self._file)
            _pause()
        return True

    def _verify(self) -> None:
        file = self._find_ring()
        checked = verify(self._order.log, self._name, file)
        self._result.verification = checked
        for finding in checked.findings:
            # The only note there may be is of records whose workers died before they counted them.
            if finding.kind == DAMAGE or finding.page:
                self._find(f"verify: page {finding.page}: {finding.text}")
        if checked.books is None or not checked.books.balance:
            self._find("verify: the books do not balance")
        writer = self._writer.child
        if writer is not None and not self._wait(lambda: not _pidfds(writer.pid)):
            self._result.leaks["descriptors"] = [f"{_pidfds(writer.pid)} pidfds of the writer"]

    def _stop_writer(self) -> None:
        writer = self._writer.child
        assert writer is not None
        writer.signal(signal.SIGTERM)
        if not self._wait(lambda: writer.ended() is not None):
            self._find("the writer does not stop")
        elif writer.ended():
            self._find(f"the writer ended with exit code {writer.ended()}")

    # -- afterwards --------------------------------------------------------------------------------------

    def _kill_all(self) -> None:
        """Kill who is still there, and wait for all to be gone."""
        children = [post.child for post in self._posts if post.child is not None]
        if self._follower is not None:
            children.append(self._follower)
        for child in children:
            child.signal(signal.SIGKILL)
        deadline = time.monotonic() + ENDING
        while any(child.ended() is None for child in children) and time.monotonic() < deadline:
            time.sleep(TICK)
        for watched in self._watched.values():
            watched.close()
        self._watched.clear()

    def _sum_up(self) -> None:
        result = self._result
        for post in self._posts:
            result.started.setdefault(post.kind, Counter()).update(post.started)
            result.killed[post.kind] += post.kills
            result.frozen[post.kind] += post.freezes
        for line in range(1, self._notes.get(0, _crash_work.STARTED) + 1):
            result.longest = max(result.longest, self._notes.get(line, _crash_work.STALLED))
            result.stalls += self._notes.get(line, _crash_work.STALLS)
            result.waited += self._notes.get(line, _crash_work.WAITED)
        if result.stalls:
            self._find(f"{result.stalls} calls took longer than 100 ms")
        result.longest = max(result.longest, self._watch.longest)
        result.stalls += len(self._watch.stalls)
        with contextlib.suppress(FileNotFoundError), open(self._order.balance, encoding="utf-8") as file:
            result.balance = _crash_check.Balance(**json.load(file))
        for text in result.balance.findings:
            self._find(text)
        if not result.balance.is_right and not result.balance.findings:
            self._find("the books of the follower do not balance")
        self._look_for_leaks()

    def _look_for_leaks(self) -> None:
        leaks = self._result.leaks
        if self._file is not None:
            os.close(self._file.fd)
            self._file = None
        found = {
            "shared memory": [entry for entry in os.listdir(_names.SHM) if self._name in entry],
            "processes": _processes_of(self._place),
            "files": [name for name in _listed(self._order.log) if name.startswith(".")],
            "descriptors": leaks.get("descriptors", [])
            + [where for fd, where in _descriptors().items() if self._descriptors.get(fd) != where],
        }
        for kind, what in found.items():
            leaks[kind] = what
            if what:
                self._find(f"left behind: {kind}: {', '.join(what)}")

    def _remove_ring(self) -> None:
        path = _names.ring_path(self._name, None)
        if os.path.exists(path):
            if not self._result.is_right:
                shutil.copyfile(path, os.path.join(self._place, "ring"))
            os.unlink(path)


def _is_gone(post: Post) -> bool:
    return post.child is None or post.child.ended() is not None


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits until _pause() looks for it, and no process that is started meanwhile ever gets it."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What multiprocessing keeps for as long as this process lives; to start it lets signals through.
    set_forkserver_preload(["disklog_mp.cli.crashtest.run"])
    resource_tracker.ensure_running()
    forkserver.ensure_running()
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _pause() -> None:
    """Sleep for a tick.  Raises KeyboardInterrupt."""
    if signal.sigtimedwait({signal.SIGINT}, TICK):
        raise KeyboardInterrupt


def _descriptors() -> dict[str, str]:
    """This process's open descriptors, and what they lead to."""
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
    return found


def _pidfds(pid: int) -> int:
    """How many processes that process has a descriptor of."""
    count = 0
    for fd in _listed(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            count += "pidfd" in os.readlink(f"/proc/{pid}/fd/{fd}")
    return count


def _processes_of(place: str) -> list[str]:
    """The processes, but for this one, that have a file in that directory mapped."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", "rb") as file:
            if int(pid) != os.getpid() and os.fsencode(place) in file.read():
                found.append(pid)
    return found


def _listed(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
