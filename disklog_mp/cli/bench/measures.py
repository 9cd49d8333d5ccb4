"""The four measures of `disklog-mp bench`: a call, throughput, reading, sync, each beside its peers.

The benchmarks in tests/bench add more peers, limits and measures to these.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import disklog_mp
from disklog_mp.cli.bench import work as _work
from disklog_mp.cli.bench.logs import a_directory, a_log, counted
from disklog_mp.cli.bench.measure import OURS, Benchmark, Row, Setting, Value
from disklog_mp.cli.bench.work import Gate

LINES = 1 << 30  # most bytes of lines that os.write leaves
RECORDS = 400_000  # records in the page that is read: 50 MiB
SYNCERS = 8  # processes that call sync() at once
MIB = 1 << 20


def call(setting: Setting) -> Value:
    """Time log() in one process; between rounds the ring is emptied, untimed."""
    with a_log(setting) as log:
        cost = _work.rounds(log.log, setting.data, setting.seconds, log.flush)
    return Value(cost.median, {"best": cost.best})


def call_of_write(setting: Setting) -> Value:
    """Time os.write() of the same bytes to a file opened with O_APPEND."""
    with a_directory(setting) as place:
        fd = os.open(os.path.join(place, "lines"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            line = setting.data + b"\n"
            cost = _work.rounds(
                lambda data: os.write(fd, data), line, setting.seconds, lambda: os.ftruncate(fd, 0)
            )
        finally:
            os.close(fd)
    return Value(cost.median, {"best": cost.best})


def _throughput(setting: Setting, produce: Callable[..., int]) -> Value:
    with a_log(setting) as log:
        name = log.name

        def work() -> _work.Rate:
            return _work.together(produce, setting.producers, setting.seconds, name, setting.data)

        rate, writer = counted(log, work)
        waited = sum(producer.waited for producer in log.stats().producers)
    return Value(
        rate.per_second,
        {
            "CPU ns per record, producers": rate.cpu / rate.records * 1e9,
            "CPU ns per record, writer": writer / rate.records * 1e9,
            "cores busy": (rate.cpu + writer) / rate.seconds,
            "found the ring full": waited,
        },
    )


def throughput(setting: Setting) -> Value:
    """log() in several processes, from the first start to the last flush()."""
    return _throughput(setting, _work.produce_records)


def throughput_of_groups(setting: Setting) -> Value:
    """log_many() of 64 records in several processes."""
    return _throughput(setting, _work.produce_groups)


def throughput_of_write(setting: Setting) -> Value:
    """os.write() of lines to one file that all processes have open for append."""
    with a_directory(setting) as place:
        path = os.path.join(place, "lines")
        Path(path).touch()
        share = LINES // setting.producers
        rate = _work.together(
            _work.produce_lines, setting.producers, setting.seconds, path, setting.data, share
        )
        written = os.path.getsize(path) // (setting.length + 1)
    assert written == rate.records, f"{rate.records} written, {written} in the file"
    return Value(rate.per_second, {"CPU ns per record": rate.cpu / rate.records * 1e9})


def fill(log: disklog_mp.Session, data: bytes, count: int) -> None:
    """Log `count` records one by one and wait until they are written."""
    for _ in range(count):
        log.log(data)
    log.flush()


def _median_rate(setting: Setting, count: int, iterate: Callable[[], Iterable[object]]) -> float:
    """Iterate again and again; return records/s of the median pass."""
    rates: list[float] = []
    end = time.monotonic() + setting.seconds
    while not rates or time.monotonic() < end:
        began = time.perf_counter()
        deque(iterate(), maxlen=0)
        rates.append(count / (time.perf_counter() - began))
    return statistics.median(rates)


def _count(setting: Setting) -> int:
    return RECORDS // 10 if setting.quick else RECORDS


def _page(setting: Setting, what: Callable[[disklog_mp.Page], Iterable[object]]) -> float:
    count = _count(setting)
    with a_log(setting, page_bytes="1G") as log:
        fill(log, setting.data, count)
        with log.get_page(1) as page:
            return _median_rate(setting, count, lambda: what(page))


def payloads(setting: Setting) -> float:
    """Iterate the bytes of a page's records; every checksum is checked."""
    return _page(setting, lambda page: page.payloads())


