"""loguru's sink."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

import disklog_mp
from disklog_mp._loggers import structured as _structured
from disklog_mp.loguru import Sink
from integrations.killing import SMALL, Lanes, account, balance, kill_pool
from integrations.work import DIRECTORY

pytestmark = pytest.mark.usefixtures("writer_ends")


@pytest.fixture(autouse=True)
def no_sinks(writer_ends: None) -> Iterator[None]:
    """Remove what a test has added, and the one to stderr."""
    logger.remove()
    yield
    logger.remove()


def start(lanes: str, name: str, path: Path) -> None:
    """Start a worker."""
    os.environ[DIRECTORY] = lanes
    logger.remove()
    logger.add(Sink(name, path, **SMALL), format="{message}")


def info(line: str) -> None:
    """Log a line with this process's logger."""
    logger.info(line)


def test_workers_killed_each_second_lose_nothing(name: str, path: Path, lanes: Lanes) -> None:
    """In a pool of four."""
    kill_pool("spawn", start, name, path, lanes, info)
    account("loguru", name, path, lanes, ended=set(lanes.pids()))
    balance(name, path)


def test_what_becomes_of_a_message(name: str, path: Path) -> None:
    """What is bound and given, level, place and exception; or loguru's own text."""
    logger.add(Sink(name, path, **SMALL), format="{message}", level="INFO")
    logger.bind(user=42).info("sold {} apples", 3)
    logger.debug("not logged")
    try:
        raise LookupError("no apples")
    except LookupError:
        logger.exception("trouble")
    logger.remove()
    logger.add(Sink(name, path, encoding="text", **SMALL), format="{level} {message}")
    logger.success("done")
    logger.remove()
    with disklog_mp.open(name, path) as log:
        log.log(b"end")
        log.flush()

    records = list(disklog_mp.Reader(path))
    assert [record.tag for record in records] == [20, 40, 25, 0]
    sold, trouble = (_structured.parse(record.data) for record in records[:2])
    assert sold is not None
    assert trouble is not None
    assert (sold.level, sold.message, sold.fields) == ("INFO", "sold 3 apples", {"user": 42})
    assert (sold.caller or "").startswith("test_loguru.py:")
    assert (trouble.exception or "").endswith("LookupError: no apples")
    assert records[2].data == b"SUCCESS done"


def test_encodings_are_checked(name: str) -> None:
    """Before anything is logged."""
    with pytest.raises(ValueError, match="encoding='xml'"):
        Sink(name, encoding="xml")
