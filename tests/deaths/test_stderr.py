"""Where the writer's stderr leads nowhere, or its reader has stopped: the log goes on."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import COMMAND
from support.machine import wait_until
from support.trouble import assert_healed, numbers

import disklog_mp


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """The writing end of a pipe that is full, and that nobody reads."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writing, b"x" * 4096)
    yield writing
    os.close(writing)
    os.close(reading)


def get_into_trouble(log: disklog_mp.Session, path: Path) -> None:
    """Take the directory away until the writer has noticed, and give it back."""
    for i in range(3):
        log.log(b"%d" % i)
    log.flush(30)
    path.rename(path.with_name("moved"))
    for i in range(3, 8):
        log.log(b"%d" % i)
    wait_until(lambda: log.stats().error)
    path.with_name("moved").rename(path)
    log.flush(30)
    assert_healed(log)


def test_a_writer_does_not_wait_for_who_reads_its_stderr(name: str, path: Path, full_pipe: int) -> None:
    """A full pipe there takes what it has to say at most: it writes, tells its state, ends in good order."""
    kept = os.dup(2)
    try:
        os.dup2(full_pipe, 2)
        log = disklog_mp.open(name, path, page_records=5, ring_bytes=1 << 16, linger=0.1)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    with log:
        get_into_trouble(log, path)

    assert list(range(8)) == numbers(path)  # and the writer is gone in a moment: nothing is left behind


def test_a_server_does_not_wait_for_who_reads_its_stderr(name: str, path: Path, full_pipe: int) -> None:
    """Not at its start, not in trouble, not at its end."""
    command = [*COMMAND, "serve", name, str(path), "--page-records", "5", "--ring-bytes", "64k"]
    with subprocess.Popen(command, stderr=full_pipe) as server:
        try:
            with wait_until(lambda: attached(name)) as log:
                get_into_trouble(log, path)
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
        finally:
            server.kill()

    assert list(range(8)) == numbers(path)


def attached(name: str) -> disklog_mp.Session | None:
    """A session on the log, as soon as there is one."""
    try:
        return disklog_mp.attach(name)
    except disklog_mp.LogNotFoundError:
        return None


def test_no_page_file_takes_the_place_of_a_stderr_that_is_closed(name: str, path: Path) -> None:
    """What the system has to say of a process goes to descriptor 2, whatever that is."""
    program = (
        "import os, sys, disklog_mp\n"
        f"log = disklog_mp.open({name!r}, {str(path)!r}, ring_bytes=65536, linger=0.1)\n"
        "log.log(b'0')\n"
        "log.flush()\n"
        "print(os.readlink(f'/proc/{log.stats().writer_pid}/fd/2'))\n"
        "log.close()\n"
    )
    shell = ["sh", "-c", '"$0" -c "$1" 2>&-', sys.executable, program]
    told = subprocess.run(shell, capture_output=True, text=True, timeout=60, check=True).stdout

    assert told == "/dev/null\n"
    assert [0] == numbers(path)
