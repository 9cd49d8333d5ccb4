"""Searching, printing and counting: processor time of the commands beside that of their peers.

grep, rg, jq and DuckDB get the same records as lines of JSON, journalctl gets them as a journal.  Each
command runs as a process of its own; what it takes for an empty log, or an empty file, is subtracted.  jq
and journalctl get the first of the records alone.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import disklog_mp
from bench.corpus import NEEDLE, corpus, journal_of
from disklog_mp.cli.bench.measure import OURS, Benchmark, Limit, NotMeasured, Row, Setting, Value

COMMAND = (sys.executable, "-m", "disklog_mp")
INCIDENT = 1_900_000  # records of a bad night
GIB = 1 << 30

# -- what is measured ---------------------------------------------------------------------------------------


def cpu_of(command: Sequence[str], output: str) -> float:
    """Return the processor seconds of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(output, "wb") as out:
        subprocess.run(command, stdout=out, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _measured(command: Sequence[str], full: str, empty: str, records: int, output: str) -> Value:
    start_up = cpu_of([*command, empty], output)
    spent = cpu_of([*command, full], output) - start_up
    details = {"records": records, "start_up": start_up}
    if output != os.devnull:
        details["printed_bytes"] = os.path.getsize(output)
        os.unlink(output)
    return Value(max(spent, 1e-6) * 1e6 / records, details)


def _output(setting: Setting, prints: bool) -> str:
    """Return a file for what is found: grep ends at once at /dev/null.  All records go there."""
    return os.devnull if prints else f"{corpus(setting).log}.out"


def ours(*options: str, prints: bool = False) -> Callable[[Setting], Value]:
    """Our command with these options."""

    def measure(setting: Setting) -> Value:
        made = corpus(setting)
        return _measured([*COMMAND, *options], made.log, made.no_log, made.records, _output(setting, prints))

    return measure


def peer(
    program: str, *arguments: str, prints: bool = False, slow: bool = False
) -> Callable[[Setting], Value]:
    """A program on the lines; a slow one on some of them."""

    def measure(setting: Setting) -> Value:
        if shutil.which(program) is None:
            raise NotMeasured(f"{program} is not installed")
        made = corpus(setting)
        lines, count = (made.some_lines, made.some) if slow else (made.lines, made.records)
        return _measured([program, *arguments], lines, made.no_lines, count, _output(setting, prints))

    return measure


def journal(*arguments: str, prints: bool = False) -> Callable[[Setting], Value]:
    """journalctl, with a journal of some of the records."""

    def measure(setting: Setting) -> Value:
        made = corpus(setting)
        files = journal_of(made)
        command = ["journalctl", "--quiet", "--no-pager", *arguments, "--file"]
        return _measured(command, files.some, files.one, made.some, _output(setting, prints))

    return measure


QUESTION = """
import sys, duckdb
columns = ("{time: 'UBIGINT', level: 'VARCHAR', logger: 'VARCHAR', message: 'VARCHAR', thread: 'VARCHAR', "
    "fields: 'STRUCT(user BIGINT, path VARCHAR, ms DOUBLE, status BIGINT)'}")
lines = f"read_json('{sys.argv[2]}', format='newline_delimited', columns={columns})"
duckdb.sql(f"copy ({sys.argv[1].format(log=lines)}) to '/dev/stdout' (format json)")
"""


def duckdb(question: str, prints: bool = False) -> Callable[[Setting], Value]:
    """DuckDB, asked about the lines."""

    def measure(setting: Setting) -> Value:
        if importlib.util.find_spec("duckdb") is None:
            raise NotMeasured("duckdb is not installed")
        made = corpus(setting)
        command = [sys.executable, "-c", QUESTION, question]
        return _measured(command, made.lines, made.no_lines, made.records, _output(setting, prints))

    return measure


def rate(measure: Callable[[Setting], Value]) -> Callable[[Setting], Value]:
    """Records per processor second in place of seconds per million."""

    def measure_rate(setting: Setting) -> Value:
        spent = measure(setting)
        return Value(1e6 / spent.number, spent.details)

    return measure_rate


def above_click(*command: str) -> Callable[[Setting], Value]:
    """Milliseconds of processor time of a command about a log that is open, above `import click`."""

    def measure(setting: Setting) -> Value:
        made = corpus(setting)
        with disklog_mp.open(f"bench-{os.getpid()}-log", made.log, sync="never", linger=0.1):
            spent = min(cpu_of([*COMMAND, *command, made.log], os.devnull) for _ in range(5))
        click = min(cpu_of([sys.executable, "-c", "import click"], os.devnull) for _ in range(5))
        return Value(1000 * (spent - click), {"import_click": 1000 * click})

    return measure


def seconds_of(
    command: Callable[[Setting], Sequence[str]], scale: Callable[[Setting], float]
) -> Callable[[Setting], Value]:
    """Seconds by the clock until a command has ended, start-up included, and scaled."""

    def measure(setting: Setting) -> Value:
        scale_by = scale(setting)
        words = command(setting)
        begin = time.perf_counter()
        subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        return Value((time.perf_counter() - begin) * scale_by)

    return measure


def _page_bytes(setting: Setting) -> int:
    return sum(
        each.stat().st_size for each in os.scandir(corpus(setting).log) if each.name.startswith("page-")
    )


# -- the rows -----------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """The same question in the words of each peer."""

    pattern: str  # for grep and rg
    jq: str
    sql: str
    journal: tuple[str, ...]


def _search(name: str, options: tuple[str, ...], asked: Asked, most: float) -> Benchmark:
    return Benchmark(
        name,
        f"cat {' '.join(options)}, CPU per million records",
        "s",
        {
            OURS: ours("cat", *options),
            "grep -F": peer("grep", "-F", "-e", asked.pattern),
            "rg -F": peer("rg", "-F", "-e", asked.pattern),
            "jq": peer("jq", "-c", f"select({asked.jq})", slow=True),
            "DuckDB": duckdb(f"select * from {{log}} where {asked.sql}"),
            "journalctl": journal("-o", "cat", *asked.journal),
        },
        [
            Row(
                "grep -F",
                must=Limit(1 / most, f"{most:.0f} times grep's", of_ratio=True),
                aim=Limit(1, "no more", of_ratio=True),
            ),
            *map(Row, ("rg -F", "jq", "DuckDB", "journalctl")),
        ],
        less_is_better=True,
    )


def _start_up(name: str, *command: str) -> Benchmark:
    return Benchmark(
        name,
        f"{' '.join(command)}, CPU above `import click`",
        "ms",
        {OURS: above_click(*command)},
        [Row(must=Limit(60, "60 ms"))],
        less_is_better=True,
    )


def _summary(name: str, *options: str) -> Benchmark:
    return Benchmark(
        name,
        f"summary {' '.join(options)}, 1.9 million records",
        "s",
        {
            OURS: seconds_of(
                lambda setting: [*COMMAND, "summary", corpus(setting).log, *options],
                lambda setting: INCIDENT / corpus(setting).records,
            )
        },
        [Row(must=Limit(2, "2 s"))],
        less_is_better=True,
    )


def _print(name: str, options: tuple[str, ...], peers: dict[str, Callable[[Setting], Value]]) -> Benchmark:
    million = Row(must=Limit(1e6, "1 M/s"), aim=Limit(2e6, "2 M/s"))
    must = {"journalctl -o json": Limit(20, "20 times", of_ratio=True)}
    return Benchmark(
        name,
        f"cat {' '.join(options)}, by processor time".replace(" ,", ","),
        "records/s",
        {
            OURS: rate(ours("cat", *options, prints=True)),
            **{name: rate(each) for name, each in peers.items()},
        },
        [*(Row(each, must=must.get(each)) for each in peers), million],
    )


BENCHMARKS = [
    _search(
        "search",
        ("--field", "user=42"),
        Asked('"user":42,', ".fields.user == 42", "fields.user = 42", ("USER=42",)),
        3,
    ),
    _search(
        "search-needle",
        ("-g", NEEDLE),
        Asked(NEEDLE, f'.message | contains("{NEEDLE}")', f"contains(message, '{NEEDLE}')", ("-g", NEEDLE)),
        3,
    ),
    _search(
        "search-level",
        ("--level", "ERROR"),
        Asked('"level":"ERROR"', '.level == "ERROR"', "level = 'ERROR'", ("-p", "err")),
        2,
    ),
    Benchmark(
        "search-gib",
        "cat -g needle, a GiB of pages, with its start-up, by the clock",
        "s",
        {
            OURS: seconds_of(
                lambda setting: [*COMMAND, "cat", "-g", NEEDLE, corpus(setting).log],
                lambda setting: GIB / _page_bytes(setting),
            )
        },
        [Row(must=Limit(1.5, "1.5 s"))],
        less_is_better=True,
    ),
    _print(
        "print",
        ("--json",),
        {
            "jq -c .": peer("jq", "-c", ".", prints=True, slow=True),
            "journalctl -o json": journal("-o", "json", prints=True),
            "DuckDB": duckdb("select * from {log}", prints=True),
        },
    ),
    _print("print-text", (), {"journalctl": journal(prints=True)}),
    _print("print-logfmt", ("-o", "logfmt"), {}),
    _print("print-template", ("-o", "%T %l %m %{user}"), {}),
    Benchmark(
        "print-raw",
        "cat --raw, by processor time",
        "records/s",
        {OURS: rate(ours("cat", "--raw")), "cat": rate(peer("cat"))},
        [Row("cat", must=Limit(1 / 3, "a third", of_ratio=True))],
    ),
    _start_up("start-up", "tail", "-n", "1000"),
    _start_up("start-up-stat", "stat"),
    _start_up("start-up-events", "events"),
    _summary("summary", "--by", "level", "--every", "1m"),
    _summary("summary-field", "--by", "field:user", "--every", "1m"),
]
