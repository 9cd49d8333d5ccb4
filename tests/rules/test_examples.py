"""The examples: short, run as they are, leave nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.machine import processes_of, shared_memory_of, wait_until

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
TELLS = {
    "after_a_crash": "in order, none twice, and then: the end",
    "asyncio_log": "10 tasks logged 1000 records",
    "events": "5 records; those of level ERROR:\n",
    "follow": "'record 19', 'the end']",
    "hello": "<Page 2 of ",
    "logging_setup": "WARNING shop the apples are running out {}",
    "pool": "results: [0, 1, 4, 9, 16, 25, 36, 49]",
    "pool_logging": "WARNING task 3 is an odd one",
}


def test_every_example_is_run() -> None:
    """A new example is told here what it prints."""
    assert [file.stem for file in EXAMPLES] == sorted(TELLS)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_short(file: Path) -> None:
    """At most 40 lines, the first of which say what it shows."""
    lines = file.read_text().splitlines()

    assert len(lines) <= 40
    assert lines[0].startswith('"""')


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_runs(file: Path, tmp_path: Path) -> None:
    """It needs no arguments, ends well, prints what it promises and cleans up after itself."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", file],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        text=True,
    )
    out, err = process.communicate(timeout=60)

    assert process.returncode == 0
    assert bool(err) == ("repaired what a crash left" in err) == (file.stem == "after_a_crash")
    assert TELLS[file.stem] in out
    assert list(tmp_path.iterdir()) == []
    name = f"-{process.pid}"
    wait_until(lambda: not shared_memory_of(name) and not processes_of(str(tmp_path)))


def test_an_example_uses_the_directory_it_is_given(tmp_path: Path) -> None:
    """What it logged stays there."""
    hello = next(file for file in EXAMPLES if file.stem == "hello")
    subprocess.run([sys.executable, hello, tmp_path], stdout=subprocess.DEVNULL, check=True)

    assert len(list(tmp_path.glob("page-*"))) == 4
    wait_until(lambda: not processes_of(str(tmp_path)))
