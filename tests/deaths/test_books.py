"""The counters: what producers tried, logged and were refused, what dead ones had claimed, what is there."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.layout import LOGGED, slot_offset
from support.rings import attach_ring, remove_ring
from support.sessions import connection_of, ring_of
from support.workers import claim_and, log_five_and_wait

import disklog_mp
from disklog_mp import _core, aio
from disklog_mp._options import Options
from disklog_mp._ring import slots as _slots
from disklog_mp._ring.stats import Stats
from disklog_mp._verify.log import Report, verify
from disklog_mp._writer.writer import Writer

OPTIONS = Options(ring_bytes=1 << 14, linger=None)
RECORD = b"x" * 1000
spawn = multiprocessing.get_context("spawn")


@pytest.fixture
def write(name: str, path: Path) -> Iterator[Callable[[], None]]:
    """A log without a writer; each call has a writer take it over, drain the ring and end."""
    writer = Writer(name, path, OPTIONS)

    def write() -> None:
        nonlocal writer
        writer.close()
        Writer(name, path, OPTIONS).run(lambda: True)
        writer = Writer(name, path, OPTIONS)

    yield write
    writer.run(lambda: True)
    remove_ring(name)


def check(name: str, path: Path) -> Report:
    file = attach_ring(name)
    try:
        return verify(str(path), name, file)
    finally:
        os.close(file.fd)


def texts(name: str, path: Path) -> list[str]:
    return [f"{finding.kind}: {finding.text}" for finding in check(name, path).findings]


# -- tried = logged + dropped --------------------------------------------------------------------------------


def try_often(log: disklog_mp.Session) -> tuple[int, int]:
    """Log more than the ring takes, single records and groups; how many were tried, and how many accepted."""
    tried = accepted = 0
    for i in range(30):
        count = 1 + 2 * (i % 3 == 0)
        tried += count
        try:
            position = log.log_many([RECORD] * count) if count > 1 else log.log(RECORD)
        except disklog_mp.RingFullError:
            continue
        accepted += count * (position >= 0)
    return tried, accepted


async def try_often_aio(log: aio.Session) -> tuple[int, int]:
    """The same, on an event loop."""
    tried = accepted = 0
    for i in range(30):
        count = 1 + 2 * (i % 3 == 0)
        tried += count
        try:
            position = await (log.log_many([RECORD] * count) if count > 1 else log.log(RECORD))
        except disklog_mp.RingFullError:
            continue
        accepted += count * (position >= 0)
    return tried, accepted


@pytest.mark.parametrize("kind", ["session", "aio"])
@pytest.mark.parametrize(("policy", "timeout"), [("block", 0.01), ("raise", 5.0), ("drop", 5.0)])
def test_what_was_tried_is_logged_or_dropped(
    name: str, write: Callable[[], None], kind: str, policy: str, timeout: float
) -> None:
    """Under each policy the number of tries is the sum of both counters."""
    if kind == "session":
        with disklog_mp.attach(name, on_full=policy, timeout=timeout) as log:
            tried, accepted = try_often(log)
            stats = log.stats()
            connection_of(log).drops.take()  # the gap record is another story
            connection_of(log).needs_attention = False
    else:

        async def scenario() -> tuple[tuple[int, int], Stats]:
            log = await aio.attach(name, on_full=policy, timeout=timeout)
            told = await try_often_aio(log), await log.stats()
            connection_of(log).drops.take()
            connection_of(log).needs_attention = False
            await log.close()
            return told

        (tried, accepted), stats = asyncio.run(scenario())

    assert 0 < accepted < tried
    assert (stats.logged, stats.logged + stats.dropped) == (accepted, tried)


# -- claimed by the dead = abandoned -------------------------------------------------------------------------


@pytest.mark.parametrize("steps", range(4))
def test_an_abandoned_claim_is_counted_once_though_its_writer_is_killed(
    name: str, path: Path, write: Callable[[], None], steps: int
) -> None:
    """After each step of giving up a dead producer's claim: the next writer's count is that of the frames."""
    with disklog_mp.attach(name) as log:
        log.log(b"one")
        write()
        victim = spawn.Process(target=claim_and, args=(name, signal.SIGKILL))
        victim.start()
        victim.join()
        victim.close()
        log.log(b"two")
        ring = ring_of(log)
        assert ring is not None
        position = ring.released
        done = [
            lambda: setattr(ring, "abandoning", position + ring.abandoned % _core.GRANULE),
            lambda: ring.abandon(position),
            lambda: setattr(ring, "abandoned", ring.abandoned + 1),
        ]
        for step in done[:steps]:
            step()
        write()
        result = check(name, path)

        assert log.stats().abandoned == 1
        assert [page.abandoned for page in result.pages] == [1]
        assert result.books is not None
        assert (result.books.abandoned_there, result.exit_code) == (1, 0)


def test_a_count_of_abandoned_claims_that_is_wrong_is_found(
    name: str, path: Path, write: Callable[[], None]
) -> None:
    """Compared with the frames in pages and ring."""
    with disklog_mp.attach(name) as log:
        log.log(b"one")
        write()
        assert ring_of(log) is not None
        ring_of(log).abandoned = 2

        assert texts(name, path) == ["damage: 2 claims of dead producers counted, 0 are there"]
        ring_of(log).abandoned = 0
        assert check(name, path).exit_code == 0


# -- per producer --------------------------------------------------------------------------------------------


def test_each_attached_producer_has_books_of_its_own(
    name: str, path: Path, write: Callable[[], None]
) -> None:
    """A record too few of one and one too many of another: the sum is right, and the books are not."""
    start, stop = spawn.Barrier(2), spawn.Barrier(2)
    other = spawn.Process(target=log_five_and_wait, args=(name, start, stop))
    other.start()
    with disklog_mp.attach(name) as log:
        for _ in range(3):
            log.log(b"ours")
        start.wait(60)
        write()
        log.log(b"in the ring")
        books = check(name, path).books
        assert books is not None
        counted = {each.pid: (each.logged, each.there) for each in books.producers}
        assert counted == {os.getpid(): (4, 4), other.pid: (5, 5)}

        file = attach_ring(name)
        slots = _slots.read_slots(file.ring, _core.SLOT_ATTACHED)
        for slot, logged in zip(sorted(slots, key=lambda slot: slot.pid == other.pid), (3, 6), strict=True):
            file.ring.store64(slot_offset(slot.index) + LOGGED, logged)
        os.close(file.fd)
        assert texts(name, path) == [f"damage: process {other.pid} logged 6 records, 5 are there"]
    stop.wait(60)
    other.join()
    other.close()
