"""A writer dies while it gives a label its index: the next one gives it the same, once."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.chance import TIMES
from support.machine import wait_until
from support.sessions import connection_of

import disklog_mp
from disklog_mp._options import Options
from disklog_mp._os import files as _files
from disklog_mp._pages.file import PageFile
from disklog_mp._pages.labels import LabelWriter, parse
from disklog_mp._writer.live_ring import LiveRing
from disklog_mp._writer.writer import Writer

OpenLog = Callable[..., disklog_mp.Session]
STEPS: list[tuple[Any, str]] = [
    (LiveRing, "labels_seen"),
    (LabelWriter, "index_of"),
    (LabelWriter, "_create"),
    (_files.RealFile, "write_at"),
    (_files.RealFile, "sync"),
    (_files.RealFiles, "sync_directory"),
    (PageFile, "allow_labels"),
    (LiveRing, "answer_label"),
]


def die_at(owner: Any, step: str, *, behind: bool) -> None:
    """From the first wish for a label on, kill this process before or behind that step."""
    armed = False
    answer = LiveRing.labels_seen
    original = getattr(owner, step)

    def arm(live: LiveRing) -> None:
        nonlocal armed
        armed = armed or bool(live.ring.unlabelled())
        answer(live)

    # The wish may come behind the look above and before the writer's own.
    index_of = LabelWriter.index_of

    def asked(*arguments: Any) -> Any:
        nonlocal armed
        armed = True
        return index_of(*arguments)

    def stepping(*arguments: Any, **keywords: Any) -> Any:
        nonlocal armed
        if step == "labels_seen":
            arm(*arguments)
        armed = armed or step == "index_of"
        if armed and not behind:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **keywords)
        if armed:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    LabelWriter.index_of = asked  # type: ignore[method-assign]
    LiveRing.labels_seen = arm  # type: ignore[method-assign]
    setattr(owner, step, stepping)


def ended(pid: int) -> int:
    """Wait for a child and return its status; one that lives too long is killed by another signal."""
    deadline = time.monotonic() + 20
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGABRT)
        time.sleep(0.01)


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize(("owner", "step"), STEPS, ids=[step for _, step in STEPS])
def test_a_writer_killed_at_each_step(
    open_log: OpenLog, name: str, path: Path, owner: Any, step: str, behind: bool
) -> None:
    """What is logged meanwhile and after is there, labelled as it should be; one line in the table."""
    writer = os.fork()
    if writer == 0:
        try:
            die_at(owner, step, behind=behind)
            Writer(name, path, Options(ring_bytes=1 << 16, linger=None)).run()
        finally:
            os._exit(1)

    def attached(**options: Any) -> disklog_mp.Session | None:
        try:
            return disklog_mp.attach(name, **options)
        except disklog_mp.LogNotFoundError:
            return None

    wait_until(lambda: (session := attached()) is not None and not session.close())
    with disklog_mp.attach(name) as plain:
        plain.log(b"before")
        plain.flush(20)
    session = attached(label="pod")
    assert session is not None
    session.log(b"meanwhile")
    status = ended(writer)
    assert os.WTERMSIG(status) == signal.SIGKILL
    log = open_log(label="pod", ring_bytes=1 << 16)
    wait_until(lambda: not connection_of(session).awaits_label)
    session.log(b"after")
    log.log(b"of another session")
    session.flush()
    log.flush()
    session.close()

    found = {record.data: record.label for record in disklog_mp.Reader(path)}
    assert found.pop(b"before") is None
    assert found.pop(b"meanwhile") in (None, "pod")
    assert found == {b"after": "pod", b"of another session": "pod"}
    assert parse((path / "disklog.labels").read_bytes()) == {1: "pod"}


def test_writers_killed_over_and_over_give_each_label_one_index(
    open_log: OpenLog, name: str, path: Path
) -> None:
    """Forty labels, wanted again and again while the writer is killed at any moment."""
    random.seed(13)
    log = open_log()
    rounds = min(25 * TIMES, 80)
    for number in range(rounds):
        label = f"l{number % 40}"
        with disklog_mp.attach(name, label=label, timeout=20) as session:
            pid = log.stats().writer_pid
            if pid:
                time.sleep(random.random() / 500)
                os.kill(pid, signal.SIGKILL)
            session.log(label.encode())
        log.log(b"plain")
        log.flush(20)

    pairs = Counter((record.data, record.label) for record in disklog_mp.Reader(path))
    assert pairs.pop((b"plain", None)) == rounds
    assert all(label in (None, data.decode()) for data, label in pairs)
    assert sum(pairs.values()) == rounds
    assert sum(count for (_, label), count in pairs.items() if label) > rounds // 8
    table = (path / "disklog.labels").read_bytes()
    assert len(set(parse(table).values())) == len(parse(table)) == table.count(b"\n") - table.count(b"\n\n")


def test_threads_with_labels_of_their_own(open_log: OpenLog, name: str, path: Path) -> None:
    """A process may have several labels: each takes a slot."""
    log = open_log()

    def work(label: str) -> None:
        with disklog_mp.attach(name, label=label) as session:
            for _ in range(50):
                session.log(label.encode())
            session.flush()

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.flush()

    found = Counter((record.data.decode(), record.label) for record in disklog_mp.Reader(path))
    assert found == {(f"t{number}", f"t{number}"): 50 for number in range(8)}
