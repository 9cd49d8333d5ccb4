"""Whatever dies, stands still or goes away, a call ends when it was told to, and a death is seen in time.

A machine that is short of cores must not fail these tests, so time is counted in two ways.  What a call asks
for: the sum of its sleeps and waits, each at most as long as asked, can only pass the timeout if the code
lets it.  And the clock, less the time this process was ready and had no core, with much to spare, for what
blocks without asking; and the time it worked, for what goes round in circles.
"""

import asyncio
import contextlib
import errno
import functools
import logging
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.children import child, fork, stepping_clock, succeeds
from support.machine import processes_of, shared_memory_of, wait_until
from support.rings import attach_ring, ring_path
from support.workers import claim_and

import disklog_mp
from disklog_mp import _core, aio
from disklog_mp._options import Options
from disklog_mp._os import files as _files
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring import names as _names
from disklog_mp._ring import slots as _slots
from disklog_mp._session import connection as _connection
from disklog_mp._session import interpreter
from disklog_mp._session import leaving as _leaving
from disklog_mp._session import opening as _open
from disklog_mp._session import start_writer as _start_writer
from disklog_mp._session.place import Place
from disklog_mp._session.session import BlockingConnection
from disklog_mp._session.start_writer import Starting
from disklog_mp._writer import pace as _pace
from disklog_mp._writer import writer
from disklog_mp.aio._session import LoopConnection
from disklog_mp.cli.crashtest.notes import RunDelay
from disklog_mp.errors import DiskLogError
from disklog_mp.logging import DiskLogHandler

TIMEOUT = 0.1
TOLERANCE = 0.05
LEAVING = 0.5  # in place of the 5 s that a process waits in vain, once, until what it logged is in pages
CLOSING = LEAVING + TIMEOUT  # close() waits so long for pages, and then for appends of other threads
TO_SPARE = 3.0  # by the clock: less than what a wait without a deadline takes
WORK = 0.5  # of this process, in one call
NOTICE = 0.1  # of a death
RECORD = b"x" * 1000


class Asked:
    """Counts the seconds this process asked to sleep or wait for, while entered."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since = 0.0

    def __enter__(self) -> "Asked":
        self._patch = pytest.MonkeyPatch()
        self._count(time, "sleep", lambda seconds: seconds)
        self._count(_core.Ring, "wait_for", lambda ring, which, seen, seconds: seconds)
        self._count(_core.Ring, "park", lambda ring, position, seconds, *_: seconds)
        self._count(_core.Ring, "doze", lambda ring, seconds, *_: seconds)
        self._count(_core, "wait_readable", lambda fd, seconds: seconds)
        pause = asyncio.sleep

        async def counted_pause(seconds: float) -> None:
            began = time.monotonic()
            await pause(seconds)
            self._add(seconds, began)

        self._patch.setattr(asyncio, "sleep", counted_pause)
        self._delay = RunDelay()
        self._delay.grown()
        self._began, self._worked = time.monotonic(), time.process_time()
        return self

    def _count(self, owner: object, name: str, seconds_of: Callable[..., float]) -> None:
        call = getattr(owner, name)

        def counted(*args: Any) -> Any:
            seconds, began = seconds_of(*args), time.monotonic()
            try:
                return call(*args)
            finally:
                self._add(seconds, began)

        self._patch.setattr(owner, name, counted)

    def _add(self, seconds: float, began: float) -> None:
        # One that was under way at forget() counts from there.
        self.seconds += max(0.0, min(seconds, time.monotonic() - max(began, self._since)))

    def forget(self) -> None:
        """Count from now on."""
        self.seconds, self._since = 0.0, time.monotonic()

    def __exit__(self, *exc: object) -> None:
        self.worked = time.process_time() - self._worked
        self.passed = time.monotonic() - self._began - self._delay.grown() / 1e9
        self._delay.close()
        self._patch.undo()


@pytest.fixture(autouse=True)
def leaving_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let children wait less for a writer when they close; that it is 5 s is tested with leaving."""
    monkeypatch.setattr(_leaving, "LONGEST", LEAVING)


