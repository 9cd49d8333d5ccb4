"""A session: what it takes, what it refuses, how it waits, how it ends."""

import array
import fcntl
import gc
import os
import pickle
import signal
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.machine import stop_writer, stopped_writer, wait_until
from support.rings import ring_path
from support.sessions import ring_of

import disklog_mp
from disklog_mp import _core

OpenLog = Callable[..., disklog_mp.Session]


def fill(log: disklog_mp.Session) -> int:
    """Log until the ring is full; return how many records found room."""
    count = 0
    while True:
        try:
            log.log(b"x" * 1000)
        except disklog_mp.RingFullError:
            return count
        count += 1


class TestRecords:
    @pytest.mark.parametrize(
        "data",
        [b"bytes", bytearray(b"bytearray"), memoryview(b"view"), array.array("i", [1, 2, 3]), b""],
        ids=lambda data: type(data).__name__,
    )
    def test_any_bytes_like_object_is_a_record(self, log: disklog_mp.Session, data: bytes) -> None:
        """Bytes, bytearray, memoryview, array: the record is the object's bytes."""
        log.log(data)

        assert [bytes(data)] == [record.data for record in log.get_page(1)]

    def test_a_str_is_refused_with_the_remedy(self, log: disklog_mp.Session) -> None:
        """Text has to be encoded, and the error says so."""
        with pytest.raises(TypeError, match="encode"):
            log.log("text")  # type: ignore[arg-type]

    @pytest.mark.parametrize("data", [1, None, [b"list"], memoryview(b"abcdef")[::2]])
    def test_anything_else_is_refused(self, log: disklog_mp.Session, data: object) -> None:
        """What is not contiguous bytes is a TypeError, and nothing is logged."""
        with pytest.raises(TypeError, match="bytes-like"):
            log.log(data)  # type: ignore[arg-type]

        assert log.stats().claimed == 0

    def test_the_limit_is_taken_and_one_more_is_not(self, log: disklog_mp.Session) -> None:
        """A record takes up to a quarter of the ring; the error names length and limit."""
        limit = (1 << 20) // 4 - 24

        log.log(b"x" * limit)
        with pytest.raises(disklog_mp.RecordTooLargeError) as caught:
            log.log(b"x" * (limit + 1))

        assert (limit + 1, limit) == (caught.value.length, caught.value.limit)
        assert [limit] == [len(record.data) for record in log.get_page(1)]

    @pytest.mark.parametrize("tag", [-1, 65536])
    def test_a_tag_is_16_bits(self, log: disklog_mp.Session, tag: int) -> None:
        """Tags outside 0 to 65535 are a ValueError."""
        with pytest.raises(ValueError, match="65535"):
            log.log(b"x", tag=tag)
        with pytest.raises(ValueError, match="65535"):
            log.log_many([b"x"], tag=tag)

    def test_wrong_arguments_are_type_errors(self, log: disklog_mp.Session) -> None:
        """log() takes one record and a tag by keyword."""
        for arguments, keywords in [
            ((), {}),
            ((b"a", b"b"), {}),
            ((b"a",), {"level": 1}),
            ((b"a",), {"tag": "x"}),
        ]:
            with pytest.raises(TypeError):
                log.log(*arguments, **keywords)

    def test_positions_grow(self, log: disklog_mp.Session) -> None:
        """log() returns where the record stands in the log's order."""
        positions = [log.log(b"x" * (i * 37 % 500)) for i in range(200)]

        assert sorted(set(positions)) == positions
        assert positions == [record.position for record in log.get_page(1)]

    def test_a_record_s_time_is_the_wall_clock_s(self, log: disklog_mp.Session) -> None:
        """Between the readings before and after it, give or take a millisecond: in a burst, when the clock
        is not asked for each record, as well as after a pause.
        """
        readings = []
        for i in range(60):
            before = time.time_ns()
            for _ in range(500):
                log.log(b"")
            readings.append((before, time.time_ns()))
            if i % 20 == 19:
                time.sleep(0.1)

        stamps = [record.timestamp for record in log.get_page(1)]
        for i, (before, after) in enumerate(readings):
            burst = stamps[500 * i : 500 * (i + 1)]
            assert before - 1_000_000 <= min(burst) <= max(burst) <= after + 1_000_000


