"""The plugin of pytest: it is there wherever disklog-mp is installed.

disklog          a temporary log for the test, set up for logging and get_logger(): see testing.Log
disklog_caplog   pytest's caplog, with the events of get_logger()

With `disklog_caplog = true` in pytest's configuration each test's caplog has them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from disklog_mp.testing import Log

OPTION = "disklog_caplog"
_EXITS = pytest.StashKey[contextlib.ExitStack]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option to pytest's configuration."""
    parser.addini(OPTION, "caplog has the events of disklog_mp.get_logger(), too", "bool", False)


def pytest_configure(config: pytest.Config) -> None:
    """Hand events to logging in all tests, if that is asked for."""
    if config.getini(OPTION):
        from disklog_mp.testing import to_logging

        config.stash[_EXITS] = contextlib.ExitStack()
        config.stash[_EXITS].enter_context(to_logging())


def pytest_unconfigure(config: pytest.Config) -> None:
    """Undo pytest_configure()."""
    if _EXITS in config.stash:
        config.stash[_EXITS].close()


@pytest.fixture
def disklog() -> Iterator[Log]:
    """A temporary log that logging and get_logger() log into: messages, events, records."""
    from disklog_mp.testing import temporary_log

    with temporary_log() as log:
        yield log


@pytest.fixture
def disklog_caplog(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """pytest's caplog, with the events of disklog_mp.get_logger()."""
    from disklog_mp.testing import to_logging

    with to_logging():
        yield caplog
