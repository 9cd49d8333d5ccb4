"""What a log costs that is only there: an idle writer, its memory, attaching; and memory over a long time."""

from __future__ import annotations

import gc
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import disklog_mp
from disklog_mp._writer import pace as _pace
from disklog_mp.cli.bench import work as _bench_work
from disklog_mp.cli.bench.logs import a_log, counted, cpu_of
from disklog_mp.cli.bench.measure import OURS, Benchmark, Limit, Row, Setting, Value
from disklog_mp.cli.bench.work import Gate

ATTACHES = 200
SLEEPER = f"sleep({_pace.PARKS[0].check:g}) in a loop"
TO_REST = 6.0  # seconds until a writer without producers sleeps
ROUND = _pace.PARKS[0].seconds  # and from one round of its chores to the next
MIB = 1 << 20
SAMPLES = 60
FLAT_KEPT = 256 << 20  # bytes of pages kept while memory is watched
READERS = 2


def idle_writer(setting: Setting) -> float:
    """Processor time of a writer without producers that log, in percent of one core."""
    with a_log(setting) as log:
        log.log(b"something")
        log.flush()
        return _at_rest(log.stats().writer_pid, setting, TO_REST, ROUND)


def sleeper(setting: Setting) -> float:
    """The same of a process that sleeps and wakes as often: what a wake-up costs on this machine."""
    program = f"import time\nwhile True: time.sleep({_pace.PARKS[0].check})"
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        try:
            return _at_rest(process.pid, setting, 0.5, ROUND / 3)
        finally:
            process.kill()


def _at_rest(pid: int, setting: Setting, first: float, seconds: float) -> float:
    time.sleep(first)
    before, began = cpu_of(pid), time.monotonic()
    time.sleep(seconds * setting.seconds)
    return 100 * (cpu_of(pid) - before) / (time.monotonic() - began)


def memory_of(pid: int) -> dict[str, float]:
    """Return MiB of a process: resident beyond shared memory, its own, not of files, its share of all."""
    status, rollup = {}, {}
    for file, into in (("status", status), ("smaps_rollup", rollup)):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            name, _, value = line.partition(":")
            if value.endswith(" kB"):
                into[name] = int(value.split()[0]) / 1024
    return {
        "beyond the ring": status["VmRSS"] - status["RssShmem"],
        "own": rollup["Pss_Anon"],
        "Pss": rollup["Pss"],
    }


def writer_memory(setting: Setting) -> Value:
    """Resident memory of the writer that is not the ring's, after some time at full load."""
    with a_log(setting) as log:
        name, pid = log.name, log.stats().writer_pid
        at_rest = memory_of(pid)
        counted(
            log,
            lambda: _bench_work.together(
                _bench_work.produce_records, setting.producers, setting.seconds, name, setting.data
            ),
        )
        loaded = memory_of(pid)
    return Value(
        loaded["beyond the ring"],
        {"at its start": at_rest["beyond the ring"], "its own": loaded["own"], "Pss": loaded["Pss"]},
    )


def attach_times(gate: Gate, name: str) -> int:
    """Attach and close, over and over; return the ns of an attach in the middle."""
    import disklog_mp

    taken = []
    gate.wait()
    for _ in range(ATTACHES):
        began = time.perf_counter_ns()
        log = disklog_mp.attach(name)
        taken.append(time.perf_counter_ns() - began)
        log.close()
    return int(statistics.median(taken))


def first_attach(gate: Gate, name: str) -> int:
    """Return the ns of the first attach of a process, which has to import what it needs."""
    gate.wait()
    began = time.perf_counter_ns()
    with disklog_mp.attach(name):
        return time.perf_counter_ns() - began


def attach(setting: Setting) -> Value:
    """attach() to a log by its name."""
    with a_log(setting) as log:
        often = _bench_work.run([(attach_times, log.name)]).records
        first = _bench_work.run([(first_attach, log.name)]).records
    return Value(often / 1e6, {"first of a process, ms": first / 1e6})


# -- memory over a long time -----------------------------------------------------------------------------


def produce_until(gate: Gate, name: str, data: bytes, over: Any) -> int:
    """Log as fast as it goes until told."""
    done = 0
    with disklog_mp.attach(name, timeout=60) as log:
        gate.wait()
        while not over.value:
            for _ in range(1000):
                log.log(data)
            done += 1000
    return done


