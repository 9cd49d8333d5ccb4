"""What tests of trouble ask: is all there once and in order, does it show, is it over."""

from pathlib import Path

import disklog_mp
from support.command import call, objects
from support.machine import wait_until


def numbers(path: Path) -> list[int]:
    """What is in the log's pages, if it is numbers; its positions must grow."""
    records = [record for record in disklog_mp.Reader(path) if not record.gap]
    positions = [record.position for record in records]
    assert positions == sorted(set(positions))
    return [int(record.data) for record in records]


def log_until_full(log: disklog_mp.Session, first: int) -> list[int]:
    """Log numbers until the policy refuses one; return those that were accepted."""
    accepted = []
    while True:
        try:
            if log.log(b"%d" % first + b" " * 5000) < 0:
                return accepted
        except disklog_mp.RingFullError:
            return accepted
        accepted.append(first)
        first += 1


def assert_trouble(name: str, text: str) -> None:
    """`disklog-mp stat` says it, for people and for programs, with exit code 2."""
    told = call("stat", name)
    assert told.returncode == 2
    assert f"error      the writer cannot write: {text}" in told.stdout.decode()
    (facts,) = objects("stat", name, code=2)
    assert facts["status"] == "error"
    assert text in facts["error"]


def assert_healed(log: disklog_mp.Session) -> None:
    """The error is gone from stats(), and from `disklog-mp stat` with it, which warns of what was refused.
    One trouble may be followed by another: what was written has yet to be synced.
    """

    def is_healed() -> bool:
        return log.stats().error is None and call("stat", log.name).returncode == bool(log.stats().dropped)

    wait_until(is_healed, 30)
