"""The tests on each CPython from 3.11 up that is found on this machine: nox -f tests/noxfile.py

Sessions: `tests-<version>`, and `wheel-<version>` for the wheel that `make dist` made (`-t wheel`).
`tests` leaves out the version that runs nox, which `make test` has tried.  Arguments behind `--` take the
place of CHOSEN.  PYTHONS=3.12,3.13 runs these and leaves the others out.
"""

import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nox

ROOT = Path(__file__).parents[1]
OLDEST = 11  # minor version
EXECUTABLE = re.compile(r"python3\.[0-9]+t?")
QUESTION = """
import ensurepip, platform, sys, sysconfig
print(platform.python_implementation(), platform.python_version(), sys.version_info[1],
      int(sysconfig.get_config_var('Py_GIL_DISABLED') or 0))
"""
# All unit and system tests, and the comparison with Python's headers.
CHOSEN = ["-n", "3", "--dist", "loadfile", "tests/unit", "tests/system", "tests/rules/test_stable_abi.py"]
NEEDS_THE_GIL = "disklog-mp needs a Python with the GIL"
RECORD = """
import disklog_mp, sys
with disklog_mp.open(*sys.argv[1:], linger=0.1) as log:
    log.log(b"from the wheel")
    assert [b"from the wheel"] == list(log.get_page(1).payloads())
"""

nox.options.default_venv_backend = "venv"
nox.options.envdir = str(ROOT / "build" / "nox")
nox.options.tags = ["tests"]


class Python(NamedTuple):
    """A CPython that can make environments."""

    version: str  # 3.13.0, with a `t` behind it for a free-threaded build
    minor: int
    free_threaded: bool
    path: str


def found() -> list[Python]:
    """Return one CPython of each minor version, oldest first: of pyenv, or else of the PATH."""
    chosen: dict[tuple[int, bool], Python] = {}
    for path in executables():
        told = subprocess.run([path, "-c", QUESTION], capture_output=True, text=True, check=False)
        if told.returncode != 0 or not told.stdout.startswith("CPython "):
            continue  # it cannot make environments, or is another implementation
        _, version, minor, free = told.stdout.split()
        if int(minor) >= OLDEST:
            python = Python(version + "t" * int(free), int(minor), free == "1", str(path))
            chosen.setdefault((python.minor, python.free_threaded), python)
    only = os.environ.get("PYTHONS")
    return [
        python
        for _, python in sorted(chosen.items())
        if only is None or python.version.startswith(tuple(only.split(",")))
    ]


def executables() -> Iterator[Path]:
    """Yield what is named like a Python.  pyenv's shims are left out: they choose by the directory."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    folders = sorted(pyenv.glob("versions/*/bin"), reverse=True)
    folders += [Path(folder) for folder in os.get_exec_path() if Path(folder) != pyenv / "shims"]
    for folder in filter(Path.is_dir, folders):
        yield from (entry for entry in sorted(folder.iterdir()) if EXECUTABLE.fullmatch(entry.name))


def run_tests(session: nox.Session, python: Python) -> None:
    """Install the package from source with this Python, and run the tests with it."""
    session.chdir(ROOT)
    if python.free_threaded:
        told = str(session.run("pip", "install", ".", success_codes=[1], silent=True))
        assert NEEDS_THE_GIL in told, told
        session.log(f"CPython {python.version}, {python.path}: refused, as it should be")
        return
    session.install(".[test]")
    # PYTHONSAFEPATH: or child processes would import the package from the source tree.
    session.run("pytest", "-q", *(session.posargs or CHOSEN), env={"PYTHONSAFEPATH": "1"})
    session.log(f"CPython {python.version}, {python.path}: the tests passed")


def try_wheel(session: nox.Session, python: Python) -> None:
    """Install the wheel in dist/, and log a record with it."""
    if python.free_threaded:
        session.skip("a free-threaded Python takes no abi3 wheel")
    session.install(*map(str, (ROOT / "dist").glob("*.whl")))
    session.chdir(session.create_tmp())
    session.run("python", "-c", RECORD, f"wheel-{os.getpid()}", "log")
    session.log(f"CPython {python.version}, {python.path}: the wheel logged a record")


for python in found():
    is_tried = python.minor == sys.version_info[1] and not os.environ.get("PYTHONS")
    for kind, work in (("wheel", try_wheel),) if is_tried else (("tests", run_tests), ("wheel", try_wheel)):
        define = nox.session(python=python.path, name=f"{kind}-{python.version}", tags=[kind])
        define(functools.partial(work, python=python))
