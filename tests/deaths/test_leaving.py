"""A process ends, and its ring with it, as in a container: what it logged is in pages by then."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.machine import shared_memory_of, stop_writer, wait_until

import disklog_mp

COUNT = 20_000  # records, into a ring that holds a part of them

# In a pid namespace of its own, with a /dev/shm of its own; both end with its process 1.
CONTAINER = (
    *("unshare", "--pid", "--fork", "--mount", "--mount-proc", "sh", "-c"),
    'mount -t tmpfs none /dev/shm && exec "$@"',
    "sh",
)
can_unshare = (
    shutil.which("unshare")
    and not subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode
)
needs_namespaces = pytest.mark.skipif(not can_unshare, reason="no namespaces of our own here")

PROGRAM = """
import os, sys
import disklog_mp
from disklog_mp.logging import DiskLogHandler

name, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
assert os.getpid() == 1
options = {{"ring_bytes": "64M", "sync": "never"}}
{way}
"""

WAYS = {
    "close": """
log = disklog_mp.open(name, path, **options)
for _ in range(count): log.log(b"x" * 100)
log.close()
""",
    "with": """
with disklog_mp.open(name, path, **options) as log:
    for _ in range(count): log.log(b"x" * 100)
""",
    "exit": """
log = disklog_mp.open(name, path, **options)
for _ in range(count): log.log(b"x" * 100)
""",
    "dropped": """
def work():
    log = disklog_mp.open(name, path, **options)
    for _ in range(count): log.log(b"x" * 100)
work()
""",
    "get_logger": """
log = disklog_mp.get_logger("app", name, path, **options)
for number in range(count): log.info("x", number=number)
""",
    "handler": """
import logging
logging.getLogger().addHandler(DiskLogHandler(name, path, **options))
logging.getLogger().setLevel("INFO")
for number in range(count): logging.info("number %d", number)
""",
    "aio": """
import asyncio
from disklog_mp import aio
async def main():
    async with await aio.open(name, path, **options) as log:
        for _ in range(count): await log.log(b"x" * 100)
asyncio.run(main())
""",
    "two sessions": """
first, second = disklog_mp.open(name, path, **options), disklog_mp.attach(name)
for _ in range(count): first.log(b"x" * 100)
first.close()
second.close()
os._exit(0)
""",
}


@needs_namespaces
@pytest.mark.parametrize("way", WAYS)
def test_a_container_that_ends_keeps_what_was_accepted(name: str, path: Path, way: str) -> None:
    """Its process 1 waits for the writer, which the kernel kills with it."""
    program = PROGRAM.format(way=WAYS[way])
    subprocess.run(
        [*CONTAINER, sys.executable, "-c", program, name, path, str(COUNT)], check=True, timeout=60
    )

    assert sum(1 for _ in disklog_mp.Reader(path)) == COUNT
    assert not shared_memory_of(name)


@needs_namespaces
def test_process_1_keeps_at_most_one_zombie_of_a_log(name: str, path: Path) -> None:
    """It gets each writer as a child, and collects those that ended when it starts the next or closes."""
    way = """
import signal, subprocess, time
with disklog_mp.open(name, path) as log:
    log.flush()
    for number in range(4):
        os.kill(log.stats().writer_pid, signal.SIGKILL)
        time.sleep(0.1)
        log.log(b"x")
        log.flush(10)
    states = [open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0]
              for pid in os.listdir("/proc") if pid.isdigit()]
    print(states.count("Z"))
"""
    command = [*CONTAINER, sys.executable, "-c", PROGRAM.format(way=way), name, path, "0"]
    out = subprocess.run(command, check=True, timeout=60, stdout=subprocess.PIPE, text=True).stdout

    assert int(out) <= 1


@needs_namespaces
@pytest.mark.parametrize("ring_dir", [None, "rings"])
def test_stat_says_when_the_ring_ends_with_process_1(name: str, path: Path, ring_dir: str | None) -> None:
    """Not of a ring that is a file elsewhere."""
    place = None if ring_dir is None else os.fspath(path.parent / ring_dir)
    way = f"""
import subprocess
with disklog_mp.open(name, path, ring_dir={place!r}) as log:
    log.log(b"x")
    sys.exit(subprocess.run([sys.executable, "-m", "disklog_mp", "stat", path]).returncode)
"""
    program = PROGRAM.format(way=way)
    command = [*CONTAINER, sys.executable, "-c", program, name, path, "0"]
    out = subprocess.run(command, check=True, timeout=60, stdout=subprocess.PIPE, text=True).stdout

    assert ("/dev/shm ends with it" in out) == (ring_dir is None)


@needs_namespaces
def test_a_ring_on_a_volume_outlives_a_killed_container(name: str, path: Path, tmp_path: Path) -> None:
    """Its process 1 dies with records in the ring: the next container's writer finds them."""
    rings = tmp_path / "rings"
    open_log = f"disklog_mp.open(name, path, ring_dir={os.fspath(rings)!r}, **options)"
    program = PROGRAM.format(
        way=f"""
import signal
log = {open_log}
os.kill(log.stats().writer_pid, signal.SIGSTOP)
for _ in range(count): log.log(b"x" * 100)
os._exit(0)
"""
    )
    command = [*CONTAINER, sys.executable, "-c"]
    subprocess.run([*command, program, name, path, str(COUNT)], check=True, timeout=60)
    assert sum(1 for _ in disklog_mp.Reader(path)) < COUNT
    again = PROGRAM.format(way=f"{open_log}.close()")
    subprocess.run([*command, again, name, path, "0"], check=True, timeout=60)

    wait_until(lambda: sum(1 for _ in disklog_mp.Reader(path)) == COUNT)


def test_a_process_waits_once_for_a_writer_that_stands_still(name: str, path: Path) -> None:
    """Five seconds in all, however many sessions it closes, and its exit adds nothing."""
    program = """
import os, signal, sys, time
import disklog_mp
log = disklog_mp.open(sys.argv[1], sys.argv[2])
log.flush()
os.kill(log.stats().writer_pid, signal.SIGSTOP)
for _ in range(3):
    log.log(b"x")
    log.close()
    log = disklog_mp.attach(sys.argv[1])
log.log(b"x")
"""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", program, name, path], check=True, timeout=60)
    took = time.monotonic() - began
    with disklog_mp.attach(name) as log:
        os.kill(log.stats().writer_pid, signal.SIGCONT)
        log.flush()

    assert 4.5 < took < 9
    stop_writer(name)