def in_time(call: Callable[[], object], seconds: float) -> bool:
    """Make the call and see that it kept its time; True if it was refused."""
    refused = False
    with Asked() as asked:
        try:
            call()
        except (DiskLogError, OSError):
            refused = True

    assert asked.seconds <= seconds + TOLERANCE
    assert asked.passed <= seconds + TO_SPARE
    assert asked.worked <= WORK
    return refused


class HangingFile(_files.RealFile):
    """A file on a disk that answers no sync while `hangs` exists.  Made up: none here can be told to."""

    hangs: Path

    def sync(self) -> None:
        while self.hangs.exists():
            time.sleep(0.01)
        super().sync()


class HangingFiles(_files.RealFiles):
    """A disk of such files."""

    def __init__(self, hangs: Path) -> None:
        self.hangs = hangs

    def create(self, path: str, mode: int, gid: int) -> _files.RealFile:
        file = HangingFile(super().create(path, mode, gid).fd)
        file.hangs = self.hangs
        return file


class Scene:
    """A log, its writer in a process of its own, and what happens to them."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.hangs = path.with_suffix(".hangs")
        self.children: list[int] = []

    def fork(self, work: Callable[[], object]) -> int:
        """Have a child do the work; it is killed at the end."""
        self.children.append(pid := fork(work))
        return pid

    def write(self, **options: Any) -> None:
        """Be the writer."""
        chosen = Options(ring_bytes=1 << 16, **options)
        writer.Writer(self.name, self.path, chosen, files=HangingFiles(self.hangs)).run()

    def serve(self, **options: Any) -> None:
        """Start the writer."""
        self.writer = self.fork(lambda: self.write(**options))
        wait_until(self.has_writer, 60)

    def has_writer(self) -> bool:
        """True if the log's ring has a live writer."""
        with contextlib.suppress(DiskLogError), self.ring() as file:
            return file.ring.writer_pid != 0 and _liveness.writer_alive(file)
        return False

    @contextlib.contextmanager
    def ring(self) -> Iterator[_ring.RingFile]:
        """The ring, as a bystander sees it."""
        file = attach_ring(self.name)
        try:
            yield file
        finally:
            os.close(file.fd)

    def stop(self) -> None:
        """The writer stands still."""
        os.kill(self.writer, signal.SIGSTOP)

    def kill(self) -> None:
        """The writer is dead."""
        with self.ring() as file:
            os.kill(self.writer, signal.SIGKILL)
            wait_until(lambda: not _liveness.writer_alive(file), 60)

    def begin(self, work: Callable[[], object]) -> int:
        """Have a child do what may need children of its own."""

        def begun() -> None:
            self.children = []
            try:
                work()
            finally:
                self.end_children()

        return self.fork(begun)

    def end_children(self) -> None:
        """Kill those that are still there."""
        for pid in self.children:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    def end(self) -> None:
        """Leave nothing behind."""
        self.end_children()
        wait_until(self._end_started, 60)
        for entry in shared_memory_of(self.name):  # rings, and one that was being made
            os.unlink(os.path.join(_names.SHM, entry))

    def _end_started(self) -> bool:
        """Writers that sessions started: one may fork, and end, while we look."""
        pids = processes_of(self.name)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids and not processes_of(self.name)


@contextlib.contextmanager
def staged(name: str, path: Path) -> Iterator[Scene]:
    """A log that is cleared away at the end."""
    made = Scene(name, path)
    try:
        yield made
    finally:
        made.end()


@pytest.fixture
def scene(name: str, path: Path) -> Iterator[Scene]:
    """The test's log."""
    with staged(name, path) as made:
        yield made


# -- what happens -------------------------------------------------------------------------------------------


def nothing(scene: Scene) -> None:
    """All is well."""


def writer_killed(scene: Scene) -> None:
    """A session that waits for it starts another."""
    scene.kill()


def writer_stopped(scene: Scene) -> None:
    """It is alive, so nobody may take its place."""
    scene.stop()


def close_ring(scene: Scene) -> None:
    scene.stop()
    with scene.ring() as file:
        assert file.ring.close(file.ring.frontier(file.ring.released))


def writer_stopped_between_two_rings(scene: Scene) -> None:
    """The old ring is closed, the next one not made."""
    close_ring(scene)


def writer_killed_between_two_rings(scene: Scene) -> None:
    """The old ring is closed, the next one not made."""
    close_ring(scene)
    scene.kill()


