"""What one call costs the process that makes it: on average, and at worst."""

from __future__ import annotations

import array
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench import lttng
from disklog_mp.cli.bench import measures
from disklog_mp.cli.bench.logs import a_directory, a_log
from disklog_mp.cli.bench.measure import OURS, Benchmark, Limit, Row, Setting, Value

PERCENTILES = (50.0, 90.0, 99.0, 99.9, 99.99)
BATCH = 20_000  # calls between two flushes, so that the ring is never full


def percentiles(times: Sequence[int]) -> dict[str, int]:
    """Return what so many percent of the calls do not exceed, and the longest."""
    ordered = sorted(times)
    found = {
        f"p{rank:g}": ordered[min(len(ordered) - 1, int(len(ordered) * rank / 100))] for rank in PERCENTILES
    }
    return {**found, "max": ordered[-1], "calls": len(ordered)}


def histogram(times: Sequence[int]) -> list[str]:
    """Return a line per power of two of nanoseconds: how many calls took up to that."""
    counts: dict[int, int] = {}
    for taken in times:
        exponent = max(1, taken - 1).bit_length()
        counts[exponent] = counts.get(exponent, 0) + 1
    return [
        f"{'<=':>4} {1 << exponent:>13,} ns {counts.get(exponent, 0):>10,} "
        f"{'#' * round(50 * counts.get(exponent, 0) / len(times))}".rstrip()
        for exponent in range(min(counts), max(counts) + 1)
    ]


def timed(call: Callable[[bytes], object], data: bytes, count: int) -> array.array[int]:
    """Time each call by itself; what the clock takes is in the time."""
    clock = time.perf_counter_ns
    times = array.array("Q", bytes(8 * count))
    for index in range(count):
        began = clock()
        call(data)
        times[index] = clock() - began
    return times


def _latencies(
    call: Callable[[bytes], object], after: Callable[[], object], setting: Setting
) -> dict[str, Any]:
    times = array.array("Q")
    end = time.monotonic() + setting.seconds
    while not times or time.monotonic() < end:
        times += timed(call, setting.data, BATCH)
        after()
    clock = percentiles(timed(lambda data: None, b"", BATCH))
    return {**percentiles(times), "an empty call, p50": clock["p50"], "histogram": histogram(times)}


def log_latency(setting: Setting) -> Value:
    """How long each log() takes, the writer at work meanwhile, the ring never full."""
    with a_log(setting) as log:
        told = _latencies(log.log, log.flush, setting)
        waited = sum(producer.waited for producer in log.stats().producers)
    return Value(told["p99.9"], {**told, "found the ring full": waited})


def write_latency(setting: Setting) -> Value:
    """As long as each os.write() takes."""
    with a_directory(setting) as place:
        fd = os.open(os.path.join(place, "lines"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            told = _latencies(lambda data: os.write(fd, data), lambda: os.ftruncate(fd, 0), setting)
        finally:
            os.close(fd)
    return Value(told["p99.9"], told)


BENCHMARKS = [
    Benchmark(
        "call",
        "log(), one process, per call",
        "ns",
        {**measures.CALL.contestants, lttng.NAME: lttng.call},
        [
            Row("os.write", must=Limit(10, "10x cheaper", of_ratio=True)),
            Row(lttng.NAME, aim=Limit(2, "2x cheaper", of_ratio=True)),
            Row(aim=Limit(80, "80 ns")),
        ],
        less_is_better=True,
    ),
    Benchmark(
        "latency",
        "log(), one process, p99.9 of calls",
        "ns",
        {OURS: log_latency, "os.write": write_latency},
        [Row("os.write")],
        less_is_better=True,
    ),
]
