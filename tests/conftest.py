"""What every test may ask for: names of its own, and logs that are taken down.

Folders whose tests start processes add the census of support/census.py in their own conftest.py; each folder
has its time budget there, see support/budget.py.

Environment, for runs that are longer or different than those before a landing:
DISKLOG_TEST_LONG=1       the long forms of tests marked long (`make long`)
DISKLOG_TEST_SEED=today   seeds of the day, or any number, instead of the fixed ones (`make nightly`)
DISKLOG_TEST_TIMES=20     so many times more rounds in tests that mutate or kill at random (`make nightly`)
"""

import gc
import itertools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.machine import RUN, stop_writer

import disklog_mp

pytest_plugins = ["support.budget", "support.chance", "support.mounts", "integrations.killing"]

# Shells start what runs in the background with SIGINT ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    """Have files begun in their order, deaths/faults among the first and unit tests last.

    xdist would begin with those of most tests, which are the quickest, and end with one core at work.
    """
    config.option.loadscopereorder = False


def pytest_collection_finish() -> None:
    """Leave what is there before the first test out of all collections.

    With thousands of tests collected, each takes a fifth of a second without this; the census of
    support/census.py makes two for each test.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def name() -> str:
    """A name for a log that no other test has."""
    return f"{RUN}-{next(_numbers)}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A directory for a log, not made yet."""
    return tmp_path / "log"


@pytest.fixture
def open_log(name: str, path: Path) -> Iterator[Callable[..., disklog_mp.Session]]:
    """Open the test's log with any options; closed, and its writer stopped, at the end."""
    sessions = []

    def open_log(**options: Any) -> disklog_mp.Session:
        session = disklog_mp.open(name, path, **{"linger": 0.1, "ring_bytes": 1 << 20, **options})
        sessions.append(session)
        return session

    yield open_log
    for session in sessions:
        session.close()
    stop_writer(name)


@pytest.fixture
def log(open_log: Callable[..., disklog_mp.Session]) -> disklog_mp.Session:
    """The test's log with default options (but a ring of 1 MiB)."""
    return open_log()
