"""Reading from any place in both directions, and the ways to a place: pages, numbers, times."""

import asyncio
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from support.chance import TIMES
from support.pages import LOG_ID, Source, frame, group, page_path, page_writer, write_log, write_page

from disklog_mp import CursorError, PageNotFoundError, PageRetiredError, aio
from disklog_mp._reader import page as _page
from disklog_mp._reader import page_run as _page_run
from disklog_mp._reader.cursor import Cursor
from disklog_mp._reader.damage import Damage, Missing, describe
from disklog_mp._reader.reader import Reader

FRAME = 32
SECOND = 10**9


class Known(NamedTuple):
    """A record as the test knows it."""

    number: int
    position: int
    data: bytes


class Model:
    """A log that grows and loses its oldest pages, and a plain list of all its records."""

    def __init__(self, path: Path, dice: random.Random) -> None:
        self.path, self.dice = path, dice
        page_records = dice.choice([3, 8, 50, 10**6])
        self.pages = page_writer(path, page_records=page_records)
        self.sizes = [1, 1, 1, 2, 3] + ([30] if page_records > 30 else [])  # of groups
        self.source = Source()
        self.all: list[Known] = []
        self.firsts: dict[int, int] = {}  # page: number of its first record
        self.oldest = 1
        self.seen: dict[int, list[Cursor]] = {}  # cursors that read() returned, by their number

    def grow(self) -> None:
        """Log plain records and groups of many lengths."""
        for _ in range(self.dice.randrange(1, 30)):
            count = self.dice.choice(self.sizes)
            many = [self.dice.randbytes(self.dice.choice([0, 1, 10, 200])) for _ in range(count)]
            if count == 1:
                self.source.log(many[0])
            else:
                self.source.log_many(many)
            self.source.move(self.pages)
        last = next(reversed(self.firsts), 1)
        for number in range(last, self.pages.page_number + 1):
            with Reader(self.path).get_page(number) as page:
                self.firsts[number] = page.first_number
                self.all[page.first_number :] = [Known(r.number, r.position, r.data) for r in page]

    def retire(self) -> None:
        """Remove the oldest page, if there is another one."""
        if self.oldest < self.pages.page_number:
            page_path(self.path, self.oldest).unlink()
            self.oldest += 1

    def cursor(self, number: int) -> Cursor:
        """The cursor of that record, or the end's."""
        if number < len(self.all):
            return Cursor(LOG_ID.hex(), self.all[number].position, number)
        return Cursor(LOG_ID.hex(), self.pages.position, number)

    def page_of(self, number: int) -> int:
        """The page that a cursor of that record is in: the last one that begins there or before."""
        return max(page for page, first in self.firsts.items() if first <= number)

    def any_number(self) -> int:
        """A record's number, often at the edge of a page; also that of the next one."""
        edges = [first + near for first in self.firsts.values() for near in (-1, 0, 1)]
        number = self.dice.choice([self.dice.randrange(len(self.all) + 1), self.dice.choice(edges)])
        return min(max(number, 0), len(self.all))

    def bounded(self, records: list[Known], most: int, most_bytes: int | None) -> list[Known]:
        """The first of the records, as read() bounds them."""
        sums = itertools.accumulate(len(record.data) for record in records)
        fits = sum(1 for _ in itertools.takewhile(lambda it: most_bytes is None or it <= most_bytes, sums))
        return records[: min(most, max(fits, 1))]


def check_read(model: Model, reader: Reader, number: int, backward: bool) -> None:
    """One read() from that record on or back."""
    most = model.dice.choice([1, 2, 7, 60, 1000])
    most_bytes = model.dice.choice([None, None, 0, 15, 500])
    start = model.dice.choice([model.cursor(number), *model.seen.get(number, [])])
    first = model.firsts[model.oldest]
    is_gone = model.page_of(number) < model.oldest
    try:
        records, cursor = reader.read(
            str(start) if model.dice.random() < 0.3 else start, most, most_bytes, backward=backward
        )
    except PageRetiredError:
        assert is_gone
        return
    found = [Known(record.number, record.position, record.data) for record in records]
    there = model.all[:number][::-1] if backward else model.all[number:]
    expected = model.bounded(there, most, most_bytes)
    if backward and not is_gone:
        expected = [known for known in expected if known.number >= first]
    if is_gone:  # a page that was begun is read to its end
        expected = expected[: len(found)]
    assert expected == found
    assert cursor is not None
    assert cursor.number == (number - len(found) if backward else number + len(found))
    model.seen.setdefault(cursor.number, []).append(cursor)


