"""Where the disk has a say: long records beside bare writes, sync() beside fdatasync, a crash's scan."""

from __future__ import annotations

import os
import signal
import threading
import time

from support.sessions import ring_of

import disklog_mp
from disklog_mp import _options
from disklog_mp._writer import writer
from disklog_mp.cli.bench import measures
from disklog_mp.cli.bench import work as _bench_work
from disklog_mp.cli.bench.logs import a_directory, a_log, counted, drop_ring, settle
from disklog_mp.cli.bench.measure import OURS, Benchmark, Limit, Row, Setting, Value
from disklog_mp.cli.bench.work import Gate

LONG = 8 << 10
BLOCK = 1 << 20
MOST = 512 << 20  # bytes that a part writes
WATCH = 50e-6  # seconds between two looks at `durable`: a fraction of a sync
SCANNED = 256 << 20  # bytes of the page that a crash left
MIB = 1 << 20


def produce_bytes(gate: Gate, total: int, name: str, data: bytes) -> int:
    """Log so many bytes in records of that length."""
    with disklog_mp.attach(name, timeout=60) as log:
        count = total // len(data)
        gate.wait()
        for _ in range(count):
            log.log(data)
        log.flush()
    return count


def long_records(setting: Setting) -> Value:
    """One producer, 8 KiB a record, MiB/s of records until all are in page files."""
    total = MOST // 8 if setting.quick else MOST
    data = bytes(LONG)
    with a_log(setting, page_bytes=total * 2, keep_bytes=None) as log:
        log.log(b"the page is there, and its space")
        log.flush()
        name = log.name
        rate, spent = counted(log, lambda: _bench_work.run([(produce_bytes, total, name, data)]))
    speed = rate.records * LONG / rate.seconds / MIB
    return Value(speed, {"cores busy, producer": rate.cpu / rate.seconds, "writer": spent / rate.seconds})


def bare_writes(setting: Setting) -> float:
    """pwrite() of 1 MiB blocks into a file whose space is allocated, MiB/s."""
    total = MOST // 8 if setting.quick else MOST
    block = os.urandom(BLOCK)
    with a_directory(setting) as place:
        fd = os.open(os.path.join(place, "blocks"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.posix_fallocate(fd, 0, total)
            began = time.perf_counter()
            for offset in range(0, total, BLOCK):
                os.pwrite(fd, block, offset)
            return total / (time.perf_counter() - began) / MIB
        finally:
            os.close(fd)


def served_by_one(setting: Setting) -> Value:
    """How often `durable` moves while 8 processes sync at once: fdatasyncs for each time they do."""
    times = 10 if setting.quick else 40
    with a_log(setting, sync="1h") as log:
        log.log(b"the page is there")
        log.sync()
        ring, over = ring_of(log), threading.Event()
        moves = 0

        def watch() -> None:
            nonlocal moves
            seen = ring.durable
            while not over.wait(WATCH):
                now = ring.durable
                moves += now != seen
                seen = now

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            _bench_work.run(
                [(measures.sync_in_turns, times, log.name, setting.data, 0.02)] * measures.SYNCERS
            )
        finally:
            over.set()
            watching.join()
    return Value(moves / times, {"times": times})


def scan(setting: Setting) -> Value:
    """Opening a log whose writer and ring are gone: GiB/s of the page that was being written."""
    total = SCANNED // 8 if setting.quick else SCANNED
    with a_directory(setting) as place:
        seconds, cpu = timed_scan(setting, place, total)
    facts = {
        "bytes": total,
        "seconds": seconds,
        "processor seconds": cpu,
        "GiB/s by those": total / cpu / (1 << 30),
    }
    return Value(total / seconds / (1 << 30), facts)


def timed_scan(setting: Setting, place: str, total: int) -> tuple[float, float]:
    """Leave a page of so many bytes as a crash does; return how long a writer takes to take over.

    That is seconds, and seconds of processor, less what it takes with an empty log.
    """
    path = os.path.join(place, "log")
    span = _bench_work.span_of(setting.length)
    options = {"page_bytes": 2 * total + (1 << 20), "sync": "never", "linger": 0.1, "timeout": 60.0}
    with disklog_mp.open(f"bench-scan-{os.getpid()}", path, **options) as log:
        name = log.name
        for _ in range(total // span):
            log.log(setting.data)
        log.flush()
        pid = log.stats().writer_pid
        os.kill(pid, signal.SIGKILL)
        settle(lambda: log.stats().writer_pid == 0)
        drop_ring(log)
    chosen = _options.Options(ring_bytes=1 << 20, sync="never", linger=0.0)
    empty = _timed_writer(f"{name}-2", os.path.join(place, "empty"), chosen)
    taken = _timed_writer(name, path, chosen)
    return taken[0] - empty[0], taken[1] - empty[1]


def _timed_writer(name: str, path: str, options: _options.Options) -> tuple[float, float]:
    began, cpu = time.perf_counter(), time.process_time()
    work = writer.Writer(name, path, options)
    taken = time.perf_counter() - began, time.process_time() - cpu
    work.run(lambda: True)
    return taken


BENCHMARKS = [
    Benchmark(
        "blocks",
        "8 KiB records, 1 process",
        "MiB/s",
        {OURS: long_records, "pwrite of 1 MiB": bare_writes},
        [Row("pwrite of 1 MiB", Limit(0.5, "half", of_ratio=True), Limit(0.8, "80 %", of_ratio=True))],
    ),
    Benchmark(
        "sync",
        "sync() of 8 processes at once, each",
        "ms",
        measures.SYNC.contestants,
        [Row("one fdatasync", aim=Limit(1 / 1.3, "1.3 fdatasync", of_ratio=True))],
        less_is_better=True,
    ),
    Benchmark(
        "syncs",
        "fdatasyncs for 8 sync() at once",
        "",
        {OURS: served_by_one},
        [Row(must=Limit(2, "one, and one under way"))],
        less_is_better=True,
    ),
    Benchmark(
        "recovery",
        "scan after a crash",
        "GiB/s",
        {OURS: scan},
        [Row(must=Limit(1, "1 GiB/s"), aim=Limit(3, "3 GiB/s"))],
    ),
]
