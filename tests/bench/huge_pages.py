"""What it buys to have a ring in huge pages: see COLLAPSING in disklog_mp/_ring/file.py."""

from __future__ import annotations

import os
import time

from disklog_mp import _core
from disklog_mp._ring.file import use_huge_pages
from disklog_mp.cli.bench.measure import OURS, Benchmark, NotMeasured, Row, Setting, Value

CAPACITY = 16 << 20
RECORDS = 50_000  # between two drains: less than the ring holds
NO_LIMIT = 2**63


def _ring(*, huge: bool) -> _core.Ring:
    size = _core.ring_size(CAPACITY)
    fd = os.memfd_create("ring")
    try:
        os.posix_fallocate(fd, 0, size)
        memory = _core.Mapping(fd, size, writable=True)
        _core.format_ring(memory, CAPACITY, 0, 1, 1, bytes(16), bytes(16), b"bench", b"/bench")
        ring = _core.Ring(fd, size, writable=True)
    finally:
        os.close(fd)
    if huge and not ring.collapse(0, _core.HUGE_PAGE):
        raise NotMeasured("the kernel has no huge pages for shared memory")
    if huge:
        use_huge_pages(ring)
    return ring


def _measure(setting: Setting, *, huge: bool) -> tuple[Value, Value]:
    """Log and drain in turns in one process: ns per record of either, the best turn."""
    ring = _ring(huge=huge)
    ring.attach(0, os.getpid(), 1, 1, 1)
    producer = _core.Producer()
    producer.bind(ring, 0, os.getpid())
    logged, drained, position = [], [], 0
    end = time.monotonic() + setting.seconds
    while not logged or time.monotonic() < end:
        began = time.perf_counter_ns()
        for _ in range(RECORDS):
            producer.log(setting.data)
        middle = time.perf_counter_ns()
        while (stop := ring.drain(position, CAPACITY, NO_LIMIT)[0]) != position:
            ring.release(position, stop)
            position = stop
        logged.append((middle - began) / RECORDS)
        drained.append((time.perf_counter_ns() - middle) / RECORDS)
    return Value(min(logged)), Value(min(drained))


BENCHMARKS = [
    Benchmark(
        f"huge-pages-{what}",
        f"{what} in a ring in huge pages, per record",
        "ns",
        {
            OURS: lambda setting, part=part: _measure(setting, huge=True)[part],  # type: ignore[misc]
            "small pages": lambda setting, part=part: _measure(setting, huge=False)[part],  # type: ignore[misc]
        },
        [Row("small pages")],
        less_is_better=True,
    )
    for part, what in enumerate(("log", "drain"))
]