def give_ring_up(scene: Scene) -> None:
    scene.stop()
    with scene.ring() as file:
        file.ring.halted = _core.REPLACED


def writer_stopped_while_it_saves_a_damaged_ring(scene: Scene) -> None:
    """Producers are sent away from the old ring, the next one is not made."""
    give_ring_up(scene)


def writer_killed_while_it_saves_a_damaged_ring(scene: Scene) -> None:
    """Producers are sent away from the old ring, the next one is not made."""
    give_ring_up(scene)
    scene.kill()


def writer_replaced_meanwhile(scene: Scene) -> None:
    """It stands still, then dies, and the one a supervisor had ready takes over."""

    def stand_by() -> None:
        while True:
            with contextlib.suppress(disklog_mp.WriterActiveError):
                scene.write()
            time.sleep(0.005)

    scene.stop()
    scene.fork(stand_by)
    scene.fork(lambda: (time.sleep(TIMEOUT / 2), os.kill(scene.writer, signal.SIGKILL)))


def ring_replaced_meanwhile(scene: Scene) -> None:
    """The writer finds its ring without a name, within a second, and makes another."""
    os.unlink(ring_path(scene.name))


def name_removed_and_writer_stopped(scene: Scene) -> None:
    """There is a ring, which nobody can attach to any more."""
    scene.stop()
    os.unlink(ring_path(scene.name))


def name_removed_and_writer_killed(scene: Scene) -> None:
    """There is a ring, which nobody can attach to any more."""
    scene.kill()
    os.unlink(ring_path(scene.name))


def claim(scene: Scene, number: int) -> None:
    pid = scene.fork(lambda: claim_and(scene.name, number))
    os.waitpid(pid, os.WUNTRACED)


def producer_killed_in_its_claim(scene: Scene) -> None:
    """At the head of the ring."""
    claim(scene, signal.SIGKILL)


def producer_stopped_in_its_claim(scene: Scene) -> None:
    """At the head of the ring: what is behind it waits, for as long as it takes."""
    claim(scene, signal.SIGSTOP)


def no_slot_free(scene: Scene) -> None:
    """All slots are those of producers that have left, and the writer stands still."""
    scene.stop()
    with scene.ring() as file:
        for index in file.ring.slots(_core.SLOT_FREE):
            assert file.ring.attach(index, os.getpid(), 1, 1, 0)
            file.ring.detach(index, file.ring.slot(index)[2])


def directory_gone(scene: Scene) -> None:
    """The next page cannot be made."""
    scene.path.rename(scene.path.with_suffix(".moved"))


def disk_full(scene: Scene) -> None:
    """The writer's files grow no more."""
    resource.prlimit(scene.writer, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))


def syncs_hang(scene: Scene) -> None:
    """The disk does not answer the writer."""
    scene.hangs.touch()


TROUBLES: list[tuple[Callable[[Scene], None], dict[str, Any]]] = [
    (nothing, {}),
    (writer_killed, {}),
    (writer_stopped, {}),
    (writer_stopped_between_two_rings, {}),
    (writer_killed_between_two_rings, {}),
    (writer_stopped_while_it_saves_a_damaged_ring, {}),
    (writer_killed_while_it_saves_a_damaged_ring, {}),
    (writer_replaced_meanwhile, {}),
    (ring_replaced_meanwhile, {}),
    (name_removed_and_writer_stopped, {}),
    (name_removed_and_writer_killed, {}),
    (producer_killed_in_its_claim, {}),
    (producer_stopped_in_its_claim, {}),
    (no_slot_free, {}),
    (directory_gone, {"page_records": 3}),
    (disk_full, {}),
    (syncs_hang, {}),
    (syncs_hang, {"sync": "always"}),
]

# -- who calls ----------------------------------------------------------------------------------------------


def fill(log: Callable[[bytes], object], seconds: float) -> None:
    """Log until refused, or more than the ring takes."""
    for _ in range(100):
        if in_time(lambda: log(RECORD), seconds):
            break


def use(log: disklog_mp.Session, happens: Callable[[], None]) -> None:
    log.log(RECORD)
    happens()
    in_time(lambda: log.flush(TIMEOUT), TIMEOUT)
    fill(log.log, TIMEOUT)
    in_time(lambda: log.log_many([RECORD, RECORD]), TIMEOUT)
    in_time(lambda: log.sync(TIMEOUT), TIMEOUT)
    in_time(log.close, CLOSING)


