"""Locks on single bytes, between two open files of one process."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from disklog_mp._os import locks


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Two descriptors of the same file that share no open file."""
    path = tmp_path / "file"
    path.touch()
    fds = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    yield fds
    for fd in fds:
        os.close(fd)


def test_one_open_file_has_a_lock(files: tuple[int, int]) -> None:
    """The other one sees it and does not get it, until it is given back."""
    ours, theirs = files
    assert locks.lock_byte(ours, 7)
    assert locks.lock_byte(ours, 7)
    assert (locks.is_locked(ours, 7), locks.is_locked(theirs, 7)) == (False, True)
    assert not locks.lock_byte(theirs, 7)
    locks.unlock_byte(ours, 7)

    assert locks.lock_byte(theirs, 7)


def test_the_locks_in_a_range_are_found(files: tuple[int, int]) -> None:
    """Single ones, neighbours, and none outside the range."""
    ours, theirs = files
    for byte in (0, 3, 4, 5, 9, 20):
        assert locks.lock_byte(ours, byte)

    assert locks.locked_bytes(theirs, 1, 20) == {3, 4, 5, 9}
    assert locks.locked_bytes(ours, 0, 21) == set()


def test_a_lock_outlives_other_descriptors_of_the_file(files: tuple[int, int]) -> None:
    """Unlike the locks of fcntl(2) with F_SETLK, which any close() of the file drops."""
    ours, theirs = files
    assert locks.lock_byte(ours, 1)
    os.close(os.open(f"/proc/self/fd/{ours}", os.O_RDWR))

    assert locks.is_locked(theirs, 1)
