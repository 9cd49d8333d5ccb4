"""Limits, priority and processors of the process that logs first are not the log's."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.machine import stop_writer, wait_until

import disklog_mp

FIRST = """
import sys
import disklog_mp
with disklog_mp.open(sys.argv[1], sys.argv[2], ring_bytes="256k", linger=30) as log:
    log.log(b"first")
    print(log.stats().writer_pid)
"""


def first_to_log(name: str, path: Path, prepare: Callable[[], object]) -> int:
    """Have a job with such limits open the log and end; return the pid of the writer it started."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST, name, path],
        stdout=subprocess.PIPE,
        preexec_fn=prepare,
        check=True,
        timeout=60,
    )
    return int(done.stdout)


def log_two_megabytes(name: str, path: Path) -> int:
    """Log more than fits into a file of one mebibyte, at once; return the writer's pid."""
    with disklog_mp.open(name, path) as log:
        for _ in range(4000):
            log.log(b"x" * 500)
        log.flush(20)
        stats = log.stats()
    assert stats.records == 4001
    assert stats.error is None
    return stats.writer_pid


@pytest.mark.parametrize("limit", ["RLIMIT_FSIZE", "RLIMIT_CPU", "RLIMIT_NOFILE", "RLIMIT_DATA"])
def test_soft_limits_of_the_first_process_are_not_the_writers(name: str, path: Path, limit: str) -> None:
    """A night job's `ulimit -S` does not limit a server that logs later."""
    which = getattr(resource, limit)
    hard = resource.getrlimit(which)[1]
    soft = {"RLIMIT_FSIZE": 1 << 20, "RLIMIT_CPU": 60, "RLIMIT_NOFILE": 50, "RLIMIT_DATA": 1 << 30}[limit]
    writer = first_to_log(name, path, lambda: resource.setrlimit(which, (soft, hard)))

    assert resource.prlimit(writer, which) == (hard, hard)
    assert log_two_megabytes(name, path) == writer
    stop_writer(name)


def test_a_hard_file_size_limit_makes_pages_shorter(name: str, path: Path) -> None:
    """A page ends where the limit is, and the next one begins."""
    limits = (1 << 20, 1 << 20)
    first_to_log(name, path, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits))

    log_two_megabytes(name, path)
    assert len(list(path.glob("page-*"))) == 3
    assert max(page.stat().st_size for page in path.glob("page-*")) <= 1 << 20
    stop_writer(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="taking priority back needs rights")
def test_priority_and_processors_of_the_first_process_are_not_the_writers(name: str, path: Path) -> None:
    """`nice` and `taskset` in front of a job slow nothing but the job."""
    all_processors = os.sched_getaffinity(0)

    def prepare() -> None:
        os.nice(10)
        os.sched_setaffinity(0, {min(all_processors)})

    writer = first_to_log(name, path, prepare)

    assert os.getpriority(os.PRIO_PROCESS, writer) == 0
    wait_until(lambda: os.sched_getaffinity(writer) == all_processors)
    stop_writer(name)


SECOND = """
import sys
import disklog_mp
with disklog_mp.attach(sys.argv[1]) as log:
    log.log(b"of the job")
    log.flush()  # starts the writer
    print(log.stats().writer_pid, flush=True)
    while sys.stdin.readline():
        try:
            log.flush(0.2)
        except (disklog_mp.WaitTimeoutError, disklog_mp.WriterDiedError) as error:
            print(error, file=sys.stderr)
        print("tried", flush=True)
"""


def test_a_writer_whose_files_may_be_no_longer_makes_way(name: str, path: Path) -> None:
    """A record longer than a file may be: the server's session starts the next writer, the job's does not."""
    limits = (1 << 19, 1 << 19)
    with disklog_mp.open(name, path, ring_bytes="4M", linger=0.1) as log:
        former = log.stats().writer_pid
        os.kill(former, signal.SIGKILL)
        wait_until(lambda: not log.stats().writer_pid)
        with subprocess.Popen(
            ["bash", "-c", 'ulimit -f 512; exec "$@"', "job", sys.executable, "-c", SECOND, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as job:
            assert job.stdin is not None
            assert job.stdout is not None
            limited = int(job.stdout.readline())
            assert resource.prlimit(limited, resource.RLIMIT_FSIZE) == limits
            log.log(b"x" * (1 << 19))
            wait_until(lambda: log.stats().writer_pid != limited, 30)
            job.stdin.write("try\n")  # there is no writer, or the job's session has started none
            job.stdin.flush()
            job.stdout.readline()
            log.flush(30)
            stats = log.stats()
            job.stdin.close()
        assert (stats.records, stats.error) == (2, None)
        assert resource.prlimit(stats.writer_pid, resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
