"""Blocks of a page that a copy shares (reflink, snapshot), on a full disk: a store needs room there."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import call
from support.machine import stop_writer, wait_until
from support.mounts import fill, system
from support.trouble import assert_healed, numbers

import disklog_mp

OpenLog = Callable[..., disklog_mp.Session]
LoopDisk = Callable[[str, int], Path]
SIZES = {"xfs": 320 << 20, "btrfs": 128 << 20}  # bytes; the smallest that mkfs makes, about

FRAME = 4096 - 24  # bytes of a record whose frame fills a block: the next one is in another block


def number(i: int) -> bytes:
    return b"%d" % i + b" " * (FRAME - len(str(i)))


@pytest.fixture(params=sorted(SIZES))
def disk(request: pytest.FixtureRequest, loop_disk: LoopDisk) -> Path:
    """A file system that shares blocks between files."""
    return loop_disk(request.param, SIZES[request.param])


@pytest.fixture
def path(disk: Path) -> Path:
    return disk / "log"


def share_blocks(path: Path) -> None:
    assert system("cp", "-a", "--reflink=always", path, path.with_name("copy"))


@pytest.mark.parametrize("replaced", [False, True], ids=["one writer", "another writer"])
def test_a_watermark_that_has_no_room_is_an_error_and_no_record_is_missing(
    open_log: OpenLog, disk: Path, path: Path, replaced: bool
) -> None:
    """flush() does not say that it was written, the error shows, and with room all of it is there."""
    log = open_log(sync="never")
    for i in range(10):
        log.log(number(i))
    log.sync()
    share_blocks(path)
    fill(disk / "ballast")
    if replaced:
        stop_writer(log.name, signal.SIGKILL)

    for i in range(10, 20):
        log.log(number(i))
    with pytest.raises(disklog_mp.WaitTimeoutError):
        log.flush(1)
    wait_until(lambda: "No space" in (log.stats().error or ""), 30)
    assert numbers(path) == list(range(10))

    (disk / "ballast").unlink()
    log.flush(30)

    assert numbers(path) == list(range(20))
    assert_healed(log)
    log.roll()
    log.log(number(20))
    log.flush(30)
    assert numbers(path) == list(range(21))
    assert call("verify", path).returncode == 0


def test_what_was_flushed_can_be_read_whatever_the_disk_does(
    open_log: OpenLog, disk: Path, path: Path
) -> None:
    """Each flush() that returns speaks the truth while the disk fills up and is shared again and again."""
    log = open_log(sync="never", page_records=30)
    flushed = 0
    for turn in range(4):
        for i in range(turn * 10, turn * 10 + 10):
            log.log(number(i))
        try:
            log.flush(0.5)
        except disklog_mp.WaitTimeoutError:
            assert log.stats().error
        else:
            flushed = turn * 10 + 10
        assert len(numbers(path)) >= flushed
        if turn == 1:
            share_blocks(path)
            fill(disk / "ballast")

    (disk / "ballast").unlink()
    log.flush(30)
    assert numbers(path) == list(range(40))