def attached(scene: Scene, happens: Callable[[], None]) -> None:
    """A session that is attached by name."""
    use(disklog_mp.attach(scene.name, timeout=TIMEOUT), happens)


def opened(scene: Scene, happens: Callable[[], None]) -> None:
    """One who starts a writer if there is none."""
    use(disklog_mp.open(scene.name, scene.path, timeout=TIMEOUT), happens)


def dropping(scene: Scene, happens: Callable[[], None]) -> None:
    """One who waits for nothing."""
    log = disklog_mp.open(scene.name, scene.path, timeout=TIMEOUT, on_full="drop")
    happens()
    for _ in range(100):
        in_time(lambda: log.log(RECORD), 0)
    in_time(log.close, CLOSING)


def forked(scene: Scene, happens: Callable[[], None]) -> None:
    """A child that finds out what happened when it uses its parent's session."""
    log = disklog_mp.open(scene.name, scene.path, timeout=TIMEOUT)
    log.log(RECORD)
    happens()

    def use_again() -> None:
        fill(log.log, TIMEOUT)
        in_time(lambda: log.flush(TIMEOUT), TIMEOUT)
        in_time(log.close, CLOSING)

    with child(use_again) as pid:
        succeeds(pid)


def attaching(scene: Scene, happens: Callable[[], None]) -> None:
    """One who comes when it has happened."""
    happens()
    in_time(lambda: disklog_mp.attach(scene.name, timeout=TIMEOUT).close(), TIMEOUT)


def opening(scene: Scene, happens: Callable[[], None]) -> None:
    """One who comes when it has happened."""
    happens()
    _open.PATIENCE = 2 * TIMEOUT  # this process's
    in_time(lambda: disklog_mp.open(scene.name, scene.path, timeout=TIMEOUT).close(), 2 * TIMEOUT)


def handling(scene: Scene, happens: Callable[[], None]) -> None:
    """A program that uses logging; the log may be there only later."""
    handler = DiskLogHandler(scene.name, scene.path, timeout=TIMEOUT, missing="drop")
    logger = logging.getLogger(scene.name)
    logger.addHandler(handler)
    logger.error("first")
    happens()

    def log(record: bytes) -> None:
        logger.error(record)
        if handler.dropped:
            raise OSError

    fill(log, TIMEOUT)
    in_time(handler.flush, TIMEOUT)
    handler._retry_at = 0.0
    # It looks for the log, and then waits for room in it: each ends with the timeout.
    in_time(lambda: logger.error("again"), 2 * TIMEOUT)
    in_time(handler.close, CLOSING)


def asynchronous(scene: Scene, happens: Callable[[], None]) -> None:
    """A program that uses asyncio."""

    async def attach() -> aio.Session:
        log = await aio.open(scene.name, scene.path, timeout=TIMEOUT)
        await log.log(RECORD)
        return log

    log = asyncio.run(attach())
    happens()

    def run(call: Callable[..., Any], *args: Any) -> None:
        async def called() -> None:
            await call(*args)

        asyncio.run(called())

    in_time(lambda: run(log.flush, TIMEOUT), TIMEOUT)
    fill(functools.partial(run, log.log), TIMEOUT)
    in_time(lambda: run(log.sync, TIMEOUT), TIMEOUT)
    in_time(lambda: run(log.close), CLOSING)
    in_time(lambda: run(functools.partial(aio.attach, timeout=TIMEOUT), scene.name), TIMEOUT)


CALLERS = [attached, opened, dropping, forked, attaching, opening, handling, asynchronous]


@pytest.mark.parametrize(
    ("trouble", "options"),
    TROUBLES,
    ids=["-".join([trouble.__name__, *map(str, options.values())]) for trouble, options in TROUBLES],
)
def test_calls_keep_their_time(
    name: str, path: Path, trouble: Callable[[Scene], None], options: dict[str, Any]
) -> None:
    """Whatever happens between two calls, or during one, to whoever calls; each has a log of its own."""
    with contextlib.ExitStack() as stack:
        begun = {}
        for caller in CALLERS:
            scene = stack.enter_context(staged(f"{name}-{caller.__name__}", path / caller.__name__))
            scene.serve(**options)
            work = functools.partial(caller, scene, functools.partial(trouble, scene))
            begun[caller.__name__] = scene.begin(work)
        statuses = {caller: os.waitpid(pid, 0)[1] for caller, pid in begun.items()}

    assert dict.fromkeys(statuses, 0) == statuses


