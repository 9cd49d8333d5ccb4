"""What the benchmarks time: loops in this process, and in several processes at once."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.synchronize import Barrier
from typing import Any, NamedTuple

import click

import disklog_mp
from disklog_mp._ring import names as _names
from disklog_mp.cli import _workers

GROUP = 64
SPAN = 500  # calls that are timed together
STEP = 1000  # records between two reads of the clock
READY = 60.0  # seconds for all processes to be ready
LONGEST = 300.0  # seconds after the measuring until all processes must have ended
LATE = 3  # exit code of a process that waited in vain for the others


class Cost(NamedTuple):
    """Nanoseconds of a call: in the best span of calls, and in the median span."""

    best: float
    median: float


class Rate(NamedTuple):
    """The work of several processes, from the start of the first to the end of the last."""

    records: int
    seconds: float
    cpu: float  # seconds of processor time of all processes
    each: tuple[int, ...]  # records of each process

    @property
    def per_second(self) -> float:
        return self.records / self.seconds


class Gate:
    """A gate at which a process waits until all are ready; its time counts from there."""

    def __init__(self, barrier: Barrier) -> None:
        self._barrier = barrier
        self.began = self.cpu = 0.0

    def wait(self) -> None:
        """Wait until all processes are here.  Raises BrokenBarrierError if one does not come."""
        self._barrier.wait(READY)
        self.began, self.cpu = time.monotonic(), time.process_time()


def span_of(length: int) -> int:
    """Return about how many bytes a record of that length takes in a ring and on disk."""
    return -(-(length + 24) // 32) * 32


def rounds(call: Callable[[bytes], object], data: bytes, seconds: float, after: Callable[[], object]) -> Cost:
    """Time calls for `seconds`; `after` each round, untimed, makes room for the next round.

    Calls are timed in spans shorter than a time slice, so that most spans are not interrupted.
    """
    count = max(1, min(20_000, (4 << 20) // span_of(len(data))))
    span = min(count, SPAN)
    costs: list[float] = []
    end = time.perf_counter() + seconds
    while len(costs) < 5 or time.perf_counter() < end:
        for _ in range(count // span):
            began = time.perf_counter_ns()
            for _ in range(span):
                call(data)
            costs.append((time.perf_counter_ns() - began) / span)
        after()
    return Cost(min(costs), statistics.median(costs))


def together(produce: Callable[..., int], count: int, seconds: float, *arguments: Any) -> Rate:
    """Run `produce` in `count` processes at once.

    Raises ClickException if one of them fails.
    """
    return run([(produce, seconds, *arguments)] * count)


def run(tasks: Sequence[tuple[Any, ...]], seconds: float = 0.0) -> Rate:
    """Run all tasks at once, each in its own process: a function and its arguments after the gate.

    Raises ClickException if one of them fails, or takes much longer than `seconds`.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(tasks))
    numbers = context.RawArray("Q", len(tasks))
    times = context.RawArray("d", 3 * len(tasks))  # of each: start, end, processor
    processes = [
        context.Process(target=_one, args=(task, barrier, numbers, times, index))
        for index, task in enumerate(tasks)
    ]
    try:
        _workers.start_all(processes)
        deadline = time.monotonic() + seconds + LONGEST
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()
    ends = {process.exitcode for process in processes}
    if ends == {0}:
        return Rate(sum(numbers), max(times[1::3]) - min(times[::3]), sum(times[2::3]), tuple(numbers))
    failed = "a process of the benchmark failed" if ends - {0, LATE} else "the processes did not all start"
    raise click.ClickException(failed)


def _one(task: tuple[Any, ...], barrier: Barrier, numbers: Any, times: Any, index: int) -> None:
    produce, *arguments = task
    gate = Gate(barrier)
    try:
        numbers[index] = produce(gate, *arguments)
    except threading.BrokenBarrierError:  # the parent reports it
        sys.exit(LATE)
    except BaseException:
        barrier.abort()  # the others do not wait for this process
        raise
    # All processes of a machine share this clock.
    times[3 * index : 3 * index + 3] = [gate.began, time.monotonic(), time.process_time() - gate.cpu]


def produce_records(gate: Gate, seconds: float, name: str, data: bytes) -> int:
    """Log records one by one; all are in page files when this returns."""
    with disklog_mp.attach(name, timeout=60) as log:
        step = max(1, min(STEP, (1 << 20) // span_of(len(data))))
        done = 0
        gate.wait()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(step):
                log.log(data)
            done += step
        log.flush()
    return done


def produce_groups(gate: Gate, seconds: float, name: str, data: bytes) -> int:
    """Log records 64 at a time."""
    group = [data] * GROUP
    with disklog_mp.attach(name, timeout=60) as log:
        step = max(1, min(STEP // GROUP, (1 << 20) // (span_of(len(data)) * GROUP)))
        done = 0
        gate.wait()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(step):
                log.log_many(group)
            done += step * GROUP
        log.flush()
    return done


def produce_lines(gate: Gate, seconds: float, path: str, data: bytes, limit: int) -> int:
    """Write lines to a file that all processes have open for append, as programs without a log do."""
    line = data + b"\n"
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        step = max(1, min(STEP, (1 << 20) // len(line)))
        most = limit // len(line)
        done = 0
        gate.wait()
        end = time.monotonic() + seconds
        while time.monotonic() < end and done < most:
            for _ in range(step):
                os.write(fd, line)
            done += step
    finally:
        os.close(fd)
    return done


def wait_for_writer(name: str) -> None:
    """Wait until the log's writer has ended, so that its directory can be removed."""
    deadline = time.monotonic() + 30
    while _names.rings_of(name) and time.monotonic() < deadline:
        time.sleep(0.02)
