"""What a death costs: workers, writers, everybody, at once and over and over."""

import contextlib
import mmap
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import call
from support.layout import slot_offset, word_offset
from support.machine import stop_writer, wait_until
from support.rings import has_ring, ring_path
from support.sessions import connection_of, ring_of
from support.workers import claim_and, die_after_logging, log_for_ever, log_numbers

import disklog_mp
from disklog_mp import _core
from disklog_mp._options import Options
from disklog_mp._os import processes as _processes
from disklog_mp._ring import claims as _claims
from disklog_mp._ring import slots as _slots
from disklog_mp._session import interpreter
from disklog_mp._verify.books import close_books
from disklog_mp._writer.writer import Writer

OpenLog = Callable[..., disklog_mp.Session]
spawn = multiprocessing.get_context("spawn")
fork = multiprocessing.get_context("fork")


def numbers(path: Path) -> defaultdict[int, list[int]]:
    """The sequence numbers that each worker's records carry, in the log's order."""
    found: defaultdict[int, list[int]] = defaultdict(list)
    for record in disklog_mp.Reader(path):
        worker, sequence = record.data.split()
        found[int(worker)].append(int(sequence))
    return found


def numbers_of(path: Path, worker: int = 0) -> list[int]:
    """Those of one worker."""
    return numbers(path)[worker]


