"""Reading: how fast a page is walked, how soon a follower sees a record, what following costs at rest."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import disklog_mp
from bench.calls import histogram, percentiles
from disklog_mp._reader.stream import LONGEST_LOOK
from disklog_mp.cli.bench import measures
from disklog_mp.cli.bench import work as _bench_work
from disklog_mp.cli.bench.logs import a_log, cpu_of, settle
from disklog_mp.cli.bench.measure import OURS, Benchmark, Limit, Row, Setting, Value
from disklog_mp.cli.bench.work import Gate

PAUSE = 0.004  # seconds between records that a follower waits for
END = b"the end"
QUIET = 2 * LONGEST_LOOK  # seconds until a follower sleeps as long as it ever does
LOOKS = 2  # that it takes while it is watched


def _follow(path: str, pipe: Any) -> None:
    """Tell, for each record that holds the time when it was logged, how many ns ago that is."""
    seen = []
    for record in disklog_mp.Reader(path).follow(timeout=60):
        now = time.monotonic_ns()
        data = record.data
        if data == END:
            break
        if data[:1] == b"t":
            seen.append(now - int(data[1:]))
        elif data == b"begin":
            pipe.send("ready")
    pipe.send(seen)


@contextmanager
def a_follower(log: disklog_mp.Session) -> Iterator[tuple[Any, Any]]:
    """A process that follows the log; it is where the log is now."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    log.log(b"begin")
    follower = context.Process(target=_follow, args=(log.path, theirs), daemon=True)
    follower.start()
    try:
        settle(mine.poll)
        mine.recv()
        yield follower, mine
    finally:
        follower.kill()
        follower.join()


def log_times(gate: Gate, seconds: float, name: str) -> int:
    """Log what time it is, now and then."""
    done = 0
    with disklog_mp.attach(name) as log:
        gate.wait()
        end = time.monotonic() + seconds
        while not done or time.monotonic() < end:
            log.log(b"t%d" % time.monotonic_ns())
            done += 1
            time.sleep(PAUSE)
    return done


def follow_latency(setting: Setting) -> Value:
    """From before log() in one process until follow() gives it out in another, one record at a time."""
    with a_log(setting) as log, a_follower(log) as (_, pipe):
        _bench_work.run([(log_times, setting.seconds, log.name)])
        log.log(END)
        seen = pipe.recv()
    told = percentiles(seen)
    return Value(told["p50"] / 1000, {**told, "histogram": histogram(seen)})


def follow_at_rest(setting: Setting) -> float:
    """Processor time of a follower while nothing is logged, in percent of one core."""
    with a_log(setting) as log, a_follower(log) as (follower, pipe):
        time.sleep(QUIET)
        before, began = cpu_of(follower.pid), time.monotonic()
        time.sleep(LOOKS * LONGEST_LOOK * setting.seconds)
        spent = (cpu_of(follower.pid) - before) / (time.monotonic() - began)
        log.log(END)
        pipe.recv()
    return 100 * spent


BENCHMARKS = [
    Benchmark(
        "reading",
        "iterate a page, bytes",
        "records/s",
        measures.READING.contestants,
        [
            Row("lines of a file", must=Limit(1, "faster", of_ratio=True)),
            Row("decoded lines", must=Limit(1, "faster", of_ratio=True)),
            Row("our Record objects"),
            Row(aim=Limit(10e6, "10 M/s")),
        ],
    ),
    Benchmark(
        "follow",
        "log() to seen in another process, p50",
        "us",
        {OURS: follow_latency},
        [Row(must=Limit(1000, "1 ms"), aim=Limit(100, "100 us"))],
        less_is_better=True,
    ),
    Benchmark(
        "rest",
        "following a log at rest, CPU",
        "%",
        {OURS: follow_at_rest},
        [Row(aim=Limit(0.05, "zero"))],
        less_is_better=True,
    ),
]
