"""Several processes log as fast as they can, until all of it is in files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from bench import install, lttng, queues
from disklog_mp.cli.bench import measures
from disklog_mp.cli.bench.logs import a_directory
from disklog_mp.cli.bench.measure import OURS, Benchmark, Limit, NotMeasured, Row, Setting, Value

ERLANG = "Erlang disk_log:balog"
SEED = "disk_log (Rust)"
RECORDS = 150_000  # of each Erlang process for each second of measuring: its mailbox has no limit
SEED_RECORDS = 50_000  # of each task for each second of measuring


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
            OURS: measures.throughput,
            "os.write": measures.throughput_of_write,
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
        {OURS: measures.throughput_of_groups},
        [Row(must=Limit(10e6, "10 M/s"), aim=Limit(15e6, "15 M/s"))],
    ),
]