class TestGroups:
    @pytest.mark.parametrize("kind", [list, tuple, iter], ids=lambda kind: kind.__name__)
    def test_several_records_become_visible_together(
        self, log: disklog_mp.Session, kind: Callable[..., object]
    ) -> None:
        """log_many takes any iterable; the records stand next to each other with the tag."""
        wanted = [b"one", b"", b"three" * 100]

        position = log.log_many(kind(wanted), tag=9)  # type: ignore[arg-type]
        page = log.get_page(1)

        assert wanted == [record.data for record in page]
        assert [9, 9, 9] == [record.tag for record in page]
        assert position == page[0].position

    def test_nothing_of_a_group_is_logged_if_it_is_too_large(self, log: disklog_mp.Session) -> None:
        """Together they may take a quarter of the ring, or none is logged."""
        with pytest.raises(disklog_mp.RecordTooLargeError):
            log.log_many([b"x" * 100_000] * 3)

        assert log.stats().claimed == 0

    def test_nothing_of_a_group_is_logged_if_one_is_no_record(self, log: disklog_mp.Session) -> None:
        """A str among the records: TypeError, and the others are not logged."""
        with pytest.raises(TypeError, match="encode"):
            log.log_many([b"good", "bad"])  # type: ignore[list-item]

        assert log.stats().claimed == 0

    def test_an_empty_group_is_nothing(self, log: disklog_mp.Session) -> None:
        """No records: -1, nothing happens."""
        assert log.log_many([]) == -1
        assert log.stats().claimed == 0

    @pytest.mark.parametrize("given", [b"bytes", "text", 5])
    def test_one_record_is_no_group(self, log: disklog_mp.Session, given: object) -> None:
        """A forgotten list is an error, not a group of single bytes."""
        with pytest.raises(TypeError):
            log.log_many(given)  # type: ignore[arg-type]

    def test_a_group_is_never_split_over_pages(self, open_log: OpenLog, path: Path) -> None:
        """A page rolls before a group that would pass page_records; a larger group has a page of its own."""
        log = open_log(page_records=10)
        log.log_many([b"a"] * 7)
        log.log_many([b"b"] * 5)
        log.log_many([b"c"] * 25)
        log.log(b"d")
        log.flush()

        assert [7, 5, 25, 1] == [len(page) for page in disklog_mp.Reader(path).pages()]


class TestFull:
    def test_raise_says_how_much_room_there_was(self, open_log: OpenLog) -> None:
        """on_full="raise": RingFullError at once, with length and free bytes."""
        log = open_log(on_full="raise")
        with stopped_writer(log.name):
            fill(log)
            with pytest.raises(disklog_mp.RingFullError) as caught:
                log.log(b"x" * 2000)

        assert caught.value.length == 2000
        assert 0 <= caught.value.free < 2048

    def test_block_waits_for_as_long_as_it_was_told(self, open_log: OpenLog) -> None:
        """on_full="block": RingFullError after the timeout, which it reports."""
        log = open_log(timeout=0.2)
        with stopped_writer(log.name), pytest.raises(disklog_mp.RingFullError) as caught:
            while True:
                log.log(b"x" * 1000)

        assert caught.value.waited >= 0.2

    def test_block_goes_on_when_there_is_room(self, open_log: OpenLog) -> None:
        """A producer that waits is woken when the writer drains, and loses nothing."""
        log = open_log(timeout=60)
        timer = threading.Timer(0.3, os.kill, (log.stats().writer_pid, signal.SIGCONT))
        with stopped_writer(log.name):
            timer.start()
            for i in range(3000):
                log.log(b"%d" % i + b"x" * 1000)
        timer.join()

        assert list(range(3000)) == [int(record.data.rstrip(b"x")) for record in log.get_page(1)]
        assert log.stats().producers[0].waited > 0

    def test_drop_counts_and_the_log_says_so(self, open_log: OpenLog) -> None:
        """on_full="drop": -1, counted, and one gap record tells when there is room again."""
        log = open_log(on_full="drop")
        with stopped_writer(log.name):
            positions = [log.log(b"x" * 1000) for _ in range(2000)]
        dropped = positions.count(-1)
        log.flush()
        log.log(b"after")
        records = list(log.get_page(1))

        assert dropped > 0
        assert dropped == log.stats().dropped == log.stats().producers[0].dropped
        assert [b"after"] == [record.data for record in records[-1:]]
        assert records[-2].gap
        assert b'"dropped": %d' % dropped in records[-2].data
        assert 2000 - dropped == sum(not record.gap for record in records[:-1])

    def test_drops_are_told_at_the_latest_when_the_session_ends(self, open_log: OpenLog, path: Path) -> None:
        """close() puts the gap record into the log if there is room."""
        log = open_log(on_full="drop")
        with stopped_writer(log.name):
            while log.log(b"x" * 1000) >= 0:
                pass
        log.flush()
        log.close()

        wait_until(lambda: [record for record in disklog_mp.Reader(path) if record.gap])

    def test_a_group_is_dropped_whole(self, open_log: OpenLog) -> None:
        """log_many under "drop": -1, and all its records are counted."""
        log = open_log(on_full="drop")
        with stopped_writer(log.name):
            while log.log_many([b"x" * 1000] * 10) >= 0:
                pass
            assert log.stats().dropped == 10

    def test_a_dead_writer_is_named(self, name: str, path: Path) -> None:
        """Where this process may not start another: the error says which process is dead."""
        with disklog_mp.open(name, path, ring_bytes=1 << 14, linger=0.1) as owner:
            with disklog_mp.attach(name, on_full="raise") as log:
                pid = log.stats().writer_pid
                stop_writer(name, signal.SIGKILL)
                with pytest.raises(disklog_mp.RingFullError, match=rf"\(process {pid}\) is dead") as caught:
                    while True:
                        log.log(b"x" * 1000)
            owner.log(b"starts another writer")
            owner.flush(60)

        assert caught.value.dead_writer == pid

    @pytest.mark.parametrize("option", [{"on_full": "explode"}, {"timeout": -1}, {"timeout": "5 parsecs"}])
    def test_a_policy_that_is_none_is_refused(self, log: disklog_mp.Session, option: dict[str, str]) -> None:
        """Unknown policies and times that are none are a ValueError."""
        with pytest.raises(ValueError, match=next(iter(option))):
            disklog_mp.attach(log.name, **option)  # type: ignore[arg-type]


