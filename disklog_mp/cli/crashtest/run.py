"""One run of the crash test: from the first process to the last byte of its files."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing import forkserver, resource_tracker, set_forkserver_preload

import disklog_mp
from disklog_mp._os import processes as _processes
from disklog_mp._ring import file as _ring
from disklog_mp._ring import names as _names
from disklog_mp._verify.log import verify
from disklog_mp._verify.pages import DAMAGE, DROP
from disklog_mp.cli.crashtest import attached as _attached
from disklog_mp.cli.crashtest import leaks as _leaks
from disklog_mp.cli.crashtest import ledger as _ledger
from disklog_mp.cli.crashtest import notes as _notes
from disklog_mp.cli.crashtest import schedule as _schedule
from disklog_mp.cli.crashtest.children import Forked
from disklog_mp.cli.crashtest.notes import Notes, Order
from disklog_mp.cli.crashtest.report import Result
from disklog_mp.cli.crashtest.roles import Role
from disklog_mp.cli.crashtest.schedule import Fate
from disklog_mp.cli.crashtest.stalls import TICK, Watch, Watched
from disklog_mp.cli.crashtest.starting import Starter
from disklog_mp.errors import DiskLogError

READERS = 2
SHORTEST = 1.0  # seconds of the part without a supervisor
ENDING = 40.0  # seconds for all processes to end
LINES_PER_SECOND = 100  # lines of the notes per second of the run: fewer processes are started


class Run:
    """One crash test; what it finds is in its result."""

    def __init__(self, result: Result, directory: str | None) -> None:
        self._result = result
        seed, ring_bytes = result.seed, result.ring_bytes
        lag = max(8 << 20, 2 * ring_bytes)
        page_bytes = min(max(1 << 16, 4 * ring_bytes), 8 << 20)
        # Retention removes only what was checked: the workers wait when the follower lags.
        options: dict[str, object] = {
            "ring_bytes": ring_bytes,
            "page_bytes": page_bytes,
            "keep_bytes": 3 * lag,
        }
        self._descriptors = _leaks.descriptors()
        place = tempfile.mkdtemp(prefix="disklog-crashtest-", dir=directory)
        parent = os.getpid(), _processes.start_ticks(os.getpid()) or 0
        self._order = Order(f"crashtest-{os.getpid()}", place, 0, "", result.length, lag, *parent)
        os.mkdir(self._order.log)
        self._notes = Notes(self._order.notes, int(result.seconds * LINES_PER_SECOND) + 1000)
        self._watch = Watch(self._notes)
        starter = self._starter = Starter(self._order, self._notes, options)
        fates = _schedule.writer_fates(seed)
        self._writer = Role("writer", fates, starter.start_writer, starter.is_serving, starter.is_writing)
        self._workers = [
            self._role("worker", _schedule.worker_fates(seed, index)) for index in range(result.workers)
        ]
        self._readers = [
            self._role("reader", _schedule.reader_fates(seed, index)) for index in range(READERS)
        ]
        self._follower: Forked | None = None
        self._reported = 0  # stalls

    def _role(self, kind: str, fates: Iterator[Fate]) -> Role:
        starter = self._starter
        start = starter.start_worker if kind == "worker" else starter.start_reader
        role = Role(kind, fates, start, starter.is_ready, starter.is_logging)

        def freezing(frozen: bool) -> None:
            assert role.child is not None
            starter.note_freezing(role.child)

        role.freezing = freezing
        return role

    @property
    def _roles(self) -> list[Role]:
        return [self._writer, *self._workers, *self._readers]

    def run(self) -> None:
        """Run it to its end; nothing stays behind unless it found a fault: then the log is kept."""
        result = self._result
        try:
            self._torture()
            self._come_to_the_end()
            self._kill_all()
            if result.is_right:
                self._restart_writers()
            self._sum_up()
        finally:
            self._kill_all()
            self._remove_ring()
            if result.is_right:
                shutil.rmtree(self._order.place)
            else:
                result.kept = self._order.place

    # -- the torture, and its end ------------------------------------------------------------------------

    def _torture(self) -> None:
        self._follower = Forked("fork", _ledger.follow, self._order)
        end = time.monotonic() + self._result.seconds
        while time.monotonic() < end and self._result.is_right:
            self._turn(calm=False)
            _pause()

    def _restart_writers(self) -> None:
        """Run the shape without a supervisor, for a quarter of the time."""
        result = self._result
        result.restarts = _attached.run(self._order, max(SHORTEST, result.seconds / 4))
        for text in result.restarts.findings:
            self._find(text)

    def _turn(self, *, calm: bool) -> None:
        """Let every role take its turn, and check the calls under way."""
        now = time.monotonic()
        file = self._starter.find_ring()
        roles = self._roles if file is not None else [self._writer]
        kills = self._writer.kills
        for role in roles:
            trouble = role.turn(now, calm=calm)
            if trouble is not None:
                self._find(trouble)
        if self._writer.kills > kills and self._writer.takes_all:
            self._result.together += 1
            for role in self._workers:
                role.kill()
        if file is not None:
            self._look(now, file)
            if not _ring.is_current(file):
                self._find("the ring was replaced")

    def _look(self, now: float, file: _ring.RingFile) -> None:
        """Time the calls under way, and check whether a process has complained."""
        busy = [role for role in self._workers if role.child is not None and not role.killed]
        writer = self._writer.child if self._writer.is_up and not self._writer.is_frozen else None
        present = {role.child.pid for role in self._roles if role.child is not None}
        self._starter.forget(present)
        if writer is not None and writer.pid not in self._starter.watched:
            self._starter.watched[writer.pid] = Watched(writer.pid, 0)
        self._watch.look(
            now,
            file,
            None if writer is None else self._starter.watched[writer.pid],
            [self._starter.watched[role.child.pid] for role in busy if role.child is not None],
            frozen=any(role.is_frozen for role in busy),
        )
        for stall in self._watch.stalls[self._reported :]:
            self._find(stall)
        self._reported = len(self._watch.stalls)
        if self._notes.get(0, _notes.WRONG) and self._result.is_right:
            self._find("a process found a fault")

    def _find(self, text: str) -> None:
        self._result.findings.append(text)
        _notes.say(self._order, text)

    def _come_to_the_end(self) -> None:
        """Let workers, writer and follower finish their work; then compare the counters."""
        if not self._wait(
            lambda: self._writer.is_up and not any(role.is_frozen for role in self._roles), calm=True
        ):
            self._find("there is no writer")
            return
        self._notes.set(0, _notes.STOP, 1)
        for role in self._readers:
            if role.child is not None:
                role.child.signal(signal.SIGKILL)
        if not self._wait(lambda: all(_is_gone(role) for role in (*self._workers, *self._readers))):
            self._find("a worker or a reader does not end")
            return
        for role in self._workers:
            code = role.child.ended() if role.child is not None else 0
            if code and not role.killed:
                self._find(f"a worker ended with exit code {code}")
        try:
            with disklog_mp.attach(self._order.name, timeout=ENDING) as log:
                log.log(_notes.record_of(_ledger.END, 0, 0))
                log.flush(ENDING)
        except DiskLogError as problem:
            self._find(f"the last record: {problem}")
            return
        follower = self._follower
        assert follower is not None
        if not self._wait(lambda: follower.ended() is not None) or follower.ended():
            checked = self._notes.get(0, _notes.CHECKED)
            self._find(f"the follower did not reach the end: it checked up to position {checked:,}")
        self._verify()
        self._stop_writer()

    def _wait(self, condition: Callable[[], bool], *, calm: bool = False) -> bool:
        """Wait until the condition is met; return False after ENDING.  Calls are timed meanwhile."""
        deadline = time.monotonic() + ENDING
        while not condition():
            now = time.monotonic()
            if now > deadline:
                return False
            if calm:
                self._turn(calm=True)
            elif self._starter.file is not None:
                self._look(now, self._starter.file)
            _pause()
        return True

    def _verify(self) -> None:
        file = self._starter.find_ring()
        checked = verify(self._order.log, self._order.name, file)
        self._result.verification = checked
        for finding in checked.findings:
            # One note is allowed: records whose workers were killed before they counted them.
            if finding.kind == DAMAGE or (finding.page and finding.kind != DROP):
                self._find(f"verify: page {finding.page}: {finding.text}")
        if checked.books is None or not checked.books.balance:
            self._find("verify: the counters do not match")
        writer = self._writer.child
        if writer is not None and not self._wait(lambda: not _leaks.pidfds(writer.pid)):
            self._result.leaks["descriptors"] = [f"{_leaks.pidfds(writer.pid)} pidfds of the writer"]

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
        """Kill all processes that are left, and wait until they have ended."""
        children = [role.child for role in self._roles if role.child is not None]
        if self._follower is not None:
            children.append(self._follower)
        for child in children:
            child.signal(signal.SIGKILL)
        deadline = time.monotonic() + ENDING
        while any(child.ended() is None for child in children) and time.monotonic() < deadline:
            time.sleep(TICK)
        self._starter.forget(set())

    def _sum_up(self) -> None:
        result = self._result
        for role in self._roles:
            result.started.setdefault(role.kind, Counter()).update(role.started)
            result.killed[role.kind] += role.kills
            result.frozen[role.kind] += role.freezes
        for line in range(1, self._notes.get(0, _notes.STARTED) + 1):
            result.longest = max(result.longest, self._notes.get(line, _notes.STALLED))
            result.stalls += self._notes.get(line, _notes.STALLS)
            result.waited += self._notes.get(line, _notes.WAITED)
        if result.stalls:
            self._find(f"{result.stalls} calls took longer than 100 ms")
        result.longest = max(result.longest, self._watch.longest)
        result.stalls += len(self._watch.stalls)
        with contextlib.suppress(FileNotFoundError), open(self._order.balance, encoding="utf-8") as file:
            result.balance = _ledger.Balance(**json.load(file))
        for text in result.balance.findings:
            self._find(text)
        if not result.balance.is_right and not result.balance.findings:
            self._find("the counts of the follower do not match")
        self._look_for_leaks()

    def _look_for_leaks(self) -> None:
        leaks = self._result.leaks
        self._starter.close()
        place, log = self._order.place, self._order.log
        self._wait(lambda: not _leaks.processes_of(place))  # a writer that was started last is ending
        for kind, found in _leaks.left_behind(self._order.name, place, log, self._descriptors).items():
            leaks[kind] = leaks.get(kind, []) + found
            if leaks[kind]:
                self._find(f"left behind: {kind}: {', '.join(leaks[kind])}")

    def _remove_ring(self) -> None:
        for path in _names.rings_of(self._order.name):
            if not self._result.is_right:
                shutil.copyfile(path, os.path.join(self._order.place, "ring"))
            _ring.unlink(path)
        _leaks.remove_rest(self._order.name)


def _is_gone(role: Role) -> bool:
    return role.child is None or role.child.ended() is not None


@contextlib.contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Hold Ctrl-C back until _pause() asks for it; no process that is started meanwhile gets it."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    # multiprocessing keeps these two for the life of this process, and starting them unblocks signals.
    set_forkserver_preload(["disklog_mp.cli.crashtest.processes"])
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