def test_get_page_waits_for_a_dead_writer_as_long_as_the_session_does(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no timeout of its own: a writer that lives is waited for."""
    monkeypatch.setenv(interpreter.MARK, "1")  # this process starts no other writer
    scene.serve()
    with disklog_mp.attach(scene.name, timeout=TIMEOUT) as log:
        log.log(RECORD)
        log.flush()
        log.log(RECORD)
        scene.stop()
        log.log(RECORD)
        scene.kill()

        assert in_time(lambda: log.get_page(1), TIMEOUT)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")
def test_steps_of_the_clock_lengthen_no_wait(scene: Scene, tmp_path: Path) -> None:
    """Set a day ahead and back again all the time, while calls wait for a writer that stands still."""
    environment, ahead = stepping_clock(tmp_path)
    scene.serve()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(STEPS), scene.name, str(scene.writer), str(ahead)],
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("done\n", "")


STEPS = """
    import mmap, os, signal, sys, threading, time
    import disklog_mp
    from deaths.test_deadlines import RECORD, TIMEOUT, fill, in_time
    name, writer, ahead = sys.argv[1:]
    with open(ahead, "r+b") as file:
        ahead = mmap.mmap(file.fileno(), 8)
    over = threading.Event()
    def step():
        day = 86400
        while not over.wait(0.01):
            ahead[:] = day.to_bytes(8, "little", signed=True)
            day = -day
    stepping = threading.Thread(target=step)
    stepping.start()
    log = disklog_mp.attach(name, timeout=TIMEOUT)
    log.log(RECORD)
    os.kill(int(writer), signal.SIGSTOP)
    log.log(RECORD)
    assert in_time(lambda: log.flush(TIMEOUT), TIMEOUT)
    assert in_time(lambda: log.sync(TIMEOUT), TIMEOUT)
    fill(log.log, TIMEOUT)
    assert in_time(lambda: log.log(RECORD * 10), TIMEOUT)
    in_time(log.close, 5 + TIMEOUT)
    over.set()
    stepping.join()
    print("done")
"""


class TestStart:
    """A writer that is started and does not answer: its Python stops on the way there."""

    @pytest.fixture(autouse=True)
    def hanging_start(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        site = tmp_path / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n")
        monkeypatch.setenv("PYTHONPATH", str(site))
        monkeypatch.setattr(_open, "PATIENCE", 2 * TIMEOUT)

    def test_open_gives_up(self, scene: Scene) -> None:
        """After a time of its own, long enough for any writer that gets there."""

        def gives_up() -> None:
            with pytest.raises(TimeoutError, match="not ready"):
                disklog_mp.open(scene.name, scene.path)

        assert not in_time(gives_up, 2 * TIMEOUT)

    def test_a_session_that_has_it_started_keeps_its_time(self, scene: Scene) -> None:
        """With the ring there, and in a child that finds none."""
        scene.serve()
        with disklog_mp.open(scene.name, scene.path, timeout=TIMEOUT) as log:
            log.log(RECORD)
            scene.stop()
            log.log(RECORD)
            scene.kill()
            assert in_time(lambda: log.flush(TIMEOUT), TIMEOUT)
            assert in_time(lambda: log.sync(TIMEOUT), TIMEOUT)
            fill(log.log, TIMEOUT)
            os.unlink(ring_path(scene.name))

            def find_none() -> None:
                assert in_time(lambda: log.log(RECORD), TIMEOUT)
                assert in_time(log.stats, TIMEOUT)

            succeeds(fork(find_none))

    def test_the_logging_handler_waits_once(self, scene: Scene) -> None:
        """As long as open() does; then no record is held up for longer than the handler's timeout."""
        logger = logging.getLogger(scene.name)
        logger.addHandler(handler := DiskLogHandler(scene.name, scene.path, timeout=TIMEOUT / 2))
        in_time(lambda: logger.error("first"), 2 * TIMEOUT)
        handler._retry_at = 0.0
        in_time(lambda: logger.error("second"), TIMEOUT / 2)
        in_time(lambda: logger.error("third"), 0)
        logger.removeHandler(handler)
        handler.close()

        assert handler.dropped == 3


class TestOtherThreads:
    def test_one_that_waits_for_a_ring_holds_up_no_other(
        self, name: str, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Sessions on other logs flush and close; it goes on waiting, and gets its ring."""
        monkeypatch.setattr(_connection, "LONGEST_ATTACH", 60)
        with staged(f"{name}-a", path / "a") as stuck, staged(f"{name}-b", path / "b") as sound:
            stuck.serve()
            sound.serve()
            writer_stopped_between_two_rings(stuck)
            thread = threading.Thread(target=lambda: disklog_mp.attach(stuck.name, timeout=60).close())
            log = disklog_mp.attach(sound.name, timeout=60)
            thread.start()
            wait_until(lambda: "connect" in calls_of(thread))
            log.log(RECORD)
            log.flush(60)
            log.close()
            assert thread.is_alive()
            os.kill(stuck.writer, signal.SIGCONT)
            thread.join()

    def test_close_waits_for_an_append_no_longer_than_the_timeout(self, scene: Scene) -> None:
        """The slot stays taken until the append has ended, and is given back then."""
        stands = True

        class Standing(BlockingConnection):
            """The place where a thread stands still cannot be chosen: one is made up."""

            def unbind(self) -> int:
                return super().unbind() + stands

        def pids() -> list[int]:
            with scene.ring() as file:
                return [slot.pid for slot in _slots.read_slots(file.ring, _core.SLOT_ATTACHED)]

        scene.serve()
        connection = Standing(Place(scene.name), timeout=TIMEOUT)
        connection.attach()
        log = disklog_mp.Session(connection)
        log.log(RECORD)
        assert not in_time(log.close, TIMEOUT)
        assert [os.getpid()] == pids()
        stands = False
        disklog_mp.attach(scene.name).close()
        wait_until(lambda: not pids())

    def test_an_executor_without_a_free_thread_holds_up_no_timeout(self, scene: Scene) -> None:
        """asyncio's sessions attach in a thread: if there is none, the call ends in time all the same."""
        scene.serve()
        free = threading.Event()

        async def flush(pickled: bytes) -> None:
            loop = asyncio.get_running_loop()
            loop.set_default_executor(ThreadPoolExecutor(1))
            busy = loop.run_in_executor(None, free.wait)
            try:
                log = pickle.loads(pickled)  # it attaches at first use
                await log.flush(TIMEOUT)
            finally:
                free.set()
                await busy

        log = asyncio.run(aio.attach(scene.name))
        assert in_time(lambda: asyncio.run(flush(pickle.dumps(log))), TIMEOUT)
        asyncio.run(log.close())


def calls_of(thread: threading.Thread) -> list[str]:
    """The functions a thread is in."""
    frame = sys._current_frames().get(thread.ident or 0)
    return [] if frame is None else [call.name for call in traceback.extract_stack(frame)]


class TestDeaths:
    """Counted from when the kernel says that it is dead, which takes a core."""

    @pytest.mark.parametrize("meanwhile", [False, True])
    @pytest.mark.parametrize("call", ["flush", "sync", "log", "aio.flush", "aio.log"])
    def test_of_the_writer_is_seen_by_whoever_waits(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch, call: str, meanwhile: bool
    ) -> None:
        """Within 100 ms another is started: here by a session that cannot, and says so in the end."""
        asked = Asked()
        noticed: list[float] = []
        is_known = threading.Event()  # the kernel says that it is dead; a session may see it a moment before

        def begin(*_: object, **__: object) -> Starting:
            noticed.append(asked.seconds if is_known.is_set() else 0.0)
            raise OSError(errno.ENOEXEC, "no Python here")

        def die() -> None:
            scene.kill()
            asked.forget()
            is_known.set()

        scene.serve()
        monkeypatch.setattr(_start_writer, "begin", begin)  # every session starts writers through it
        kind = LoopConnection if call.startswith("aio") else BlockingConnection
        connection = kind(Place(scene.name), timeout=1)
        connection.attach()
        scene.stop()
        connection.log(RECORD)
        if call.endswith("log"):
            while connection.try_record(RECORD, 0) >= 0:
                pass
        if not meanwhile:
            die()
        killing = threading.Timer(0.1, die)
        dead = disklog_mp.RingFullError if call.endswith("log") else disklog_mp.WriterDiedError
        with asked:
            if meanwhile:
                killing.start()
            with pytest.raises(dead, match=r"is dead and was not replaced.*no Python here"):
                record = [RECORD] if call.endswith("log") else []
                if call.startswith("aio"):
                    asyncio.run(getattr(aio.Session(connection), call[4:])(*record))
                else:
                    getattr(disklog_mp.Session(connection), call)(*record)
        if meanwhile:
            killing.join()
        connection.close()

        assert noticed[0] <= NOTICE

    def test_of_a_producer_is_seen_by_the_writer(self, scene: Scene) -> None:
        """Its claim at the head of the ring holds up nobody for 100 ms."""

        def write() -> None:
            work = writer.Writer(scene.name, scene.path, Options(ring_bytes=1 << 16))
            victim = scene.fork(lambda: claim_and(scene.name, signal.SIGSTOP))
            os.waitpid(victim, os.WUNTRACED)
            asked = Asked()

            def die() -> None:
                os.kill(victim, signal.SIGKILL)
                os.waitpid(victim, 0)
                asked.forget()

            killing = threading.Timer(0.1, die)
            with asked:
                killing.start()
                work.run(lambda: work.ring.abandoned == 1)
            killing.join()

            assert asked.seconds <= NOTICE

        succeeds(scene.begin(write))

    @pytest.mark.parametrize("kind", ["session", "aio", "logs on"])
    def test_of_one_that_was_to_ring_for_the_writer(self, scene: Scene, kind: str) -> None:
        """Killed between taking the bell and ringing it: who waits rings, and who logs, a second after the
        writer's last sign of life.  The writer's sleep is lengthened here, so that nothing else wakes it.
        """

        def write() -> None:
            _pace.PARKS = (_pace.Park(_pace.NAPS, 600, 600),)
            scene.write()

        scene.writer = scene.begin(write)
        wait_until(scene.has_writer, 60)
        with disklog_mp.attach(scene.name) as log, scene.ring() as file:
            wait_until(lambda: file.ring.parked)
            file.ring.parked = 0  # taken
            log.log(RECORD)
            if kind == "session":
                log.flush(60)
            elif kind == "logs on":
                position = log.log(b"")
                for _ in range(100):  # fewer than there is room for: who waits for room rings, too
                    time.sleep(0.1)
                    log.log(b"")
                    if file.ring.written > position:
                        break
                else:
                    raise AssertionError("the writer sleeps on")
            else:
                other = LoopConnection(Place(scene.name), timeout=60)
                other.attach()
                other.log(RECORD)
                asyncio.run(aio.Session(other).flush(60))
                other.close()


def test_one_that_drops_finds_the_ring_that_replaced_its_own(scene: Scene) -> None:
    """The ring has no name and no writer any more, and is full: a writer is started, its ring is used."""
    scene.serve()
    with disklog_mp.open(scene.name, scene.path, on_full="drop") as log:
        name_removed_and_writer_killed(scene)
        while log.log(RECORD) >= 0:
            pass
        wait_until(lambda: log.log(RECORD) >= 0, 30)


def test_a_ring_that_is_replaced_while_one_attaches_is_left_for_the_next(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer lets go of the old ring, which nobody uses, between the mapping and the look at it."""
    scene.serve()
    writer_stopped_between_two_rings(scene)
    hold = _ring.hold

    def hold_slowly(path: str, owner: int | None = None) -> _ring.Held:
        monkeypatch.undo()
        held = hold(path, owner)
        os.kill(scene.writer, signal.SIGCONT)
        old = _ring.RingFile(held.ring, held.seat.fd, path)
        wait_until(lambda: not _liveness.writer_alive(old), 60)
        return held

    monkeypatch.setattr(_ring, "hold", hold_slowly)
    with disklog_mp.attach(scene.name) as log:
        log.log(RECORD)
        log.flush()
