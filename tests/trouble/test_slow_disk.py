"""A disk that takes its time is no error for flush() and sync() without a timeout; one that hangs is."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.faulty_files import SlowFile, SlowFiles
from support.mounts import system

import disklog_mp
from disklog_mp._options import Options
from disklog_mp._session import slow_disk
from disklog_mp._writer.writer import Writer

LONG = 3.0  # seconds


@pytest.fixture
def log(name: str, frozen_disk: Path) -> Iterator[disklog_mp.Session]:
    """A log on a disk that can be frozen."""
    with disklog_mp.open(name, frozen_disk / "log", linger=0.1, sync="never", ring_bytes=1 << 20) as log:
        log.log(b"before")
        log.sync(30)
        yield log


@contextmanager
def frozen(disk: Path, seconds: float) -> Iterator[None]:
    """For so many seconds nothing is written to the disk."""
    assert system("fsfreeze", "--freeze", disk)
    thaw = threading.Timer(seconds, system, ["fsfreeze", "--unfreeze", disk])
    thaw.start()
    try:
        yield
    finally:
        thaw.join()


@pytest.mark.parametrize("call", ["flush", "sync"])
def test_a_disk_that_stands_still_for_longer_than_the_timeout(
    log: disklog_mp.Session, frozen_disk: Path, call: str
) -> None:
    """The writer waits for the disk: so does the caller."""
    log.timeout = 0.5
    with frozen(frozen_disk, LONG):
        log.log(b"slow")
        began = time.monotonic()
        getattr(log, call)()
        took = time.monotonic() - began

    assert took > log.timeout


def test_one_sync_that_takes_longer_than_the_timeout(
    name: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is written already; what is missing is one fdatasync."""
    stop = threading.Event()
    work = Writer(name, path, Options(ring_bytes=1 << 16, sync="never"), files=SlowFiles())
    thread = threading.Thread(target=work.run, args=(stop.is_set,))
    thread.start()
    try:
        with disklog_mp.attach(name, timeout=0.5) as log:
            log.log(b"slow")
            log.flush()
            monkeypatch.setattr(SlowFile, "seconds", 3.0)
            began = time.monotonic()
            log.sync()
            took = time.monotonic() - began
            monkeypatch.undo()
            stats = log.stats()
    finally:
        stop.set()
        thread.join()

    assert took >= 3.0
    assert stats.durable == stats.claimed


def test_a_disk_that_hangs(
    log: disklog_mp.Session, frozen_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while that is a dead end, and an error."""
    monkeypatch.setattr(slow_disk, "LONGEST", 1.5)
    log.timeout = 0.5
    with frozen(frozen_disk, 4.0):
        log.log(b"slow")
        with pytest.raises(disklog_mp.WaitTimeoutError) as late:
            log.sync()

    assert 1.5 <= late.value.waited
    log.sync(30)
