"""What the benchmark times: loops in this process, and the same in several at once."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from typing import Any, NamedTuple

import click

import disklog_mp
from disklog_mp.cli import _workers

GROUP = 64
DISK_LIMIT = 192 << 20  # bytes a part may leave on the disk at any time
STEP = 1000  # records between two looks at the clock
READY = 60.0  # seconds for all processes to be there


class Cost(NamedTuple):
    """Nanoseconds a call takes: of the best round, and of the middle one."""

    best: float
    median: float


class Rate(NamedTuple):
    """What several processes got done."""

    records: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.records / self.seconds


def span_of(length: int) -> int:
    """Return about how many bytes a record of that length takes, in a ring and on disk."""
    return -(-(length + 24) // 32) * 32


def rounds(call: Callable[[bytes], object], data: bytes, seconds: float, after: Callable[[], object]) -> Cost:
    """Time rounds of calls for so long; `after` each round, untimed, makes room for the next."""
    count = max(1, min(20_000, (4 << 20) // span_of(len(data))))
    costs: list[float] = []
    end = time.perf_counter() + seconds
    while len(costs) < 5 or time.perf_counter() < end:
        began = time.perf_counter_ns()
        for _ in range(count):
            call(data)
        costs.append((time.perf_counter_ns() - began) / count)
        after()
    return Cost(min(costs), statistics.median(costs))


def together(produce: Callable[..., int], count: int, seconds: float, *arguments: Any) -> Rate:
    """Run `produce` in so many processes at once; from the start of all to the end of the last.

    Raises ClickException if one of them fails.
    """
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(count + 1)
    numbers = context.RawArray("Q", count)
    ends = context.RawArray("d", count)
    processes = [
        context.Process(target=_one, args=((produce, start, seconds, *arguments), numbers, ends, index))
        for index in range(count)
    ]
    try:
        _workers.start_all(processes)
        start.wait(READY)
        began = time.monotonic()
        for process in processes:
            process.join()
    except threading.BrokenBarrierError:
        raise click.ClickException("the processes of the benchmark did not all start") from None
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()
    if any(process.exitcode for process in processes):
        raise click.ClickException("a process of the benchmark failed")
    return Rate(sum(numbers), max(ends) - began)


def _one(task: tuple[Any, ...], numbers: Any, ends: Any, index: int) -> None:
    produce, *arguments = task
    try:
        numbers[index] = produce(*arguments)
    except threading.BrokenBarrierError:  # the parent gives up, and says why
        sys.exit(1)
    ends[index] = time.monotonic()  # one clock for all processes of the machine


def produce_records(start: Barrier, seconds: float, name: str, data: bytes) -> int:
    """Log records one by one; the last are in page files when this returns."""
    with disklog_mp.attach(name, timeout=60) as log:
        step = max(1, min(STEP, (1 << 20) // span_of(len(data))))
        done = 0
        start.wait(READY)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(step):
                log.log(data)
            done += step
        log.flush()
    return done


def produce_groups(start: Barrier, seconds: float, name: str, data: bytes) -> int:
    """Log records 64 at a time."""
    group = [data] * GROUP
    with disklog_mp.attach(name, timeout=60) as log:
        step = max(1, min(STEP // GROUP, (1 << 20) // (span_of(len(data)) * GROUP)))
        done = 0
        start.wait(READY)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(step):
                log.log_many(group)
            done += step * GROUP
        log.flush()
    return done


def produce_lines(start: Barrier, seconds: float, path: str, data: bytes, limit: int) -> int:
    """Write lines to a file that all have open for append: what programs do without a log."""
    line = data + b"\n"
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        step = max(1, min(STEP, (1 << 20) // len(line)))
        most = limit // len(line)
        done = 0
        start.wait(READY)
        end = time.monotonic() + seconds
        while time.monotonic() < end and done < most:
            for _ in range(step):
                os.write(fd, line)
            done += step
    finally:
        os.close(fd)
    return done
