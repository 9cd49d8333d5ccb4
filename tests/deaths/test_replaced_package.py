"""The package goes, or another comes in its place, under a running process: it needs nothing of the disk."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from support.machine import stop_writer

import disklog_mp

PACKAGE = Path(disklog_mp.__file__).parent

PROGRAM = """
import os, signal, sys, time
import disklog_mp
from disklog_mp.logging import DiskLogHandler
import logging

name, path, package = sys.argv[1:4]
assert disklog_mp.__file__.startswith(package), disklog_mp.__file__
log = disklog_mp.open(name, path, ring_bytes="64k", timeout=0.2, linger=0.5)
logger = disklog_mp.get_logger("app", name, path)
handler = logging.getLogger("handled")
handler.addHandler(DiskLogHandler(name, path))
logger.info("one")
handler.warning("one")
log.flush()
writer = log.stats().writer_pid
os.rename(package, package + ".gone")  # the package, and all of the standard library that was not loaded
kept, sys.path[:] = sys.path[:], []
sys.meta_path.clear()
sys.path_importer_cache.clear()
loaded = set(sys.modules)


def fill():
    logged = 0
    try:
        while True:
            log.log(b"x" * 500)
            logged += 1
    except disklog_mp.RingFullError:
        return logged


os.kill(writer, signal.SIGSTOP)
logged = fill()
log.on_full = "drop"
assert log.log(b"d" * 500) == -1
os.kill(writer, signal.SIGCONT)
log.on_full = "block"
log.flush(10)
log.log(b"the gap stands before this")
logger.info("two", number=2)
handler.warning("two")
pid = os.fork()
if pid == 0:
    log.log(b"child")
    log.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
log.roll()
log.sync(10)

os.kill(writer, signal.SIGKILL)  # no writer can be started now: what is logged waits for the next one
time.sleep(0.1)
log.log(b"after the writer")
try:
    log.flush(0.5)
except (disklog_mp.WriterDiedError, disklog_mp.WaitTimeoutError):
    pass
assert set(sys.modules) == loaded, set(sys.modules) - loaded
os.rename(package + ".gone", package)  # the upgrade is over
sys.path[:] = kept  # for the writer; this process has nothing left to import with
deadline = time.monotonic() + 40
while True:
    try:
        log.flush(1)
        break
    except (disklog_mp.WriterDiedError, disklog_mp.WaitTimeoutError):
        assert time.monotonic() < deadline
log.close()
assert set(sys.modules) == loaded, set(sys.modules) - loaded
"""


def test_a_session_goes_on_without_its_package(name: str, path: Path, tmp_path: Path) -> None:
    """Full, forked, flushed, dropped, reported, synced, its writer killed, closed: nothing is imported."""
    package = tmp_path / "site" / "disklog_mp"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("csrc", "__pycache__"))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, path, package],
        cwd=tmp_path,
        env={"PYTHONPATH": str(package.parent), "PATH": "/usr/bin:/bin"},
        stderr=subprocess.PIPE,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    records = list(disklog_mp.Reader(path))
    assert {b"child", b"the gap stands before this", b"after the writer"} <= {each.data for each in records}
    assert [json.loads(each.data)["dropped"] for each in records if each.gap] == [1]
    stop_writer(name)
