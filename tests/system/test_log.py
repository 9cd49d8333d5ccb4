"""The log end to end: open, log, read back."""

from collections.abc import Callable
from pathlib import Path

import pytest

import disklog_mp


def test_what_is_logged_is_read_back(log: disklog_mp.Session, path: Path) -> None:
    """A record comes back with its bytes, its tag, its order."""
    positions = [log.log(b"record %d" % i, tag=i) for i in range(100)]
    log.flush()

    records = list(disklog_mp.Reader(path))

    assert [b"record %d" % i for i in range(100)] == [record.data for record in records]
    assert positions == [record.position for record in records]
    assert list(range(100)) == [record.number for record in records] == [record.tag for record in records]


@pytest.mark.parametrize("count", [1, 9, 10, 11, 25])
def test_a_page_of_n_records_has_n_records(
    open_log: Callable[..., disklog_mp.Session], path: Path, count: int
) -> None:
    """With page_records=10 the eleventh record begins the second page."""
    log = open_log(page_records=10)
    for i in range(count):
        log.log(b"%d" % i)
    log.flush()

    pages = list(disklog_mp.Reader(path).pages())

    assert [min(10, count - 10 * i) for i in range(len(pages))] == [len(page) for page in pages]
    assert -(-count // 10) == len(pages)


def test_a_group_longer_than_a_segment_passes_no_page(
    open_log: Callable[..., disklog_mp.Session], path: Path
) -> None:
    """Groups are never split: a page rolls before a group that would pass page_records, also a long one."""
    log = open_log(page_records=10, ring_bytes=64 << 20)
    log.log_many([b"x"] * 7)
    log.log_many([b"y" * (1 << 20)] * 5)
    log.log(b"z")
    log.log_many([b"w" * (1 << 20)] * 12)
    log.flush()

    assert [7, 6, 12] == [len(page) for page in disklog_mp.Reader(path).pages()]


def test_a_path_may_be_bytes(name: str, path: Path) -> None:
    """As for open() and everything in os."""
    with disklog_mp.open(name, bytes(path), linger=0) as log:
        log.log(b"x")
        log.flush()

    assert [b"x"] == [record.data for record in disklog_mp.Reader(path)]
