"""The log's own events: what happened to a log stands beside it, each once, in order, with its position."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.children import child, end, fork
from support.machine import stop_writer, wait_until
from support.mounts import fill

import disklog_mp
from disklog_mp import LogEvent
from disklog_mp._options import Options
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.event_log import Entry, EventLog
from disklog_mp._pages.format import record_frame

OpenLog = Callable[..., disklog_mp.Session]


def events_of(path: Path) -> list[LogEvent]:
    return list(disklog_mp.Reader(path).events())


def names_in(path: Path) -> list[str]:
    return [event.name for event in events_of(path)]


def wait_for(path: Path, name: str, count: int = 1) -> list[LogEvent]:
    """The events of that name, when there are so many."""
    wait_until(lambda: names_in(path).count(name) >= count, 20)
    return [event for event in events_of(path) if event.name == name]


def test_fourteen_steps(open_log: OpenLog, name: str, path: Path) -> None:
    """Opened, attached, rolled, set, full, room again, a producer killed, one that left, the writer killed,
    replaced, retention, dropped, stopped, opened again: each step is told once, in this order.
    """
    log = open_log(linger=5.0, sync="never")  # 1
    wait_for(path, "producer-attached")  # 2
    log.log(b"x")
    log.flush()
    log.roll()  # 3
    wait_for(path, "rolled")
    log.configure(max_bytes=6000)  # 4: keeps the first page, refuses what is more
    log.log(b"x" * 3000)
    log.flush()
    wait_for(path, "full")  # 5
    log.configure(max_bytes=None)
    wait_for(path, "room-again")  # 6

    def work() -> None:
        other = disklog_mp.attach(name)
        other.log(b"from a child")
        time.sleep(60)

    pid = fork(work)
    wait_for(path, "producer-attached", 2)
    end(pid)  # 7
    (died,) = wait_for(path, "producer-died")
    assert died.fields["pid"] == pid
    assert died.fields["abandoned"] == 0
    assert died.fields["signal"] == signal.SIGKILL
    with child(lambda: disklog_mp.attach(name).close()) as pid:  # 8
        left = wait_for(path, "producer-left")
    assert [pid] == [event.fields["pid"] for event in left]
    writer = log.stats().writer_pid
    stop_writer(name, signal.SIGKILL)  # 9
    log.log(b"y")
    log.flush()  # 10
    (replaced,) = wait_for(path, "writer-replaced")
    assert (replaced.fields["why"], replaced.fields["pid"]) == ("died", writer)
    log.configure(keep_pages=1)
    log.roll()
    log.log(b"z")
    log.flush()
    wait_for(path, "retired")  # 11
    log.configure(linger=0.0)
    log.close()
    wait_for(path, "stopped")  # 13
    open_log(linger=0.0).close()  # 14
    wait_for(path, "stopped", 2)

    events = events_of(path)
    assert [event.position for event in events] == sorted(event.position for event in events)
    told = [event.name for event in events]
    expected = ["opened", "writer-started", "producer-attached", "rolled", "configured", "full", "configured"]
    expected += ["room-again", "producer-attached", "producer-died", "producer-attached", "producer-left"]
    expected += ["writer-replaced", "writer-started"]
    assert [name for name in told[: told.index("configured", 9)] if name != "repaired"] == expected
    counts = Counter(told)
    retired = [event for event in events if event.name == "retired"]
    pages = disklog_mp.Reader(path).page_numbers()
    assert [event.fields["page"] for event in retired] == list(range(1, pages[0]))
    kept = list(disklog_mp.Reader(path))
    assert kept[0].number == sum(event.fields["records"] for event in retired)
    sealed = [page.sealed for page in disklog_mp.Reader(path).pages()]
    assert counts["rolled"] == len(retired) + sum(sealed)
    assert counts["producer-attached"] == counts["producer-died"] + counts["producer-left"]
    assert (counts["writer-replaced"], counts["stopped"], counts["opened"]) == (1, 2, 1)
    assert counts["writer-started"] == 3
    assert (counts["full"], counts["room-again"], counts["configured"]) == (1, 1, 5)
    (restarted,) = (
        event.fields for event in events if event.fields.get("option") == "sync"
    )  # 14 leaves it out
    assert (restarted["from"], restarted["by"]) == ("never", "default")


def test_drops_are_told_to_the_record(open_log: OpenLog, path: Path) -> None:
    """Drops counted = drops told, over the death of a writer."""
    log = open_log(ring_bytes=1 << 16, on_full="drop", linger=5.0)
    for _ in range(3):
        for _ in range(3000):
            log.log(b"x" * 200)
        wait_until(lambda: log.stats().ring_used == 0)
        stop_writer(log.name, signal.SIGKILL)
        log.log(b"starts the next one")
        log.flush()
    dropped = log.stats().dropped
    log.close()
    wait_for(path, "producer-left")

    assert dropped
    assert dropped == sum(event.fields["count"] for event in events_of(path) if event.name == "dropped")


def test_a_full_disk_is_told_on_that_disk(open_log: OpenLog, small_disk: Path) -> None:
    """One event when it begins, while the disk is full, and one when it ends, with the attempts between."""
    path = small_disk / "log"
    log = disklog_mp.open("full-" + str(os.getpid()), path, ring_bytes=1 << 20, linger=0.0)
    try:
        log.log(b"0")
        log.flush()
        fill(small_disk / "ballast")
        log.on_full, log.timeout = "drop", 0.1
        for _ in range(6000):
            log.log(b"x" * 5000)
            if log.stats().error:
                break
        (error,) = wait_for(path, "error")
        assert error.fields["what"] == "write"
        assert error.fields["errno"] == 28
        assert "recovered" not in names_in(path)
        for _ in range(600):
            log.log(b"x" * 5000)
        wait_for(path, "dropped")
        (small_disk / "ballast").unlink()
        (recovered,) = wait_for(path, "recovered")
        assert recovered.fields["times"] >= 1
        assert names_in(path).count("error") == 1
    finally:
        log.close()
        stop_writer(log.name)


def test_without_events(open_log: OpenLog, path: Path) -> None:
    """event_bytes=0: there is no file of them; set in a running log, they begin."""
    log = open_log(event_bytes=0)
    log.log(b"x")
    log.flush()
    log.roll()

    assert not list(path.glob("events-*"))
    assert events_of(path) == []
    log.configure(event_bytes=1 << 16)
    log.log(b"x")
    log.roll()
    wait_for(path, "rolled")


def test_the_log_does_not_see_them(open_log: OpenLog, path: Path) -> None:
    """They are no pages of the log: not counted, not kept, not verified, and not foreign files."""
    log = open_log(keep_pages=1, page_records=1, linger=0.0)
    for _ in range(5):
        log.log(b"x")
    log.flush()
    wait_until(lambda: disklog_mp.Reader(path).page_numbers() == [5])
    log.close()
    wait_for(path, "stopped")
    (path / "disklog.lock").unlink()
    for page in path.glob("page-*"):
        page.unlink()
    open_log(linger=0.0).close()

    assert names_in(path).count("opened") == 1


def test_the_command(open_log: OpenLog, path: Path) -> None:
    """A line for each, an object for each with --json; -f shows what comes."""
    log = open_log()
    wait_for(path, "producer-attached")

    def command(*options: str) -> list[str]:
        run = [sys.executable, "-m", "disklog_mp", "events", str(path), *options]
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout.splitlines()

    lines, objects = command(), [json.loads(line) for line in command("--json")]
    assert [line.split()[3] for line in lines] == [found["event"] for found in objects] == names_in(path)
    assert objects[0]["position"] == 0
    following = [sys.executable, "-m", "disklog_mp", "events", str(path), "-f", "--json"]
    with subprocess.Popen(following, stdout=subprocess.PIPE, text=True) as shown:
        log.log(b"x")
        log.roll()
        assert shown.stdout is not None
        assert any(json.loads(line)["event"] == "rolled" for line in shown.stdout)
        shown.terminate()


# -- the pages of events ---------------------------------------------------------------------------------


def test_a_frame_made_here_is_one_of_the_core(path: Path) -> None:
    """What format.record_frame() makes has the checksum that the core wants, at any position."""
    from support.pages import frame

    for position, data in ((0, b""), (1 << 40, b"x" * 7), (32, b"y" * 300)):
        made = record_frame(position, 12345, 678, 4711, data)
        assert made == frame(position, data, time=678, pid=4711, salt=12345)


class Book:
    """The events' pages of a directory, and the records in them."""

    def __init__(self, path: Path, event_bytes: int = 1 << 16) -> None:
        self.directory = Directory(path)
        self.directory.create(0o600, -1)
        assert self.directory.lock(0o600, -1)
        options = Options(event_bytes=event_bytes)
        self.log = EventLog(self.directory, "log", options, -1, bytes(16))

    def append(self, *texts: str) -> None:
        entries = [Entry(1, json.dumps(to_event(text)).encode()) for text in texts]
        while entries:
            done = self.log.append(entries, self.summary, lambda: True)
            assert done
            del entries[:done]

    def summary(self) -> bytes:
        return json.dumps(to_event("totals", events={"a": 1})).encode()

    def close(self) -> None:
        self.log.close()
        self.directory.unlock()


