"""The writer is always there: each session of the log's owner replaces one that died, however it attached."""

import asyncio
import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.children import fork, succeeds, tell
from support.machine import wait_until
from support.rings import has_ring
from support.sessions import connection_of, ring_file_of, ring_of
from support.users import NOBODY, User, as_user
from support.workers import claim_and, log_numbers

import disklog_mp
from disklog_mp import aio
from disklog_mp._options import Options
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring import starts as _starts
from disklog_mp._session import start_writer
from disklog_mp._session.policy import log_or_refuse, record_entry
from disklog_mp._session.waiting import FIRST_SLEEP, LONGEST_SLEEP, Aside, Bell, Call
from disklog_mp._writer.writer import Writer

OpenLog = Callable[..., disklog_mp.Session]
NOTICE = 5.0  # seconds in which another writer is there, on a machine with much to do


def kill_writer(log: disklog_mp.Session) -> int:
    """Kill the writer and return its pid when the kernel says that it is gone."""
    pid = log.stats().writer_pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not _liveness.writer_alive(ring_file_of(log)), 30)
    return pid


def has_another(log: disklog_mp.Session, former: int) -> bool:
    return log.stats().writer_pid not in (0, former)


def records(path: Path) -> list[bytes]:
    return [record.data for record in disklog_mp.Reader(path)]


# -- any session --------------------------------------------------------------------------------------------


def test_workers_replace_it_while_the_parent_waits_in_join(name: str, path: Path, open_log: OpenLog) -> None:
    """The parent calls nothing: its workers, attached by name, find the ring full and go on."""
    log = open_log(ring_bytes=1 << 16)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=log_numbers, args=(name, worker, 20_000)) for worker in range(4)]
    former = log.stats().writer_pid
    for worker in workers:
        worker.start()
    wait_until(lambda: log.stats().logged > 1000)
    os.kill(former, signal.SIGKILL)
    for worker in workers:
        worker.join()
    log.flush()

    assert has_another(log, former)
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    found = records(path)
    assert len(found) == 80_000
    for worker in range(4):
        own = [int(data.split()[1]) for data in found if data.startswith(b"%d " % worker)]
        assert own == list(range(20_000))


@pytest.mark.parametrize("call", ["flush", "sync", "get_page", "close"])
def test_a_session_attached_by_name_replaces_it_at_once(
    open_log: OpenLog, name: str, path: Path, call: str
) -> None:
    """What it logged is in a page after flush(), sync(), get_page(), and soon after close()."""
    log = open_log()
    other = disklog_mp.attach(name)
    former = kill_writer(log)
    other.log(b"after its death")
    getattr(other, call)(*([1] if call == "get_page" else []))

    wait_until(lambda: records(path) == [b"after its death"], NOTICE if call == "close" else 0.1)
    assert has_another(log, former)


def test_a_session_that_only_logs_replaces_it_within_a_second(open_log: OpenLog, name: str) -> None:
    """It neither waits nor asks; the pauses are those of a program with little to say."""
    log = open_log()
    other = disklog_mp.attach(name)
    former = kill_writer(log)
    began = time.monotonic()
    while log.stats().writer_pid in (0, former):
        other.log(b"now and then")
        time.sleep(0.05)
        assert time.monotonic() - began < NOTICE

    assert other.log(b"") > 0


def test_a_session_of_asyncio_replaces_it(open_log: OpenLog, name: str, path: Path) -> None:
    """Attached by name, too."""
    log = open_log()
    kill_writer(log)

    async def use() -> None:
        async with await aio.attach(name) as other:
            await other.log(b"from a coroutine")
            await other.flush()

    asyncio.run(use())

    assert records(path) == [b"from a coroutine"]


def test_the_options_are_those_of_the_log(open_log: OpenLog, name: str) -> None:
    """They come from the log's file: the session that starts the writer was told none."""
    log = open_log(page_records=7, keep_pages=3, ring_bytes=1 << 17)
    other = disklog_mp.attach(name)
    kill_writer(log)
    other.log_many([b"x"] * 5)
    for _ in range(9):
        other.log_many([b"x"] * 5)
    other.flush()

    stats = other.stats()
    assert (stats.pages, stats.ring_capacity) == (3, 1 << 17)


def test_the_last_to_leave_leaves_nothing_in_a_ring_without_a_writer(
    open_log: OpenLog, name: str, path: Path
) -> None:
    """Session by session, and no process is left that could notice it later."""
    log = open_log()
    other = disklog_mp.attach(name)
    kill_writer(log)
    other.log(b"left behind")
    log.close()
    other.close()

    wait_until(lambda: records(path) == [b"left behind"], NOTICE)


