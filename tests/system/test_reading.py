"""Reading a log while it is written: by number, by time, by cursor, by following."""

import datetime
import itertools
import pickle
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.machine import stop_writer, wait_until

import disklog_mp
from disklog_mp import Cursor, Reader

OpenLog = Callable[..., disklog_mp.Session]


@pytest.fixture
def written(open_log: OpenLog, path: Path) -> list[disklog_mp.Record]:
    """A log of several pages with groups of different sizes in it; its records."""
    log = open_log(page_records=50)
    count = 0
    for size in [1, 7, 1, 1, 30, 2, 49, 1, 60, 3, 1, 1, 20] * 2:
        group = [b"%d" % (count + i) + b" " * ((count + i) * 13 % 90) for i in range(size)]
        log.log_many(group) if size > 1 else log.log(group[0])
        count += size
        time.sleep(0.0005)
    log.flush()
    return list(Reader(path))


class TestOpening:
    def test_what_is_no_directory(self, path: Path) -> None:
        """A path that is not there, and one that is a file, are told apart."""
        with pytest.raises(FileNotFoundError, match="no such log"):
            Reader(path)
        path.write_text("here")
        with pytest.raises(NotADirectoryError):
            Reader(path)

    def test_an_empty_directory_is_a_log_without_pages(self, path: Path) -> None:
        """Nothing to read is no error."""
        path.mkdir()
        reader = Reader(path)

        assert ([], [], None, None) == (list(reader), list(reader.pages()), reader.begin(), reader.end())
        assert ([], None) == reader.read()
        assert str(path) in repr(reader)
        with pytest.raises(disklog_mp.PageNotFoundError):
            reader.get_page(1)

    def test_pages_are_numbered_from_one(self, written: list[disklog_mp.Record], path: Path) -> None:
        """Each begins where the one before ended; 0 and one too many are no pages."""
        reader = Reader(path)
        pages = list(reader.pages())

        assert list(range(1, len(pages) + 1)) == [page.number for page in pages] == reader.page_numbers()
        assert sum(len(page) for page in pages) == len(written)
        for before, after in itertools.pairwise(pages):
            assert before.sealed
            assert before.first_number + len(before) == after.first_number
            assert before.end_position() == after.first_position
        for number in (0, -1, len(pages) + 1):
            with pytest.raises(disklog_mp.PageNotFoundError) as caught:
                reader.get_page(number)
            assert (number, 1, len(pages)) == caught.value.args


