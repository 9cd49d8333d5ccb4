"""The demo: the whole of the package on real input."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import COMMAND, call
from support.machine import processes_of, wait_until
from support.rings import has_ring

import disklog_mp

SOME = """
from disklog_mp import cli
from disklog_mp.cli.demo import work
root, files = work.python_files()
work.python_files = lambda: (root, files[:600])
raise SystemExit(cli.run(["demo"]))
"""


def start_demo(path: Path, *arguments: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    command = [*COMMAND, "demo", "--dir", str(path), *arguments]
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, start_new_session=True)


@pytest.mark.timeout(300)
def test_the_demo_adds_up(path: Path, tmp_path: Path) -> None:
    """It logs some of the library from many processes, and everything is accounted for.

    `make demo` does it with all of the library.
    """
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SOME], env=environment, capture_output=True, timeout=100, check=False
    )
    out = done.stdout.decode()
    (path,) = tmp_path.glob("disklog-demo-*")

    assert done.returncode == 0, done.stderr.decode()
    files = int(re.search(r"parse the ([\d,]+) files", out)[1].replace(",", ""))  # type: ignore[index]
    records = list(disklog_mp.Reader(path))
    assert files + 1 == len(records)
    assert f"counters match: {files + 1:,} logged = {files + 1:,} written + 0 in the ring" in out
    assert len({record.pid for record in records}) == 2 * len(os.sched_getaffinity(0)) + 2
    assert -(-len(records) // 500) == len(list(disklog_mp.Reader(path).pages()))
    assert b"records/s" in done.stderr
    assert call("verify", path).returncode == 0
    wait_until(lambda: call("stat", path).returncode == 0, 30)  # its writer takes a moment to leave
    for command in re.findall(r"^  disklog-mp (.*)$", out, re.MULTILINE):
        arguments = command.removesuffix("| head").split()
        assert call(*arguments).returncode == 0


@pytest.mark.timeout(300)
def test_control_c_leaves_nothing_running(path: Path) -> None:
    """Ctrl-C in the middle: exit code 130, no traceback, no process and no ring left, readable pages."""
    with start_demo(path, "--workers", "3") as process:
        wait_until(lambda: path.exists() and any(True for _ in disklog_mp.Reader(path)), 60)
        os.killpg(process.pid, signal.SIGINT)
        _, complaint = process.communicate(timeout=60)

    assert process.returncode == 130
    assert b"Traceback" not in complaint
    wait_until(lambda: not processes_of(str(path)))
    wait_until(lambda: not has_ring(f"demo-{process.pid}"))
    assert call("verify", path).returncode == 0
