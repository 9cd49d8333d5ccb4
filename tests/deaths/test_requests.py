"""A request is done once or not at all: the asking process is killed at each line, and so is the writer."""

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.chance import TIMES
from support.machine import processes_of, shared_memory_of, stop_writer, wait_until

import disklog_mp
from disklog_mp._pages.identity import LogIdentity, read_identity
from disklog_mp._session import requests

STRIDE_OF_ASKER, STRIDE_OF_WRITER = (5, 25) if TIMES == 1 else (3, 10)  # lines between two kills
STRIDE_OF_STEERER = 60 if TIMES == 1 else 15
DYING = """
import os, sys

def die_at(number, first, files):
    count, armed = 0, False

    def lines(frame, event, arg):
        nonlocal count
        if event == "line" and armed:
            count += 1
            if count == number:
                os.kill(os.getpid(), 9)
        return lines

    def calls(frame, event, arg):
        nonlocal armed
        code = frame.f_code
        if not code.co_filename.endswith(files):
            return None
        armed = armed or code.co_name == first
        return lines

    sys.settrace(calls)
"""
ASKER = (
    DYING
    + """
import disklog_mp
from disklog_mp._session import requests
name, path, number, request, value = sys.argv[1:]
log = requests.log_in(name, path, None)
die_at(int(number), "ask", ("_session/requests.py", "_os/files.py"))
requests.ask(log, "configure", number=request, options={"keep_pages": int(value)})
"""
)
WRITER = (
    DYING
    + """
from disklog_mp._options import Options
from disklog_mp._writer.terms import Terms
from disklog_mp._writer.writer import Writer
name, path, number = sys.argv[1:]
work = Writer(name, path, Options(), terms=Terms({}, "open", goes_on=True))
print("ready", flush=True)
die_at(int(number), "_finish", ("_writer/requests.py", "_writer/configuration.py", "_writer/log_file.py",
    "_writer/leaving.py", "_writer/access.py", "_pages/identity.py", "_os/files.py", "_writer/steering.py",
    "_writer/page_keeper.py", "_pages/retention.py", "_writer/archiving.py", "_pages/folder.py",
    "_pages/writer.py"))
work.run()
"""
)


@pytest.fixture(autouse=True)
def attached(name: str, path: Path) -> Iterator[disklog_mp.Session]:
    """A log with a process attached, so that its writers stay."""
    with disklog_mp.open(name, path, ring_bytes=1 << 16, linger=0) as log:
        yield log
    stop_writer(name)
    disklog_mp.open(name, path, linger=0).close()
    wait_until(lambda: not shared_memory_of(name) and not processes_of(str(path)))


def identity_of(path: Path) -> LogIdentity:
    """What the log's file says."""
    identity = read_identity(str(path))
    assert identity is not None
    return identity


def times_done(path: Path, request: str) -> int:
    """How often the log's file says that the request was done."""
    return sum(done["id"] == request for done in identity_of(path).done)


def test_a_process_that_dies_asking(name: str, path: Path) -> None:
    """What it asked is done or not; the writer goes on, and answers the next."""
    outcomes = set()
    for number in itertools.count(1, STRIDE_OF_ASKER):
        before, request = identity_of(path).options["keep_pages"], requests.new_number()
        asked = subprocess.run(
            [sys.executable, "-c", ASKER, name, path, str(number), request, str(1000 + number)], check=False
        )
        log = requests.log_in(name, str(path), None)
        requests.ask(log, "ping")  # behind what was asked
        now = identity_of(path).options["keep_pages"]
        assert (now, times_done(path, request)) in ((before, 0), (1000 + number, 1))
        outcomes.add(now != before)
        if asked.returncode == 0:
            break

    assert outcomes == {True, False}


@pytest.mark.parametrize("what", ["roll", "prune", "truncate", "archive"])
def test_a_writer_that_dies_steering(
    attached: disklog_mp.Session, name: str, path: Path, what: str, tmp_path: Path
) -> None:
    """The next one finds what was planned, and does it: once, and the answer says what was done."""
    ends = set()
    last = 0
    for number in itertools.count(STRIDE_OF_STEERER, STRIDE_OF_STEERER):
        attached.log_many([b"%d" % number] * 2)
        attached.flush()
        if what == "prune":
            attached.roll()
            attached.log(b"another page")
            attached.flush()
        stop_writer(name, 9)
        writer = start_writer(name, path, number)
        if writer is None:
            continue
        request = requests.new_number()
        fields = {"keep": {"pages": 1}} if what == "prune" else {"to": str(tmp_path)}
        log = requests.log_in(name, str(path), None)
        while (answer := requests.ask(log, what, timeout=20, number=request, **fields)).get("goes_on"):
            time.sleep(0.01)
        again = requests.ask(log, what, timeout=20, number=request, **fields)

        assert answer == again
        assert times_done(path, request) == 1
        done = answer["page"] if what == "roll" else answer["last"]
        assert done > last
        last = done
        there = disklog_mp.Reader(path).page_numbers()
        if what == "roll":
            assert there[-1] in (last, last + 1)
            assert all(page.sealed for page in disklog_mp.Reader(path).pages() if page.number <= last)
        else:
            assert there == [last + 1]
        report = disklog_mp.verify(path)
        assert report.status == "clean", report.findings
        assert report.sums is not None
        assert report.sums["retired" if what == "archive" else "archived"] == report.sums["missing"] == 0
        ends.add(writer.poll())
        writer.kill()
        writer.communicate()
        if None in ends:
            break

    assert ends == {None, -9}


def start_writer(name: str, path: Path, number: int) -> "subprocess.Popen[bytes] | None":
    """Start a writer that dies at that line; None if a session was faster."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, name, path, str(number)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    if writer.stdout.readline() == b"ready\n":
        return writer
    writer.wait()
    writer.stdout.close()
    return None


@pytest.mark.parametrize("what", ["configure", "stop"])
def test_a_writer_that_dies_answering(name: str, path: Path, what: str) -> None:
    """The next one is asked with the same id: it is done in the end, and once."""
    ended = False
    for number in itertools.count(1, STRIDE_OF_WRITER):
        stop_writer(name, 9)
        writer = start_writer(name, path, number)
        if writer is None:
            continue
        request = requests.new_number()
        log = requests.log_in(name, str(path), None)
        if what == "configure":
            answer = requests.ask(
                log, what, timeout=20, number=request, options={"keep_pages": 1000 + number}
            )
            assert answer == {"changed": {"keep_pages": 1000 + number}}
            assert identity_of(path).options["keep_pages"] == 1000 + number
        else:
            answer = requests.ask(log, what, timeout=20, number=request, until_end=True)
            assert identity_of(path).stopped == answer["stopped"]
        assert times_done(path, request) == 1
        ended = writer.poll() is None or writer.returncode == 0
        writer.kill()
        writer.communicate()
        if ended:
            break
    if what == "stop":  # it is there again for the next open()
        disklog_mp.open(name, path).close()
        assert identity_of(path).stopped is None

    assert number > 5 * STRIDE_OF_WRITER