def to_event(name: str, **fields: Any) -> dict[str, Any]:
    return {"event": name, "time": 1, "position": 0, **fields}


def test_old_events_go_and_the_totals_stay(path: Path) -> None:
    """Four pages; what begins with the totals of all before is the first thing that a reader gets."""
    book = Book(path)
    for number in range(3000):
        book.append(f"{number:05}")
    book.close()
    names = names_in(path)

    assert 2 <= len(list(path.glob("events-*"))) <= 4
    assert names[0] == "totals"
    assert names.count("totals") == 1
    assert names[1:] == [f"{number:05}" for number in range(3000 - len(names) + 1, 3000)]


@pytest.mark.parametrize("cut", [1, 8, 30, 64, 200])
def test_a_torn_end_is_recovered_as_in_all_pages(path: Path, cut: int) -> None:
    """What is whole is there, and more can be told."""
    book = Book(path)
    book.append("one", "two")
    book.close()
    (file,) = path.glob("events-*")
    os.truncate(file, file.stat().st_size)
    data = bytearray(file.read_bytes())
    last = data.rindex(b'{"event": "two"') + 20
    data[last - min(cut, 20) : last] = bytes(min(cut, 20))
    file.write_bytes(data)
    book = Book(path)
    book.append("three")
    book.close()

    names = names_in(path)
    assert names[-1] == "three"
    assert "one" in names
    assert "two" not in names
