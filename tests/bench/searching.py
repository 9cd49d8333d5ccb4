"""Searching and printing: processor time of the commands beside that of grep, rg and jq on the same lines.

Each command runs as a process of its own; what it takes for an empty log, or an empty file, is subtracted.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import disklog_mp
from disklog_mp._loggers import structured
from disklog_mp.cli.bench import work as _bench_work
from disklog_mp.cli.bench.measure import OURS, Benchmark, Limit, NotMeasured, Row, Setting, Value

RECORDS, FEW = 1_000_000, 20_000
BEGIN, STEP = 1_764_262_800 * 10**9, 2_000_000  # ns
LEVELS = [("INFO", 20)] * 80 + [("DEBUG", 10)] * 10 + [("WARNING", 30)] * 7 + [("ERROR", 40)] * 3
LOGGERS = ("app.web", "app.jobs", "app.db", "lib.http")
NEEDLE = "lost its needle"  # in one message of ten thousand
CAT = (sys.executable, "-m", "disklog_mp", "cat")


class Corpus(NamedTuple):
    """The same records as a log and as lines of JSON, and both without records."""

    records: int
    log: str
    lines: str
    no_log: str
    no_lines: str


def corpus(setting: Setting) -> Corpus:
    """Return the records, made once for all benchmarks."""
    return _corpus(FEW if setting.quick else RECORDS, str(setting.directory))


@functools.lru_cache(1)
def _corpus(records: int, directory: str) -> Corpus:
    place = Path(tempfile.mkdtemp(prefix="disklog-bench-", dir=directory))
    atexit.register(shutil.rmtree, place, True)
    chance = random.Random(1)
    found = Corpus(records, *(str(place / name) for name in ("log", "lines", "no_log", "no_lines")))
    for path, count in ((found.no_log, 0), (found.log, records)):
        name = f"bench-{os.getpid()}-{Path(path).name}"
        with (
            disklog_mp.open(name, path, sync="never", linger=0.1, timeout=60.0) as log,
            open(found.lines if count else found.no_lines, "wb") as lines,
        ):
            for number in range(count):
                data, tag = _record(number, chance)
                log.log(data, tag=tag)
                lines.write(data + b"\n")
        _bench_work.wait_for_writer(name)
    return found


def _record(number: int, chance: random.Random) -> tuple[bytes, int]:
    level, tag = chance.choice(LEVELS)
    message = NEEDLE if number % 10_000 == 0 else "request answered"
    fields = {
        "user": chance.randrange(1000),
        "path": f"/cart/{chance.randrange(100)}",
        "ms": round(chance.random() * 100, 3),
        "status": chance.choice((200, 200, 404, 500)),
    }
    logger, thread = chance.choice(LOGGERS), f"pool_{number % 8}"
    time = BEGIN + number * STEP
    return structured.encode(time, level, logger, message, thread=thread, fields=fields), tag


def cpu_of(command: Sequence[str], output: str) -> float:
    """Return the processor seconds of a command.  It prints into a file: grep ends at once at /dev/null."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(output, "wb") as out:
        subprocess.run(command, stdout=out, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _measured(setting: Setting, command: Sequence[str], full: str, empty: str) -> Value:
    records, output = corpus(setting).records, f"{corpus(setting).lines}.out"
    start_up = cpu_of([*command, empty], output)
    spent = cpu_of([*command, full], output) - start_up
    printed = os.path.getsize(output)
    return Value(max(spent, 1e-6) * 1e6 / records, {"start_up": start_up, "printed_bytes": printed})


def ours(*options: str) -> Callable[[Setting], Value]:
    """Our command with these options."""

    def measure(setting: Setting) -> Value:
        made = corpus(setting)
        return _measured(setting, [*CAT, *options], made.log, made.no_log)

    return measure


def peer(program: str, *arguments: str) -> Callable[[Setting], Value]:
    """A program on the lines."""

    def measure(setting: Setting) -> Value:
        if shutil.which(program) is None:
            raise NotMeasured(f"{program} is not installed")
        made = corpus(setting)
        return _measured(setting, [program, *arguments], made.lines, made.no_lines)

    return measure


def rate(measure: Callable[[Setting], Value]) -> Callable[[Setting], Value]:
    """Records per processor second in place of seconds per million."""

    def measure_rate(setting: Setting) -> Value:
        spent = measure(setting)
        return Value(1e6 / spent.number, spent.details)

    return measure_rate


def start_of(*command: str) -> Callable[[Setting], Value]:
    """Milliseconds of processor time until a command has shown the last records of a log."""

    def measure(setting: Setting) -> Value:
        made = corpus(setting)
        log = [] if command[0] == "-c" else [made.log]
        return Value(
            1000 * min(cpu_of([sys.executable, *command, *log], f"{made.lines}.out") for _ in range(3))
        )

    return measure


JOURNAL = "journalctl"


def journal(setting: Setting) -> Value:
    raise NotMeasured("no journal of the same records: systemd-journal-remote would have to make it")


def _search(name: str, title: str, options: tuple[str, ...], pattern: str, most: float) -> Benchmark:
    times = f"{most:.0f} times grep's"
    return Benchmark(
        name,
        f"{title}, CPU per million records",
        "s",
        {
            OURS: ours(*options),
            "grep -F": peer("grep", "-F", "-e", pattern),
            "rg -F": peer("rg", "-F", "-e", pattern),
            "jq": peer("jq", "-c", f"select(tojson | contains({json.dumps(pattern)}))"),
        },
        [
            Row(
                "grep -F", must=Limit(1 / most, times, of_ratio=True), aim=Limit(1, "no more", of_ratio=True)
            ),
            Row("rg -F"),
            Row("jq"),
        ],
        less_is_better=True,
    )


_M = Limit(1e6, "1 M/s")
BENCHMARKS = [
    _search("search", "cat --field user=42", ("--field", "user=42"), '"user":42,', 3),
    _search("search-needle", "cat -g needle", ("-g", NEEDLE), NEEDLE, 3),
    _search("search-level", "cat --level ERROR", ("--level", "ERROR"), '"level":"ERROR"', 2),
    Benchmark(
        "print",
        "cat --json, by processor time",
        "records/s",
        {OURS: rate(ours("--json")), "jq -c .": rate(peer("jq", "-c", ".")), JOURNAL: journal},
        [
            Row("jq -c ."),
            Row(JOURNAL, must=Limit(20, "20 times", of_ratio=True)),
            Row(must=_M, aim=Limit(2e6, "2 M/s")),
        ],
    ),
    Benchmark(
        "print-text",
        "cat, by processor time",
        "records/s",
        {OURS: rate(ours())},
        [Row(must=_M, aim=Limit(2e6, "2 M/s"))],
    ),
    Benchmark(
        "print-raw",
        "cat --raw, by processor time",
        "records/s",
        {OURS: rate(ours("--raw")), "cat": rate(peer("cat"))},
        [Row("cat", must=Limit(1 / 3, "a third", of_ratio=True))],
    ),
    Benchmark(
        "start-up",
        "tail -n 1000, CPU",
        "ms",
        {
            OURS: start_of("-m", "disklog_mp", "tail", "-n", "1000"),
            "import click": start_of("-c", "import click"),
        },
        [Row("import click")],
        less_is_better=True,
    ),
]
