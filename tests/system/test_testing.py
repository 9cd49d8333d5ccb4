"""What tests of other programs get: a fixture of pytest, a list of events."""

import logging
import os
import tempfile
from pathlib import Path

import pytest
from support.children import fork, succeeds
from support.machine import shared_memory_of, stopped_writer

import disklog_mp
from disklog_mp.testing import Log, capture, temporary_log, to_logging

pytest_plugins = ["pytester"]


def test_the_fixture_shows_what_was_logged(disklog: Log) -> None:
    """By logging and get_logger(), in this process and in others."""
    logging.getLogger("app").info("hello %s", "world", extra={"user": 42})
    disklog_mp.get_logger("web").debug("an event", status=200)
    succeeds(fork(lambda: logging.getLogger("app").warning("from a child")))

    assert disklog.messages == ["hello world", "an event", "from a child"]
    assert [event.fields for event in disklog.events] == [{"user": 42}, {"status": 200}, {}]
    assert [event.logger for event in disklog.events] == ["app", "web", "app"]
    assert [record.tag for record in disklog.records] == [20, 10, 30]
    assert disklog.records[0].event == disklog.events[0]


def test_a_list_is_never_silently_short(disklog: Log) -> None:
    """Where the writer does not get on, a look fails: it shows no part of what was logged."""
    disklog_mp.get_logger("web").info("an event")
    disklog.session.timeout = 0.2
    with stopped_writer(disklog.name), pytest.raises(disklog_mp.WaitTimeoutError):
        disklog_mp.get_logger("web").info("another")
        _ = disklog.messages

    assert disklog.messages == ["an event", "another"]


def test_nothing_is_left_behind() -> None:
    """No handler, level, configuration, ring, or directory."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, set(os.listdir(tempfile.gettempdir()))
    with temporary_log() as log:
        disklog_mp.get_logger("web").info("an event")
        assert log.messages == ["an event"]

    assert (root.handlers, root.level) == before[:2]
    assert not {name for name in os.listdir(tempfile.gettempdir()) if log.name in name}
    assert not shared_memory_of(log.name)
    assert not Path(log.path).exists()


def test_events_are_captured_without_a_log(name: str, path: Path) -> None:
    """Of loggers with and without a log, and of logging; they go nowhere else."""
    with capture() as events:
        disklog_mp.get_logger("early").info("one", n=1)
        disklog_mp.get_logger("own", name, path).warning("two")
        logging.getLogger("app").error("three", exc_info=KeyError("x"))
        assert [event.message for event in events] == ["one", "two", "three"]
    disklog_mp.get_logger("early").debug("four")

    assert [(event.level, event.logger, event.fields) for event in events] == [
        ("INFO", "early", {"n": 1}),
        ("WARNING", "own", {}),
        ("ERROR", "app", {}),
    ]
    assert events[2].exception == "KeyError: 'x'"
    assert isinstance(events[0], disklog_mp.Event)
    assert not path.exists()


def test_events_reach_caplog_when_asked(disklog: Log, disklog_caplog: pytest.LogCaptureFixture) -> None:
    """As records of the logger of the same name; the log has each event once."""
    disklog_mp.get_logger("web").error("failed", status=500)
    logging.getLogger("app").error("here")

    assert disklog_caplog.messages == ["failed", "here"]
    assert disklog_caplog.records[0].name == "web"
    assert disklog_caplog.records[0].__dict__["status"] == 500
    assert disklog.messages == ["failed", "here"]


def test_taps_may_be_in_each_other(disklog: Log) -> None:
    """The inner one ends, the outer one goes on."""
    log = disklog_mp.get_logger("web")
    with capture() as outer:
        with capture() as inner, to_logging():
            log.info("one")
        log.info("two")
    log.info("three")

    assert [event.message for event in outer] == ["one", "two"]
    assert [event.message for event in inner] == ["one"]
    assert disklog.messages == ["three"]


def test_the_plugin_is_there_wherever_the_package_is(pytester: pytest.Pytester) -> None:
    """No import, no option; the option in pytest's configuration is for caplog."""
    pytester.makepyfile(
        """
        import disklog_mp
        def test_fixture(disklog):
            disklog_mp.get_logger("web").info("an event")
            assert disklog.messages == ["an event"]
        def test_caplog(caplog):
            disklog_mp.get_logger("web").error("an event")
            assert caplog.messages == ["an event"]
        """
    )
    pytester.makeini("[pytest]\ndisklog_caplog = true")

    pytester.runpytest_subprocess("-q").assert_outcomes(passed=2)
