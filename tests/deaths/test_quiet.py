"""A writer that sleeps because nothing has happened for long: what wakes it.

It is in a process of its own, and does its chores only when it is woken.
"""

import contextlib
import errno
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.machine import stop_writer, wait_until
from support.rings import remove_ring, ring_path
from support.sessions import ring_of
from support.workers import log_five_and_wait, write_log_asleep

import disklog_mp
from disklog_mp import DiskLogError, _core
from disklog_mp._options import Options
from disklog_mp._writer import schedule
from disklog_mp._writer.intervals import RETRY, UNWATCHED_CHECK
from disklog_mp._writer.writer import Writer

OPTIONS = Options(ring_bytes=1 << 14, linger=None, sync="never")
spawn = multiprocessing.get_context("spawn")


def is_asleep(ring: _core.Ring) -> bool:
    """True if it has done no chores for a while."""
    before = ring.heartbeat
    time.sleep(0.5)
    return bool(ring.parked) and before == ring.heartbeat


def attached(name: str) -> disklog_mp.Session | None:
    try:
        return disklog_mp.attach(name)
    except DiskLogError:
        return None


@pytest.fixture
def look() -> float:
    """Seconds from one look of the sleeping writer at what it watches to the next."""
    return 0.05


@pytest.fixture
def log(name: str, path: Path, look: float) -> Iterator[disklog_mp.Session]:
    """A session of the log that a sleeping writer has; there is one record in it."""
    process = spawn.Process(target=write_log_asleep, args=(name, str(path), OPTIONS, look))
    process.start()
    session = wait_until(lambda: attached(name), 30)
    session.log(b"first")
    session.flush()
    wait_until(lambda: is_asleep(ring_of(session)), 30)
    yield session
    session.close()
    stop_writer(name)
    process.join()
    remove_ring(name)


def texts(path: Path) -> list[bytes]:
    return [record.data for record in disklog_mp.Reader(path)]


@pytest.mark.parametrize("halted", [_core.LOG_FULL, _core.REPLACED])
def test_who_is_kept_out_for_no_reason_wakes_it(log: disklog_mp.Session, path: Path, halted: int) -> None:
    """Somebody scribbled over the word that says so; its writer would not look at it for an hour."""

    def logs_on() -> bool:
        with contextlib.suppress(DiskLogError):
            log.log(b"second")
            log.flush()
            return True
        return False

    log.timeout = 0.5
    ring_of(log).halted = halted
    wait_until(logs_on, 30)

    assert texts(path) == [b"first", b"second"]


def test_a_ring_that_was_removed_is_replaced(log: disklog_mp.Session, name: str, path: Path) -> None:
    """Nobody can attach, so nobody could wake it."""
    os.unlink(ring_path(name))
    with wait_until(lambda: attached(name), 30) as other:
        other.log(b"second")
        other.flush()

    assert texts(path) == [b"first", b"second"]


def test_another_directory_in_the_place_of_its_own_is_taken(
    log: disklog_mp.Session, path: Path, tmp_path: Path
) -> None:
    """A writer at rest notices that its directory was replaced, and goes on in the new one."""
    path.rename(tmp_path / "before")
    path.mkdir()
    wait_until((path / "disklog.lock").exists, 30)
    log.log(b"second")
    log.flush()

    assert texts(tmp_path / "before") == [b"first"]
    assert texts(path) == [b"second"]


def test_a_page_that_was_removed_by_hand_is_seen(log: disklog_mp.Session, path: Path) -> None:
    """The oldest one: stats() does not show it for long."""
    log.configure(page_records=1)
    for record in (b"second", b"third"):
        log.log(record)
    log.flush()
    wait_until(lambda: is_asleep(ring_of(log)), 30)
    first, last = log.stats().first_page, log.stats().last_page
    os.unlink(disklog_mp.Reader(path).get_page(first).path)
    wait_until(lambda: log.stats().first_page > first, 30)

    assert last - first == log.stats().pages


def test_a_record_is_found_without_a_bell(log: disklog_mp.Session, path: Path) -> None:
    """Whoever logged it was killed before it could ring, or is stopped."""
    ring = ring_of(log)
    producer = _core.Producer()
    producer.bind(ring, ring.slots(_core.SLOT_ATTACHED)[0], os.getpid())
    ring.parked = 0  # so that it does not ring
    position = producer.try_record(b"second", 0)
    ring.parked = 1  # as if it had not come there
    wait_until(lambda: ring.written > position, 30)

    assert texts(path) == [b"first", b"second"]


