"""The reader: over all pages, by number, by time, damage or not, and behind a writer for ever."""

import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.chance import TIMES
from support.pages import (
    LOG_ID,
    SALT,
    Source,
    closes_what_it_opens,
    crc32c,
    frame,
    group,
    options,
    page_path,
    page_writer,
    write_log,
    write_page,
)

from disklog_mp import (
    CorruptPageError,
    Damage,
    FormatVersionError,
    Missing,
    PageNotFoundError,
    PageRetiredError,
    Reader,
    Record,
)
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.recovery import RingHints
from disklog_mp._pages.writer import PageWriter
from disklog_mp._reader.page_run import PageRun
from disklog_mp._reader.stepping import CLOCK_SLACK
from disklog_mp._reader.stream import LONGEST_LOOK, LOOK

SHARED = [HealthCheck.function_scoped_fixture]  # each example writes the log anew


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No processes and no shared memory here."""
    yield from closes_what_it_opens()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def numbered(count: int) -> list[bytes]:
    return [b"%d" % i for i in range(count)]


def data_of(records: object) -> list[bytes]:
    return [record.data for record in records]  # type: ignore[attr-defined]


class TestPaths:
    def test_a_reader_is_opened_on_a_directory(self, path: Path) -> None:
        """Before there is any page, by str or Path; it says where it reads."""
        path.mkdir()
        for reader in (Reader(path), Reader(str(path)), Reader(os.path.relpath(path))):
            assert str(path) == reader.path
            assert ([], [], [], None, None) == (
                list(reader), list(reader.pages()), reader.page_numbers(), reader.begin(), reader.end(),
            )  # fmt: skip
            assert ([], None) == reader.read()
        assert f"<Reader of {path}>" == repr(Reader(path))

    def test_nothing_there(self, path: Path) -> None:
        """FileNotFoundError for no directory, NotADirectoryError for a file."""
        with pytest.raises(FileNotFoundError, match="no such log directory"):
            Reader(path)
        path.write_text("")
        with pytest.raises(NotADirectoryError, match="a log is a directory"):
            Reader(path)

    def test_a_directory_that_vanished(self, path: Path) -> None:
        """A log removed while it is read has no pages."""
        path.mkdir()
        reader = Reader(path)
        path.rmdir()

        assert [] == list(reader)


class TestPages:
    def test_all_pages_of_a_long_log_can_be_held(self, path: Path) -> None:
        """Many more than there may be open files: a sealed page needs no descriptor."""
        for number in range(1, 201):
            place = {"first_position": 32 * (number - 1), "first_number": number - 1}
            write_page(path, [frame(32 * (number - 1), b"x")], number=number, **place)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
        try:
            pages = list(Reader(path).pages())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        assert [(number, b"x") for number in range(200)] == [
            (r.number, r.data) for page in pages for r in page
        ]

    def test_pages_come_oldest_first(self, path: Path) -> None:
        """All there are, with all their records."""
        write_log(path, numbered(10), page_records=3)
        reader = Reader(path)

        assert [1, 2, 3, 4] == reader.page_numbers() == [page.number for page in reader.pages()]
        assert numbered(10) == [record.data for page in reader.pages() for record in page]

    def test_a_page_by_its_number(self, path: Path) -> None:
        """From 1; what is not there says what is."""
        write_log(path, numbered(10), page_records=3)
        reader = Reader(path)
        with reader.get_page(2) as page:
            assert numbered(10)[3:6] == data_of(page)
        for number in (0, -1, 5, 10**30):
            with pytest.raises(
                PageNotFoundError, match=f"no page {number}: the log has pages 1 to 4"
            ) as caught:
                reader.get_page(number)
            assert type(caught.value) is PageNotFoundError
            assert (number, 1, 4) == (caught.value.number, caught.value.first, caught.value.last)

    def test_a_log_without_pages_has_none(self, path: Path) -> None:
        """Not even one that was retired."""
        path.mkdir()
        with pytest.raises(PageNotFoundError, match="no page 1: the log has pages 0 to 0") as caught:
            Reader(path).get_page(1)

        assert type(caught.value) is PageNotFoundError

    def test_a_retired_page_is_told_from_one_that_never_was(self, path: Path) -> None:
        """PageRetiredError below the oldest page."""
        write_log(path, numbered(10), page_records=2)
        for number in (1, 2):
            page_path(path, number).unlink()
        reader = Reader(path)
        for number in (1, 2):
            with pytest.raises(PageRetiredError, match=f"page {number} was removed .* pages 3 to 5"):
                reader.get_page(number)
        assert [3, 4, 5] == [page.number for page in reader.pages()]

    def test_a_page_retired_while_pages_are_iterated_is_passed_over(self, path: Path) -> None:
        """One report says which records that cost."""
        write_log(path, numbered(10), page_records=2)
        damage: list[Damage] = []
        pages = Reader(path, on_damage=damage.append).pages()
        next(pages).close()
        for number in (1, 2, 3):
            page_path(path, number).unlink()

        assert [4, 5] == [page.number for page in pages]
        [missing] = damage
        assert isinstance(missing, Missing)
        assert (2, 3, "retired") == (missing.page, missing.last_page, missing.why)
        assert (2, 5) == (missing.first_number, missing.last_number)

    def test_a_page_without_a_header_is_reported(self, path: Path) -> None:
        """By get_page with an exception, by iteration to on_damage; a file cut within its header is torn."""
        write_log(path, numbered(12), page_records=3)
        data = page_path(path, 2).read_bytes()
        page_path(path, 2).write_bytes(b"!" + data[1:])
        os.truncate(page_path(path, 3), 1000)
        damage: list[Damage] = []
        reader = Reader(path, on_damage=damage.append)

        assert numbered(12)[:3] + numbered(12)[9:] == data_of(reader)
        assert [Damage(2, 0, len(data), 6, 0, 0, False), Damage(3, 0, 1000, 0, 0, 0, True)] == damage
        with pytest.raises(CorruptPageError):
            reader.get_page(2)

    def test_an_empty_file_is_a_page_that_was_lost(self, path: Path) -> None:
        """A page has its name only when it is whole: the file system lost it, or a process that cut it."""
        write_log(path, numbered(3))
        page_path(path, 2).write_bytes(b"")
        damage: list[Damage] = []

        assert numbered(3) == data_of(Reader(path, on_damage=damage.append))
        assert [Damage(2, 0, 0, 0, 0, 0, torn=True)] == damage

    def test_a_page_under_another_number_is_not_that_page(self, path: Path) -> None:
        """Renamed, copied, or hostile: a reader that believed it could go round for ever."""
        write_log(path, numbered(6), page_records=3)
        page_path(path, 3).write_bytes(page_path(path, 1).read_bytes())
        damage: list[Damage] = []
        reader = Reader(path, on_damage=damage.append)
        with pytest.raises(CorruptPageError, match="at offset 32: found page number 1, expected 3"):
            reader.get_page(3)
        assert numbered(6) == data_of(reader)
        assert [3] == [each.page for each in damage]
        assert numbered(6) == data_of(reader.follow(timeout=0.01))
        assert numbered(6) == data_of(reader.read()[0])

    def test_a_missing_page_is_reported_with_what_was_in_it(self, path: Path) -> None:
        """In iteration and in following: as many records as the numbers leave out."""
        write_log(path, numbered(12), page_records=3)
        page_path(path, 2).unlink()
        page_path(path, 3).unlink()
        expected = numbered(12)[:3] + numbered(12)[9:]
        for read in (
            list,
            lambda reader: reader.read()[0],
            lambda reader: list(reader.follow(timeout=0.01)),
        ):
            damage: list[Damage] = []
            assert expected == data_of(read(Reader(path, on_damage=damage.append)))
            assert [Damage(2, 0, 0, 6, 0, 0, False)] == damage

    def test_another_version_is_an_error(self, path: Path) -> None:
        """It may hold records this program cannot read: an empty answer would be wrong."""
        write_log(path, numbered(6), page_records=3)
        page = bytearray(page_path(path, 2).read_bytes())
        page[8] = 3
        page[252:256] = crc32c(bytes(page[:252])).to_bytes(4, "little")
        page_path(path, 2).write_bytes(page)
        with pytest.raises(FormatVersionError):
            list(Reader(path))

    def test_damage_is_logged_unless_somebody_takes_it(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """On the channel "disklog_mp"."""
        write_log(path, numbered(6), page_records=3)
        data = page_path(path, 1).read_bytes()
        page_path(path, 1).write_bytes(data[:4096] + b"!" + data[4097:])
        list(Reader(path))

        assert ["disklog_mp"] == [record.name for record in caplog.records]


class TestRecords:
    @pytest.mark.parametrize(
        ("start", "stop"),
        [(None, None), (0, 10), (3, 7), (9, 10), (10, 20), (5, 5), (7, 3), (-5, 2), (0, -1), (2**64, None),
         (None, 2**70), (2**70, 2**71)],
    )  # fmt: skip
    def test_by_number(self, path: Path, start: int | None, stop: int | None) -> None:
        """From start on, before stop; as Python's ranges."""
        write_log(path, numbered(10), page_records=3)
        expected = [i for i in range(10) if (start is None or i >= start) and (stop is None or i < stop)]

        assert expected == [record.number for record in Reader(path).records(start, stop)]

    def test_pages_are_searched_not_scanned(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The record of a number in a log of many pages: a few of them are opened."""
        write_log(path, numbered(300), page_records=1)
        opened: list[int] = []
        get = PageRun.get
        monkeypatch.setattr(PageRun, "get", lambda self, n: opened.append(n) or get(self, n))

        assert [b"200"] == data_of(Reader(path).records(200, 201))
        assert len(opened) < 16
        opened.clear()
        assert numbered(300) == data_of(Reader(path))
        assert 301 == len(opened)  # the newest page says which log it is

    def test_a_page_that_cannot_be_read_is_in_no_search_s_way(self, path: Path) -> None:
        """Wherever it is."""
        for broken in range(1, 11):
            write_log(path, numbered(30), page_records=3)
            page_path(path, broken).write_bytes(b"!" * 5000)
            reader = Reader(path, on_damage=lambda damage: None)
            left = [i for i in range(30) if i // 3 + 1 != broken]
            for start in range(0, 30, 4):
                found = [record.number for record in reader.records(start)]
                assert [i for i in left if i >= start] == found
            for each in path.iterdir():
                each.unlink()

    def test_pages_are_closed_on_the_way(self, path: Path) -> None:
        """A log of many pages is read with a few descriptors; also if the reading stops early."""
        write_log(path, numbered(100), page_records=1)
        before = len(os.listdir("/proc/self/fd"))
        records = Reader(path).records()
        for _ in range(50):
            next(records)
        assert len(os.listdir("/proc/self/fd")) <= before + 2
        records.close()  # type: ignore[attr-defined]
        assert len(os.listdir("/proc/self/fd")) == before


DAY = 86_400 * 10**9
NOW = 20_000 * DAY


def write_times(path: Path, pages: list[tuple[int, list[int]]]) -> list[tuple[int, int]]:
    """Make a log by hand: of each page when it was begun, and its records' times; returns those, numbered."""
    position, number, written = 0, 0, []
    for i, (created, times) in enumerate(pages, 1):
        frames = []
        first = position
        for moment in times:
            frames.append(frame(position, b"%d" % number, time=moment))
            position += 32
            written.append((number, moment))
            number += 1
        write_page(
            path, frames, number=i, first_position=first, first_number=number - len(times), created=created
        )
    return written


class TestTimes:
    @settings(max_examples=60 * TIMES, deadline=None, suppress_health_check=SHARED)
    @given(
        pages=st.lists(st.lists(st.integers(0, 400), max_size=6), max_size=8),
        jitter=st.lists(st.integers(-50, 50), min_size=48, max_size=48),
        since=st.one_of(st.none(), st.integers(-100, 3000)),
        until=st.one_of(st.none(), st.integers(-100, 3000)),
        start=st.one_of(st.none(), st.integers(0, 50)),
        stop=st.one_of(st.none(), st.integers(0, 50)),
    )
    def test_what_comes_is_what_a_look_at_every_record_gives(
        self,
        path: Path,
        pages: list[list[int]],
        jitter: list[int],
        since: int | None,
        until: int | None,
        start: int | None,
        stop: int | None,
    ) -> None:
        """Any bounds of time and number, with clocks that differ within the slack: seconds after NOW."""
        path.mkdir(exist_ok=True)
        for entry in path.iterdir():
            entry.unlink()
        second, moment, log, shift = 10**9, 0, [], iter(jitter)
        for steps in pages:
            created, times = NOW + moment * second, []
            for step in steps:
                moment += step
                times.append(NOW + (moment + next(shift)) * second)
            log.append((created, times))
        written = write_times(path, log)
        low, high = (None if t is None else NOW + t * second for t in (since, until))
        expected = [
            number
            for number, moment in written
            if (low is None or moment >= low)
            and (high is None or moment < high)
            and (start is None or number >= start)
            and (stop is None or number < stop)
        ]

        assert expected == [record.number for record in Reader(path).records(start, stop, low, high)]

    def test_what_waited_in_the_ring_for_hours_is_found(self, path: Path) -> None:
        """A disk that was full: pages begun long after the times of the records in them."""
        hour = 3600 * 10**9
        write_times(
            path,
            [
                (NOW, [NOW, NOW + 1]),
                (NOW + 9 * hour, [NOW + hour, NOW + 2 * hour]),
                (NOW + 9 * hour, [NOW + 2 * hour, NOW + 9 * hour]),
                (NOW + 10 * hour, [NOW + 10 * hour]),
                (NOW + 11 * hour, [NOW + 11 * hour]),
            ],
        )
        reader = Reader(path)

        assert [0, 1, 2, 3, 4] == [record.number for record in reader.records(until=NOW + 3 * hour)]
        assert [2, 3, 4] == [
            record.number for record in reader.records(since=NOW + hour, until=NOW + 3 * hour)
        ]

    def test_pages_far_from_the_time_are_not_opened(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither those long before `since` nor, but for one, those long after `until`."""
        write_times(path, [(NOW + day * DAY, [NOW + day * DAY + i for i in range(3)]) for day in range(200)])
        opened: list[int] = []
        get = PageRun.get
        monkeypatch.setattr(PageRun, "get", lambda self, n: opened.append(n) or get(self, n))
        found = Reader(path).records(since=NOW + 100 * DAY, until=NOW + 101 * DAY)

        assert [300, 301, 302] == [record.number for record in found]
        assert len(opened) < 20

    def test_a_point_in_time_is_said_in_three_ways(self, path: Path) -> None:
        """Nanoseconds, seconds, a datetime with or without a zone."""
        moment = datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=timezone.utc)  # noqa: UP017
        exact = 1_709_209_815_123_456_000
        write_times(path, [(exact - 1, [exact - 1, exact, exact + 1])])
        reader = Reader(path)
        elsewhere = moment.astimezone(timezone(timedelta(hours=-9, minutes=-30)))
        for since in (exact, moment, elsewhere, moment.astimezone().replace(tzinfo=None)):
            assert [1, 2] == [record.number for record in reader.records(since=since)]
            assert [0] == [record.number for record in reader.records(until=since)]
        seconds = exact / 1e9
        assert {record.number for record in reader.records(since=seconds - 1e-6)} == {0, 1, 2}
        assert not list(reader.records(since=seconds + 1e-6))

    @pytest.mark.parametrize(
        ("wrong", "error"),
        [("yesterday", TypeError), (b"1", TypeError), (True, TypeError), (object(), TypeError),
         (float("nan"), ValueError), (float("inf"), ValueError), (float("-inf"), ValueError)],
    )  # fmt: skip
    def test_what_is_no_point_in_time_is_refused_at_once(
        self, path: Path, wrong: object, error: type[Exception]
    ) -> None:
        """By the call, not by the first record."""
        path.mkdir()
        for name in ("since", "until"):
            with pytest.raises(error, match=f"{name} is"):
                Reader(path).records(**{name: wrong})  # type: ignore[arg-type]

    def test_times_far_away_are_times(self, path: Path) -> None:
        """Before 1970 and after all clocks."""
        write_times(path, [(NOW, [0, NOW, 2**64 - 1])])
        reader = Reader(path)

        assert [0, 1, 2] == [record.number for record in reader.records(since=-(10**30))]
        assert [0, 1] == [record.number for record in reader.records(until=2**64 - 1)]
        assert [] == list(reader.records(since=2**70))
        assert CLOCK_SLACK < DAY


class TestFollow:
    @pytest.fixture
    def live(self, path: Path) -> Iterator["Live"]:
        live = Live(path)
        yield live
        live.pages.close()

    def test_records_come_in_order_over_rolls(self, path: Path, live: "Live") -> None:
        """One at a time or many, none twice, none left out."""
        stream = Reader(path).stream()
        found: list[bytes] = []
        for count in (0, 1, 1, 7, 0, 30, 2, 3, 3, 3, 1):
            live.log(count)
            found += data_of(stream)
            assert numbered(live.count) == found

    def test_from_the_end_only_what_comes_afterwards(self, path: Path, live: "Live") -> None:
        """End() is a cursor like others; of a page that is full as of one that is not."""
        for before in (2, 3, 3, 4):
            live.log(before)
            reader = Reader(path)
            seen = live.count
            stream = reader.stream(reader.end())
            assert [] == list(stream)
            live.log(5)
            assert numbered(live.count)[seen:] == data_of(stream)

    def test_a_follower_may_be_first(self, path: Path) -> None:
        """Before there is a page, and before there is a writer."""
        path.mkdir()
        stream = Reader(path).stream()
        assert [] == list(stream)
        assert stream.cursor() is None
        stream.wait(0.001)
        live = Live(path)
        assert [] == list(stream)
        live.log(7)

        assert numbered(7) == data_of(stream)
        live.pages.close()

    def test_it_ends_after_a_time_without_records(self, path: Path, live: "Live") -> None:
        """And not before all that is there has come."""
        live.log(10)

        assert numbered(10) == data_of(Reader(path).follow(timeout=0))
        assert numbered(10) == data_of(Reader(path).follow(timeout=0.01))

    def test_whoever_waits_is_woken(self, path: Path, live: "Live") -> None:
        """By a record in the same page, by a page's first record; a thread follows a writer."""
        live.log(1)
        found: list[bytes] = []
        done = threading.Event()

        def follow() -> None:
            for record in Reader(path).follow(timeout=60):
                found.append(record.data)
                done.set()
                if len(found) == 50:
                    return

        thread = threading.Thread(target=follow)
        thread.start()
        for _ in range(49):
            assert done.wait(60)
            done.clear()
            live.log(1)
        thread.join(60)

        assert numbered(50) == found

    def test_followers_and_a_writer_at_full_speed(self, path: Path, live: "Live") -> None:
        """Writer and reader at full speed, a new page every three records: none left out, none doubled."""
        count = 3000
        results: list[bool] = []

        def follow() -> None:
            expected = 0
            for record in Reader(path).follow(timeout=30):
                if (record.number, record.data) != (expected, b"%d" % expected):
                    break
                expected += 1
                if expected == count:
                    break
            results.append(expected == count)

        threads = [threading.Thread(target=follow) for _ in range(2)]
        for thread in threads:
            thread.start()
        for i in range(count // 5):
            live.log(i % 10)
        live.log(count - live.count)
        for thread in threads:
            thread.join()

        assert [True, True] == results

    def test_a_sealed_page_is_waited_at_until_the_next_is_begun(self, path: Path, live: "Live") -> None:
        """The bell of the old page rings for the new one: no reader has to poll."""
        live.log(3)
        stream = Reader(path).stream()
        assert 3 == len(list(stream))
        assert stream._page is not None
        assert stream._page.sealed
        assert not stream._page.wait(stream._bell, 0.001)
        live.log(1)
        assert stream._page.wait(stream._bell, 60)
        assert [b"3"] == data_of(stream)

    def test_a_writer_may_be_replaced_meanwhile(self, path: Path, live: "Live") -> None:
        """Closed or killed, in the middle of a page or between two, the next one goes on for the follower."""
        stream = Reader(path).stream()
        found: list[bytes] = []
        for i in range(8):
            live.log(i % 4)
            found += data_of(stream)
            live.reopen(kill=bool(i % 2))
            found += data_of(stream)
        live.log(5)
        found += data_of(stream)

        assert numbered(live.count) == found

    def test_what_recovery_finds_behind_the_watermark_comes_before_the_next_page(self, path: Path) -> None:
        """Frames that were written and not published when the writer died, and torn ones behind them."""
        write_log(path, numbered(3))
        stream = Reader(path).stream()
        assert numbered(3) == data_of(stream)
        with open(page_path(path), "r+b") as file:
            file.seek(4096 + 96)
            file.write(frame(96, b"3") + b"torn")
        live = Live(path, fresh=False)
        live.count = 4
        live.log(2)

        assert numbered(6)[3:] == data_of(stream)
        live.pages.close()

    def test_retention_behind_a_follower(self, path: Path, live: "Live") -> None:
        """It has read part of page 1 when pages 1 to 3 go: the rest of page 1 comes, then the error."""
        live.log(3)
        stream = Reader(path).stream()
        records = iter(stream)
        assert b"0" == next(records).data
        live.log(9)
        for number in (1, 2, 3):
            page_path(path, number).unlink()
        found = []
        with pytest.raises(PageRetiredError, match=r"page 2 was removed by retention: .* pages 4 to 4"):
            for record in records:
                found.append(record.data)
            assert [b"1", b"2"] == found
            stream._next_list = 0.0  # it looks at all pages now and then
            found += data_of(stream)

        assert [b"1", b"2"] == found

    def test_pages_retired_behind_a_follower_are_none_of_its_business(self, path: Path, live: "Live") -> None:
        """As long as the next one is there."""
        stream = Reader(path).stream()
        found: list[bytes] = []
        for _ in range(10):
            live.log(3)
            for number in Directory(path).pages()[:-1]:
                page_path(path, number).unlink()
            found += data_of(stream)

        assert numbered(30) == found

    def test_a_follower_stopped_in_the_middle_goes_on_there(self, path: Path, live: "Live") -> None:
        """Its iterator dropped, its stream iterated again."""
        live.log(20)
        stream = Reader(path).stream()
        found = []
        while len(found) < 20:
            for i, record in enumerate(stream):
                found.append(record.data)
                if i == 3:
                    break

        assert numbered(20) == found
        assert [] == list(stream)

    def test_damage_is_passed_over_and_reported(self, path: Path, live: "Live") -> None:
        """Also where it is the last record so far: what comes later comes."""
        live.log(2)
        with open(page_path(path), "r+b") as file:
            file.seek(4096 + 32 + 24)
            file.write(b"!")
        damage: list[Damage] = []
        stream = Reader(path, on_damage=damage.append).stream()
        assert [b"0"] == data_of(stream)
        live.log(2)

        assert [b"2", b"3"] == data_of(stream)
        # The loss is known when the page is sealed: it counts one record more than came.
        assert [(1, 4096 + 32, 32, 0), (1, 4096 + 96, 0, 1)] == [each[:4] for each in damage]

    def test_a_page_that_appears_under_our_eyes_is_not_jumped_over(
        self, path: Path, live: "Live", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between the look for the next page and the look at all pages two more may be begun."""
        live.log(3)
        stream = Reader(path).stream()
        assert 3 == len(list(stream))
        stream._next_list = 0.0
        pages = Directory.pages

        def late(self: Directory) -> list[int]:
            monkeypatch.setattr(Directory, "pages", pages)
            live.log(6)
            return pages(self)

        monkeypatch.setattr(Directory, "pages", late)

        assert numbered(9)[3:] == data_of(stream)

    def test_a_page_begun_and_still_empty_is_the_next_page(self, path: Path, live: "Live") -> None:
        """It has no records, so it counts as false in Python; it is not passed over."""
        live.log(3)
        stream = Reader(path).stream()
        assert 3 == len(list(stream))
        live.pages.open_page(0)
        assert [] == list(stream)
        live.log(7)

        assert numbered(10)[3:] == data_of(stream)

    @pytest.mark.parametrize("unseen", [{1}, {2}, {3}, {2, 3}, {1, 2, 3}])
    def test_a_listing_is_no_picture_of_one_moment(
        self, path: Path, live: "Live", monkeypatch: pytest.MonkeyPatch, unseen: set[int]
    ) -> None:
        """Files renamed while it is made may be in it under neither name, though later ones are there."""
        live.log(12)
        listdir = os.listdir
        hidden = {page_path(path, number).name for number in unseen}
        monkeypatch.setattr(os, "listdir", lambda *where: [n for n in listdir(*where) if n not in hidden])
        damage: list[Damage] = []
        reader = Reader(path, on_damage=damage.append)

        assert [1, 2, 3, 4] == reader.page_numbers()
        assert numbered(12) == data_of(reader) == data_of(reader.stream())
        assert [] == damage

    def test_another_log_in_its_place_is_refused(self, path: Path) -> None:
        """A next page with another log's id: ValueError, after what there was."""
        write_log(path, numbered(2), page_records=2)
        stream = Reader(path).stream()
        found = []
        write_page(path, [frame(64, b"x")], number=2, first_position=64, first_number=2, log_id=bytes(16))
        with pytest.raises(ValueError, match="is of log 0000"):
            for record in stream:
                found.append(record.data)

        assert numbered(2) == found

    def test_an_idle_follower_looks_rarely(
        self, path: Path, live: "Live", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The directory is listed less and less often while nothing happens."""
        live.log(3)
        stream = Reader(path).stream()
        listed = 0
        pages = Directory.pages

        def count(self: Directory) -> list[int]:
            nonlocal listed
            listed += 1
            return pages(self)

        monkeypatch.setattr(Directory, "pages", count)
        clock = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: clock)
        for _ in range(1000):  # 100 seconds of looks
            list(stream)
            clock += 0.1

        assert listed < 40

    def test_a_follower_sleeps_longer_each_time_there_was_nothing(
        self, path: Path, live: "Live", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And no longer than at first once there is something, in the page or in another."""
        live.log(1)
        stream = Reader(path).stream()
        slept: list[float] = []
        monkeypatch.setattr(stream, "wait", slept.append)
        for count in (1, *[0] * 9, 1, 0, 3, 0):
            live.log(count)
            list(stream)
            stream.rest()
        stream.rest(0.01)

        low, high = LOOK, LONGEST_LOOK
        growing = [low * 2**i for i in range(7)]
        assert [*growing, high, high, high, low, 2 * low, low, 2 * low, 0.01] == slept

    @pytest.mark.parametrize("what", ["a record", "a page", "nothing"])
    def test_a_follower_sees_what_a_killed_writer_did_not_ring_for(
        self, path: Path, live: "Live", monkeypatch: pytest.MonkeyPatch, what: str
    ) -> None:
        """It would sleep for much longer than this test may take."""
        live.log(3 if what == "a page" else 1)
        stream = Reader(path).stream()
        list(stream)
        monkeypatch.setattr("disklog_mp._reader.stream.GLANCE", 0.01)
        bell = stream._bell
        if what != "nothing":
            live.log(1)
        page = stream._page
        assert page is not None
        stream._bell = page.bell()  # as if the bell had not rung
        began = time.monotonic()
        stream.wait(0.05 if what == "nothing" else 3600)

        if what == "nothing":
            assert stream._bell == bell
            assert time.monotonic() - began >= 0.05
        assert len(list(stream)) == (what != "nothing")


class Live:
    """A writer of pages of three records, to be followed."""

    def __init__(self, path: Path, fresh: bool = True) -> None:
        self.path = path
        self.count = 0
        self.pages: PageWriter = page_writer(path, page_records=3)
        if fresh:
            assert 0 == self.pages.position
        self.source = Source(base=self.pages.position)

    def log(self, count: int) -> None:
        for _ in range(count):
            self.source.log(b"%d" % self.count)
            self.count += 1
        self.source.move(self.pages)

    def reopen(self, *, kill: bool) -> None:
        """Another writer; `kill`: the one before had no time to close anything."""
        (self.pages._close_files if kill else self.pages.close)()
        self.pages = PageWriter(Directory(self.path), "log", options(page_records=3))
        released = self.source.position
        self.pages.recover(RingHints(LOG_ID, SALT, ring_is_there=kill, released=released if kill else None))
        assert released == self.pages.position


def test_groups_come_whole_wherever_the_log_is_entered(path: Path) -> None:
    """By number into the middle of one: from there on."""
    frames, position, expected = [], 0, []
    for i in range(20):
        records = [b"%d.%d" % (i, j) for j in range(5)]
        frames.append(group(position, records))
        position += len(frames[-1])
        expected += records
    write_page(path, frames, records=100)
    reader = Reader(path)
    for start in range(0, 100, 7):
        assert expected[start : start + 9] == data_of(reader.records(start, start + 9))


def test_a_record_says_where_it_came_from(path: Path) -> None:
    """The reader gives the page's records, nothing of its own."""
    write_log(path, numbered(3))
    found: Callable[[], Record] = Reader(path).__iter__().__next__

    assert (0, 0, 4711) == ((first := found()).number, first.position, first.pid)
