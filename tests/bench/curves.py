"""How the costs grow: with producers, record length, ring, load, pages, readers, bytes to recover.

A curve is measured once; each says where its limit is and which resource that is, from what was measured.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import disklog_mp
from bench.calls import percentiles
from bench.disk import timed_scan
from bench.reading import END, a_follower, log_times
from disklog_mp.cli import _text
from disklog_mp.cli.bench import work as _bench_work
from disklog_mp.cli.bench.logs import a_directory, a_log, counted
from disklog_mp.cli.bench.measure import Setting
from disklog_mp.cli.bench.measures import fill
from disklog_mp.cli.bench.work import Gate, Rate

MIB = 1 << 20
READ = {False: 200_000, True: 20_000}  # records that are read, and as short as can be
Points = list[tuple[float, float]]


@dataclass
class Panel:
    """One diagram: what is on its y axis, and its lines."""

    ylabel: str
    lines: dict[str, Points]
    log_y: bool = False


@dataclass
class Curve:
    """Panels over one x axis, and the sentence that says where the limit is."""

    name: str
    title: str
    xlabel: str
    panels: list[Panel] = field(default_factory=list)
    limit: str = ""


def cores() -> int:
    return len(os.sched_getaffinity(0))


def copy_speed() -> float:
    """Bytes a second that one core copies from memory to memory."""
    source, target = bytearray(32 * MIB), bytearray(32 * MIB)
    best = 0.0
    for _ in range(5):
        began = time.perf_counter()
        target[:] = source
        best = max(best, len(source) / (time.perf_counter() - began))
    return best


def resource(rate: Rate, writer: float, bytes_per_record: int) -> str:
    """Say which resource was the limit: of what was busy, and how busy."""
    log, write = rate.cpu / rate.seconds, writer / rate.seconds
    speed, copying = rate.per_second * bytes_per_record, copy_speed()
    said = f"{log:.2f} cores in the producers, {write:.2f} in the writer, of {cores()}"
    if 3 * speed > 0.6 * copying:  # into the ring, out of it, into the page cache
        return (
            f"memory: three copies of {speed / MIB:,.0f} MiB/s, one core copies {copying / MIB:,.0f} ({said})"
        )
    if log + write > 0.85 * cores():
        return f"the processors, {100 * log / (log + write):.0f} % of it in log() calls ({said})"
    if write > 0.85:
        return f"the writer, one process ({said})"
    return f"waiting, for processors that others use or for the file system ({said})"


def _logged(setting: Setting, count: int, data: bytes, **options: Any) -> tuple[Rate, float]:
    with a_log(setting, **options) as log:
        name = log.name
        return counted(
            log,
            lambda: _bench_work.together(_bench_work.produce_records, count, setting.seconds, name, data),
        )


def over_producers(setting: Setting) -> Curve:
    """1 to 64 producers."""
    counts = (1, 4) if setting.quick else (1, 2, 4, 8, 16, 32, 64)
    speed: Points = []
    producers: Points = []
    writers: Points = []
    said = ""
    for count in counts:
        rate, writer = _logged(setting, count, setting.data)
        speed.append((count, rate.per_second))
        producers.append((count, rate.cpu / rate.records * 1e9))
        writers.append((count, writer / rate.records * 1e9))
        said = resource(rate, writer, setting.length + 28)
    return Curve(
        "producers",
        "Producers, 100-byte records, to the page files",
        "processes that log",
        [
            Panel("records/s", {"records/s": speed}),
            Panel("processor ns per record", {"producers": producers, "writer": writers}),
        ],
        f"At {counts[-1]} producers the limit is {said}.",
    )


def over_length(setting: Setting) -> Curve:
    """Records of 10 bytes to 4 MiB."""
    lengths = (10, 10_000) if setting.quick else (10, 100, 1000, 8 << 10, 64 << 10, 512 << 10, 4 * MIB)
    speed: Points = []
    costs: Points = []
    said = []
    for length in lengths:
        rate, writer = _logged(setting, 2, bytes(length), ring_bytes=64 * MIB)
        speed.append((length, rate.per_second * length / MIB))
        costs.append((length, (rate.cpu + writer) / (rate.records * length) * 1e9))
        said.append(resource(rate, writer, length + 28))
    return Curve(
        "length",
        "Record length, 2 producers, to the page files",
        "bytes per record",
        [
            Panel("MiB/s", {"MiB/s": speed}, log_y=True),
            Panel("processor ns per byte", {"all processes": costs}, True),
        ],
        f"At {lengths[0]} bytes the limit is {said[0]}; at {lengths[-1]:,} {said[-1]}.",
    )


def over_capacity(setting: Setting) -> Curve:
    """Rings of 64 KiB to 256 MiB."""
    sizes = (1 << 16, 1 << 24) if setting.quick else tuple(1 << shift for shift in range(16, 29, 2))
    speed: Points = []
    costs: Points = []
    said = []
    for size in sizes:
        rate, writer = _logged(setting, 4, setting.data, ring_bytes=size)
        speed.append((size, rate.per_second))
        costs.append((size, (rate.cpu + writer) / rate.records * 1e9))
        said.append(resource(rate, writer, setting.length + 28))
    best = max(speed, key=lambda point: point[1])[0]
    return Curve(
        "capacity",
        "Ring, 4 producers, 100-byte records",
        "bytes of the ring",
        [
            Panel("records/s", {"records/s": speed}),
            Panel("processor ns per record", {"all processes": costs}),
        ],
        f"Fastest here at {best / MIB:g} MiB.  With the smallest ring the limit is {said[0]}; with the "
        f"largest {said[-1]}.",
    )


def produce_paced(gate: Gate, seconds: float, name: str, data: bytes, each_second: float) -> int:
    """Log so many a second, in bursts of a millisecond."""
    done = 0
    with disklog_mp.attach(name, timeout=60) as log:
        gate.wait()
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            for _ in range(int(passed * each_second) - done):
                log.log(data)
                done += 1
            time.sleep(0.001)
    return done


def over_load(setting: Setting) -> Curve:
    """How soon a follower sees a record while others log."""
    loads = (0, 10_000) if setting.quick else (0, 1000, 10_000, 100_000, 300_000, 1_000_000)
    middle: Points = []
    slow: Points = []
    for load in loads:
        told = _latency_under(setting, load)
        middle.append((max(load, 100), told["p50"] / 1000))
        slow.append((max(load, 100), told["p99"] / 1000))
    limit = next((x for x, y in middle if y > 10 * middle[0][1]), None)
    return Curve(
        "follow",
        "From log() to a follower in another process",
        "records/s that another process logs (100: none)",
        [Panel("us", {"p50": middle, "p99": slow}, True)],
        "The median stays within ten times that at rest up to the highest load."
        if limit is None
        else f"From {limit:,.0f} records/s on the limit is the follower, a Python loop over records.",
    )


def _latency_under(setting: Setting, load: int) -> dict[str, int]:
    with a_log(setting) as log, a_follower(log) as (_, pipe):
        tasks: list[tuple[Any, ...]] = [(log_times, setting.seconds, log.name)]
        if load:
            tasks.append((produce_paced, setting.seconds, log.name, setting.data, load))
        _bench_work.run(tasks)
        log.log(END)
        return percentiles(pipe.recv())


def read_all(gate: Gate, path: str) -> int:
    """Read everything; return how many records there were."""
    gate.wait()
    return sum(1 for _ in disklog_mp.Reader(path))


def over_pages(setting: Setting) -> Curve:
    """The same records in one page or in many."""
    counts = (1, 10) if setting.quick else (1, 10, 100, 1000, 10_000)
    read = READ[setting.quick]
    speed: Points = []
    for count in counts:
        with a_log(setting, page_records=read // count, keep_bytes=None, page_bytes="1G") as log:
            fill(log, setting.data, read)
            path = log.path
            rate = _bench_work.run([(read_all, path)])
        speed.append((count, rate.per_second))
    opening = max(0.0, (1 / speed[-1][1] - 1 / speed[0][1]) * read / counts[-1]) * 1e6
    return Curve(
        "pages",
        f"Reading {read:,} records, in one page or many",
        "pages",
        [Panel("records/s", {"one reader": speed})],
        f"The limit is one core walking frames; opening a page adds about {opening:.0f} us (file system).",
    )


def over_readers(setting: Setting) -> Curve:
    """1 to 50 readers of the same pages."""
    counts = (1, 2) if setting.quick else (1, 2, 4, 8, 16, 32, 50)
    read = READ[setting.quick]
    speed: Points = []
    each: Points = []
    with a_log(setting, page_bytes="16M") as log:
        fill(log, setting.data, read)
        for count in counts:
            rate = _bench_work.run([(read_all, log.path)] * count)
            speed.append((count, rate.per_second))
            each.append((count, rate.cpu / rate.records * 1e9))
    return Curve(
        "readers",
        "Readers of the same pages, Record objects",
        "processes that read",
        [
            Panel("records/s, all together", {"records/s": speed}),
            Panel("processor ns per record", {"a reader": each}),
        ],
        f"The limit is the {cores()} cores: a reader takes {each[0][1]:.0f} ns a record alone and "
        f"{each[-1][1]:.0f} as one of {counts[-1]}.",
    )


def over_bytes(setting: Setting) -> Curve:
    """How long opening takes after a crash."""
    sizes = (4, 16) if setting.quick else (16, 64, 256, 512)
    points: Points = []
    for size in sizes:
        with a_directory(setting) as place:
            points.append((size, max(0.0, timed_scan(setting, place, size * MIB)[0])))
    speed = (points[-1][0] - points[0][0]) / max(1e-9, points[-1][1] - points[0][1])
    return Curve(
        "recovery",
        "Opening after a crash, the ring gone",
        "MiB of the page that was being written",
        [Panel("seconds", {"100-byte records": points})],
        f"{speed:,.0f} MiB/s: the limit is one core, checking each frame's checksum from the page cache.",
    )


CURVES: tuple[Callable[[Setting], Curve], ...] = (
    over_producers,
    over_length,
    over_capacity,
    over_load,
    over_pages,
    over_readers,
    over_bytes,
)


def curve_lines(curve: Curve) -> list[str]:
    """Return a curve as a table, and its limit."""
    heads = [curve.xlabel]
    columns = []
    for panel in curve.panels:
        for label, points in panel.lines.items():
            heads.append(panel.ylabel if label == panel.ylabel else f"{label}, {panel.ylabel}")
            columns.append([f"{y:,.4g}" if y < 1e4 else f"{y:,.0f}" for _, y in points])
    first = next(iter(curve.panels[0].lines.values()))
    rows = list(zip([f"{x:,.0f}" for x, _ in first], *columns, strict=True))
    return [curve.title, *_text.table(heads, rows, right=heads), f"limit: {curve.limit}"]
