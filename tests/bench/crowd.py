"""Many processes on few cores, and more load than the writer can carry."""

from __future__ import annotations

import array
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import disklog_mp
from bench.calls import histogram, percentiles
from disklog_mp.cli.bench import work as _bench_work
from disklog_mp.cli.bench.logs import a_directory, a_log, counted
from disklog_mp.cli.bench.measure import OURS, Benchmark, Row, Setting, Value
from disklog_mp.cli.bench.work import Gate

CROWD = 64
PACE = 0.005  # seconds between the small bursts of each producer of a calm crowd
BURST = 10
OVERLOAD = 10
LOOK = 0.001  # seconds between two decisions whether the writer may go
TURN = 0.05  # seconds, of a tenth of which it may, where nothing is refused
SMALL_RING = 1 << 20
LONG = 1000


def _crowd(setting: Setting) -> int:
    return 8 if setting.quick else CROWD


def _progress(each: tuple[int, ...]) -> Value:
    """The one that came least far, as a share of the one in the middle."""
    middle = statistics.median(each)
    low, _, high = statistics.quantiles(each, n=4)
    return Value(
        min(each) / middle,
        {"least": min(each), "quartile": low, "middle": middle, "quartile above": high, "most": max(each)},
    )


def log_progress(setting: Setting) -> Value:
    """64 processes log as fast as they can."""
    with a_log(setting) as log:
        name, produce = log.name, _bench_work.produce_records
        seconds = 2 * setting.seconds
        rate, _ = counted(
            log, lambda: _bench_work.together(produce, _crowd(setting), seconds, name, setting.data)
        )
    value = _progress(rate.each)
    return Value(value.number, {**value.details, "records/s": rate.per_second})


def write_progress(setting: Setting) -> Value:
    """64 processes os.write() to one file."""
    with a_directory(setting) as place:
        path = os.path.join(place, "lines")
        Path(path).touch()
        produce, share = _bench_work.produce_lines, (1 << 30) // _crowd(setting)
        rate = _bench_work.together(produce, _crowd(setting), 2 * setting.seconds, path, setting.data, share)
    value = _progress(rate.each)
    return Value(value.number, {**value.details, "records/s": rate.per_second})


def produce_calmly(
    gate: Gate, seconds: float, call: Callable[[str], Any], where: str, data: bytes, out: str
) -> int:
    """Make bursts of calls with pauses, time each; leave the times in a file."""
    clock, times = time.perf_counter_ns, array.array("Q")
    session = call(where)
    do = session.log
    gate.wait()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(BURST):
            began = clock()
            do(data)
            times.append(clock() - began)
        time.sleep(PACE)
    Path(out, str(os.getpid())).write_bytes(times.tobytes())
    waited = [producer.waited for producer in session.stats().producers if producer.pid == os.getpid()]
    session.close()
    return sum(waited)


def calm_tail(setting: Setting) -> Value:
    """64 processes that log a little each, the ring never full: p99.9 of a call, in us."""
    with a_log(setting) as log, a_directory(setting) as out:
        task = (produce_calmly, setting.seconds, disklog_mp.attach, log.name, setting.data, out)
        waited = _bench_work.run([task] * _crowd(setting)).records
        times = array.array("Q")
        for file in Path(out).iterdir():
            times.frombytes(file.read_bytes())
    told = percentiles(times)
    return Value(told["p99.9"] / 1000, {**told, "found the ring full": waited, "histogram": histogram(times)})


# -- overload --------------------------------------------------------------------------------------------