def records(setting: Setting) -> float:
    """Iterate Record objects, with position, number, time, pid and tag."""
    return _page(setting, iter)


def _lines(setting: Setting, **how: Any) -> float:
    count = _count(setting)
    with a_directory(setting) as place:
        path = os.path.join(place, "lines")
        with open(path, "wb") as file:
            file.writelines([setting.data + b"\n"] * count)
        with open(path, **how) as lines:

            def walk() -> Iterable[Any]:
                lines.seek(0)
                same: Iterable[Any] = lines
                return same

            return _median_rate(setting, count, walk)


def lines(setting: Setting) -> float:
    """Iterate the lines of a file with the same data, as bytes."""
    return _lines(setting, mode="rb")


def decoded_lines(setting: Setting) -> float:
    """Iterate the same lines decoded, as most programs do."""
    return _lines(setting, encoding="utf-8")


def sync_in_turns(gate: Gate, times: int, name: str, data: bytes, pause: float) -> int:
    """Log and sync in all processes at about the same moments; return the median ns of a sync."""
    taken = []
    with disklog_mp.attach(name, timeout=60) as log:
        gate.wait()
        start = time.monotonic() + pause
        for number in range(times):
            time.sleep(max(0.0, start + number * pause - time.monotonic()))
            log.log(data)
            began = time.perf_counter_ns()
            log.sync()
            taken.append(time.perf_counter_ns() - began)
    return int(statistics.median(taken))


def syncs(setting: Setting) -> Value:
    """8 processes call sync() at once, again and again: ms of one call."""
    times = 10 if setting.quick else 40
    with a_log(setting, sync="1h") as log:
        log.log(b"the page is there")
        log.sync()
        name = log.name
        rate = _work.run([(sync_in_turns, times, name, setting.data, 0.02)] * SYNCERS)
    return Value(statistics.median(rate.each) / 1e6, {"calls": times * SYNCERS})


def one_fdatasync(setting: Setting) -> float:
    """fdatasync() of a file to which as many records were written just before, in ms."""
    times = 10 if setting.quick else 40
    taken = []
    with a_directory(setting) as place:
        fd = os.open(os.path.join(place, "lines"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(fd, 0, 64 * MIB)
            os.fdatasync(fd)
            for number in range(times):
                os.pwrite(fd, setting.data * SYNCERS, number * SYNCERS * setting.length)
                began = time.perf_counter_ns()
                os.fdatasync(fd)
                taken.append(time.perf_counter_ns() - began)
                time.sleep(0.02)
        finally:
            os.close(fd)
    return statistics.median(taken) / 1e6


CALL = Benchmark(
    "call",
    "log(), one process, per call",
    "ns",
    {OURS: call, "os.write": call_of_write},
    [Row("os.write")],
    less_is_better=True,
)
THROUGHPUT = Benchmark(
    "throughput",
    "several processes to the page files",
    "records/s",
    {OURS: throughput, "os.write": throughput_of_write, "our log_many() of 64": throughput_of_groups},
    [Row("os.write"), Row("our log_many() of 64")],
)
READING = Benchmark(
    "reading",
    "iterate a page, bytes",
    "records/s",
    {
        OURS: payloads,
        "lines of a file": lines,
        "decoded lines": decoded_lines,
        "our Record objects": records,
    },
    [Row("lines of a file"), Row("decoded lines"), Row("our Record objects")],
)
SYNC = Benchmark(
    "sync",
    "sync() of 8 processes at once, each",
    "ms",
    {OURS: syncs, "one fdatasync": one_fdatasync},
    [Row("one fdatasync")],
    less_is_better=True,
)
MEASURES = (CALL, THROUGHPUT, READING, SYNC)