@pytest.mark.parametrize("look", [0.05, 3600.0])
def test_a_producer_that_was_killed_is_noticed(log: disklog_mp.Session, name: str, look: float) -> None:
    """By a look, and long before it."""
    logged, leave = spawn.Barrier(2), spawn.Barrier(2)
    process = spawn.Process(target=log_five_and_wait, args=(name, logged, leave))
    process.start()
    logged.wait(60)
    log.flush()
    ring = ring_of(log)
    wait_until(lambda: is_asleep(ring), 30)
    assert len(ring.slots(_core.SLOT_ATTACHED)) == 2
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()

    wait_until(lambda: len(ring.slots(_core.SLOT_ATTACHED)) == 1, 30)


def test_a_page_is_rolled_when_asked(log: disklog_mp.Session, path: Path) -> None:
    """A writer at rest wakes for roll()."""
    log.roll()
    with disklog_mp.Reader(path).get_page(1) as page:
        wait_until(lambda: page.sealed, 30)


def test_a_signal_ends_it(log: disklog_mp.Session, name: str) -> None:
    """A writer at rest ends on SIGTERM."""
    pid = log.stats().writer_pid
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: log.stats().writer_pid == 0, 30)


def test_it_lingers_from_when_the_last_one_has_left(name: str, path: Path) -> None:
    """However long it had slept before."""
    writer = Writer(name, path, Options(ring_bytes=1 << 14, linger=10.0, sync="never"))
    logged, leave = spawn.Barrier(2), spawn.Barrier(2)
    process = spawn.Process(target=log_five_and_wait, args=(name, logged, leave))
    process.start()
    logged.wait(60)
    now = 1e6
    writer.drain()
    writer.housekeeping.run(now)
    leave.wait(60)
    process.join()
    writer.housekeeping.run(now + 3600.0)

    assert not writer.attendance.is_over(now + 3600.0 + 9.0)
    assert writer.attendance.is_over(now + 3600.0 + 11.0)
    writer.run(lambda: True)


def test_it_does_not_sleep_past_the_age_of_a_page(name: str, path: Path) -> None:
    """From a page's last record on; the newest page stays."""
    kept = Options(ring_bytes=1 << 14, linger=None, sync="never", keep_age=100.0, page_records=1)
    writer = Writer(name, path, kept)
    with disklog_mp.attach(name) as log:
        log.log(b"first")
        writer.drain()
        writer.housekeeping.run(1e6)
        assert schedule.sleep_for(writer.rest.facts()) == math.inf
        log.log(b"second")
        while writer.drain():
            pass
        assert 90 < schedule.sleep_for(writer.rest.facts()) <= 100
        pages = writer.pages.retention.pages
        pages[0] = pages[0]._replace(sealed_at=pages[0].sealed_at - 1000.0)
        # It is long over: it is tried as often as what cannot be removed.
        assert schedule.until_retirement(writer.rest.facts()) == RETRY
        writer.housekeeping.run(2e6)
        assert schedule.sleep_for(writer.rest.facts()) == math.inf
    writer.run(lambda: True)


def test_it_does_not_sleep_long_while_a_producer_cannot_be_watched(
    name: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another pid namespace, say; here no pidfd can be had."""
    writer = Writer(name, path, OPTIONS)

    def refuse(pid: int) -> int:
        raise OSError(errno.EMFILE, "too many")

    with monkeypatch.context() as patch, disklog_mp.attach(name):
        patch.setattr(os, "pidfd_open", refuse)
        writer.housekeeping.run(1e6)
        assert schedule.until_check(writer.rest.facts()) == UNWATCHED_CHECK
        patch.undo()
        writer.housekeeping.run(2e6)
        assert schedule.sleep_for(writer.rest.facts()) == math.inf
    writer.run(lambda: True)


def test_what_cannot_be_sealed_does_not_keep_it_busy(name: str, path: Path) -> None:
    """The page is old enough, but was cut: it tries again once a second."""
    writer = Writer(name, path, Options(ring_bytes=1 << 14, linger=None, sync="never", page_age=5.0))
    with disklog_mp.attach(name) as log:
        log.log(b"first")
        writer.drain()
        assert schedule.until_roll(writer.rest.facts()) > 4.0
        os.truncate(path / "page-0000000001.dlog", 0)
        page = writer.pages.page
        assert page is not None
        page.opened -= 3600.0
        with pytest.raises(OSError, match="cut"):
            writer.housekeeping.run(1e6)

        assert schedule.until_roll(writer.rest.facts()) == RETRY
    writer.run(lambda: True)
