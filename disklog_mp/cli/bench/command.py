"""disklog-mp bench: what logging costs on this machine, beside os.write in the same run."""

from __future__ import annotations

import os
import platform
import tempfile
from dataclasses import dataclass
from typing import Any

import click

import disklog_mp
from disklog_mp import _core
from disklog_mp.cli import _text
from disklog_mp.cli._find import json_option
from disklog_mp.cli.bench import work as _bench_work
from disklog_mp.cli.bench.work import Cost, Rate
from disklog_mp.cli.version import text as version_text

LONGEST = 16 << 10  # so that groups of 64 fit into a quarter of the ring


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(0.05, 60), default=2.0, metavar="S", help="For each part.  [2]"
)
@click.option(
    "--producers", type=click.IntRange(1, 256), default=4, metavar="N", help="Processes that log.  [4]"
)
@click.option(
    "--length", type=click.IntRange(1, LONGEST), default=100, metavar="N", help="Bytes per record.  [100]"
)
@click.option("--dir", "directory", type=click.Path(), help="Where to write.  [the place of temporary files]")
@json_option
def bench(seconds: float, producers: int, length: int, directory: str | None, as_json: bool) -> int:
    """Measure what logging costs on this machine.

    log() and log_many() stand beside os.write to one file, in the same run.  Writes page files into a
    temporary directory, never more than about half a gigabyte at a time, and removes it.  Without syncs
    on either side: it is the cost of a record up to the page cache.
    """
    data = os.urandom(length // 2 + 1).hex().encode()[:length]
    with tempfile.TemporaryDirectory(prefix="disklog-bench-", dir=directory) as place:
        results = _measure(place, data, producers, seconds)
    told: dict[str, Any] = {
        "machine": machine(),
        "length": length,
        "producers": producers,
        "seconds": seconds,
    }
    if as_json:
        click.echo(_text.to_json({**told, **results.to_dict()}))
    else:
        click.echo("\n".join([*machine_lines(told["machine"]), "", *_lines(results, producers, length)]))
    return 0


@dataclass(frozen=True)
class Results:
    """One run's measurements."""

    log: Cost
    write: Cost
    records: Rate
    groups: Rate
    lines: Rate

    def to_dict(self) -> dict[str, Any]:
        """Return them as values for JSON."""
        return {
            "log_ns": self.log._asdict(),
            "os_write_ns": self.write._asdict(),
            "log_records_per_second": round(self.records.per_second),
            "log_many_records_per_second": round(self.groups.per_second),
            "os_write_records_per_second": round(self.lines.per_second),
            "log_cheaper_than_os_write": round(self.write.median / self.log.median, 2),
            "log_faster_than_os_write": round(self.records.per_second / self.lines.per_second, 2),
            "log_many_faster_than_os_write": round(self.groups.per_second / self.lines.per_second, 2),
        }


def _measure(place: str, data: bytes, producers: int, seconds: float) -> Results:
    name = f"bench-{os.getpid()}"
    log_path, file_path = os.path.join(place, "log"), os.path.join(place, "lines")
    limit = _bench_work.DISK_LIMIT
    options = {"keep_bytes": limit, "page_bytes": limit // 4, "sync": "never", "linger": 0.2}
    try:
        with disklog_mp.open(name, log_path, timeout=60, **options) as log:  # type: ignore[arg-type]
            alone = _bench_work.rounds(log.log, data, seconds, log.flush)
            records = _bench_work.together(_bench_work.produce_records, producers, seconds, name, data)
            groups = _bench_work.together(_bench_work.produce_groups, producers, seconds, name, data)
    finally:
        _bench_work.wait_for_writer(name)
    fd = os.open(file_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        line = data + b"\n"
        write = _bench_work.rounds(
            lambda line: os.write(fd, line), line, seconds, lambda: os.ftruncate(fd, 0)
        )
    finally:
        os.close(fd)
    share = limit // producers
    lines = _bench_work.together(_bench_work.produce_lines, producers, seconds, file_path, data, share)
    return Results(alone, write, records, groups, lines)


def machine() -> dict[str, Any]:
    """Return what a figure depends on."""
    model = platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        model = names[0] if names else model
    except OSError:
        pass
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "crc32c": _core.crc32c_name(),
        "version": version_text(),
    }


def machine_lines(machine: dict[str, Any]) -> list[str]:
    """Return it as text."""
    return [
        f"{machine['processor']}, {_text.plural(machine['cores'], 'core')}, Linux {machine['kernel']}, "
        f"Python {machine['python']}",
        f"{machine['version']}, crc32c by {machine['crc32c']}",
    ]


def _lines(results: Results, producers: int, length: int) -> list[str]:
    told = results.to_dict()
    alone = [
        ("log()", results.log, f"{told['log_cheaper_than_os_write']:.1f}x cheaper"),
        ("os.write()", results.write, ""),
    ]
    together = [
        ("log()", results.records, f"{told['log_faster_than_os_write']:.1f}x"),
        (
            f"log_many() of {_bench_work.GROUP}",
            results.groups,
            f"{told['log_many_faster_than_os_write']:.1f}x",
        ),
        ("os.write(), one file", results.lines, ""),
    ]
    costs = [(what, f"{cost.median:,.0f}", f"{cost.best:,.0f}", ratio) for what, cost, ratio in alone]
    rates = [
        (what, f"{rate.per_second:,.0f}", f"{_text.size(rate.per_second * length)}/s", ratio)
        for what, rate, ratio in together
    ]
    heads = (f"ONE PROCESS, {length} BYTES", "MEDIAN ns", "BEST ns", "")
    more = (f"{_text.plural(producers, 'process').upper()}, TO THE PAGES", "RECORDS/s", "BYTES", "")
    return [
        *_text.table(heads, costs, right=("MEDIAN ns", "BEST ns")),
        "",
        *_text.table(more, rates, right=("RECORDS/s", "BYTES")),
    ]