class TestWaiting:
    def test_flush_and_sync_keep_their_timeouts(self, log: disklog_mp.Session) -> None:
        """A writer that does not answer: WaitTimeoutError with the position wanted and reached."""
        with stopped_writer(log.name):
            position = log.log(b"x")
            for wait, goal in [(log.flush, "written"), (log.sync, "durable")]:
                with pytest.raises(disklog_mp.WaitTimeoutError) as caught:
                    wait(0.05)
                assert (goal, position + 32, 0) == caught.value.args[:3]

    def test_flush_without_records_is_immediate(self, log: disklog_mp.Session) -> None:
        """A session that logged nothing has nothing to wait for, whatever the writer does."""
        with stopped_writer(log.name):
            log.flush(0)
            log.sync(0)

    @pytest.mark.parametrize("sync", ["always", "page", "never", "50ms"])
    def test_sync_makes_durable_under_every_policy(self, open_log: OpenLog, sync: str) -> None:
        """After sync() all this session logged is durable, whatever the writer does by itself."""
        log = open_log(sync=sync)
        for i in range(10):
            log.log(b"%d" % i)
        log.sync(30)
        stats = log.stats()

        assert stats.durable == stats.written == stats.claimed == 320

    def test_the_sync_interval_works_by_itself(self, open_log: OpenLog) -> None:
        """sync="50ms": what is written becomes durable without being asked."""
        log = open_log(sync="50ms")
        log.log(b"x")

        wait_until(lambda: log.stats().durable == 32)

    def test_a_roll_on_request(self, log: disklog_mp.Session, path: Path) -> None:
        """roll() seals the page being written; the next record begins another."""
        log.log(b"one")
        log.flush()
        log.roll()
        wait_until(lambda: next(disklog_mp.Reader(path).pages()).sealed)
        log.log(b"two")
        log.flush()

        assert [[b"one"], [b"two"]] == [
            [record.data for record in page] for page in disklog_mp.Reader(path).pages()
        ]

    def test_a_page_rolls_by_age(self, open_log: OpenLog, path: Path) -> None:
        """page_age seals a page that has something in it, and only such a page."""
        log = open_log(page_age=0.1)
        log.log(b"x")
        log.flush()

        wait_until(lambda: next(disklog_mp.Reader(path).pages()).sealed)

        assert log.stats().last_page == 1


