"""Several processes log as fast as they can, until all of it is in files."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from bench import install, lttng, queues
from bench.logs import a_directory, a_log, counted
from bench.measure import OURS, Benchmark, Limit, NotMeasured, Row, Setting, Value
from disklog_mp.cli.bench import work as _bench_work

ERLANG = "Erlang disk_log:balog"
SEED = "disk_log (Rust)"
RECORDS = 150_000  # of each Erlang process for each second of measuring: its mailbox has no limit
SEED_RECORDS = 50_000  # of each task for each second of measuring
LINES = 1 << 30  # bytes of lines that os.write may leave


def _ours(setting: Setting, produce: Callable[..., int]) -> Value:
    with a_log(setting) as log:
        name = log.name

        def work() -> _bench_work.Rate:
            return _bench_work.together(produce, setting.producers, setting.seconds, name, setting.data)

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


def log(setting: Setting) -> Value:
    """log(), one record a call; from the start of the first to flush() in the last."""
    return _ours(setting, _bench_work.produce_records)


def log_many(setting: Setting) -> Value:
    """log_many() of 64 records."""
    return _ours(setting, _bench_work.produce_groups)


def os_write(setting: Setting) -> Value:
    """os.write() of lines to one file that all have open for append."""
    with a_directory(setting) as place:
        path = os.path.join(place, "lines")
        Path(path).touch()
        share = LINES // setting.producers
        rate = _bench_work.together(
            _bench_work.produce_lines, setting.producers, setting.seconds, path, setting.data, share
        )
        written = os.path.getsize(path) // (setting.length + 1)
    assert written == rate.records, f"{rate.records} written, {written} in the file"
    return Value(rate.per_second, {"CPU ns per record": rate.cpu / rate.records * 1e9})


def erlang(setting: Setting) -> Value:
    """balog() from as many processes of one VM, then sync()."""
    if shutil.which("escript") is None:
        raise NotMeasured("erlang-base is not installed")
    with a_directory(setting) as place:
        records = str(int(RECORDS * setting.seconds))
        script = Path(__file__).parent / "disk_log.escript"
        done = subprocess.run(
            ["escript", str(script), f"{place}/log", str(setting.producers), records, str(setting.length)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    written, microseconds = map(int, done.stdout.split())
    return Value(written / microseconds * 1e6)


def seed(setting: Setting) -> Value:
    """log() from as many tasks of one process, until a page is had."""
    if not install.SEED.exists():
        raise NotMeasured("the crate could not be built")
    with a_directory(setting) as place:
        records = str(int(SEED_RECORDS * setting.seconds))
        done = subprocess.run(
            [install.SEED, place, str(setting.producers), records, str(setting.length)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    written, microseconds = map(int, done.stdout.splitlines()[-1].split())  # it prints paths, too
    return Value(written / microseconds * 1e6)


BENCHMARKS = [
    Benchmark(
        "throughput",
        "4 processes to the page files",
        "records/s",
        {
            OURS: log,
            "os.write": os_write,
            lttng.NAME: lttng.together,
            lttng.BLOCKING: lttng.together_blocking,
            ERLANG: erlang,
            SEED: seed,
            "multiprocessing.Queue": queues.multiprocessing_queue,
            "multiprocessing.SimpleQueue": queues.simple_queue,
            "faster-fifo": queues.faster_fifo,
        },
        [
            Row(aim=Limit(12e6, "12 M/s")),
            Row("os.write", must=Limit(8, "8x", of_ratio=True)),
            Row(ERLANG, must=Limit(10, "10x", of_ratio=True)),
            Row(SEED, must=Limit(30, "30x", of_ratio=True)),
            Row(lttng.NAME, aim=Limit(1.2, "1.2x", of_ratio=True)),
            Row(lttng.BLOCKING, aim=Limit(1.2, "1.2x", of_ratio=True)),
            Row("multiprocessing.Queue"),
            Row("multiprocessing.SimpleQueue"),
            Row("faster-fifo"),
        ],
    ),
    Benchmark(
        "groups",
        "log_many() of 64, 4 processes",
        "records/s",
        {OURS: log_many},
        [Row(must=Limit(10e6, "10 M/s"), aim=Limit(15e6, "15 M/s"))],
    ),
]