class TestRanges:
    @pytest.mark.parametrize("seed", range(20))
    def test_numbers_and_times_choose_what_a_loop_would(
        self, written: list[disklog_mp.Record], path: Path, seed: int
    ) -> None:
        """start, stop, since and until in any combination, against the plain loop."""
        dice = random.Random(seed)
        times = [record.timestamp for record in written]
        for _ in range(5):
            start = dice.choice([None, dice.randrange(400)])
            stop = dice.choice([None, dice.randrange(400)])
            since = dice.choice([None, dice.choice(times) + dice.randrange(-1, 2)])
            until = dice.choice([None, dice.choice(times) + dice.randrange(-1, 2)])
            wanted = [
                record
                for record in written
                if (start is None or record.number >= start)
                and (stop is None or record.number < stop)
                and (since is None or record.timestamp >= since)
                and (until is None or record.timestamp < until)
            ]

            assert wanted == list(Reader(path).records(start, stop, since, until))

    def test_a_time_is_an_int_a_float_or_a_datetime(
        self, written: list[disklog_mp.Record], path: Path
    ) -> None:
        """ns since the epoch, seconds, or a datetime with or without a zone."""
        moment = written[100].timestamp // 1000 * 1000
        reader = Reader(path)
        exact = list(reader.records(since=moment))
        zoned = datetime.datetime.fromtimestamp(moment // 1000 / 1e6, datetime.UTC)

        assert exact == list(reader.records(since=zoned))
        assert exact == list(reader.records(since=zoned.astimezone().replace(tzinfo=None)))
        assert len(written) == len(list(reader.records(since=moment / 1e9 - 3600)))
        assert [] == list(reader.records(until=0.0))

    @pytest.mark.parametrize("moment", ["yesterday", True, [1]])
    def test_what_is_no_time(self, written: list[disklog_mp.Record], path: Path, moment: object) -> None:
        """Anything else is a TypeError that says what is taken."""
        with pytest.raises(TypeError, match=r"point in time|datetime"):
            list(Reader(path).records(since=moment))


class TestCursors:
    def test_a_cursor_is_one_word(self, written: list[disklog_mp.Record], path: Path) -> None:
        """It prints, parses and pickles to itself."""
        cursor = Reader(path).end()
        assert cursor is not None

        assert cursor == Cursor.parse(str(cursor)) == pickle.loads(pickle.dumps(cursor))
        assert len(str(cursor).split()) == 1
        assert (written[-1].number + 1, True) == (cursor.number, cursor.position > written[-1].position)

    @pytest.mark.parametrize(
        "text",
        ["", "x", "1:2:3", "00" * 16, "00" * 16 + ":1", "00" * 16 + ":-1:0", "00" * 16 + f":{2**64}:0"],
    )
    def test_what_is_no_cursor(self, path: Path, text: str) -> None:
        """A ValueError that shows it."""
        path.mkdir()
        with pytest.raises(ValueError, match="is not a cursor"):
            Cursor.parse(text)
        with pytest.raises(ValueError, match="is not a cursor"):
            Reader(path).read(text)

    @pytest.mark.parametrize("seed", range(10))
    def test_steps_of_any_size_read_what_one_pass_reads(
        self, written: list[disklog_mp.Record], path: Path, seed: int
    ) -> None:
        """Also where a step ends inside a group, and with a new reader and a printed cursor each time."""
        dice = random.Random(seed)
        found: list[disklog_mp.Record] = []
        cursor: str | None = None
        while True:
            limit = dice.choice([None, dice.randrange(1, 2000)])
            records, after = Reader(path).read(cursor, dice.randrange(1, 80), limit)
            if not records:
                break
            assert limit is None or len(records) == 1 or sum(len(r.data) for r in records) <= limit
            found += records
            cursor = str(after)

        assert written == found

    def test_a_cursor_of_another_log(self, written: list[disklog_mp.Record], path: Path) -> None:
        """Refused: its positions mean nothing here."""
        with pytest.raises(ValueError, match=r"cursor 0000.*another log"):
            Reader(path).read(Cursor("00" * 16, 0, 0))

    def test_a_cursor_whose_page_was_retired(self, open_log: OpenLog, path: Path) -> None:
        """PageRetiredError says which pages there still are."""
        log = open_log(page_records=5, keep_pages=2)
        log.log(b"first")
        log.flush()
        cursor = Reader(path).begin()
        for i in range(30):
            log.log(b"%d" % i)
        log.flush()
        wait_until(lambda: len(Reader(path).page_numbers()) == 2)
        with pytest.raises(disklog_mp.PageRetiredError) as caught:
            Reader(path).read(cursor)

        assert caught.value.args[1:] == (6, 7)


class TestFollowing:
    def test_it_goes_over_rolls_and_writers(self, open_log: OpenLog, name: str, path: Path) -> None:
        """Followers see each record once, in order, while pages roll and the writer is replaced."""
        log = open_log(page_records=20)
        log.log(b"0")
        log.flush()
        seen: list[list[int]] = [[], []]

        def follow(which: int) -> None:
            for record in Reader(path).follow():
                if record.data == b"end":
                    return
                seen[which].append(int(record.data))

        threads = [threading.Thread(target=follow, args=(which,)) for which in (0, 1)]
        for thread in threads:
            thread.start()
        for i in range(1, 500):
            log.log(b"%d" % i)
            if i % 100 == 0:
                log.flush()
                stop_writer(name, 9)
        log.log(b"end")
        log.flush()
        for thread in threads:
            thread.join(30)

        assert [list(range(500))] * 2 == seen

    def test_it_may_begin_before_the_first_page(self, open_log: OpenLog, path: Path) -> None:
        """A follower of an empty directory gets the first record when it comes."""
        path.mkdir()
        stream = Reader(path).follow(timeout=30)
        timer = threading.Timer(0.2, lambda: open_log().log(b"first"))
        timer.start()
        first = next(stream)
        timer.join()
        stream.close()  # type: ignore[attr-defined]

        assert first.data == b"first"

    def test_it_ends_when_nothing_came_for_a_while(
        self, written: list[disklog_mp.Record], path: Path
    ) -> None:
        """With a timeout: all there is, then the end."""
        reader = Reader(path)

        assert written == list(reader.follow(timeout=0.05))
        assert [] == list(reader.follow(reader.end(), timeout=0.05))
        assert written[-3:] == list(
            reader.follow(
                Cursor(reader.begin().log_id, written[-3].position, written[-3].number), timeout=0.05
            )  # type: ignore[union-attr]
        )

    def test_from_the_end_only_what_is_new(self, log: disklog_mp.Session, path: Path) -> None:
        """A cursor at the end, then one more record: that one."""
        log.log(b"old")
        log.flush()
        reader = Reader(path)
        cursor = reader.end()
        log.log(b"new")

        assert [b"new"] == [record.data for record in reader.follow(cursor, timeout=0.5)]
