"""Somebody scribbles over a ring while it is in use: nobody crashes or hangs, what is whole is saved, every
page that was written is valid, and when it stops the log heals by itself.
"""

import contextlib
import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.chance import SEED, TIMES
from support.command import in_process, look
from support.layout import CONTROL, MAP_OFFSET, SLOTS_OFFSET, slot_offset, word_offset
from support.machine import stop_writer, wait_until
from support.rings import attach_ring
from support.sessions import connection_of, ring_of

import disklog_mp
from disklog_mp import _core
from disklog_mp._options import Options
from disklog_mp._pages.directory import Directory
from disklog_mp._ring.file import is_replaced
from disklog_mp._verify.pages import check_page
from disklog_mp._writer.writer import Writer

OpenLog = Callable[..., disklog_mp.Session]
fork = multiprocessing.get_context("fork")

REGIONS = ("constants", "control", "slots", "map", "data", "all")


def region(ring: _core.Ring, name: str) -> tuple[int, int]:
    """Offset and end of a part of the shared memory."""
    return {
        "constants": (0, CONTROL),
        "control": (CONTROL, SLOTS_OFFSET),
        "slots": (SLOTS_OFFSET, slot_offset(64)),  # those that are in use, and some more
        "map": (MAP_OFFSET, MAP_OFFSET + ring.capacity // _core.GRANULE * 8),
        "data": (ring.data_offset, ring.data_offset + ring.capacity),
        "all": (0, ring.data_offset + ring.capacity),
    }[name]


def damaged_word(ring: _core.Ring, position: int) -> tuple[int, int]:
    """Where the claim word of a position stands, and a word of its lap that cannot be."""
    word = (position // ring.capacity + 1) % 2**28 << 36 | 7 << 33 | 1
    return word_offset(ring, position), word


class TestSalvage:
    @pytest.mark.parametrize("page_records", [None, 7])
    @pytest.mark.parametrize("victim", [0, 1, 50, 99])
    def test_what_is_whole_behind_a_damaged_word_is_saved(
        self, open_log: OpenLog, path: Path, victim: int, page_records: int | None
    ) -> None:
        """All records that were accepted, in order, though the map leads nowhere at one of them."""
        log = open_log(page_records=page_records)
        log.log(b"before")
        log.flush()
        stop_writer(log.name, signal.SIGKILL)
        positions = [log.log(b"%d" % i + b" " * (i * 10)) for i in range(98)]
        positions.append(log.log_many([b"98", b"in a group"]))
        positions.append(log.log(b"99"))
        ring = ring_of(log)
        assert ring is not None
        frame = positions[victim] & ~31  # a group's first record stands inside its frame
        ring.store64(*damaged_word(ring, frame))
        log.log(b"after")  # in the same ring, or the next
        other = open_log(page_records=page_records)
        other.log(b"last")
        other.flush(10)

        found = [record.data.split()[0] for record in disklog_mp.Reader(path)]
        expected = [b"before", *(b"%d" % i for i in range(99)), b"in", b"99", b"after", b"last"]
        assert expected == found
        if page_records:
            assert max(len(page) for page in disklog_mp.Reader(path).pages()) == page_records
        assert "saved" in str(other.stats().error)

    def test_what_was_saved_is_not_saved_again_by_those_who_logged_it(
        self, open_log: OpenLog, path: Path
    ) -> None:
        """They find that their ring was replaced, and flush at once; also when its writer is dead by then."""
        log = open_log()
        log.log(b"0")
        log.flush()
        with disklog_mp.attach(log.name) as idle:
            stop_writer(log.name, signal.SIGKILL)
            positions = [idle.log(b"%d" % i) for i in range(1, 20)]
            ring = ring_of(log)
            assert ring is not None
            ring.store64(*damaged_word(ring, positions[3]))
            other = open_log()
            wait_until(lambda: "saved" in str(other.stats().error))
            stop_writer(log.name, signal.SIGKILL)
            open_log()
            idle.flush(20)
            idle.log(b"20")
            idle.flush(20)

        assert list(range(21)) == [int(record.data) for record in disklog_mp.Reader(path)]

    def test_a_damaged_frame_costs_itself_alone(self, open_log: OpenLog, path: Path) -> None:
        """Word and bytes of one record are noise: it is missing, and the books say so."""
        log = open_log()
        log.flush()
        stop_writer(log.name, signal.SIGKILL)
        positions = [log.log(b"%d" % i + b" " * 100) for i in range(100)]
        ring = ring_of(log)
        assert ring is not None
        ring.store64(*damaged_word(ring, positions[40]))
        ring.store64(ring.data_offset + positions[60] % ring.capacity + 24, 2**64 - 1)
        other = open_log()
        other.flush(10)
        wait_until(lambda: len(list(disklog_mp.Reader(path))) == 99)

        assert [i for i in range(100) if i != 60] == [int(record.data) for record in disklog_mp.Reader(path)]

    def test_a_damaged_ring_is_saved_though_the_disk_is_full_meanwhile(
        self, open_log: OpenLog, path: Path
    ) -> None:
        """The writer is killed while it saves: the next goes on where it stopped."""
        log = open_log(page_records=3)
        log.log(b"0")
        log.flush()
        stop_writer(log.name, signal.SIGKILL)
        positions = [log.log(b"%d" % i) for i in range(1, 600)]
        ring = ring_of(log)
        assert ring is not None
        ring.store64(*damaged_word(ring, positions[0]))
        for _ in range(5):
            with contextlib.suppress(disklog_mp.DiskLogError):
                open_log(page_records=3)
                time.sleep(0.03)
                stop_writer(log.name, signal.SIGKILL)
        other = open_log(page_records=3)
        other.log(b"600")
        other.flush(10)

        numbers = [int(record.data) for record in disklog_mp.Reader(path)]
        assert list(range(601)) == numbers


@pytest.fixture
def was_replaced(log: disklog_mp.Session) -> Iterator[Callable[[], bool]]:
    """Tells whether the log's name leads to another ring than at the beginning."""
    file = attach_ring(log.name)
    yield lambda: is_replaced(file)
    os.close(file.fd)


class TestReplacing:
    def test_a_ring_with_scribbled_constants_is_replaced(
        self, log: disklog_mp.Session, was_replaced: Callable[[], bool]
    ) -> None:
        """Others can attach again after a second, and the state says what happened."""
        ring = ring_of(log)
        assert ring is not None
        memoryview(ring)[0:64] = os.urandom(64)
        with pytest.raises(disklog_mp.FormatVersionError):
            attach_ring(log.name)
        wait_until(was_replaced)

        with disklog_mp.attach(log.name) as other:
            other.log(b"x")
            other.flush(10)
        log.log(b"y")
        log.flush(10)
        assert "control block" in str(log.stats().error)

    @pytest.mark.parametrize(
        "field", ["halted", "durable", "written", "sync_wanted", "released", "writer_pid"]
    )
    def test_a_lie_in_the_control_block_does_not_last(
        self, log: disklog_mp.Session, was_replaced: Callable[[], bool], field: str
    ) -> None:
        """The writer stores the word anew, or replaces the ring."""
        ring = ring_of(log)
        assert ring is not None
        log.log(b"x")
        log.sync(5)
        honest = getattr(ring, field)
        setattr(ring, field, 1 if field == "halted" else 2**31 - 32)
        wait_until(lambda: getattr(ring, field) == honest or was_replaced())

        log.log(b"y")
        log.sync(5)

    @pytest.mark.parametrize("word", [0, 2, 2**64 - 1])
    def test_a_producer_stays_attached_whatever_its_slot_says(self, open_log: OpenLog, word: int) -> None:
        """The kernel knows that it lives: the writer does not leave it alone."""
        log = open_log(linger=0.1)
        ring, attachment = ring_of(log), connection_of(log).attachment
        assert ring is not None
        assert attachment is not None
        first = ring.generation
        ring.store64(slot_offset(attachment.slot), word)

        def generation() -> int:
            file = attach_ring(log.name)
            os.close(file.fd)
            return file.ring.generation

        wait_until(lambda: generation() > first)
        time.sleep(1)  # longer than the writer lingers

        assert generation() > first
        log.log(b"x")
        log.flush(10)
        assert [os.getpid()] == [producer.pid for producer in log.stats().producers]

    def test_slots_whose_words_say_nothing_are_free_again(
        self, log: disklog_mp.Session, was_replaced: Callable[[], bool]
    ) -> None:
        """Or scribbling over all of them would lock all others out."""
        ring = ring_of(log)
        assert ring is not None
        for index in range(1, 4096):
            ring.store64(slot_offset(index), 7)
        wait_until(was_replaced)
        log.log(b"x")
        log.flush(10)

        another = ring_of(log)
        assert another is not None
        assert len(another.slots(_core.SLOT_FREE)) == 4095
        assert "control block" in str(log.stats().error)

    def test_a_ring_that_seems_to_be_replaced_makes_nobody_wait_for_ever(
        self, log: disklog_mp.Session
    ) -> None:
        """With no writer to put it right log() keeps its timeout, and the next writer takes it up."""
        log.flush()
        stop_writer(log.name, signal.SIGKILL)
        other = disklog_mp.attach(log.name, timeout=0.1)
        ring = ring_of(log)
        assert ring is not None
        ring.halted = _core.REPLACED
        with pytest.raises(disklog_mp.LogNotFoundError):
            other.log(b"x")
        log.log(b"y")  # its session may start one
        other.log(b"z")
        other.flush(10)
        other.close()
        assert [b"y", b"z"] == [record.data for record in disklog_mp.Reader(log.path)]

    def test_a_claim_in_the_name_of_a_live_producer_is_its_own_while_it_lives(
        self, log: disklog_mp.Session
    ) -> None:
        """Nobody can tell that it never made it: others keep their timeouts until it leaves."""
        log.log(b"x")
        log.flush()
        ring = ring_of(log)
        assert ring is not None
        os.kill(ring.writer_pid, signal.SIGSTOP)
        position = log.log(b"y")
        pause, go = os.pipe()
        child = fork.Process(target=attach_until_closed, args=(log.name, pause, go))
        child.start()
        os.close(pause)
        wait_until(lambda: len(ring.slots(_core.SLOT_ATTACHED)) == 2)
        slot = max(ring.slots(_core.SLOT_ATTACHED))
        where = word_offset(ring, position)
        ring.store64(where, 1 << 36 | 1 << 33 | slot << 20 | 1)
        os.kill(ring.writer_pid, signal.SIGCONT)
        with pytest.raises(disklog_mp.WaitTimeoutError):
            log.flush(0.5)
        os.close(go)
        child.join()
        log.log(b"z")
        log.flush(10)
        assert [b"x", b"z"] == [record.data for record in disklog_mp.Reader(log.path)]

    def test_a_sync_of_what_nobody_logged_keeps_nobody_busy(self, name: str, path: Path) -> None:
        """There is nothing to sync beyond what is written: once is enough."""
        work = Writer(name, path, Options(ring_bytes=1 << 16, sync="never", linger=None))
        jobs, stop = [], threading.Event()
        real = work.pages.sync_job
        work.pages.sync_job = lambda: jobs.append(1) or real()  # type: ignore[method-assign, func-returns-value]
        thread = threading.Thread(target=work.run, args=(stop.is_set,))
        thread.start()
        with disklog_mp.attach(name) as log:
            log.log(b"x")
            log.sync(10)
            before = len(jobs)
            ring = work.ring
            ring.sync_wanted = ring.written + 4096
            for _ in range(3):
                beat = ring.heartbeat
                wait_until(lambda beat=beat: ring.heartbeat != beat)  # type: ignore[misc]
        stop.set()
        thread.join()
        assert len(jobs) <= before + 1  # that of its leaving


def attach_until_closed(name: str, pause: int, go: int) -> None:
    """Hold a slot until the other end of the pipe is closed."""
    os.close(go)
    with disklog_mp.attach(name):
        os.read(pause, 1)


def scribble(name: str, where: str, seed: int, seconds: float) -> None:
    """Overwrite words at random for so long."""
    file = attach_ring(name)
    memory = memoryview(file.ring)
    start, end = region(file.ring, where)
    os.close(file.fd)
    dice = random.Random(seed)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        at = dice.randrange(start, end) & ~7
        memory[at : at + 8] = dice.choice((bytes(8), b"\xff" * 8, dice.randbytes(8)))
        time.sleep(dice.random() * 0.002)


def use(name: str, until: float) -> None:
    """Log, flush, attach and leave; only errors of the tree may come, and none may take too long."""
    while time.monotonic() < until:
        began = time.monotonic()
        try:
            with disklog_mp.attach(name, timeout=0.2) as log:
                for i in range(50):
                    log.log(b"%d" % i * 10)
                log.log_many([b"a", b"b" * 100])
                log.stats()
                log.flush(0.2)
        except (disklog_mp.DiskLogError, OSError):
            time.sleep(0.005)
        assert time.monotonic() - began < 8, "it took far longer than its timeouts"


def follow(path: str, until: float) -> None:
    """Read what comes; damage is passed over."""
    while time.monotonic() < until:
        with contextlib.suppress(disklog_mp.DiskLogError):
            for record in disklog_mp.Reader(path, on_damage=lambda damage: None).follow(timeout=0.1):
                assert len(record.data) >= 0
                if time.monotonic() > until:
                    return


def look_on(name: str, path: str, until: float) -> None:
    """The command line has an answer, by name and by directory."""
    while time.monotonic() < until:
        look(name)
        in_process("verify", path)


@pytest.mark.parametrize("where", REGIONS)
def test_scribbling_hurts_nobody_for_long(
    open_log: OpenLog,
    path: Path,
    where: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Producers, writer and reader live through it, and log on when it is over."""
    monkeypatch.setenv("PYTHONFAULTHANDLER", "1")  # a writer that crashes says so
    seconds = 0.8 if TIMES == 1 else 1.5 * TIMES
    log = open_log(ring_bytes=1 << 16, page_bytes=1 << 18, keep_bytes=1 << 23, linger=30, timeout=0.2)
    log.log(b"begin")
    log.flush()
    until = time.monotonic() + seconds
    users = [fork.Process(target=use, args=(log.name, until)) for _ in range(3)]
    users.append(fork.Process(target=follow, args=(str(path), until)))
    users.append(fork.Process(target=look_on, args=(log.name, str(path), until)))
    for user in users:
        user.start()
    rounds = 0
    while time.monotonic() < until:  # each ring that comes
        with contextlib.suppress(disklog_mp.DiskLogError):
            scribble(log.name, where, SEED + rounds, min(0.3, until - time.monotonic()))
        rounds += 1
        time.sleep(0.02)
    for user in users:
        user.join(30)
        assert user.exitcode == 0

    def logs_again() -> bool:
        with contextlib.suppress(disklog_mp.DiskLogError, OSError):
            open_log(ring_bytes=1 << 16, page_bytes=1 << 18, keep_bytes=1 << 23, linger=30)
            with disklog_mp.attach(log.name, timeout=0.2) as other:
                other.log(b"the end")
                other.flush(0.5)
            records = disklog_mp.Reader(path, on_damage=lambda damage: None)
            return any(record.data == b"the end" for record in records)
        return False

    wait_until(logs_again, 30)
    directory = Directory(str(path))
    for number in directory.pages():
        facts = check_page(directory.page_path(number), number, live=True, set_aside=False)
        assert facts.header is not None
    told = capfd.readouterr().err
    assert "Traceback" not in told
    assert "Fatal" not in told
    if where in ("constants", "map"):
        assert "overwritten" in told or "damaged" in told
