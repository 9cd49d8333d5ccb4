"""Logs to measure with: opened in their own directory, limited in size, and removed afterwards."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import disklog_mp
from disklog_mp._ring import file as _ring
from disklog_mp._ring import names as _names
from disklog_mp.cli.bench import work as _bench_work
from disklog_mp.cli.bench.measure import Setting
from disklog_mp.cli.bench.work import Rate

KEPT = 512 << 20  # most bytes of pages at any time
_numbers = itertools.count(1)


@contextmanager
def a_log(setting: Setting, **options: Any) -> Iterator[disklog_mp.Session]:
    """Open a log; afterwards its writer has ended and its files are removed.

    Without syncs by default: the cost is measured up to the page cache, as for all peers.
    """
    name = f"bench-{os.getpid()}-{next(_numbers)}"
    with tempfile.TemporaryDirectory(prefix="disklog-bench-", dir=setting.directory) as place:
        chosen = {"keep_bytes": KEPT, "sync": "never", "linger": 0.1, "timeout": 60.0, **options}
        try:
            with disklog_mp.open(name, os.path.join(place, "log"), **chosen) as log:
                yield log
        finally:
            _bench_work.wait_for_writer(name)


@contextmanager
def a_directory(setting: Setting) -> Iterator[str]:
    """Make a directory for a peer."""
    with tempfile.TemporaryDirectory(prefix="disklog-bench-", dir=setting.directory) as place:
        yield place


def counted(log: disklog_mp.Session, work: Callable[[], Rate]) -> tuple[Rate, float]:
    """Run the processes; return their rate and the writer's processor time.

    Raises AssertionError unless all they logged is in page files, once.
    """
    before = log.stats()
    spent = cpu_of(before.writer_pid)
    rate = work()
    after = log.stats()
    assert after.records - before.records == rate.records, f"{rate.records} logged, {after.records} in pages"
    return rate, cpu_of(after.writer_pid) - spent


def cpu_of(pid: int) -> float:
    """Return seconds of processor a process has used, all its threads, to the nanosecond."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def drop_ring(log: disklog_mp.Session) -> None:
    """Remove a ring whose writer was killed, as a reboot does."""
    for path in _names.rings_of(log.name):
        _ring.unlink(path)


def settle(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not true after {seconds} s")
        time.sleep(0.001)
