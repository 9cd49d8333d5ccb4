"""structlog's logger factory and processor."""

import contextlib
import copy
import logging
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

import disklog_mp
from disklog_mp._loggers import structured as _structured
from disklog_mp.structlog import LoggerFactory, render
from integrations.killing import SMALL, Lanes, account, balance, kill_pool
from integrations.work import DIRECTORY

pytestmark = pytest.mark.usefixtures("writer_ends")


@pytest.fixture(autouse=True)
def defaults() -> Iterator[None]:
    """Put structlog's configuration back."""
    yield
    structlog.reset_defaults()


def configure(name: str, path: Path) -> LoggerFactory:
    """Have structlog log into the log, as the README says."""
    factory = LoggerFactory(name, path, **SMALL)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    return factory


def start(lanes: str, name: str, path: Path) -> None:
    """Start a worker."""
    os.environ[DIRECTORY] = lanes
    configure(name, path)


def info(line: str) -> None:
    """Log a line with structlog."""
    structlog.get_logger("shop").info(line, apples=3)


def test_workers_killed_each_second_lose_nothing(name: str, path: Path, lanes: Lanes) -> None:
    """In a pool of four."""
    kill_pool("fork", start, name, path, lanes, info)
    account("structlog", name, path, lanes, ended=set(lanes.pids()))
    balance(name, path)


def test_what_becomes_of_an_event(name: str, path: Path) -> None:
    """Fields, bound and from the context; level and logger; exceptions; other renderers; copies."""
    with contextlib.closing(configure(name, path)) as factory:
        log = structlog.get_logger("shop").bind(user=42)
        with structlog.contextvars.bound_contextvars(request_id="r1"):
            log.info("sold", apples=3)
        log.debug("not logged")
        try:
            raise LookupError("no apples")
        except LookupError as error:
            log.exception("trouble")
            log.warning("again", exc_info=error, stack="here")
        copied, pickled = copy.deepcopy(factory("a")), pickle.loads(pickle.dumps(factory("a")))
        copied.critical("text")
        pickled.critical("text")
        pickled._factory.flush()
        pickled._factory.close()

    records = [record for record in disklog_mp.Reader(path) if not record.gap]
    assert [record.tag for record in records] == [20, 40, 30, 50, 50]
    sold, trouble, again = (_structured.parse(record.data) for record in records[:3])
    assert sold is not None
    assert (sold.level, sold.logger, sold.message) == ("INFO", "shop", "sold")
    assert sold.fields == {"user": 42, "apples": 3, "request_id": "r1"}
    assert trouble is not None
    assert again is not None
    assert trouble.level == "ERROR"
    assert (trouble.exception or "").endswith("LookupError: no apples")
    assert (again.exception, again.stack) == (trouble.exception, "here")
    assert [record.data for record in records[3:]] == [b"text"] * 2


def test_another_renderer(name: str, path: Path) -> None:
    """Text or bytes, whatever the last processor returns."""
    with contextlib.closing(configure(name, path)) as factory:
        structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=factory)
        structlog.get_logger().warning("größer")
        factory.flush()

    assert [(record.tag, record.data) for record in disklog_mp.Reader(path)] == [
        (30, rb'{"event": "gr\u00f6\u00dfer"}')
    ]
