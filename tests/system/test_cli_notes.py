"""Notes of cat and tail: drops and missing records, which no condition hides, and where they are shown."""

import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.children import end, fork
from support.command import COMMAND, call, objects
from support.machine import wait_until
from support.pages import write_log

import disklog_mp

OpenLog = Callable[..., disklog_mp.Session]


@pytest.fixture
def dropped(open_log: OpenLog) -> int:
    """How many records the log dropped, before the one that says so and the last one."""
    log = open_log(ring_bytes=4096, on_full="drop")
    writer = log.stats().writer_pid
    os.kill(writer, signal.SIGSTOP)
    accepted = sum(log.log(b"x" * 100) >= 0 for _ in range(50))
    os.kill(writer, signal.SIGCONT)
    log.flush()
    log.log(b"after")
    log.flush()
    return 50 - accepted


@pytest.mark.parametrize("command", ["cat", "tail"])
@pytest.mark.parametrize(
    "how",
    [(), ("--level", "WARNING"), ("--field", "a=b"), ("--logger", "a.b"), ("--tag", 7), ("--pid", 1),
     ("--label", "other"), ("--json",), ("--raw",), ("--raw", "--notes"), ("--format", "logfmt")],
    ids=str,
)  # fmt: skip
def test_drops_pass_every_condition(dropped: int, path: Path, command: str, how: tuple[object, ...]) -> None:
    """One line on stderr: which process, how many, from when to when, and why; the output stays clean."""
    done = call(command, path, *how)
    is_filter = bool({"--level", "--field", "--logger", "--tag", "--pid", "--label"} & {*how})
    pattern = rf"disklog-mp: process {os.getpid()} dropped {dropped} records from 2\S+ \S+ to 2\S+ \S+: "

    assert re.fullmatch(pattern + r"the ring was full\n", done.stderr.decode())
    assert b"dropped" not in done.stdout
    assert is_filter == done.returncode  # a filter that finds nothing


def test_notes_in_the_output(dropped: int, path: Path) -> None:
    """--notes: as a line at its place, in JSON as an object; --no-notes: nowhere."""
    done = call("cat", path, "--notes", "--level", "WARNING")
    shown = objects("tail", path, "--notes", "--level", "WARNING", code=1)
    [told] = [each for each in shown if each["note"] == "gap"]
    hidden = call("cat", path, "--no-notes")

    assert b"" == done.stderr == hidden.stderr
    assert f"-- process {os.getpid()} dropped {dropped} records from ".encode() in done.stdout
    assert ("gap", os.getpid(), dropped, "the ring was full") == tuple(
        told[key] for key in ("note", "pid", "dropped", "why")
    )
    assert told["from"] < told["to"] <= told["time"]
    assert b"dropped" not in hidden.stdout


def test_notes_on_a_terminal(dropped: int, path: Path) -> None:
    """They stand among the records, and do not count as one of the last N."""
    shown = on_a_terminal("tail", "-n", 1, path), on_a_terminal("tail", "-n", 2, path)

    assert [2, 3] == [len(each) for each in shown]
    assert f"-- process {os.getpid()} dropped {dropped} records from " in shown[1][1]
    assert shown[0][1].endswith(" after")
    assert shown[1][2].endswith(" after")


def test_missing_records_as_objects(path: Path) -> None:
    """Numbers, times and reason."""
    write_log(path, [b"record %d" % i for i in range(9)], page_records=3)
    (path / "page-0000000002.dlog").unlink()
    done = call("cat", "--json", "--notes", path)
    told = [json.loads(line) for line in done.stdout.splitlines()]

    assert (1, b"", 7) == (done.returncode, done.stderr, len(told))
    [note] = [each for each in told if "note" in each]
    assert ("missing", 3, 5, 3, "page file missing", told[2]["time"], told[-3]["time"]) == tuple(
        note[key] for key in ("note", "first_number", "last_number", "records", "why", "from", "to")
    )
    assert 1 == call("cat", "--no-notes", path).returncode


def test_events_stand_at_their_positions(open_log: OpenLog, path: Path) -> None:
    """Each before the first record behind it; no condition hides one; JSON and raw output stay clean.

    Without --notes those are told that are not routine: here, that a producer died.
    """
    log = open_log(linger=5.0)
    log.log(b"one")

    def work() -> None:
        other = disklog_mp.attach(log.name)
        other.log(b"two")
        time.sleep(60)

    pid = fork(work)
    wait_until(lambda: names_in(path).count("producer-attached") == 2)
    end(pid)
    wait_until(lambda: "producer-died" in names_in(path))
    log.roll()
    wait_until(lambda: "rolled" in names_in(path))
    log.log(b"three")
    log.flush()

    died = rf" 2\d+-\S+ \S+ \d+ producer-died pid={pid} command=\S+ logged=1 since=\S+ abandoned=0 signal=9"
    for command in ("cat", "tail"):
        for how in ((), ("--level", "WARNING"), ("--json",), ("--raw",), ("--raw", "--notes")):
            done = call(command, path, *how)
            assert re.fullmatch(rf"disklog-mp:{died}\n", done.stderr.decode())
            assert b"producer" not in done.stdout
        assert b"producer" not in (done := call(command, path, "--no-notes")).stdout + done.stderr
        shown = objects(command, path, "--json", "--notes")
        told = [each.get("data") or each["event"] for each in shown]
        told = [each for each in told if each != "producer-attached"]
        assert told[-5:] == ["one", "two", "producer-died", "rolled", "three"]
        assert [each["note"] for each in shown if "event" in each] == ["event"] * (len(shown) - 3)
        lines = on_a_terminal(command, path)
        assert [line.split()[-1] for line in lines] == ["one", "two", "--", "three"]
        assert re.fullmatch(rf"--{died} --", lines[2])
    assert objects("cat", path, "--json", "--notes")[0]["event"] == "opened"
    last = objects("tail", path, "--json", "--notes", "-n", 1)  # those before the first record are not shown
    told = [each.get("data") or each["event"] for each in last if each.get("event") != "producer-attached"]
    assert told == ["producer-died", "rolled", "three"]


def test_events_are_shown_while_no_record_comes(log: disklog_mp.Session, path: Path) -> None:
    """tail -f tells of them as they happen."""
    command = [*COMMAND, "tail", str(path), "-n", "0", "-f", "--json", "--notes"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as shown:
        log.configure(keep_pages=7)
        assert shown.stdout is not None
        told = next(line for line in shown.stdout if '"configured"' in line)
        shown.terminate()

    assert json.loads(told).items() >= {"note": "event", "option": "keep_pages", "to": 7}.items()


def names_in(path: Path) -> list[str]:
    return [event.name for event in disklog_mp.Reader(path).events()]


def on_a_terminal(*arguments: object) -> list[str]:
    """The lines that a command prints on a terminal."""
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)], stdout=theirs, stderr=subprocess.PIPE, check=True
        )
        assert b"" == done.stderr
        return os.read(ours, 65536).decode().splitlines()
    finally:
        os.close(ours)
        os.close(theirs)
