"""The benchmarks run, and counts of instructions are read and judged rightly.  Not how fast anything is."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench import instructions
from bench.calls import histogram, percentiles

from disklog_mp.cli.bench.measure import (
    OURS,
    Benchmark,
    Limit,
    Measured,
    NotMeasured,
    Row,
    Setting,
    Value,
    run,
)

PROFILE = """\
version: 1
positions: line
events: Ir
summary: 75

ob=(1) /lib/libc.so
fn=(1) memcpy
0 20
+3 5

ob=(2) /tmp/x/_core.so
fn=(2) dl_append
10 30
cob=(1)
cfn=(1)
calls=7 0
12 25
-1 2
* 3
fn=(4) dl_wall_look
5 1000
ob=(3) /bin/program
fn=(3) main
0 15
"""


def test_only_the_cores_own_instructions_are_counted() -> None:
    """Neither those of its callees nor those of its callers."""
    assert instructions.own_cost(PROFILE, "/_core.so") == 35
    assert instructions.own_cost(PROFILE, "/libc.so") == 25


@pytest.mark.parametrize(
    ("compiler", "now", "well"),
    [
        ("gcc 12.2.0", 105.0, True),
        ("gcc 12.2.0", 105.1, False),
        ("gcc 12.9.1", 105.1, False),
        ("gcc 13.1.0", 300.0, True),
        ("gcc 12.2.0", 50.0, True),
    ],
)
def test_more_than_five_percent_more_instructions_fail(compiler: str, now: float, well: bool) -> None:
    """With the same major version of the compiler; with another one they are shown and it says so."""
    kept: dict[str, Any] = {"compiler": "gcc 12.2.0", "machine": "x86_64", "counts": {"append": 100.0}}
    counts = {"append": now, "something new": 7.0}
    lines, is_well = instructions.judge(kept, {**kept, "compiler": compiler, "counts": counts})

    assert well == is_well
    assert ("not judged" in lines[-1]) == compiler.startswith("gcc 13")


def measured(ours: list[float], theirs: list[float], row: Row, less_is_better: bool) -> Measured:
    """As if these had been measured."""
    benchmark = Benchmark("name", "title", "ns", {}, [row], less_is_better=less_is_better)
    values = {OURS: [Value(number) for number in ours], "peer": [Value(number) for number in theirs]}
    return Measured(benchmark, values)


TWICE = Row("peer", must=Limit(2, "2x", of_ratio=True), aim=Limit(3, "3x", of_ratio=True))


@pytest.mark.parametrize(
    ("ours", "theirs", "row", "less_is_better", "verdict"),
    [
        ([10, 1, 10], [20, 2, 90], TWICE, True, "must holds, aim missed"),
        ([10, 10, 10], [31, 30, 5], TWICE, True, "aim reached"),
        ([10, 10, 10], [11, 90, 12], TWICE, True, "MUST MISSED"),
        ([20, 30, 90], [10, 10, 10], TWICE, False, "aim reached"),
        ([5], [], Row(must=Limit(5, "5 ns"), aim=Limit(4, "4 ns")), True, "must holds, aim missed"),
        ([5], [], Row(aim=Limit(6, "6/s")), False, "aim missed"),
        ([5], [5], Row("peer"), True, ""),
    ],
)
def test_ratios_are_of_one_round_and_their_median_is_judged(
    ours: list[float], theirs: list[float], row: Row, less_is_better: bool, verdict: str
) -> None:
    """However the machine was at another moment; a ratio says how many times better ours is."""
    assert measured(ours, theirs, row, less_is_better).verdict(row) == verdict


def test_contestants_take_turns_and_one_that_fails_costs_only_its_lines(tmp_path: Path) -> None:
    """A B A B; a contestant that cannot take part gives the reason once."""
    turns = []

    def contestant(name: str, trouble: Exception | None = None) -> Any:
        def work(setting: Setting) -> float:
            turns.append(name)
            if trouble is not None:
                raise trouble
            return 1.0

        return work

    contestants = {
        OURS: contestant("A"),
        "b": contestant("B"),
        "c": contestant("C", NotMeasured("not installed")),
        "d": contestant("D", OSError("no disk")),
    }
    rows = [Row(peer) for peer in "bcd"]
    benchmark = Benchmark("name", "title", "ns", contestants, rows)
    result = run(benchmark, Setting(1, tmp_path), 2, ours_only=False, say=lambda what: None)

    assert "".join(turns) == "ABCDAB"
    assert result.missing == {"c": "not installed", "d": "failed: no disk"}
    assert [result.verdict(row) for row in rows] == ["", "not measured", "not measured"]


def test_no_call_is_averaged_away() -> None:
    """The rarest show in the percentiles and the histogram."""
    times = [100] * 9_998 + [5_000, 1_000_000]
    told = percentiles(times)

    assert (told["p50"], told["p99.9"], told["p99.99"], told["max"]) == (100, 100, 1_000_000, 1_000_000)
    assert [int(line.split()[3].replace(",", "")) for line in histogram(times) if " 0" not in line] == [
        9998,
        1,
        1,
    ]


def test_the_benchmarks_run(tmp_path: Path) -> None:
    """Ours alone, as short as can be: a table with a verdict, and JSON with every round."""
    file = tmp_path / "results.json"
    command = [sys.executable, "-m", "bench", "call", "throughput", "over-pages"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [
            *command,
            "--quick",
            "--ours",
            "--seconds",
            "0.05",
            "--json",
            str(file),
            "--dir",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env=environment,
    )
    told = json.loads(file.read_text())

    assert done.returncode == 0
    assert "VERDICT" in done.stdout
    assert [each["name"] for each in told["benchmarks"]] == ["call", "throughput"]
    assert {"processor", "kernel", "python", "commit", "load"} <= told["machine"].keys()
    for each in told["benchmarks"]:
        ours = each["contestants"][OURS]
        assert len(ours["rounds"]) == 1
        assert ours["median"] == statistics.median(ours["rounds"])
        assert min(ours["rounds"]) > 0
    assert [(curve["name"], len(curve["panels"])) for curve in told["curves"]] == [("pages", 1)]
    assert f"limit: {told['curves'][0]['limit']}" in done.stdout