def check_places(model: Model, reader: Reader, number: int) -> None:
    """step() and cursor_at() from and to that record."""
    here, count = model.page_of(number), model.dice.randrange(-4, 5)
    if here >= model.oldest:
        there = here + count
        if there in model.firsts and there >= model.oldest:
            found = reader.step(model.cursor(number), count)
            assert found is not None
            assert found.number == model.firsts[there]
        else:
            with pytest.raises(PageRetiredError if 0 < there < model.oldest else PageNotFoundError):
                reader.step(model.cursor(number), count)
        assert model.cursor(number) == reader.cursor_at(number)
    else:
        for way in (lambda: reader.cursor_at(number), lambda: reader.step(model.cursor(number), 1)):
            with pytest.raises(PageRetiredError):
                way()


@pytest.mark.parametrize("seed", range(4 * TIMES))
def test_any_way_through_a_log_is_that_through_a_list(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both directions, any bounds, from any record, while the log grows and its oldest pages go."""
    monkeypatch.setattr(_page, "CHECKPOINT", 20)  # else few pages here had two of them
    model = Model(tmp_path / "log", random.Random(seed))
    reader = Reader(tmp_path / "log")
    model.grow()
    for _ in range(100):
        act = model.dice.random()
        if act < 0.1:
            model.grow()
        elif act < 0.15:
            model.retire()
        number = model.any_number()
        for _ in range(model.dice.randrange(1, 4)):
            fresh = reader if act < 0.8 else Reader(tmp_path / "log")
            check_read(model, fresh, number, backward=model.dice.random() < 0.6)
        check_places(model, reader, number)
    model.pages.close()


def test_bites_backward_make_the_whole(tmp_path: Path) -> None:
    """Each cursor is where the next bite begins; at the oldest record it stays."""
    write_log(tmp_path / "log", [b"%d" % i for i in range(25)], page_records=4)
    reader = Reader(tmp_path / "log")
    cursor, numbers = None, []
    while True:
        records, cursor = reader.read(cursor, 3, backward=True)
        if not records:
            break
        numbers += [record.number for record in records]

    assert list(range(24, -1, -1)) == numbers
    assert reader.begin() == cursor
    assert ([], cursor) == reader.read(cursor, backward=True)


def test_what_was_read_is_returned_before_an_error_is_raised(tmp_path: Path) -> None:
    """A reader in the page that retention removes gets the rest of it; the next call raises."""
    path = tmp_path / "log"
    write_log(path, [b"%d" % i for i in range(12)], page_records=4)
    reader = Reader(path)
    _, cursor = reader.read(None, 2)
    for number in (1, 2):
        page_path(path, number).unlink()
    records, cursor = reader.read(cursor)

    assert [2, 3] == [record.number for record in records]
    with pytest.raises(PageRetiredError):
        reader.read(cursor)


def test_a_cursor_that_came_from_reading_backward_tells_a_restored_log(tmp_path: Path) -> None:
    """It carries the time of the record before it."""
    path = tmp_path / "log"
    frames = [frame(i * FRAME, b"%d" % i, time=(i + 1) * SECOND) for i in range(6)]
    write_page(path, frames, last_time=6 * SECOND)
    _, cursor = Reader(path).read(None, 2, backward=True)
    assert cursor is not None
    assert (4, 4 * SECOND) == (cursor.number, cursor.before)
    write_page(path, [*frames[:3], *(frame(i * FRAME, b"!", time=(i + 9) * SECOND) for i in (3, 4, 5))])

    for backward in (False, True):
        with pytest.raises(CursorError, match="rewound"):
            Reader(path).read(cursor, backward=backward)


def test_backward_a_page_is_passed_over_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small bites out of a large page: each run of records is read once, and no more is held."""
    monkeypatch.setattr(_page, "CHECKPOINT", 10)
    runs: list[int] = []
    run_before = _page.Page.run_before

    def counted(page: _page.Page, position: int) -> list[_page.Record]:
        run = run_before(page, position)
        runs.append(len(run))
        return run

    monkeypatch.setattr(_page.Page, "run_before", counted)
    write_log(tmp_path / "log", [b"%d" % i for i in range(200)])
    reader = Reader(tmp_path / "log")
    cursor, count = reader.end(), 0
    while True:
        records, cursor = reader.read(cursor, 3, backward=True)
        if not records:
            break
        count += len(records)

    assert 200 == count == sum(runs)
    assert 10 == max(runs)


class TestMissing:
    """What is not there is told in both directions alike."""

    def reports(self, path: Path, read: Callable[[Reader], object]) -> list[str]:
        damage: list[Damage] = []
        read(Reader(path, on_damage=damage.append))
        return sorted(map(describe, damage))

    def backward(self, reader: Reader) -> None:
        cursor = reader.end()
        while True:
            records, cursor = reader.read(cursor, 2, backward=True)
            if not records:
                return

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """Five pages of four records."""
        write_log(tmp_path / "log", [b"%d" % i for i in range(20)], page_records=4)
        return tmp_path / "log"

    def test_pages_that_are_not_there(self, path: Path) -> None:
        """Iterating, reading backward and stepping over them say the same."""
        page_path(path, 2).unlink()
        page_path(path, 4).write_bytes(b"no header" * 1000)
        told = self.reports(path, list)

        assert 2 == len(told)
        assert told == self.reports(path, self.backward)
        assert told == self.reports(path, lambda reader: reader.step(None, 4))
        assert told == self.reports(path, lambda reader: reader.step(reader.end(), -4))

    def test_damaged_records(self, path: Path) -> None:
        """One in the middle of a page, one at its end; without a check, stepping opens the pages only."""
        for number, place in ((2, 1), (4, 3)):
            with page_path(path, number).open("r+b") as file:
                file.seek(4096 + place * FRAME + 24)
                file.write(b"!")

        told = self.reports(path, list)

        assert 2 == len(told)
        assert told == self.reports(path, self.backward)
        assert told == self.reports(path, lambda reader: reader.step(None, 4))
        assert told == self.reports(path, lambda reader: reader.step(reader.cursor_at(13), -2))
        assert [] == self.reports(path, lambda reader: reader.step(None, 4, check=False))

    def test_a_cursor_in_a_page_that_cannot_be_read(self, path: Path) -> None:
        """The records between it and those that can be read are told."""
        cursor = Reader(path).cursor_at(6)
        page_path(path, 2).write_bytes(b"no header" * 1000)
        told: list[Damage] = []
        records, _ = Reader(path, on_damage=told.append).read(cursor, 2, backward=True)

        assert [3, 2] == [record.number for record in records]
        [missing] = told
        assert isinstance(missing, Missing)
        assert (4, 7, "damaged") == (missing.first_number, missing.last_number, missing.why)

    def test_a_page_that_is_missing_is_not_stepped_to(self, path: Path) -> None:
        """Its number is told; a step over it works."""
        page_path(path, 2).unlink()
        reader = Reader(path, on_damage=lambda damage: None)
        with pytest.raises(PageNotFoundError, match="no page 2"):
            reader.step(None)
        over = reader.step(None, 2)

        assert over is not None
        assert 8 == over.number


class TestMeanwhile:
    """Pages come and go between two looks at the directory."""

    @pytest.fixture
    def reader(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
        """Of four pages, with a list of pages 1 to 3 that it goes on believing."""
        write_log(tmp_path / "log", [b"%d" % i for i in range(16)], page_records=4)
        reader = Reader(tmp_path / "log")
        monkeypatch.setattr(_page_run.PageRun, "numbers", lambda pages: [1, 2, 3])
        return reader

    def test_a_page_that_came_is_stepped_to(self, reader: Reader) -> None:
        """It is of this log."""
        cursor = reader.step(None, 3)

        assert cursor is not None
        assert 12 == cursor.number

    def test_a_record_that_was_retired_is_not_passed_over(self, reader: Reader) -> None:
        """No later one is given for it without a word."""
        page_path(Path(reader.path), 1).unlink()
        for number in (0, 3):
            with pytest.raises(PageRetiredError):
                reader.cursor_at(number)


def test_a_cursor_behind_a_page_whose_end_is_damaged_fits(tmp_path: Path) -> None:
    """The record before it is the last one that could be read, and not the one that the page's seal tells."""
    path = tmp_path / "log"
    for number in (1, 2):
        frames = [frame((4 * number - 4 + i) * FRAME, b"x", time=(number * 4 + i) * SECOND) for i in range(4)]
        place = {"first_position": (number * 4 - 4) * FRAME, "first_number": number * 4 - 4}
        write_page(path, frames, number=number, last_time=(number * 4 + 3) * SECOND, **place)
    with page_path(path, 1).open("r+b") as file:
        file.seek(4096 + 3 * FRAME)
        file.write(bytes(FRAME))
    reader = Reader(path, on_damage=lambda damage: None)
    records, behind = reader.read(None, 10, max_bytes=3)
    assert [0, 1, 2] == [record.number for record in records]
    rest, _ = Reader(path, on_damage=lambda damage: None).read(str(behind))
    assert [4, 5, 6, 7] == [record.number for record in rest]
    cursor, numbers = None, [0, 1, 2, 4, 5, 6, 7]
    while numbers:
        [record], cursor = reader.read(cursor, 1)
        assert numbers.pop(0) == record.number
        rest, _ = Reader(path, on_damage=lambda damage: None).read(str(cursor))
        assert numbers == [record.number for record in rest]


class TestPlaces:
    """cursor_at()."""

    @pytest.fixture
    def reader(self, tmp_path: Path) -> Reader:
        """Records 0-7, with a clock that is set back behind record 5: 1, 2, .. 6, 2, 3 s; a group in it."""
        path = tmp_path / "log"
        frames = [frame(i * FRAME, b"%d" % i, time=(i + 1) * SECOND) for i in range(4)]
        frames.append(group(4 * FRAME, [b"4", b"5"], time=5 * SECOND))
        write_page(path, frames, created=0, records=6)
        place = sum(map(len, frames))
        late = [frame(place + i * FRAME, b"%d" % (6 + i), time=(2 + i) * SECOND) for i in range(2)]
        write_page(path, late, number=2, first_position=place, first_number=6, created=0)
        return Reader(path)

    def test_a_time_leads_to_the_first_record_that_is_not_before_it(self, reader: Reader) -> None:
        """In the order of the log; the end, if none is that late."""
        found = [reader.cursor_at(since=second * SECOND) for second in (0, 1, 2, 3, 4, 6, 10)]
        expected = [0, 0, 1, 2, 3, 8, 8]

        assert expected == [cursor.number for cursor in found if cursor]
        assert [
            [r.number for r in reader.read(cursor)[0]] for cursor in found
        ] == [list(range(number, 8)) for number in expected]  # fmt: skip

    def test_a_number_beyond_the_end_is_an_error(self, reader: Reader) -> None:
        """The number of the next record is none."""
        assert reader.end() == reader.cursor_at(8)
        with pytest.raises(CursorError, match="record 9 is asked for, and the log ends before record 8"):
            reader.cursor_at(9)

    def test_what_is_no_place_is_refused(self, reader: Reader) -> None:
        """Neither, both, a negative number, a text."""
        for wrong in ({}, {"number": 1, "since": 1}, {"since": "yesterday"}):
            with pytest.raises(TypeError):
                reader.cursor_at(**wrong)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="number=-1 must be at least 0"):
            reader.cursor_at(-1)

    def test_a_log_without_pages_has_no_places(self, tmp_path: Path) -> None:
        """None, as from begin() and end()."""
        reader = Reader(tmp_path)

        assert [None] * 3 == [reader.cursor_at(0), reader.cursor_at(since=0), reader.step(None)]
        assert ([], None) == reader.read(backward=True)

    def test_asyncio_has_the_same(self, reader: Reader) -> None:
        """read(backward=), step() and cursor_at()."""

        async def read() -> list[object]:
            twin = aio.Reader(reader.path)
            records, cursor = await twin.read(None, 3, backward=True)
            return [
                [record.number for record in records],
                cursor,
                await twin.step(None),
                await twin.cursor_at(3),
                await twin.cursor_at(since=4 * SECOND),
            ]

        there = [reader.cursor_at(number) for number in (5, 6, 3, 3)]
        assert [[7, 6, 5], *there] == asyncio.run(read())


class TestOrder:
    """Cursors compare and sort."""

    def test_cursors_of_a_log_sort_by_place(self) -> None:
        """A total order, in which the time before a place plays no part."""
        cursors = [Cursor("a" * 32, position, number) for position in range(4) for number in range(3)]
        mixed = random.Random(1).sample(cursors, len(cursors))

        assert cursors == sorted(mixed)
        assert max(mixed) == cursors[-1]
        for one, other in itertools.product(cursors, repeat=2):
            assert 1 == (one < other) + (one == other) + (one > other)
            assert (one <= other, one >= other) == (not one > other, not one < other)
        assert not Cursor("a" * 32, 1, 1, before=5) < Cursor("a" * 32, 1, 1, before=4)

    def test_cursors_of_two_logs_have_no_order(self) -> None:
        """They are different, and a comparison is an error that names both."""
        one, other = Cursor("a" * 32, 1, 1), Cursor("b" * 32, 1, 1)

        assert one != other
        with pytest.raises(TypeError, match=f"two logs have no order: {other}, {one}"):
            sorted([one, other])
        for compare in (lambda: one < other, lambda: one <= other, lambda: one > other, lambda: one >= other):
            with pytest.raises(TypeError, match="no order"):
                compare()
        with pytest.raises(TypeError, match="no order with '5'"):
            one < "5"  # type: ignore[operator]  # noqa: B015
