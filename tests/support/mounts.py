"""File systems of the tests' own: small, full, failing, taken away.  Without root such tests are skipped."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

Mount = Callable[..., Path]


def system(*command: object) -> bool:
    """Run a command of the system; True if it did what it should."""
    return subprocess.run(list(map(str, command)), capture_output=True, check=False).returncode == 0


def fill(ballast: Path) -> None:
    """Write into a file until its file system takes not one byte more."""
    for piece in (1 << 20, 4096):
        with open(ballast, "ab", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(b"x" * piece)
                if os.stat(ballast).st_blocks > 1 << 21:
                    pytest.fail("the disk takes more than a gigabyte")
        os.sync()


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount with those options, such as `-t tmpfs tmpfs`; at the end all of it is gone."""
    places = []

    def mount(*options: object, place: Path = tmp_path / "disk") -> Path:
        if not place.exists():
            place.mkdir()
        if not system("mount", *options, place):
            pytest.skip("mounting a file system takes root")
        places.append(place)
        return place

    yield mount
    for place in reversed(places):
        while os.path.ismount(place):
            assert system("umount", "--lazy", place)


@pytest.fixture
def small_disk(mount: Mount) -> Path:
    """A file system of 3 MiB."""
    return mount("-t", "tmpfs", "-o", "size=3m", "tmpfs")


@pytest.fixture
def loop_disk(mount: Mount, tmp_path: Path) -> Callable[[str, int], Path]:
    """Mount a file system of that kind and size in bytes, kept in a file; it is gone at the end."""

    def loop_disk(kind: str, size: int) -> Path:
        image = tmp_path / f"{kind}.image"
        image.touch()
        os.truncate(image, size)
        if shutil.which(f"mkfs.{kind}") is None:
            pytest.skip(f"no mkfs.{kind}")
        assert system(f"mkfs.{kind}", "-q", image)
        try:
            return mount("-t", kind, "-o", "loop", image, place=tmp_path / kind)
        finally:
            image.unlink()  # the loop device keeps it

    return loop_disk


@pytest.fixture
def frozen_disk(mount: Mount, tmp_path: Path) -> Path:
    """An ext4 of its own that can be frozen."""
    image = tmp_path / "image"
    with open(image, "wb") as file:
        file.truncate(128 << 20)
    if shutil.which("fsfreeze") is None or not system("mkfs.ext4", "-q", image):
        pytest.skip("no ext4 to freeze")
    return mount("-o", "loop", image, place=tmp_path / "disk")


class FailingDisk(NamedTuple):
    """An ext4 at `path`, kept in a file on another small file system, `below`: when that is full, what is
    written to the ext4 cannot be synced.
    """

    path: Path
    below: Path
    device: str


@pytest.fixture
def failing_disk(mount: Mount, tmp_path: Path) -> Iterator[FailingDisk]:
    """A disk that can be made to fail, and to be a good one again."""
    below = mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", place=tmp_path / "below")
    image = below / "image"
    image.touch()
    os.truncate(image, 64 << 20)
    if shutil.which("mkfs.ext4") is None or not system("mkfs.ext4", "-q", "-O", "^has_journal", image):
        pytest.skip("no mkfs.ext4")
    attach = ["losetup", "--find", "--show", image]
    attached = subprocess.run(attach, capture_output=True, text=True, check=False)
    if attached.returncode:
        pytest.skip("no loop device to be had")
    device = attached.stdout.strip()
    path = tmp_path / "disk"
    try:
        yield FailingDisk(mount("-t", "ext4", "-o", "errors=continue", device, place=path), below, device)
    finally:
        if os.path.ismount(path):
            assert system("umount", "--lazy", path)
        assert system("losetup", "--detach", device)
