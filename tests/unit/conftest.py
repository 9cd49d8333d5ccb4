"""No process, nothing left in shared memory: the folder and the name of the module under test."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.pages import closes_what_it_opens

BUDGET = 15  # seconds for all tests of this folder
TIMEOUT = 30  # seconds for one

MEMORY, ROOM = "/dev/shm", 1 << 30  # bytes that must be free there

_in_unit_test = False
_STARTS = {"os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"}


def _refuse_processes(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook, which nothing removes; so it asks whether a test of this folder runs."""
    if _in_unit_test and event in _STARTS:
        raise AssertionError(f"{event} in a unit test; what needs a process is in system/ or deaths/")


sys.addaudithook(_refuse_processes)


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in memory, where that has room: none of these tests is about a disk, and many sync."""
    try:
        state = os.statvfs(MEMORY)
        has_room = state.f_bavail * state.f_frsize >= ROOM and os.access(MEMORY, os.W_OK)
    except OSError:
        has_room = False
    if not has_room:
        yield tmp_path_factory.mktemp("unit")
        return
    with tempfile.TemporaryDirectory(prefix="unit-tests-", dir=MEMORY) as place:
        yield Path(place)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that starts a process, or leaves a descriptor open."""
    global _in_unit_test
    _in_unit_test = True
    try:
        yield from closes_what_it_opens()
    finally:
        _in_unit_test = False