KILL_AND_LEAVE = """
import os, sys, time
import disklog_mp
name, path, way = sys.argv[1:]
log = disklog_mp.open(name, path, linger=0.1, sync="never")
log.log(b"written")
log.flush()
os.kill(log.stats().writer_pid, 9)
while log.stats().writer_pid:
    time.sleep(0.01)
if way == "close":
    log.close()
    os._exit(0)
"""


@pytest.mark.parametrize("way", ["close", "exit"])
def test_the_last_to_leave_leaves_no_empty_ring_behind(name: str, path: Path, way: str) -> None:
    """The writer died when all was written: the next one has the log synced, and removes the ring."""
    subprocess.run([sys.executable, "-c", KILL_AND_LEAVE, name, path, way], check=True)

    wait_until(lambda: not has_ring(name), 30)
    assert records(path) == [b"written"]


def test_the_last_to_leave_removes_the_empty_ring_of_a_log_that_was_removed(
    open_log: OpenLog, name: str, path: Path
) -> None:
    """No writer is started: it would make the directory again.  The ring stays for those attached to it."""
    log = open_log()
    logged, leave = os.pipe(), os.pipe()

    def be_the_last() -> None:
        log.log(b"x")
        log.flush()
        os.write(logged[1], b".")
        os.read(leave[0], 1)
        log.close()

    child = fork(be_the_last)
    os.read(logged[0], 1)
    kill_writer(log)
    shutil.rmtree(path)
    log.close()
    assert has_ring(name)
    os.write(leave[1], b".")
    succeeds(child)

    assert not has_ring(name)
    assert not path.exists()
    for end in (*logged, *leave):
        os.close(end)


# -- sessions that may not ----------------------------------------------------------------------------------


def test_a_served_log_is_left_to_its_supervisor(name: str, path: Path) -> None:
    """The ring fills, and the error names the dead writer and what is to be done."""
    writer = fork(lambda: disklog_mp.serve(name, path, ring_bytes=1 << 16))
    wait_until(lambda: _attaches(name), 30)
    with disklog_mp.attach(name, timeout=0.3) as log:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        with pytest.raises(disklog_mp.RingFullError, match="served: its supervisor") as full:
            for _ in range(1000):
                log.log(b"x" * 100)
        with pytest.raises(disklog_mp.WriterDiedError, match="served: its supervisor") as dead:
            log.flush()

        assert full.value.dead_writer == dead.value.pid == writer
        # The supervisor starts it again.
        writer = fork(lambda: disklog_mp.serve(name, path, ring_bytes=1 << 16))
        log.flush(30)
    os.kill(writer, signal.SIGTERM)
    os.waitpid(writer, 0)


def _attaches(name: str) -> bool:
    try:
        disklog_mp.attach(name).close()
    except disklog_mp.LogNotFoundError:
        return False
    return True


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_another_user_waits_and_is_told_which_user_may(name: str, tmp_path: Path) -> None:
    """Its group may log; the writer runs as the owner, so only the owner or root starts it."""
    os.chmod(tmp_path, 0o755)
    path = tmp_path / "log"
    with disklog_mp.open(name, path, mode=0o660, group=NOBODY.gid, linger=0.1, ring_bytes=1 << 16) as log:
        kill_writer(log)

        def wait() -> None:
            other = disklog_mp.attach(name, timeout=0.2)
            other.log(b"x")
            with pytest.raises(disklog_mp.WriterDiedError, match=r"only user 0 \(the log's owner\) or root"):
                other.flush()

        as_user(NOBODY, wait)
        log.flush()


@pytest.fixture
def shared(name: str) -> Iterator[Path]:
    """A directory that all users reach; those of pytest are its own."""
    if os.geteuid():
        pytest.skip("only root can be another user")
    made = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    made.chmod(0o1777)
    yield made
    shutil.rmtree(made)


def python_of(user: User) -> str:
    """A Python that this user may run and that the package was made for, or the test is skipped."""
    found = [sys.executable, *filter(None, map(shutil.which, ("/usr/bin/python3", "/usr/local/bin/python3")))]
    load = f"import sys; sys.path += {sys.path!r}; import disklog_mp._core, posix_ipc"
    for python in found:
        with contextlib.suppress(OSError):
            if not subprocess.run([python, "-c", load], user=user.uid, cwd="/", check=False).returncode:
                return python
    pytest.skip("no Python that another user may run")


