"""Cursors: a reader's place that outlives the reader, the writer and the machine."""

import gc
import os
import pickle
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.chance import TIMES
from support.pages import (
    LOG_ID,
    Source,
    closes_what_it_opens,
    frame,
    group,
    page_path,
    page_writer,
    write_log,
    write_page,
)

from disklog_mp import Cursor, CursorError, Damage, PageRetiredError, Reader, Record
from disklog_mp._reader.page import Page
from disklog_mp._reader.stream import Stream

SHARED = [HealthCheck.function_scoped_fixture]


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No processes and no shared memory here."""
    yield from closes_what_it_opens()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def numbered(count: int) -> list[bytes]:
    return [b"%d" % i for i in range(count)]


def write_groups(path: Path, sizes: list[int], page_records: int) -> list[bytes]:
    """A log of groups (size 1: a plain record), in pages; returns its records."""
    pages = page_writer(path, page_records=page_records)
    source = Source()
    expected: list[bytes] = []
    for size in sizes:
        records = [b"%d" % (len(expected) + i) * (i + 1) for i in range(size)]
        if size == 1:
            source.log(records[0])
        else:
            source.log_many(records)
        expected += records
    source.move(pages)
    pages.close()
    return expected


ID = "0" * 32


class TestForm:
    CURSOR = Cursor("00112233445566778899aabbccddeeff", 2**64 - 1, 41)

    def test_a_cursor_is_one_word(self) -> None:
        """It prints as what parse() reads, without spaces, fit for a file, a URL or a command line."""
        text = str(self.CURSOR)

        assert "00112233445566778899aabbccddeeff:18446744073709551615:41" == text
        assert self.CURSOR == Cursor.parse(text)

    @given(st.binary(min_size=16, max_size=16), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
    def test_any_cursor_survives_text_and_pickle(self, log_id: bytes, position: int, number: int) -> None:
        """str and parse, dumps and loads."""
        cursor = Cursor(log_id.hex(), position, number)

        assert cursor == Cursor.parse(str(cursor)) == pickle.loads(pickle.dumps(cursor))

    @pytest.mark.parametrize(
        "text",
        ["", ":", "::", "cursor", ID, f"{ID}:1", f"{ID}:1:", f"{ID}::1", f"{ID}:1:2:", f"{ID}:1:2:3:4",
         f"{ID[1:]}:1:2",
         f"0{ID}:1:2", f"g{ID[1:]}:1:2", f"A{ID[1:]}:1:2", f"{ID}:-1:2", f"{ID}:1:-2", f"{ID}:+1:2",
         f"{ID}: 1:2", f"{ID}:1_0:2", f"{ID}:1:2\n", f" {ID}:1:2", f"{ID}:0x1:2", f"{ID}:1.0:2",
         f"{ID}:\u0661:2", f"{ID}:{2**64}:0", f"{ID}:1:2:{2**64}", f"{ID}:0:{2**64}",
         f"{ID}:{'9' * 5000}:0", "\0" * 40],
    )  # fmt: skip
    def test_what_is_no_cursor_is_refused(self, text: str) -> None:
        """ValueError with the text."""
        with pytest.raises(ValueError, match="is not a cursor"):
            Cursor.parse(text)

    @given(
        st.one_of(st.text(), st.from_regex(r"[0-9a-f]{30,34}:-?[0-9]{0,22}:-?[0-9]{0,22}", fullmatch=True))
    )
    def test_any_text_is_a_cursor_or_a_value_error(self, text: str) -> None:
        """And one that is prints as itself, but for zeros in front."""
        try:
            cursor = Cursor.parse(text)
        except ValueError:
            return

        assert cursor == Cursor.parse(str(cursor))
        assert 32 == len(cursor.log_id)

    @pytest.mark.parametrize("text", [None, b"0" * 32 + b":1:2", 5])
    def test_what_is_no_text_is_a_type_error(self, text: object) -> None:
        """parse() takes a str."""
        with pytest.raises(TypeError):
            Cursor.parse(text)  # type: ignore[arg-type]


class TestRead:
    def test_a_log_is_read_in_bites(self, path: Path) -> None:
        """Each with the cursor behind it; at the end no records and the same cursor again."""
        write_log(path, numbered(10), page_records=3)
        reader = Reader(path)
        first, cursor = reader.read(None, 4)
        second, cursor = reader.read(cursor, 4)
        third, cursor = reader.read(cursor, 4)
        nothing, again = reader.read(cursor, 4)

        assert [numbered(10)[:4], numbered(10)[4:8], numbered(10)[8:], []] == [
            [record.data for record in bite] for bite in (first, second, third, nothing)
        ]
        assert cursor == again == reader.end() == Cursor(LOG_ID.hex(), 320, 10)

    @pytest.mark.parametrize("same_reader", [True, False])
    @pytest.mark.parametrize("page_records", [4, 1000])
    def test_bites_of_any_size_make_the_whole(self, path: Path, same_reader: bool, page_records: int) -> None:
        """By one reader or a new one each time, as object or as text; also within groups."""
        dice = random.Random(page_records)
        expected = write_groups(path, [dice.choice([1, 1, 2, 3, 4, 4]) for _ in range(60)], page_records)
        reader = Reader(path)
        for _ in range(20):
            cursor: Cursor | str | None = None
            found: list[Record] = []
            while True:
                reader = reader if same_reader else Reader(path)
                limit = dice.choice([None, 0, 1, 5, 20])
                bite, after = reader.read(cursor, dice.randint(1, 7), limit)
                if not bite:
                    break
                assert limit is None or len(bite) == 1 or sum(len(record.data) for record in bite) <= limit
                found += bite
                cursor = str(after) if dice.random() < 0.5 else after
            assert expected == [record.data for record in found]
            assert list(range(len(expected))) == [record.number for record in found]

    def test_the_cursor_is_the_next_record_s_place(self, path: Path) -> None:
        """Its number, and its position or that of the group it begins."""
        expected = write_groups(path, [1, 3, 4, 1], 100)
        records = list(Reader(path))
        for count in range(1, len(expected)):
            _, cursor = Reader(path).read(None, count)
            assert cursor is not None
            assert (LOG_ID.hex(), count) == cursor[::2]
            assert records[count].position - cursor.position in (0, 32)
            assert records[count:] == Reader(path).read(cursor)[0]

    def test_a_reader_goes_on_where_it_stopped(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Reading a long page in bites does not walk from its begin for each of them."""
        write_log(path, numbered(2000))
        reader = Reader(path)
        made = 0
        begin = Stream._begin

        def count(self: Stream) -> bool:
            nonlocal made
            made += 1
            return begin(self)

        monkeypatch.setattr(Stream, "_begin", count)
        cursor, found = None, []
        while True:
            bite, cursor = reader.read(cursor, 7, max_bytes=20)
            if not bite:
                break
            found += [record.data for record in bite]

        assert numbered(2000) == found
        assert 1 == made

    def test_what_comes_later_is_read_by_the_same_reader(self, path: Path) -> None:
        """Bite by bite behind a writer, over rolls."""
        pages = page_writer(path, page_records=3)
        source = Source()
        reader, cursor, found = Reader(path), None, []
        for i in range(20):
            source.log(b"%d" % i)
            source.move(pages)
            bite, cursor = reader.read(cursor)
            found += [record.data for record in bite]
        pages.close()

        assert numbered(20) == found

    def test_max_bytes_bounds_what_comes_but_for_the_first(self, path: Path) -> None:
        """A record longer than that comes alone."""
        write_log(path, [b"a" * 10, b"b" * 100, b"c" * 10, b"d" * 10, b"e"])
        reader, cursor, bites = Reader(path), None, []
        while True:
            bite, cursor = reader.read(cursor, max_bytes=20)
            if not bite:
                break
            bites.append(b"".join(record.data[:1] for record in bite))

        assert [b"a", b"b", b"cd", b"e"] == bites

    @pytest.mark.parametrize("count", [0, -1])
    def test_no_records_cannot_be_asked_for(self, path: Path, count: int) -> None:
        """ValueError: it would come for ever."""
        write_log(path, numbered(3))
        with pytest.raises(ValueError, match="must be at least 1"):
            Reader(path).read(None, count)

    def test_begin_and_end_are_cursors(self, path: Path) -> None:
        """Of the oldest record kept, and behind the newest; with pages that cannot be read at both ends."""
        write_log(path, numbered(12), page_records=3)
        reader = Reader(path, on_damage=lambda damage: None)
        assert Cursor(LOG_ID.hex(), 0, 0) == reader.begin()
        assert Cursor(LOG_ID.hex(), 384, 12) == reader.end()
        for number in (1, 4):
            page_path(path, number).write_bytes(b"!" * 5000)

        assert Cursor(LOG_ID.hex(), 96, 3) == reader.begin()
        assert Cursor(LOG_ID.hex(), 288, 9) == reader.end()


