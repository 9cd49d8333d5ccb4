"""A disk that is mounted late, over the directory that stood in for it, and holds the log's earlier pages."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.machine import stop_writer, wait_until
from support.mounts import Mount, system
from support.rings import has_ring
from support.trouble import assert_healed

import disklog_mp

OpenLog = Callable[..., disklog_mp.Session]


def data(path: Path) -> list[bytes]:
    return [record.data for record in disklog_mp.Reader(path)]


@pytest.fixture
def disk(open_log: OpenLog, name: str, path: Path, tmp_path: Path) -> Path:
    """A directory with ten records of the log's earlier days, not yet in the log's place."""
    with open_log() as log:
        for i in range(10):
            log.log(b"early %d" % i)
    stop_writer(name)
    wait_until(lambda: not has_ring(name))
    path.rename(tmp_path / "disk")
    return tmp_path / "disk"


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_what_is_in_the_ring_goes_into_the_log_that_is_there(
    open_log: OpenLog, name: str, path: Path, mount: Mount, disk: Path, restarted: bool
) -> None:
    """Each record is in one of both directories, once and in order; nothing waits for a person."""
    log = open_log(page_records=20)
    for i in range(20):
        log.log(b"late %d" % i)
    log.flush()
    if restarted:
        stop_writer(name)
    mount("--bind", disk, place=path)
    for i in range(20, 50):
        log.log(b"late %d" % i)
    if restarted:
        log = open_log()
    wait_until(lambda: len(data(path)) == 40, 30)
    for i in range(50, 60):
        log.log(b"late %d" % i)
    log.flush(30)
    assert_healed(log)

    assert [b"early %d" % i for i in range(10)] + [b"late %d" % i for i in range(20, 60)] == data(path)
    log.close()
    stop_writer(name)
    assert system("umount", "--lazy", path)
    assert [b"late %d" % i for i in range(20)] == data(path)