def follow_until(gate: Gate, path: str, over: Any) -> int:
    """Follow, and start at the end again where retention was faster."""
    done = 0
    reader = disklog_mp.Reader(path)
    gate.wait()
    while not over.value:
        try:
            for _ in reader.follow(reader.end(), timeout=0.5):
                done += 1
                if done % 1000 == 0 and over.value:
                    break
        except disklog_mp.PageRetiredError:
            continue
    return done


def watch(gate: Gate, minutes: float, pids: Any, over: Any, samples: Any) -> int:
    """Sample the memory of all; the first sample comes after a tenth of the time."""
    gate.wait()
    began, length = time.monotonic(), 60 * minutes
    time.sleep(length / 10)
    gc.disable()
    try:
        for number in range(SAMPLES):
            row = [time.monotonic() - began]
            for pid in pids:
                told = memory_of(pid)
                row += [told["beyond the ring"], told["own"], told["Pss"]]
            samples[number * len(row) : (number + 1) * len(row)] = row
            time.sleep(
                max(0.0, began + length / 10 + 0.9 * length * (number + 1) / SAMPLES - time.monotonic())
            )
    finally:
        over.value = 1
    return 0


def slope(points: list[tuple[float, float]]) -> float:
    """Return by how much y grows for each x, by least squares."""
    middle_x, middle_y = (statistics.fmean(column) for column in zip(*points, strict=True))
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread


def report_pid(gate: Gate, work: tuple[Any, ...], pids: Any, index: int) -> int:
    """Store the pid of this process, then work."""
    pids[index] = os.getpid()
    return int(work[0](gate, *work[1:]))


def flat(setting: Setting) -> Value:
    """MiB a minute by which the process grows that grows most, at full load with followers and retention."""
    context = multiprocessing.get_context("spawn")
    count = 1 + setting.producers + READERS
    pids, over = context.RawArray("q", count), context.RawValue("i", 0)
    samples = context.RawArray("d", SAMPLES * (1 + 3 * count))
    with a_log(setting, keep_bytes=FLAT_KEPT, page_bytes=FLAT_KEPT // 8) as log:
        pids[0] = log.stats().writer_pid
        work = [(produce_until, log.name, setting.data, over)] * setting.producers
        work += [(follow_until, log.path, over)] * READERS
        tasks = [(report_pid, each, pids, 1 + index) for index, each in enumerate(work)]
        _bench_work.run([*tasks, (watch, setting.minutes, pids, over, samples)], seconds=60 * setting.minutes)
    width = 1 + 3 * count
    rows = [list(samples[start : start + width]) for start in range(0, len(samples), width)]
    names = ["writer", *[f"producer {i + 1}" for i in range(setting.producers)]]
    names += [f"reader {i + 1}" for i in range(READERS)]
    lines, slopes = [], []
    for index, name in enumerate(names):
        own = [(row[0] / 60, row[2 + 3 * index]) for row in rows]
        slopes.append(slope(own))
        shares = [row[3 + 3 * index] for row in rows]
        lines.append(
            f"{name:12} own memory {own[0][1]:5.1f} to {own[-1][1]:5.1f} MiB, {slopes[-1]:+.3f} a minute; "
            f"share with mapped pages {min(shares):.0f} to {max(shares):.0f} MiB"
        )
    return Value(max(slopes), {"minutes": setting.minutes, "processes": lines})


BENCHMARKS = [
    Benchmark(
        "idle",
        "idle writer, CPU",
        "%",
        {OURS: idle_writer, SLEEPER: sleeper},
        [
            Row(must=Limit(0.1, "0.1 %"), aim=Limit(0.01, "unmeasurable")),
            Row(SLEEPER),
        ],
        less_is_better=True,
    ),
    Benchmark(
        "memory",
        "writer's memory beyond the ring",
        "MiB",
        {OURS: writer_memory},
        [Row(must=Limit(40, "40 MiB"), aim=Limit(25, "25 MiB"))],
        less_is_better=True,
    ),
    Benchmark(
        "attach",
        "attach()",
        "ms",
        {OURS: attach},
        [Row(must=Limit(1, "1 ms"), aim=Limit(0.3, "0.3 ms"))],
        less_is_better=True,
    ),
    Benchmark(
        "flat",
        "memory at full load, growth of any",
        "MiB/min",
        {OURS: flat},
        [Row()],
        less_is_better=True,
    ),
]