@pytest.mark.parametrize("way", ["attach", "attach by directory", "open"])
def test_root_starts_the_writer_as_the_owner_of_the_log(
    name: str, shared: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """With none of root's rights: pages and rings stay the owner's, and no root reads what a user wrote.

    A log that no group of root's shares is used only by its directory: by name, any user could plant one.
    """
    monkeypatch.setenv("DISKLOG_MP_PYTHON", python_of(NOBODY))
    path, is_by_name = shared / "log", way == "attach"
    options = Options(linger=0.1, mode=0o660 if is_by_name else 0o600, group=NOBODY.gid)
    as_user(NOBODY, lambda: Writer(name, path, options) and None)  # ends without a close()

    def log_as_root() -> str:
        if not is_by_name:
            with pytest.raises(PermissionError):
                disklog_mp.attach(name)
        enter = disklog_mp.open if way == "open" else disklog_mp.attach
        with enter(name, None if is_by_name else path) as log:
            log.log(b"by root")
            log.flush(60)
            return Path(f"/proc/{log.stats().writer_pid}/status").read_text()

    status = as_user(User(0, 0, (NOBODY.gid,) if is_by_name else ()), log_as_root)
    told = dict(line.split(":\t", 1) for line in status.splitlines())
    wait_until(lambda: not has_ring(name), 30)

    assert told["Uid"].split() == [str(NOBODY.uid)] * 4
    assert told["Gid"].split() == [str(NOBODY.gid)] * 4
    assert "0" not in told["Groups"].split()
    assert int(told["CapEff"], 16) == 0
    assert {entry.stat().st_uid for entry in path.iterdir()} == {NOBODY.uid}
    assert records(path) == [b"by root"]


# -- rationing ----------------------------------------------------------------------------------------------


def test_a_writer_that_dies_at_each_start_is_started_seldom(
    open_log: OpenLog, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Many sessions wait for it, and each is told what its start failed of."""
    log = open_log()
    site = tmp_path / "site"
    site.mkdir()
    started = tmp_path / "started"
    (site / "sitecustomize.py").write_text(
        f"import os\nopen({str(started)!r}, 'a').write('x')\nos._exit(1)\n"
    )
    kill_writer(log)
    log.log(b"waiting")
    monkeypatch.setenv("PYTHONPATH", str(site))
    told: list[Exception] = []

    def wait() -> None:
        with disklog_mp.attach(name, timeout=1.5) as other:
            try:
                other.flush()
            except disklog_mp.WriterDiedError as error:
                told.append(error)

    threads = [threading.Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(told) == 8
    assert all("starting another failed" in str(error) for error in told)
    assert 1 <= started.stat().st_size <= 5  # after 0, 0.1, 0.3, 0.7, 1.5 s
    monkeypatch.delenv("PYTHONPATH")
    log.flush(60)
    wait_until(lambda: ring_of(log).start_turn == 0, 30)
    assert ring_of(log).start_error == b""


def test_a_turn_is_taken_once(open_log: OpenLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses double up to 30 s; a word that was scribbled over counts for no longer."""
    log = open_log()
    ring = ring_of(log)
    os.kill(log.stats().writer_pid, signal.SIGSTOP)  # a writer that works clears the word
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pauses = []
    for _ in range(12):
        assert _starts.take_turn(ring)
        assert not _starts.take_turn(ring)
        pauses.append(round(_starts.until_next_turn(ring), 3))
        now += pauses[-1]

    assert pauses[:5] == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert pauses[-1] == 30
    ring.start_turn = 2**64 - 1
    assert _starts.take_turn(ring)
    os.kill(log.stats().writer_pid, signal.SIGCONT)


def test_a_call_that_finds_no_room_looks_at_the_writer_almost_at_once(
    open_log: OpenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A live writer gives room back in a moment, so the first sleep is short; further ones are not."""
    log = open_log(ring_bytes=1 << 16, on_full="raise")
    monkeypatch.setattr(start_writer, "may_start", lambda: False)
    former = kill_writer(log)
    with pytest.raises(disklog_mp.RingFullError):
        for _ in range(2000):
            log.log(b"x" * 100)
    log.on_full = "block"
    connection = connection_of(log)
    steps = log_or_refuse(connection, record_entry(connection, b"x" * 100, 0))
    slept: list[float] = []
    step, answer = next(steps), None
    while len(slept) < 3:
        if isinstance(step, Bell):
            slept.append(step.seconds)
            answer = False
        else:
            assert isinstance(step, Aside | Call)
            answer = step.function()
        step = steps.send(answer)
    steps.close()
    monkeypatch.undo()
    log.flush(60)

    assert slept == [FIRST_SLEEP, LONGEST_SLEEP, LONGEST_SLEEP]
    assert has_another(log, former)


def test_sixty_four_sessions_start_one(open_log: OpenLog, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All notice the same death at the same moment.

    After the usual pause of 0.1 s the turn is another's, if the thread that took it got no processor so long.
    """
    monkeypatch.setattr(_starts, "FIRST_PAUSE", _starts.LONGEST_PAUSE)
    log = open_log()
    started = []
    begin = start_writer.begin

    def counted(*args: Any, **options: Any) -> start_writer.Starting:
        started.append(args)
        return begin(*args, **options)

    monkeypatch.setattr(start_writer, "begin", counted)
    sessions = [disklog_mp.attach(name) for _ in range(64)]
    kill_writer(log)
    log.log(b"x")
    threads = [threading.Thread(target=session.flush, args=(60,)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for session in sessions:
        session.close()

    assert len(started) == 1


def test_a_session_that_can_start_none_leaves_the_turns_to_others(
    open_log: OpenLog, name: str, tmp_path: Path
) -> None:
    """A worker whose user can run no Python waits and tries; the arbiter, which can, logs now and then."""
    log = open_log()
    tried = tmp_path / "tried"

    def try_in_vain() -> None:
        os.environ["DISKLOG_MP_PYTHON"] = "/nonexistent"
        with disklog_mp.attach(name, timeout=3.0) as other:
            os.kill(log.stats().writer_pid, signal.SIGKILL)
            wait_until(lambda: not other.stats().writer_pid)
            other.log(b"x")
            try:
                other.flush()
            except disklog_mp.WriterDiedError as error:
                tell(tried, str(error))
            wait_until(lambda: other.stats().writer_pid, 30)

    worker = fork(try_in_vain)
    wait_until(lambda: tried.exists() and tried.read_text(), 30)
    assert "names no program that can be executed" in tried.read_text()
    assert _starts.attempts(ring_of(log)) == 0  # of all that it made, none lengthens the pause of the others
    began = time.monotonic()
    while not log.stats().writer_pid:
        log.log(b"now and then")
        time.sleep(0.1)
        assert time.monotonic() - began < NOTICE
    succeeds(worker)


# -- barriers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["flush", "sync"])
def test_a_barrier_covers_what_other_processes_logged(
    name: str, path: Path, open_log: OpenLog, call: str
) -> None:
    """A parent that joined its workers finds all they logged, though it logged nothing itself."""
    log = open_log()
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=log_numbers, args=(name, worker, 5_000)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    getattr(log, call)()

    assert len(records(path)) == 20_000
    assert call != "sync" or log.stats().durable >= log.stats().claimed


def test_a_wait_without_a_timeout_ends_where_a_claim_stands_still(name: str, open_log: OpenLog) -> None:
    """After the session's own timeout; the error names the process, its label and its record."""
    log = open_log()
    position = log.log(b"before")
    log.flush()
    stopped = fork(lambda: claim_and(name, signal.SIGSTOP, label=b"pod-a"))
    os.waitpid(stopped, os.WUNTRACED)
    log.timeout = 0.3
    log.log(b"after")
    with pytest.raises(
        disklog_mp.WaitTimeoutError, match=rf"process {stopped} \(pod-a\) stands still"
    ) as late:
        log.flush()
    os.kill(stopped, signal.SIGKILL)
    os.waitpid(stopped, 0)
    log.flush()

    assert (late.value.pid, late.value.label) == (stopped, "pod-a")
    assert position < late.value.held < late.value.position


def test_time_in_which_the_log_moves_on_does_not_count(open_log: OpenLog) -> None:
    """The writer is slow but gets on: the wait takes longer than the timeout, and is no error."""
    log = open_log()
    ring, pid = ring_of(log), log.stats().writer_pid
    log.timeout = 0.4
    os.kill(pid, signal.SIGSTOP)
    log.log_many([b"x" * 100] * 100)
    end = ring.frontier(ring.released)

    def get_on() -> None:
        for step in range(1, 11):
            time.sleep(0.15)
            ring.written = end * step // 10

    slow = threading.Thread(target=get_on)
    slow.start()
    began = time.monotonic()
    log.flush()
    took = time.monotonic() - began
    slow.join()
    os.kill(pid, signal.SIGCONT)

    assert took > 2 * log.timeout