class TestLife:
    def test_a_closed_session_says_so(self, log: disklog_mp.Session) -> None:
        """After close(), which may be called twice, every method raises SessionClosedError."""
        log.close()
        log.close()

        for use in (
            lambda: log.log(b"x"),
            lambda: log.log_many([b"x"]),
            log.flush,
            log.sync,
            log.stats,
            log.roll,
            lambda: log.get_page(1),
            lambda: log.path,
        ):
            with pytest.raises(disklog_mp.SessionClosedError, match=log.name):
                use()
        assert log.closed
        assert "closed" in repr(log)

    def test_sessions_of_a_process_share_a_slot(self, log: disklog_mp.Session) -> None:
        """Attaching again costs nothing; each session closes on its own."""
        with disklog_mp.attach(log.name) as second:
            second.log(b"second")
            assert len(log.stats().producers) == 1
        log.log(b"first")
        log.flush()

        assert log.stats().producers[0].logged == 2

    def test_a_forgotten_session_detaches(self, open_log: OpenLog, log: disklog_mp.Session) -> None:
        """A session that is garbage gives its slot back."""
        other = disklog_mp.attach(log.name)
        log.close()
        assert not other.closed
        del other
        gc.collect()

        with open_log() as again:
            wait_until(lambda: len(again.stats().producers) == 1)

    def test_a_session_pickles_to_an_attached_one(self, log: disklog_mp.Session) -> None:
        """The copy is attached to the same log with the same policy."""
        with disklog_mp.attach(log.name, on_full="drop", timeout=1) as first:
            copy = pickle.loads(pickle.dumps(first))
        with copy:
            copy.log(b"copy")
            copy.flush()

            assert (log.name, "drop", 1.0) == (copy.name, copy.on_full, copy.timeout)
        assert [b"copy"] == [record.data for record in log.get_page(1)]

    def test_threads_share_a_session(self, log: disklog_mp.Session) -> None:
        """Eight threads, small and large records: all there, each thread's in order."""

        def work(worker: int) -> None:
            for i in range(500):
                log.log(b"%d %d " % (worker, i) + b"x" * (i * 97 % 40_000 if i % 50 == 0 else 10))

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seen: dict[int, list[int]] = {worker: [] for worker in range(8)}
        for record in log.get_page(1):
            worker, sequence = record.data.split()[:2]
            seen[int(worker)].append(int(sequence))

        assert {worker: list(range(500)) for worker in range(8)} == seen

    def test_closing_while_threads_log_loses_nothing_accepted(
        self, log: disklog_mp.Session, path: Path
    ) -> None:
        """Threads that log meet SessionClosedError; what returned before is in the log."""
        accepted = [0] * 4

        def work(worker: int) -> None:
            try:
                while True:
                    log.log(b"x" * 20_000)
                    accepted[worker] += 1
            except disklog_mp.SessionClosedError:
                pass

        with disklog_mp.attach(log.name) as other:
            threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
            for thread in threads:
                thread.start()
            wait_until(lambda: sum(accepted) > 50)
            log.close()
            for thread in threads:
                thread.join()
            other.log(b"x")
            other.flush()

            assert sum(accepted) + 1 == other.stats().records

    def test_stats_change_nothing(self, log: disklog_mp.Session) -> None:
        """Reading statistics twice gives the same twice."""
        log.log(b"x")
        log.sync()
        wait_until(lambda: log.stats() == log.stats())

    def test_stats_name_what_is_there(self, log: disklog_mp.Session, path: Path) -> None:
        """Positions in order, the writer, this process as the only producer."""
        log.log(b"x")
        log.flush()
        stats = log.stats()

        assert (log.name, str(path), 1 << 20) == (stats.name, stats.path, stats.ring_capacity)
        assert (1, 1, 1, 1) == (stats.records, stats.pages, stats.first_page, stats.last_page)
        assert stats.claimed == stats.released == stats.written == 32
        assert [os.getpid()] == [producer.pid for producer in stats.producers]
        assert stats.writer_pid > 0
        assert stats.error is None


class TestAttach:
    def test_no_log_of_that_name(self) -> None:
        """The error says how to start one."""
        with pytest.raises(disklog_mp.LogNotFoundError, match="disklog-mp serve") as caught:
            disklog_mp.attach("nobody-opened-this")

        assert caught.value.name == "nobody-opened-this"

    @pytest.mark.parametrize("name", ["", "a/b", "a" * 101, "ä", "a b", "..\0"])
    def test_a_name_that_is_none(self, name: str, path: Path) -> None:
        """Names take 1 to 100 of letters, digits, dot, underscore, hyphen."""
        with pytest.raises(ValueError, match="1 to 100"):
            disklog_mp.attach(name)
        with pytest.raises(ValueError, match="1 to 100"):
            disklog_mp.open(name, path)

        assert not path.exists()

    def test_a_name_must_be_a_str(self) -> None:
        """Bytes and numbers are no names."""
        with pytest.raises(TypeError):
            disklog_mp.attach(b"name")  # type: ignore[arg-type]

    def test_the_most_producers_a_ring_takes(self, log: disklog_mp.Session) -> None:
        """With every slot taken, one more is TooManyProducersError, and those attached go on."""
        ring = ring_of(log)
        assert ring is not None
        # The kernel's locks on all slots, as if their owners lived in other pid namespaces.
        with open(ring_path(log.name), "r+b") as file:
            everybody = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 1, _core.SLOTS - 1, 0)
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, everybody)
            for index in ring.slots(_core.SLOT_FREE):
                assert ring.attach(index, 1, 1, 1, 1)
            pid = os.fork()
            if pid == 0:
                try:
                    disklog_mp.attach(log.name)
                except disklog_mp.TooManyProducersError as error:
                    os._exit(0 if error.limit == 4096 else 1)
                os._exit(2)

            assert os.waitpid(pid, 0)[1] == 0
            log.log(b"still here")
            log.flush()
        wait_until(lambda: len(log.stats().producers) == 1)
