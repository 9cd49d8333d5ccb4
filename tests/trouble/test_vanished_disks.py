"""Disks that are gone while a log is written on them, for good or for a while."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.machine import wait_until
from support.mounts import FailingDisk, system
from support.trouble import assert_healed, numbers

import disklog_mp

OpenLog = Callable[..., disklog_mp.Session]


class UserSpaceDisk:
    """A directory that another process shows in another place."""

    def __init__(self, place: Path) -> None:
        self._below, self.path = place / "below", place / "disk"
        self._below.mkdir()
        self.path.mkdir()
        self._server: subprocess.Popen[bytes] | None = None

    def mount(self) -> None:
        self._server = subprocess.Popen(
            ["bindfs", "-f", self._below, self.path], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(lambda: os.path.ismount(self.path) or self._has_ended(self._server))
        if not os.path.ismount(self.path):
            pytest.skip("no file system in user space can be mounted here")

    @staticmethod
    def _has_ended(server: subprocess.Popen[bytes] | None) -> bool:
        return server is None or server.poll() is not None

    def crash(self) -> None:
        """From now on all that is done there fails, also with files that are open."""
        assert self._server is not None
        self._server.kill()
        self._server.wait()

    def umount(self) -> None:
        system("umount", "--lazy", self.path)

    def close(self) -> None:
        if self._server is not None:
            self.umount()
            self.crash()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[UserSpaceDisk]:
    if shutil.which("bindfs") is None or not os.path.exists("/dev/fuse"):
        pytest.skip("no bindfs, or no /dev/fuse")
    made = UserSpaceDisk(tmp_path)
    try:
        made.mount()
        yield made
    finally:
        made.close()


def test_the_log_goes_on_when_its_file_system_crashed_and_is_back(
    open_log: OpenLog, name: str, disk: UserSpaceDisk
) -> None:
    """What was logged meanwhile waits in the ring; a follower gets each record once."""
    path = disk.path / "log"
    damage: list[disklog_mp.Damage] = []
    with disklog_mp.open(name, path, ring_bytes=1 << 16, page_records=60, linger=0.1) as log:
        for i in range(100):
            log.log(b"%d" % i)
        log.sync(60)
        followed = disklog_mp.Reader(path, on_damage=damage.append).stream()
        assert 100 == len(list(followed))
        disk.crash()
        for i in range(100, 200):
            log.log(b"%d" % i)
        wait_until(lambda: "not connected" in (log.stats().error or ""), 30)
        disk.umount()
        disk.mount()
        log.sync(60)
        assert_healed(log)
        assert [*range(200)] == numbers(path)
        assert [*range(100, 200)] == [record.number for record in followed]
    assert [] == damage
    wait_until(lambda: disklog_mp.verify(path).exit_code == 0, 30)


def test_a_disk_that_is_gone_and_another_in_its_place(name: str, failing_disk: FailingDisk) -> None:
    """What could not be synced is told as lost, by sync() and by an event; then the log goes on."""
    path = failing_disk.path / "log"

    def is_synced() -> bool:
        try:
            log.sync(60)
        except OSError:  # not yet
            return False
        return True

    with disklog_mp.open(name, path, ring_bytes=1 << 16, linger=0.1) as log:
        log.log(b"0")
        log.sync(60)
        os.truncate(failing_disk.below / "image", 0)
        assert system("losetup", "--set-capacity", failing_disk.device)
        log.log(b"1")
        with pytest.raises(OSError, match="Input/output"):
            log.sync(60)
        assert system("umount", "--lazy", failing_disk.path)
        assert system("mount", "-t", "tmpfs", "tmpfs", failing_disk.path)
        path.mkdir(0o700)
        log.log(b"2")
        wait_until(is_synced, 60)
        assert [2] == numbers(path)
        wait_until(lambda: "damaged" in {event.name for event in disklog_mp.Reader(path).events()}, 60)
