"""Labels of producers: with each record, through every door, in every view."""

import asyncio
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import call
from support.machine import stop_writer, wait_until
from support.rings import ring_path
from support.sessions import connection_of

import disklog_mp
import disklog_mp.aio
from disklog_mp._core import LABEL_MAX, PAGE_LABELLED, PAGE_VERSION
from disklog_mp._pages.labels import to_line
from disklog_mp.logging import DiskLogHandler

OpenLog = Callable[..., disklog_mp.Session]


def text(*arguments: object) -> str:
    return call(*arguments).stdout.decode()


def labels_of(path: Path) -> list[tuple[bytes, str | None]]:
    return [(record.data, record.label) for record in disklog_mp.Reader(path)]


def test_each_record_carries_the_label_of_its_producer(open_log: OpenLog, name: str, path: Path) -> None:
    """Single records, groups, and those of a producer without a label."""
    with (
        open_log(label="pod-a") as log,
        disklog_mp.attach(name, label="pod-b") as other,
        disklog_mp.attach(name) as plain,
    ):
        log.log(b"1")
        other.log_many([b"2", b"3"])
        plain.log(b"4")
        assert [producer.label for producer in log.stats().producers] == ["pod-a", "pod-b", ""]
        for session in (log, other, plain):
            session.flush()

        assert labels_of(path) == [(b"1", "pod-a"), (b"2", "pod-b"), (b"3", "pod-b"), (b"4", None)]
        record = disklog_mp.Reader(path).get_page(1)[0]
        assert pickle.loads(pickle.dumps(record)) == record
        assert "label='pod-a'" in repr(record)


def test_a_page_says_whether_it_may_hold_labels(open_log: OpenLog, name: str, path: Path) -> None:
    """Version 1 until the first label, so that readers of that version read it; then 2."""
    log = open_log(page_records=2)
    log.log(b"plain")
    log.flush()
    assert disklog_mp.Reader(path).get_page(1).header.version == PAGE_VERSION
    with disklog_mp.attach(name, label="pod") as other:
        other.log(b"labelled")
        other.log(b"in the next page")
        other.flush()

    assert [page.header.version for page in disklog_mp.Reader(path).pages()] == [PAGE_LABELLED] * 2
    assert call("verify", path).returncode == 0


def test_a_forked_child_and_an_unpickled_session_have_it_too(open_log: OpenLog, path: Path) -> None:
    """The label goes with the session."""
    log = open_log(label="pod")
    log.log(b"parent")
    context = multiprocessing.get_context("fork")
    child = context.Process(target=log.log, args=(b"child",))
    child.start()
    child.join()
    with pickle.loads(pickle.dumps(log)) as copy:
        copy.log(b"copy")
        copy.flush()
    log.flush()

    assert sorted(labels_of(path)) == [(b"child", "pod"), (b"copy", "pod"), (b"parent", "pod")]


def test_doors_take_a_label(open_log: OpenLog, name: str, path: Path) -> None:
    """The handler and asyncio, attached and opening."""
    log = open_log()
    handler = DiskLogHandler(name, label="handler")
    handler.enqueue(b"1", 0)
    handler.flush()
    handler.close()
    with pytest.raises(ValueError, match="label="):
        DiskLogHandler(name, label="no label")

    async def run() -> None:
        async with await disklog_mp.aio.attach(name, label="loop") as session:
            await session.log(b"2")
            await session.flush()

    asyncio.run(run())
    log.flush()

    assert labels_of(path) == [(b"1", "handler"), (b"2", "loop")]


