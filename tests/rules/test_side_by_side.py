"""Two test runs of one user at the same time: the one that ends first must not remove the other's files."""

import os
import subprocess
import sys
from pathlib import Path

SETTINGS = Path(__file__).parents[2] / "pyproject.toml"
SECOND_RUN = "def test_second(tmp_path): pass\n"
FIRST_RUN = """
import subprocess, sys

def test_first(tmp_path):
    subprocess.run({second!r}, check=True)
    assert tmp_path.is_dir()
"""


def command(file: Path) -> list[str]:
    """A test run with the project's settings, of that file alone."""
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(SETTINGS), str(file)]


def test_a_run_that_ends_leaves_the_directories_of_another(tmp_path: Path) -> None:
    """The first run's directory is there after a second run began and ended.

    With `tmp_path_retention_policy = "none"` pytest locks no directory, and at its end removes those of all
    runs.  A log whose pages are removed between two writers goes on behind them, as it must: its test then
    misses the records of the first writer, and blames the log.
    """
    first, second = tmp_path / "test_first.py", tmp_path / "test_second.py"
    second.write_text(SECOND_RUN)
    first.write_text(FIRST_RUN.format(second=command(second)))
    environment = {**os.environ, "PYTEST_DEBUG_TEMPROOT": str(tmp_path)}
    for variable in [name for name in environment if name.startswith("PYTEST_XDIST")]:
        del environment[variable]

    run = subprocess.run(command(first), env=environment, capture_output=True, text=True, check=False)

    assert 0 == run.returncode, run.stdout
