"""A ring on a disk whose blocks a copy of it shares (reflink, snapshot): a store needs room for a new one.

On a full disk the kernel answers such a store with a signal that ends the process that logs.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.children import child, succeeds
from support.machine import stop_writer, wait_until
from support.mounts import fill, system
from support.rings import ring_path
from support.sessions import ring_of

import disklog_mp
from disklog_mp._os.attributes import has_shared_blocks

OpenLog = Callable[..., disklog_mp.Session]
LoopDisk = Callable[[str, int], Path]
SIZES = {"xfs": 320 << 20, "btrfs": 128 << 20}  # bytes; the smallest that mkfs makes, about


@pytest.fixture(params=sorted(SIZES))
def disk(request: pytest.FixtureRequest, loop_disk: LoopDisk) -> Path:
    """A file system that shares blocks between files."""
    return loop_disk(request.param, SIZES[request.param])


def make_room(disk: Path) -> None:
    """Remove the ballast; XFS gives its blocks back a while later."""
    (disk / "ballast").unlink()
    os.sync()
    wait_until(lambda: os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > 8 << 20, 30)


def copy(disk: Path) -> None:
    """Copy a whole directory, as a backup does: by reflink, or by a snapshot of all of the disk."""
    if disk.name == "btrfs":
        assert system("btrfs", "subvolume", "snapshot", "-r", disk, disk / "copy")
    else:
        assert system("cp", "-a", "--reflink=always", disk / "rings", disk / "copy")


def shares_blocks(ring: str) -> bool:
    fd = os.open(ring, os.O_RDONLY)
    try:
        return has_shared_blocks(fd)
    finally:
        os.close(fd)


def is_at_rest(log: disklog_mp.Session) -> bool:
    """True if the writer sleeps for up to a minute: its heart beats only as it looks, once a second."""
    ring, beats = ring_of(log), set[int]()
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        beats.add(ring.heartbeat)
        time.sleep(0.02)
    return bool(ring.parked) and len(beats) <= 2


def test_a_full_disk_ends_no_process_that_logs(open_log: OpenLog, name: str, disk: Path, path: Path) -> None:
    """Copied while it runs, the ring has its own blocks in a moment; while no process has it, at open().
    Where there is no room for them, that is an error, and with room nothing is missing.
    """
    rings = disk / "rings"
    rings.mkdir()
    options = {"ring_dir": str(rings), "ring_bytes": 1 << 16}
    log = open_log(linger=60, **options)
    ring = ring_path(name, str(rings))
    log.log(b"first")
    log.sync()
    wait_until(lambda: is_at_rest(log), 30)
    copy(disk)
    wait_until(lambda: not shares_blocks(ring), 20)  # its next round of chores comes in a minute
    fill(disk / "ballast")

    def work() -> None:
        with disklog_mp.attach(name, path) as session:
            for _ in range(1000):  # more than the ring has room for
                session.log(b"x" * 100)
            session.flush(60)

    with child(work) as pid:
        succeeds(pid)
    log.log(b"second")
    log.close()
    stop_writer(name, signal.SIGKILL, str(rings))
    make_room(disk)
    if disk.name == "btrfs":
        assert system("btrfs", "subvolume", "delete", disk / "copy")
    else:
        assert system("rm", "-r", disk / "copy")
    copy(disk)
    fill(disk / "ballast")
    assert shares_blocks(ring)
    with pytest.raises(OSError, match="shares blocks with a copy"):
        disklog_mp.open(name, path, linger=0, **options)
    make_room(disk)
    with disklog_mp.open(name, path, linger=0, **options) as log:
        assert not shares_blocks(ring)
        log.log(b"third")
        log.flush(30)

    kept = [record.data for record in disklog_mp.Reader(path)]
    assert kept[-2:] == [b"second", b"third"]
    assert kept.count(b"x" * 100) == 1000
    assert set(kept) == {b"first", b"x" * 100, b"second", b"third"}
