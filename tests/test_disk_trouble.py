"""A disk that is full, or takes no more from this writer, or whose directory is gone: for real."""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import stop_writer, wait_until

import disklog_mp

OpenLog = Callable[..., disklog_mp.Session]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system takes root")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_disk_that_is_full_loses_nothing_and_heals_by_itself(name: str, small_disk: Path) -> None:
    """What was accepted waits in the ring, the trouble shows, and with room again all is written."""
    ballast = small_disk / "ballast"
    with disklog_mp.open(name, small_disk / "log", ring_bytes=1 << 20, timeout=0.2, linger=0.1) as log:
        log.log(b"0")
        log.flush()
        with open(ballast, "wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(b"x" * 4096)
        accepted = 1
        with pytest.raises(disklog_mp.RingFullError):
            while True:
                log.log(b"%d" % accepted + b" " * 5000)
                accepted += 1
        wait_until(lambda: "No space" in (log.stats().error or ""))
        with pytest.raises(disklog_mp.WaitTimeoutError):
            log.flush(0.1)

        ballast.unlink()
        log.flush(30)

        assert list(range(accepted)) == [int(r.data) for r in disklog_mp.Reader(small_disk / "log")]
        assert log.stats().error is None
    stop_writer(name)


def test_a_disk_too_small_for_a_whole_page_still_holds_a_log(name: str, small_disk: Path) -> None:
    """Pages of 64 MiB on 3 MiB: space is reserved in steps, down to what is needed."""
    with disklog_mp.open(name, small_disk / "log", ring_bytes=1 << 20, linger=0.1) as log:
        for i in range(500):
            log.log(b"%d" % i + b" " * 5000)
        log.flush(30)

        assert 500 == len(log.get_page(1))
    stop_writer(name)


def test_a_writer_at_its_file_size_limit_goes_on_when_it_is_lifted(open_log: OpenLog, path: Path) -> None:
    """RLIMIT_FSIZE, set on the running writer: EFBIG instead of ENOSPC, the same promise."""
    log = open_log(timeout=0.2)
    log.log(b"0")
    log.flush()
    writer = log.stats().writer_pid
    resource.prlimit(writer, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    accepted = 1
    with pytest.raises(disklog_mp.RingFullError):
        while True:
            log.log(b"%d" % accepted + b" " * 5000)
            accepted += 1
    wait_until(lambda: "too large" in (log.stats().error or ""))
    resource.prlimit(writer, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    log.flush(30)

    assert list(range(accepted)) == [int(record.data) for record in disklog_mp.Reader(path)]


def test_producers_of_a_log_whose_directory_was_removed_go_on(
    open_log: OpenLog, path: Path, tmp_path: Path
) -> None:
    """The page being written lives on without its name; the next one waits until the directory is back."""
    log = open_log(page_records=5)
    for i in range(3):
        log.log(b"%d" % i)
    log.flush()
    path.rename(tmp_path / "moved")
    for i in range(3, 8):
        log.log(b"%d" % i)
    wait_until(lambda: "No such file" in (log.stats().error or ""))
    path.mkdir()
    log.flush(30)

    assert list(range(5)) == [int(record.data) for record in disklog_mp.Reader(tmp_path / "moved")]
    assert list(range(5, 8)) == [int(record.data) for record in disklog_mp.Reader(path)]
    assert [5, 6, 7] == [record.number for record in disklog_mp.Reader(path)]
    shutil.rmtree(tmp_path / "moved")
    assert os.listdir(tmp_path) == ["log"]