def test_the_environment_gives_the_default(
    open_log: OpenLog, name: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DISKLOG_MP_LABEL; label="" is none all the same."""
    monkeypatch.setenv("DISKLOG_MP_LABEL", "from the environment")
    open_log(label="opener")
    with disklog_mp.attach(name) as log, disklog_mp.attach(name, label="") as plain:
        log.log(b"1")
        plain.log(b"2")
        log.flush()
        plain.flush()

    assert labels_of(path) == [(b"1", "from_the_environment"), (b"2", None)]


def test_another_pid_namespace_has_its_host_name(open_log: OpenLog, name: str, path: Path) -> None:
    """In a container every program is process 1: the host name tells them apart."""
    log = open_log()
    program = f"import disklog_mp; log = disklog_mp.attach({name!r}); log.log(b'inside'); log.flush()"
    command = ["unshare", "--pid", "--uts", "--fork", "sh", "-c", 'hostname pod-1; exec "$0" "$@"']
    done = subprocess.run([*command, sys.executable, "-c", program], check=False, capture_output=True)
    if b"unshare failed" in done.stderr or b"not permitted" in done.stderr:
        pytest.skip("a pid namespace takes root")
    assert done.returncode == 0, done.stderr
    log.flush()

    (record,) = disklog_mp.Reader(path)
    assert (record.pid, record.label) == (1, "pod-1")


def test_the_commands_show_and_select_it(open_log: OpenLog, name: str, path: Path) -> None:
    """cat, tail, stat, --label, every format."""
    with open_log(label="pod-a") as log, disklog_mp.attach(name, label="pod-b") as other:
        log.log(b"one")
        other.log(b"two")
        log.flush()
        other.flush()
        pid = os.getpid()

        assert f" pod-a/{pid} one\n" in text("cat", name)
        assert [json.loads(line)["label"] for line in text("cat", "--json", name).splitlines()] == [
            "pod-a",
            "pod-b",
        ]
        assert "label=pod-b" in text("tail", "-n1", "--format", "logfmt", name)
        assert text("cat", "--format", "%(label)s %(message)s", name) == "pod-a one\npod-b two\n"
        assert text("cat", "--label", "pod-b", "--raw", str(path)) == "two\n"
        assert text("tail", "--label", "pod-a", "--raw", name) == "one\n"
        stat = text("stat", name)
        assert "LABEL" in stat
        assert f"{pid}  pod-a" in stat


def test_records_go_without_until_the_writer_answers(open_log: OpenLog, name: str, path: Path) -> None:
    """A writer that is stopped keeps no producer from logging; when it goes on, the label comes."""
    log = open_log()
    log.log(b"0")
    log.flush()
    writer = log.stats().writer_pid
    os.kill(writer, 19)
    try:
        other = disklog_mp.attach(name, label="pod")
        other.log(b"1")
        assert connection_of(other).awaits_label
    finally:
        os.kill(writer, 18)
    wait_until(lambda: not connection_of(other).awaits_label)
    other.log(b"2")
    other.flush()
    other.close()

    assert labels_of(path) == [(b"0", None), (b"1", None), (b"2", "pod")]


def test_a_label_stays_over_a_ring_that_is_replaced(open_log: OpenLog, name: str, path: Path) -> None:
    """The next ring asks again, and the answer is the same."""
    log = open_log(label="pod")
    log.log(b"1")
    ring = connection_of(log).ring
    assert ring is not None
    os.unlink(ring_path(name))

    def is_replaced() -> bool:
        log.log(b"2")
        return connection_of(log).ring is not ring

    wait_until(is_replaced, 20)
    log.log(b"3")
    log.flush()

    assert {label for _, label in labels_of(path)} == {"pod"}


def test_when_all_labels_are_taken(
    open_log: OpenLog, name: str, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Records of further labels carry none; stderr says so once, stat shows it."""
    open_log(label="first").close()
    stop_writer(name)
    lines = [to_line(index, f"pod-{index}") for index in range(2, LABEL_MAX + 1)]
    with open(path / "disklog.labels", "ab") as table:
        table.write(b"".join(lines))
    with open_log(label="pod-7") as known, disklog_mp.attach(name, label="pod-7") as same:
        known.log(b"known")
        same.log(b"same")
    code = "import disklog_mp, sys; disklog_mp.attach(sys.argv[1], label=sys.argv[2]).log(b'further')"
    with open_log():
        for label in ("one-more", "another"):
            subprocess.run([sys.executable, "-c", code, name, label], check=True)
        shown = call("stat", name)
    told = capfd.readouterr().err

    assert told.count("all 4,095 labels are taken") == 1
    assert "labels     all 4,095 are taken" in shown.stdout.decode()
    assert shown.returncode == 0
    assert [(record.data, record.label) for record in disklog_mp.Reader(path)] == [
        (b"known", "pod-7"),
        (b"same", "pod-7"),
        (b"further", None),
        (b"further", None),
    ]
