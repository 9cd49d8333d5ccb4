"""Who watches pidfds for the writer: told of each death, quiet at the end, no burden where it cannot be."""

import os
import subprocess
import threading
from collections.abc import Iterator

import pytest
from support.machine import wait_until

from disklog_mp._ring.death_watch import DeathWatch


class Heard:
    """A watch, and how often it told."""

    def __init__(self) -> None:
        self.times = 0
        self.watch = DeathWatch(self.tell)

    def tell(self) -> None:
        self.times += 1


@pytest.fixture
def heard() -> Iterator[Heard]:
    heard = Heard()
    yield heard
    heard.watch.close()


def sleeper() -> tuple[subprocess.Popen[bytes], int]:
    process = subprocess.Popen(["sleep", "60"])
    return process, os.pidfd_open(process.pid)


def test_each_death_is_told_once(heard: Heard) -> None:
    """Its pidfd stays readable."""
    watched = [sleeper() for _ in range(3)]
    for _, pidfd in watched:
        heard.watch.add(pidfd)
    for times, (process, _) in enumerate(watched, 1):
        process.kill()
        process.wait()
        wait_until(lambda times=times: heard.times == times)
    for _, pidfd in watched:
        os.close(pidfd)

    assert heard.times == 3


def test_one_that_is_closed_is_not_watched_any_more(heard: Heard) -> None:
    """A pidfd that was closed tells of no death; those added later do."""
    process, pidfd = sleeper()
    heard.watch.add(pidfd)
    os.close(pidfd)
    process.kill()
    process.wait()
    other, pidfd = sleeper()
    heard.watch.add(pidfd)
    other.kill()
    other.wait()
    wait_until(lambda: heard.times)
    os.close(pidfd)

    assert heard.times == 1


def test_its_end_leaves_nothing(heard: Heard) -> None:
    """Neither thread nor descriptor; what is added later is not watched."""
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    process, pidfd = sleeper()
    heard.watch.add(pidfd)
    assert threads + 1 == threading.active_count()
    heard.watch.close()
    heard.watch.close()
    heard.watch.add(pidfd)
    process.kill()
    process.wait()
    os.close(pidfd)

    assert threads == threading.active_count()
    assert descriptors == len(os.listdir("/proc/self/fd"))
    assert heard.times == 0


@pytest.mark.parametrize("what", ["thread", "descriptor"])
def test_what_cannot_be_watched_is_left(heard: Heard, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Others see to it, less soon."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread") if what == "thread" else OSError(24, "too many files")

    process, pidfd = sleeper()
    owner, name = (threading.Thread, "start") if what == "thread" else (os, "eventfd")
    monkeypatch.setattr(owner, name, refuse)
    heard.watch.add(pidfd)
    heard.watch.add(pidfd)
    process.kill()
    process.wait()
    heard.watch.close()
    os.close(pidfd)

    assert heard.times == 0
