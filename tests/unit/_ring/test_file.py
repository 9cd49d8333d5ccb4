"""A ring as a file: its name, its access rights, and what is refused under its name."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from support.file_ring import CAPACITY, closing, new_ring, path_in

from disklog_mp import _core
from disklog_mp._os import locks
from disklog_mp._ring import file as _ring
from disklog_mp.errors import FormatVersionError, LogNotFoundError

RING = "disklog-app.6c6c6c6c6c6c6c6c"
TEMPORARY = f".{RING}.{os.getpid()}"


def test_a_ring_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    """`fill` runs before the name is there; the temporary one goes, and the writer holds its lock."""
    seen: list[list[str]] = []

    def fill(ring: _core.Ring) -> None:
        seen.append(os.listdir(tmp_path))
        ring.page = 5

    made = new_ring(tmp_path, fill=fill)
    found = _ring.attach(path_in(tmp_path))
    with closing(made, found):
        assert (found.ring.page, found.ring.name, found.ring.path) == (5, "app", "/path")
        assert found.ring.capacity == CAPACITY
        assert locks.is_locked(found.fd, _core.WRITER_LOCK)
        assert _ring.is_of_this_boot(found.ring)

    assert seen == [[TEMPORARY]]
    assert os.listdir(tmp_path) == [RING]


def test_a_ring_that_cannot_be_filled_leaves_nothing(tmp_path: Path) -> None:
    """The error is the one that `fill` raised."""

    def fill(ring: _core.Ring) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        new_ring(tmp_path, fill=fill)
    assert os.listdir(tmp_path) == []


def test_a_name_is_taken_once_and_replaced_in_one_step(tmp_path: Path) -> None:
    """Without `replace` the ring that is there stays; with it the name leads to the new one."""
    old = new_ring(tmp_path)
    with closing(old):
        with pytest.raises(FileExistsError):
            new_ring(tmp_path)
        assert os.listdir(tmp_path) == [RING]
        assert _ring.is_current(old)

        with closing(new := new_ring(tmp_path, replace=True, generation=2)):
            assert not _ring.is_current(old)
            assert _ring.is_replaced(old)
            assert _ring.is_current(new)


def test_a_removed_name_is_not_replaced(tmp_path: Path) -> None:
    """The ring is no longer current, and no other one is there; a second removal says so."""
    with closing(file := new_ring(tmp_path)):
        assert _ring.unlink(path_in(tmp_path))
        assert not _ring.is_current(file)
        assert not _ring.is_replaced(file)
        assert not _ring.unlink(path_in(tmp_path))

    with pytest.raises(LogNotFoundError, match="app"):
        _ring.attach(path_in(tmp_path))


def test_temporary_names_of_dead_creators_are_removed(tmp_path: Path) -> None:
    """Those of living processes, of other logs, and what only looks like one stay."""
    alive = f".{RING}.{os.getppid()}"
    stay = [alive, f".{RING}.x", ".disklog-other.4000000", f"{RING}.4000000"]
    for name in (*stay, f".{RING}.4000000", TEMPORARY):
        (tmp_path / name).touch()

    _ring.tidy(path_in(tmp_path))

    assert sorted(os.listdir(tmp_path)) == sorted(stay)


def test_reserved_memory_can_be_given_back(tmp_path: Path) -> None:
    """It has its whole size from the beginning."""
    reserved = _ring.reserve(path_in(tmp_path), capacity=CAPACITY, mode=0o600, gid=-1)
    status = os.fstat(reserved.fd)
    assert status.st_size == _core.ring_size(CAPACITY) <= status.st_blocks * 512
    _ring.drop(reserved)

    assert os.listdir(tmp_path) == []


def test_memory_that_is_not_there_is_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says how large the ring is, and nothing is left; another error is passed on as it is."""

    def fail(number: int) -> None:
        def refuse(*_: Any) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "posix_fallocate", refuse)

    fail(errno.ENOSPC)
    with pytest.raises(
        OSError, match=r"a ring of .* does not fit into .*: give a smaller ring_bytes"
    ) as caught:
        new_ring(tmp_path)
    assert caught.value.errno == errno.ENOSPC

    fail(errno.EDQUOT)
    with pytest.raises(OSError, match=r"a ring of .* passes a disk quota: raise it") as caught:
        new_ring(tmp_path)
    assert caught.value.errno == errno.EDQUOT

    fail(errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        new_ring(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("plant", "error", "text"),
    [
        (lambda path: path.mkdir(), PermissionError, "has the name of the ring: remove it"),
        (lambda path: path.symlink_to("/etc/passwd"), PermissionError, "has the name of the ring: remove it"),
        (os.mkfifo, PermissionError, "has the name of the ring: remove it"),
        (lambda path: path.touch(), FormatVersionError, "0 bytes, no ring"),
        (lambda path: path.write_bytes(bytes(8192)), FormatVersionError, "rm --force app"),
    ],
    ids=["directory", "link", "fifo", "empty", "zeros"],
)
def test_what_is_no_ring_is_not_attached(
    tmp_path: Path, plant: Any, error: type[Exception], text: str
) -> None:
    """The error says what has the name, and how to get rid of it."""
    plant(tmp_path / RING)

    with pytest.raises(error, match=text):
        _ring.attach(path_in(tmp_path))


def test_a_ring_of_another_version_says_which(tmp_path: Path) -> None:
    """The version is read from the file that is there."""
    os.close(new_ring(tmp_path).fd)
    with open(tmp_path / RING, "r+b") as file:
        file.seek(8)
        file.write((99).to_bytes(4, "little"))

    with pytest.raises(FormatVersionError, match="a ring of version 99"):
        _ring.attach(path_in(tmp_path))


def test_the_access_of_a_ring_is_renewed(tmp_path: Path) -> None:
    """A ring gets the mode asked for, also when an earlier writer gave it a wider one."""
    with closing(file := new_ring(tmp_path, mode=0o660)):
        _ring.renew_access(file, 0o600, -1)

        assert os.fstat(file.fd).st_mode & 0o777 == 0o600