def overload(
    gate: Gate, seconds: float, name: str, on_full: str, data: bytes, told: Any, index: int, out: str
) -> int:
    """Offer records without pause; count what became of each, and time each call.

    When the load is over one more is offered until it is accepted: by then the drops are in the log.
    """
    offered = accepted = refused = 0
    clock, times = time.perf_counter_ns, array.array("Q")
    with disklog_mp.attach(name, timeout=60, on_full=on_full) as log:

        def offer() -> bool:
            nonlocal offered, accepted, refused
            offered += 1
            began, position = clock(), -1
            try:
                position = log.log(data)
            except disklog_mp.RingFullError:
                refused += 1
            times.append(clock() - began)
            accepted += position >= 0
            return position >= 0

        gate.wait()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for _ in range(10):
                offer()
            told[4 * index : 4 * index + 3] = [offered, accepted, refused]
        told[4 * index + 3] = 1
        counted = len(times)
        while not offer():
            time.sleep(0.01)
    told[4 * index : 4 * index + 3] = [offered, accepted, refused]
    Path(out, str(os.getpid())).write_bytes(times[:counted].tobytes())
    return accepted


@contextmanager
def a_slow_writer(pid: int, may_go: Callable[[], bool]) -> Iterator[None]:
    """Stop the writer (SIGSTOP) but for when it may go: a disk that stalls."""
    over = threading.Event()

    def slow() -> None:
        while not over.wait(LOOK):
            os.kill(pid, signal.SIGCONT if may_go() else signal.SIGSTOP)

    thread = threading.Thread(target=slow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        os.kill(pid, signal.SIGCONT)


def _overloaded(on_full: str) -> Callable[[Setting], Value]:
    def contestant(setting: Setting) -> Value:
        from multiprocessing import get_context

        told = get_context("spawn").RawArray("Q", 4 * setting.producers)
        with a_log(setting, ring_bytes=SMALL_RING) as log, a_directory(setting) as out:
            path, pid = log.path, log.stats().writer_pid
            data = bytes(LONG)
            tasks = [
                (overload, 2 * setting.seconds, log.name, on_full, data, told, index, out)
                for index in range(setting.producers)
            ]

            def may_go() -> bool:
                if on_full == "block":
                    return time.monotonic() % TURN < TURN / OVERLOAD
                return any(told[3::4]) or sum(told[::4]) >= OVERLOAD * sum(told[1::4])

            with a_slow_writer(pid, may_go):
                rate = _bench_work.run(tasks)
            log.log(b"the end")
            log.flush()
            stats = log.stats()
            times = array.array("Q")
            for file in Path(out).iterdir():
                times.frombytes(file.read_bytes())
            gaps, records = _gaps(path)
        offered, accepted, refused = (sum(told[kind::4]) for kind in range(3))
        dropped = offered - accepted  # refused records are counted with them
        books = {
            "dropped, the log's count": stats.dropped == dropped,
            "dropped, the gap records": gaps == dropped - refused,
            "records in pages": stats.records - records == accepted + 1,
        }
        wrong = [what for what, right in books.items() if not right]
        assert not wrong, (
            f"the books do not balance: {wrong}, {offered=} {accepted=} {refused=} {gaps=} {stats}"
        )
        latency = percentiles(times)
        facts = {
            "offered for each accepted": offered / max(1, accepted),
            "accepted/s": accepted / rate.seconds,
            "offered": offered,
            "accepted": accepted,
            "dropped": dropped,
            "raised": refused,
            "books": "balance",
        }
        return Value(latency["p99.9"] / 1000, {**facts, **{f"{rank} ns": t for rank, t in latency.items()}})

    return contestant


def _gaps(path: str) -> tuple[int, int]:
    """Sum what the log's gap records say, and how many gap records there are."""
    import json

    lost = number = 0
    for record in disklog_mp.Reader(path):
        if record.gap:
            lost += json.loads(record.data)["dropped"]
            number += 1
    return lost, number


BENCHMARKS = [
    Benchmark(
        "fairness",
        "64 processes, least progress / middle",
        "",
        {OURS: log_progress, "os.write": write_progress},
        [Row("os.write")],
    ),
    Benchmark(
        "tail",
        "64 calm processes, p99.9 of log()",
        "us",
        {OURS: calm_tail},
        [Row()],
        less_is_better=True,
    ),
    *(
        Benchmark(
            f"overload-{policy}",
            f"10x overload, {policy}: p99.9 of log()",
            "us",
            {OURS: _overloaded(policy)},
            [Row()],
            less_is_better=True,
        )
        for policy in ("block", "raise", "drop")
    ),
]