class TestWriter:
    def test_a_killed_writer_is_replaced_and_nothing_is_lost_or_doubled(
        self, open_log: OpenLog, path: Path
    ) -> None:
        """Killed again and again while a producer logs: every record once, in order."""
        log = open_log()
        count = 0
        for _ in range(10):
            for _ in range(300):
                log.log(b"0 %d" % count)
                count += 1
            os.kill(log.stats().writer_pid or 2**22, signal.SIGKILL)
            for _ in range(300):
                log.log(b"0 %d" % count)
                count += 1
            log.flush()
        stats = log.stats()

        assert list(range(count)) == numbers_of(path)
        assert count == stats.records == stats.logged
        assert stats.writers == 11

    def test_a_full_ring_brings_a_new_writer(self, open_log: OpenLog, path: Path) -> None:
        """A producer that finds no room looks at the writer's life and starts another."""
        log = open_log()
        stop_writer(log.name, signal.SIGKILL)
        for i in range(3000):
            log.log(b"0 %d" % i + b" " * 1000)
        log.flush()

        assert list(range(3000)) == numbers_of(path)

    def test_a_silent_writer_is_noticed_by_who_logs(self, open_log: OpenLog) -> None:
        """Without any flush or full ring: a second of silence, then the next log() has it replaced."""
        log = open_log()
        stop_writer(log.name, signal.SIGKILL)

        def replaced() -> bool:
            log.log(b"x")
            return log.stats().writer_pid != 0

        wait_until(replaced)

    def test_the_death_is_told_where_no_other_writer_may_be_started(
        self, open_log: OpenLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """flush() raises WriterDiedError, the records stay in the ring."""
        log = open_log()
        with monkeypatch.context() as patch, disklog_mp.attach(log.name) as other:
            patch.setenv(interpreter.MARK, "1")  # as in a writer: no session starts another
            stop_writer(log.name, signal.SIGKILL)
            other.log(b"x")
            with pytest.raises(disklog_mp.WriterDiedError, match="in the ring"):
                other.flush(0.05)
        log.log(b"y")

        assert [b"x", b"y"] == [record.data for record in log.get_page(1)]

    def test_a_writer_that_died_between_write_and_release_is_repeated_exactly(
        self, open_log: OpenLog, path: Path
    ) -> None:
        """The next writer begins at the page's watermark, which may be ahead of what was released."""
        log = open_log()
        ring = ring_of(log)
        assert ring is not None
        for i in range(100):
            log.log(b"0 %d" % i)
        log.flush()
        wait_until(lambda: ring.released == ring.written)
        stop_writer(log.name, signal.SIGKILL)
        ring.released = ring.released - 50 * 32  # as if it had died before the last releases
        for i in range(100, 200):
            log.log(b"0 %d" % i)
        log.flush()

        assert list(range(200)) == numbers_of(path)
        assert log.stats().records == 200

    def test_every_process_killed(self, open_log: OpenLog, name: str, path: Path) -> None:
        """The ring is still there, and the next writer drains it."""
        victim = spawn.Process(target=die_after_logging, args=(name, str(path), 500))
        victim.start()
        victim.join()
        assert victim.exitcode == -signal.SIGKILL
        stop_writer(name, signal.SIGKILL)  # killed already, but perhaps not yet gone

        log = open_log()
        log.log(b"0 500")
        log.flush()

        assert list(range(501)) == numbers_of(path)

    def test_a_ring_whose_name_is_removed_is_succeeded(self, open_log: OpenLog, path: Path) -> None:
        """logind removes the objects of users who log out: the log goes on in a new ring."""
        log = open_log()
        with disklog_mp.attach(log.name) as other:
            log.log(b"0 0")
            log.flush()
            os.unlink(ring_path(log.name))
            wait_until(lambda: has_ring(log.name))
            for i in range(1, 100):
                (log if i % 2 else other).log(b"0 %d" % i)
            log.flush()
            other.flush()

        books = close_books(str(path), connection_of(log).attachment.file)  # type: ignore[union-attr]

        assert list(range(100)) == numbers_of(path)
        assert (100, 100, True) == (books.logged, books.written, books.balance)

    def test_a_ring_on_a_disk_survives_a_reboot(
        self, name: str, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is in it and in no page is logged again, as it was; what is in a page is not."""
        options = {"ring_bytes": 1 << 16, "linger": 0.1, "ring_dir": str(tmp_path / "rings")}
        log = disklog_mp.open(name, path, **options)  # type: ignore[arg-type]
        log.log(b"0 0")
        log.flush()
        ring = ring_of(log)
        assert ring is not None
        stop_writer(name, signal.SIGKILL, options["ring_dir"])
        for i in range(1, 50):
            log.log(b"0 %d" % i + b" " * 500, tag=i)
        log.log_many([b"0 50", b"0 51"])
        connection_of(log).unbind()  # its machine goes down
        stamps = [record.timestamp for record in _claims.records(ring, ring.released, 1)]
        boot = os.urandom(16)
        monkeypatch.setattr(_processes, "boot_id", boot.hex)
        work = Writer(name, path, Options(ring_bytes=1 << 16), ring_dir=str(tmp_path / "rings"))
        thread = threading.Thread(target=work.run, args=(lambda: len(numbers_of(path)) == 52,))
        thread.start()
        thread.join()

        records = list(disklog_mp.Reader(path))
        assert list(range(52)) == [int(record.data.split()[1]) for record in records]
        assert list(range(52)) == [record.number for record in records]
        assert [*range(50), 0, 0] == [record.tag for record in records]
        assert stamps == [record.timestamp for record in records[1:]]
        assert {os.getpid()} == {record.pid for record in records}
        log.close()

    @pytest.mark.parametrize("how", ["flush", "close", "log"])
    def test_a_ring_that_lost_its_writer_and_its_name_is_logged_again(
        self, open_log: OpenLog, path: Path, how: str
    ) -> None:
        """Nobody drains it and nobody finds it: what stands in it is taken over by its producers, each record
        once, in order and as it was, those of a dead one too, the group as a group.
        """
        log = open_log()
        log.log(b"0 0")
        log.flush()
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            log.log(b"0 1")
            log.flush()
            os.read(told, 1)
            log.log(b"0 2", tag=7)
            os._exit(0)
        wait_until(lambda: len(numbers_of(path)) == 2)
        stop_writer(log.name, signal.SIGKILL)
        os.unlink(ring_path(log.name))
        os.write(tell, b"x")
        os.waitpid(child, 0)
        os.close(told)
        os.close(tell)
        log.log(b"0 3", tag=40)
        log.log_many([b"0 4", b"0 5"])
        orphan = ring_of(log)
        successor = open_log()
        if how == "flush":
            log.flush(20)
        elif how == "log":  # some time, it sees by itself that its writer is silent
            numbers = iter(range(6, 10**6))
            wait_until(lambda: (log.log(b"0 %d" % next(numbers)), ring_of(log) is not orphan)[1])
        log.close()
        wait_until(lambda: len(numbers_of(path)) >= 6)
        successor.flush()

        records = list(disklog_mp.Reader(path))
        assert list(range(len(records))) == [int(record.data.split()[1]) for record in records]
        assert [(7, child), (40, os.getpid())] == [(record.tag, record.pid) for record in records[2:4]]
        assert len({record.timestamp for record in records[4:6]}) == 1
        assert close_books(str(path), connection_of(successor).attachment.file).balance  # type: ignore[union-attr]

    def test_a_full_ring_whose_name_is_removed_throws_nobody_out(self, open_log: OpenLog, path: Path) -> None:
        """Whoever waits for room goes on waiting, and is served by the ring or its successor."""
        log = open_log(timeout=60)
        writer = log.stats().writer_pid
        os.kill(writer, signal.SIGSTOP)
        with disklog_mp.attach(log.name, timeout=60) as other:
            for i in range(900):
                other.log(b"0 %d" % i + b" " * 1000)
            os.unlink(ring_path(log.name))
            timer = threading.Timer(0.3, os.kill, (writer, signal.SIGCONT))
            timer.start()
            for i in range(900, 3000):
                other.log(b"0 %d" % i + b" " * 1000)
            timer.join()
            other.flush()

        assert list(range(3000)) == numbers_of(path)

    def test_a_ring_closed_by_a_writer_that_died_is_succeeded(self, open_log: OpenLog, path: Path) -> None:
        """Killed between closing the ring and making the next: whoever logs has it put right."""
        log = open_log()
        ring = ring_of(log)
        assert ring is not None
        log.log(b"0 0")
        log.flush()
        stop_writer(log.name, signal.SIGKILL)
        assert ring.close(ring.frontier(ring.released))
        other = [sys.executable, "-c", f"import disklog_mp; disklog_mp.attach({log.name!r})"]
        told = subprocess.run(other, stderr=subprocess.PIPE, text=True, check=False).stderr
        assert "LogNotFoundError" in told
        for i in range(1, 50):
            log.log(b"0 %d" % i)
        log.flush()

        assert list(range(50)) == numbers_of(path)

    def test_a_damaged_claim_map_is_left_behind(self, open_log: OpenLog, path: Path) -> None:
        """A word that cannot be: the writer says so and goes on in a new ring, and so do producers."""
        log = open_log()
        with disklog_mp.attach(log.name) as other:
            log.log(b"0 0")
            log.flush()
            ring = ring_of(log)
            assert ring is not None
            position = ring.frontier(ring.released)
            word = (position // ring.capacity + 1) << 36 | 7 << 33 | 1
            ring.store64(word_offset(ring, position), word)
            ring.wake()
            wait_until(lambda: ring.halted)
            for i in range(1, 100):
                (log if i % 2 else other).log(b"0 %d" % i)
            log.flush()
            other.flush()

        assert list(range(100)) == numbers_of(path)

    def test_a_watermark_scribbled_over_is_put_right(self, log: disklog_mp.Session, path: Path) -> None:
        """Whatever stands in `released`, log() comes back, and the writer restores what is its own."""
        ring = ring_of(log)
        assert ring is not None
        log.log(b"0 0")
        log.flush()
        for value in (2**64 - 1, 2**64 - 32, 0, 7):
            ring.released = value
            with (
                contextlib.suppress(disklog_mp.RingFullError),
                disklog_mp.attach(log.name, timeout=0.01) as other,
            ):
                other.log(b"1 1")
            wait_until(lambda: ring.released == ring.written)
        log.log(b"0 1")
        log.flush()

        assert [0, 1] == numbers_of(path)

    def test_a_ring_that_would_not_fit_is_refused_at_a_restart_too(
        self, open_log: OpenLog, name: str, path: Path
    ) -> None:
        """An existing log opened with a ring larger than memory: the opener is told at once, the log goes on.

        It is an error if the opener started the writer, and a warning if another session was faster.
        """
        log = open_log()
        log.log(b"0 0")
        stop_writer(name, signal.SIGKILL)
        log.log(b"0 1")
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                disklog_mp.open(name, path, ring_bytes="1t").close()
            except OSError as refusal:
                told = str(refusal)
            else:
                told = str(warned[0].message)
        assert "shm-size" in told
        log.log(b"0 2")
        log.flush()

        assert [0, 1, 2] == numbers_of(path)

    def test_a_daemon_that_closes_all_descriptors_goes_on(self, log: disklog_mp.Session, path: Path) -> None:
        """Its session has the ring mapped, and takes a descriptor again when it needs one."""
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                log.log(b"0 0")
                os.closerange(3, 1000)
                log.log(b"0 1")
                log.flush(10)
                log.stats()
                with disklog_mp.attach(log.name) as other:
                    other.log(b"0 2")
                    other.flush(10)
                log.close()
                code = 0
            finally:
                os._exit(code)

        assert os.waitpid(pid, 0)[1] == 0
        assert [0, 1, 2] == numbers_of(path)

    def test_another_ring_size_after_a_restart(self, open_log: OpenLog, name: str, path: Path) -> None:
        """A new writer with another ring_bytes drains the old ring, closes it, goes on in a successor."""
        log = open_log()
        log.log(b"0 0")
        log.flush()
        stop_writer(name, signal.SIGKILL)
        log.log(b"0 1")
        with disklog_mp.open(name, path, ring_bytes=1 << 18, linger=0.1) as second:
            wait_until(lambda: second.stats().ring_capacity == 1 << 18 or second.log(b"1 1") < 0)
            for i in range(2, 50):
                log.log(b"0 %d" % i)
            log.flush()

            assert list(range(50)) == numbers_of(path)


class TestWorkers:
    def test_workers_killed_at_random_lose_nothing_that_was_logged(
        self, open_log: OpenLog, path: Path
    ) -> None:
        """What log() returned for is in the pages, without a hole, whenever the worker was killed."""
        log = open_log(keep_bytes=None)
        acknowledged = memoryview(mmap.mmap(-1, 12 * 8)).cast("Q")
        for round_ in range(3):
            workers = [
                fork.Process(target=log_for_ever, args=(log.name, i, acknowledged))
                for i in range(round_ * 4, round_ * 4 + 4)
            ]
            for worker in workers:
                worker.start()
            wait_until(lambda w=round_ * 4: all(acknowledged[i] > 1000 for i in range(w, w + 4)))
            for worker in workers:
                worker.kill()
                worker.join()
                worker.close()
        log.flush()
        log.log(b"99 0")
        log.flush()

        found = numbers(path)
        for i in range(12):
            assert list(range(len(found[i]))) == found[i]
            assert acknowledged[i] <= len(found[i]) <= acknowledged[i] + 1

    def test_a_worker_killed_with_a_claim_blocks_nobody(self, log: disklog_mp.Session, path: Path) -> None:
        """Its claim is turned into an abandoned frame once the kernel says it is dead."""
        log.log(b"0 0")
        victim = spawn.Process(target=claim_and, args=(log.name, signal.SIGKILL))
        victim.start()
        victim.join()
        for i in range(1, 100):
            log.log(b"0 %d" % i)
        log.flush(10)

        assert list(range(100)) == numbers_of(path)
        assert log.stats().abandoned == 1
        wait_until(lambda: len(log.stats().producers) == 1)

    def test_a_worker_stopped_inside_its_claim_is_waited_for(
        self, log: disklog_mp.Session, path: Path
    ) -> None:
        """Alive is alive: nothing is taken from a stopped process, however long; killed, it is gone."""
        victim = spawn.Process(target=claim_and, args=(log.name, signal.SIGSTOP))
        victim.start()
        assert victim.pid is not None
        wait_until(lambda: log.stats().ring_used == 96)
        log.log(b"0 0")
        with pytest.raises(disklog_mp.WaitTimeoutError):
            log.flush(0.5)
        told = call("stat", log.name)
        assert (1, True) == (
            told.returncode,
            b"process %d is stopped inside log()" % victim.pid in told.stdout,
        )
        victim.kill()
        victim.join()
        log.flush(10)

        assert [0] == numbers_of(path)
        assert log.stats().abandoned == 1

    def test_a_worker_that_holds_up_the_log_is_killed_if_that_was_asked_for(
        self, open_log: OpenLog, path: Path
    ) -> None:
        """With kill_stalled= the writer waits so long for a live process, and no longer."""
        log = open_log(kill_stalled="100ms")
        victim = spawn.Process(target=claim_and, args=(log.name, signal.SIGSTOP))
        victim.start()
        wait_until(lambda: log.stats().ring_used == 96)
        log.log(b"0 0")
        log.flush(30)
        victim.join()

        assert -signal.SIGKILL == victim.exitcode
        assert [0] == numbers_of(path)
        assert log.stats().abandoned == 1

    def test_nobody_is_killed_for_what_a_slot_says(self, open_log: OpenLog) -> None:
        """A slot that names a process which has no ring mapped: that process lives."""
        log = open_log(kill_stalled="10ms")
        with subprocess.Popen(["sleep", "60"]) as innocent:
            victim = spawn.Process(target=claim_and, args=(log.name, signal.SIGSTOP))
            victim.start()
            wait_until(lambda: log.stats().ring_used == 96)
            ring = ring_of(log)
            assert ring is not None
            index = next(
                slot.index for slot in _slots.read_slots(ring, _core.SLOT_ATTACHED) if slot.pid == victim.pid
            )
            start = _processes.start_ticks(innocent.pid)
            memory = memoryview(ring)[slot_offset(index) :]
            memory[8:12] = innocent.pid.to_bytes(4, "little")
            memory[16:24] = start.to_bytes(8, "little")  # type: ignore[union-attr]
            time.sleep(0.3)
            assert innocent.poll() is None
            innocent.kill()
        victim.kill()
        victim.join()
        log.log(b"0 0")
        log.flush(10)

    def test_slots_of_the_dead_are_used_again(self, log: disklog_mp.Session) -> None:
        """Many short-lived workers, some killed: the table does not fill, the sums stay right."""
        for i in range(30):
            worker = fork.Process(target=log_numbers, args=(log.name, i, 10))
            worker.start()
            worker.join()
        for i in range(5):
            victim = fork.Process(
                target=log_for_ever, args=(log.name, i, memoryview(bytearray(40)).cast("Q"))
            )
            victim.start()
            wait_until(lambda: len(log.stats().producers) >= 2)
            victim.kill()
            victim.join()
        wait_until(lambda: len(log.stats().producers) == 1)
        log.log(b"last")
        log.flush()
        stats = log.stats()

        assert stats.logged <= stats.records <= stats.logged + 5


class TestForks:
    def test_a_forked_child_takes_a_slot_of_its_own(self, log: disklog_mp.Session, path: Path) -> None:
        """Parent and child log at once through the session they share; each is named by its pid."""
        children = []
        for child in range(1, 4):
            pid = os.fork()
            if pid == 0:
                try:
                    for i in range(500):
                        log.log(b"%d %d" % (child, i))
                    log.flush()
                finally:
                    os._exit(0)
            children.append(pid)
        for i in range(500):
            log.log(b"0 %d" % i)
        for pid in children:
            os.waitpid(pid, 0)
        log.flush()

        for worker in range(4):
            assert list(range(500)) == numbers_of(path, worker)
        assert {os.getpid(), *children} == {record.pid for record in disklog_mp.Reader(path)}

    def test_a_forked_child_does_not_keep_its_dead_parent_alive(self, log: disklog_mp.Session) -> None:
        """The child closes the descriptor the parent's lock stands on: the parent's death is seen."""
        read, write = os.pipe()
        parent = os.fork()
        if parent == 0:
            session = disklog_mp.attach(log.name)
            session.log(b"parent")
            child = os.fork()
            if child == 0:
                time.sleep(60)  # with all the parent had, mappings and session included
                os._exit(len(session.name))
            os.write(write, b"%d" % child)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(parent, 0)
        child = int(os.read(read, 20))
        try:
            wait_until(lambda: parent not in [producer.pid for producer in log.stats().producers])
        finally:
            os.kill(child, signal.SIGKILL)
            os.close(read)
            os.close(write)

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_a_session_goes_to_workers_of_every_start_method(
        self, log: disklog_mp.Session, path: Path, method: str
    ) -> None:
        """As an argument of a worker process it is attached there."""
        context = multiprocessing.get_context(method)
        from support.workers import log_with

        workers = [context.Process(target=log_with, args=(log, i, 100)) for i in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        log.flush()
        log.log(b"9 9")
        log.flush()

        for i in range(3):
            assert list(range(100)) == numbers_of(path, i)

    def test_a_fork_while_threads_log(self, log: disklog_mp.Session, path: Path) -> None:
        """Appends under way in other threads at the moment of the fork are the parent's alone."""
        stop = threading.Event()
        counts = [0, 0]

        def work(worker: int) -> None:
            while not stop.is_set():
                log.log(
                    b"%d %d" % (worker, counts[worker]) + b" " * (30_000 if counts[worker] % 9 == 0 else 0)
                )
                counts[worker] += 1

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(2)]
        for thread in threads:
            thread.start()
        for child in range(10, 15):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    for i in range(50):
                        log.log(b"%d %d" % (child, i))
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitpid(pid, 0)[1] == 0
        stop.set()
        for thread in threads:
            thread.join()
        log.flush()
        log.log(b"99 0")
        log.flush()

        found = numbers(path)
        for worker in range(2):
            assert list(range(counts[worker])) == found[worker]
        for child in range(10, 15):
            assert list(range(50)) == found[child]