class TestOldCursors:
    def test_a_cursor_outlives_restarts(self, path: Path) -> None:
        """The writer's and the reader's; the log goes on."""
        write_log(path, numbered(5), page_records=3)
        cursor = str(Reader(path).read(None, 4)[1])
        pages = page_writer(path, page_records=3)
        source = Source(base=pages.position)
        for i in range(5, 9):
            source.log(b"%d" % i)
        source.move(pages)
        pages.close()

        assert numbered(9)[4:] == [record.data for record in Reader(path).read(cursor)[0]]
        assert numbered(9)[4:] == [record.data for record in Reader(path).follow(cursor, timeout=0)]

    def test_a_cursor_of_another_log_is_refused(self, path: Path) -> None:
        """ValueError with both ids."""
        write_log(path, numbered(5))
        other = Cursor("f" * 32, 32, 1)
        for read in (Reader(path).read, lambda cursor: list(Reader(path).follow(cursor, timeout=0))):
            with pytest.raises(ValueError, match=f"{'f' * 32}.*{LOG_ID.hex()}"):
                read(other)

    @pytest.mark.parametrize(
        "cursor", ["nonsense", Cursor(LOG_ID.hex(), -1, 0), Cursor(LOG_ID.hex(), 0, 2**64)]
    )
    def test_nonsense_is_refused(self, path: Path, cursor: Cursor | str) -> None:
        """Before anything is read."""
        write_log(path, numbered(5))
        with pytest.raises(ValueError, match="is not a cursor"):
            Reader(path).read(cursor)

    def test_a_retired_cursor_says_so(self, path: Path) -> None:
        """PageRetiredError: something was missed.  A cursor at the retired page's very end missed nothing."""
        write_log(path, numbered(12), page_records=3)
        reader = Reader(path)
        cursors = [reader.read(None, count)[1] for count in range(1, 8)]
        for number in (1, 2):
            page_path(path, number).unlink()
        for count, cursor in enumerate(cursors, 1):
            if count < 6:
                with pytest.raises(PageRetiredError, match=r"page 2 was removed .* has pages 3 to 4"):
                    Reader(path).read(cursor)
            else:
                assert numbered(12)[count:] == [record.data for record in Reader(path).read(cursor)[0]]

    def test_a_follower_that_was_overtaken_lets_go_of_its_page(self, path: Path) -> None:
        """The mapping of a retired page goes with the error, not with some later collection of garbage."""
        write_log(path, numbered(12), page_records=3)
        gc.disable()
        try:
            follower = Reader(path).follow(timeout=10)
            next(follower)
            for number in (1, 2, 3):
                page_path(path, number).unlink()
            with pytest.raises(PageRetiredError, match="page 3 was removed"):
                for _ in follower:
                    assert str(path) in Path("/proc/self/maps").read_text()
            del _, follower

            assert str(path) not in Path("/proc/self/maps").read_text()
        finally:
            gc.enable()

    def test_a_page_retired_while_it_is_looked_for(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Between the listing and the opening: PageRetiredError too, not the next page as if nothing were."""
        write_log(path, numbered(12), page_records=3)
        reader = Reader(path)
        cursor = reader.begin()
        listed = reader.page_numbers()
        for number in (1, 2):
            page_path(path, number).unlink()
        # The moment between the two system calls cannot be hit from outside.
        monkeypatch.setattr(reader, "page_numbers", lambda: listed)
        for read in (reader.read, lambda cursor: next(reader.follow(cursor))):
            with pytest.raises(PageRetiredError, match=r"page 2 was removed .* has pages 3 to 4"):
                read(cursor)

    def test_a_cursor_behind_a_repair_missed_nothing(self, path: Path) -> None:
        """Positions that were left out belong to no record: if no number is missing, nothing is."""
        write_page(path, [frame(0, b"0"), frame(32, b"1")], number=1)
        write_page(path, [frame(2**40, b"2")], number=2, first_position=2**40, first_number=2)
        cursor = Reader(path).read(None, 2)[1]
        assert [b"2"] == [record.data for record in Reader(path).read(cursor)[0]]
        page_path(path, 1).unlink()

        assert [b"2"] == [record.data for record in Reader(path).read(cursor)[0]]

    def test_a_cursor_into_a_page_that_cannot_be_read_goes_on_behind_it(self, path: Path) -> None:
        """Damage is passed over and reported, here as everywhere; nothing before the cursor comes again."""
        write_log(path, numbered(15), page_records=3)
        cursors = [None, *(Reader(path).read(None, count)[1] for count in range(1, 15))]
        for broken in (1, 3, 5):
            data = page_path(path, broken).read_bytes()
            page_path(path, broken).write_bytes(b"!" + data[1:])
            left = [i for i in range(15) if i // 3 + 1 != broken]
            for count, cursor in enumerate(cursors):
                damage: list[Damage] = []
                found = Reader(path, on_damage=damage.append).read(cursor)[0]
                assert [i for i in left if i >= count] == [record.number for record in found]
                assert len(damage) <= 1
            page_path(path, broken).write_bytes(data)

    def test_a_cursor_into_a_missing_page_goes_on_behind_it(self, path: Path) -> None:
        """A page removed by hand from the middle is missing, not retired."""
        write_log(path, numbered(15), page_records=3)
        cursor = Reader(path).read(None, 7)[1]
        page_path(path, 3).unlink()
        damage: list[Damage] = []

        assert numbered(15)[9:] == [r.data for r in Reader(path, on_damage=damage.append).read(cursor)[0]]
        assert [Damage(3, 0, 0, 3, 0, 0, False)] == damage

    def test_a_cursor_into_a_damaged_record_goes_on_behind_it(self, path: Path) -> None:
        """With the numbers that belong there."""
        write_log(path, numbered(6), page_records=6)
        cursor = Reader(path).read(None, 3)[1]
        with open(page_path(path), "r+b") as file:
            file.seek(4096 + 3 * 32 + 24)
            file.write(b"!")
        found = Reader(path, on_damage=lambda damage: None).read(cursor)[0]

        assert [(4, b"4"), (5, b"5")] == [(record.number, record.data) for record in found]

    def test_the_time_of_the_record_before_does_not_count(self, path: Path) -> None:
        """Cursors with it, and those of 0.1.0 without it, are equal, sort by place, and are both read."""
        write_log(path, numbered(10), page_records=3)
        cursors = [Reader(path).read(None, count)[1] for count in (9, 3, 6, 7)]
        old = [Cursor.parse(":".join(str(cursor).split(":")[:3])) for cursor in cursors]
        records = list(Reader(path))

        assert cursors == old
        assert [cursor.before for cursor in cursors if cursor] == [
            records[n - 1].timestamp for n in (9, 3, 6, 7)
        ]
        assert [cursor.before for cursor in old] == [0] * 4
        assert [cursor.number for cursor in sorted([*old, *filter(None, cursors)])] == [
            3,
            3,
            6,
            6,
            7,
            7,
            9,
            9,
        ]
        for cursor in (*cursors, *old):
            assert cursor is not None
            assert Reader(path).read(cursor)[0] == records[cursor.number :]
            copy = pickle.loads(pickle.dumps(cursor))
            assert (copy, copy.before, str(copy)) == (cursor, cursor.before, str(cursor))
            assert 0 == cursor._replace(number=99).before  # at another place stands another record

    def test_the_end_is_of_one_moment_while_others_log(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A record that comes while the cursor is made is behind it, and the cursor fits the log."""
        pages, source = page_writer(path), Source()

        def log_one() -> None:
            source.log(b"one more")
            source.move(pages)

        log_one()
        count: Callable[[Page, int], int] = Page._count

        def log_and_count(page: Page, until: int) -> int:
            log_one()
            return count(page, until)

        reader = Reader(path)
        monkeypatch.setattr(Page, "_count", log_and_count)
        cursor = reader.end()
        monkeypatch.undo()
        log_one()
        assert cursor is not None
        records, _ = reader.read(cursor, 1)

        assert records[0].number == cursor.number
        pages.close()

    @pytest.mark.parametrize("where", [4, 6, 9], ids=["in a page", "at a page's begin", "at the end"])
    def test_a_log_that_was_restored_and_went_on(self, path: Path, where: int) -> None:
        """Other records stand before the cursor's place now: CursorError, rewound."""
        write_log(path, numbered(9), page_records=3)
        cursor = Reader(path).read(None, where)[1]
        for number in (1, 2, 3):
            page_path(path, number).unlink()
        write_log(path, numbered(9), page_records=3)
        for read in (Reader(path).read, lambda cursor: next(Reader(path).follow(cursor))):
            with pytest.raises(CursorError, match="the record before it is another one") as caught:
                read(cursor)
            assert (cursor, "rewound", str(path)) == (
                caught.value.cursor,
                caught.value.reason,
                caught.value.path,
            )

    def test_a_cursor_beyond_the_end(self, path: Path) -> None:
        """The log lost its end, or was restored: CursorError, at once; also where no page is left."""
        write_log(path, numbered(9), page_records=3)
        cursor = Reader(path).read(None, 8)[1]
        page_path(path, 3).unlink()
        for read in (Reader(path).read, lambda cursor: next(Reader(path).follow(cursor))):
            with pytest.raises(CursorError, match="the log ends before it") as caught:
                read(cursor)
            assert "beyond the end" == caught.value.reason
        page_path(path, 1).unlink()
        page_path(path, 2).unlink()
        with pytest.raises(CursorError, match="the log ends before it"):
            Reader(path).read(cursor)

    def test_a_log_that_lost_its_end_and_went_on_far_behind_it(self, path: Path) -> None:
        """New records have the numbers of those that were lost, at fresh positions: none is skipped."""
        write_page(path, [frame(0, b"0"), frame(32, b"1")], number=1)
        write_page(path, [frame(2**40, b"2")], number=2, first_position=2**40, first_number=2)

        for cursor in Cursor(LOG_ID.hex(), 64, 2), Cursor(LOG_ID.hex(), 128, 4):
            assert [b"2"] == [record.data for record in Reader(path).read(cursor)[0]]

    @settings(max_examples=150 * TIMES, deadline=None, suppress_health_check=SHARED)
    @given(
        position=st.one_of(st.integers(0, 1200), st.integers(0, 2**64 - 1)),
        number=st.one_of(st.integers(0, 40), st.integers(0, 2**64 - 1)),
    )
    def test_any_place_is_a_place(self, path: Path, position: int, number: int) -> None:
        """Between granules, inside headers, beyond the end: the records at or behind it."""
        if not path.exists():
            frames = []
            for i in range(20):
                at = sum(map(len, frames))
                frames.append(group(at, [b"%d" % i] * 2) if i % 3 == 0 else frame(at, b"%d" % i))
            middle = sum(map(len, frames[:10]))
            write_page(path, frames[:10], records=14)
            write_page(path, frames[10:], number=2, first_position=middle, first_number=14, records=13)
        expected = [record for record in Reader(path) if record.position >= position]
        try:
            found, _ = Reader(path).read(Cursor(LOG_ID.hex(), position, number))
        except PageRetiredError:
            assert position < Reader(path).get_page(1).first_position
            return
        except CursorError:
            assert position > Reader(path).get_page(2).end_position()
            return

        # A record that the place is in the middle of counts as behind it, unless its end is meant.
        assert found[-len(expected) or len(found) :] == expected
        assert len(found) - len(expected) <= 1


def test_cursors_hold_no_descriptors(path: Path) -> None:
    """A reader keeps the page at which it stopped, and no other."""
    write_log(path, numbered(100), page_records=10)
    before = len(os.listdir("/proc/self/fd"))
    reader = Reader(path)
    cursor = None
    for _ in range(30):
        _, cursor = reader.read(cursor, 3)
        assert len(os.listdir("/proc/self/fd")) <= before + 1
    for count in (50, 3, 70):
        Reader(path).read(reader.read(None, count)[1])
    del reader

    assert len(os.listdir("/proc/self/fd")) == before
