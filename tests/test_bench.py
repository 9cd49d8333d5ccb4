"""The benchmarks run, and counts of instructions are read and judged rightly.  Not how fast anything is."""

from typing import Any

import pytest
from bench import instructions

PROFILE = """\
version: 1
positions: line
events: Ir
summary: 75

ob=(1) /lib/libc.so
fn=(1) memcpy
0 20
+3 5

ob=(2) /work/_core.so
fn=(2) dl_append
10 30
cob=(1)
cfn=(1)
calls=7 0
12 25
-1 2
* 3
ob=(3) /bin/program
fn=(3) main
0 15
"""


def test_only_the_cores_own_instructions_are_counted() -> None:
    """Neither what it calls nor who calls it."""
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
