"""The table of cases at the top of reader.py: each row is a test, and says what is expected."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support.pages import LOG_ID, crc32c, frame, page_path, write_log, write_page
from support.tables import rows_of

from disklog_mp._core import Record
from disklog_mp._pages.format import HEADER_CRC, HEADER_LENGTH, STATE, VERSION
from disklog_mp._reader import reader
from disklog_mp._reader.cursor import Cursor
from disklog_mp._reader.damage import Damage, Missing, describe
from disklog_mp._reader.reader import Reader

TABLE = rows_of(reader)
FRAME = 32


class Scene(NamedTuple):
    """What a reader finds, and what happens while it reads."""

    cursor: Cursor | None = None
    after_first: Callable[[], object] | None = None  # happens behind the first record
    when_read: Callable[[], object] | None = None  # happens when there is no more
    only_followed: bool = False  # iterating a log has no cursor, and no end to be overtaken at
    only_iterated: bool = False  # a follower opens the next page before it reads the one before


def at(place: int) -> int:
    """The offset of a frame in its page."""
    return HEADER_LENGTH + place * FRAME


def put(path: Path, number: int, offset: int, data: bytes) -> None:
    with page_path(path, number).open("r+b") as file:
        file.seek(offset)
        file.write(data)


def harm(number: int, offset: int, data: bytes) -> Callable[[Path], Scene]:
    """Return a scene in which these bytes were written over a page."""

    def done(path: Path) -> Scene:
        put(path, number, offset, data)
        return Scene()

    return done


def nothing(path: Path) -> Scene:
    return Scene()


def cut(path: Path) -> Scene:
    with page_path(path, 2).open("r+b") as file:
        file.truncate(at(2))
    return Scene()


def empty(path: Path) -> Scene:
    page_path(path, 2).write_bytes(b"")
    return Scene()


def missing(path: Path) -> Scene:
    page_path(path, 2).unlink()
    return Scene()


def removed_meanwhile(path: Path) -> Scene:
    return Scene(after_first=page_path(path, 2).unlink, only_iterated=True)


def older_copy(path: Path) -> Scene:
    write_page(path, [frame(i * FRAME, b"%d" % i) for i in range(2)], number=1, sealed=False)
    return Scene()


def set_aside(path: Path) -> Scene:
    kept = [frame(i * FRAME, b"%d" % i) for i in (4, 5, 6)]
    write_page(path, kept, number=2, records=4, first_position=4 * FRAME, first_number=4)
    return Scene()


def another_version(path: Path) -> Scene:
    write_page(path, [], number=2)
    page = bytearray(page_path(path, 2).read_bytes())
    page[VERSION] += 2
    page[HEADER_CRC : HEADER_CRC + 4] = crc32c(bytes(page[:HEADER_CRC])).to_bytes(4, "little")
    page_path(path, 2).write_bytes(page)
    return Scene()


def retired(path: Path) -> Scene:
    page_path(path, 1).unlink()
    return Scene()


def retired_while_read(path: Path) -> Scene:
    return Scene(after_first=page_path(path, 1).unlink)


def retired_with_a_cursor(path: Path) -> Scene:
    page_path(path, 1).unlink()
    return Scene(Cursor(LOG_ID.hex(), FRAME, 1), only_followed=True)


def overtaken(path: Path) -> Scene:
    page_path(path, 2).unlink()
    later = page_path(path, 3).rename(path / "later")

    def overtake() -> None:
        page_path(path, 1).unlink()
        later.rename(page_path(path, 3))

    return Scene(when_read=overtake, only_followed=True)


def another_log(path: Path) -> Scene:
    write_page(path, [frame(8 * FRAME, b"8")], number=3, log_id=b"o" * 16, first_position=8 * FRAME)
    return Scene(only_followed=True)


def foreign_cursor(path: Path) -> Scene:
    return Scene(Cursor("f" * 32, FRAME, 1), only_followed=True)


def cursor_beyond(path: Path) -> Scene:
    return Scene(Cursor(LOG_ID.hex(), 11 * FRAME, 11), only_followed=True)


def rewound(path: Path) -> Scene:
    return Scene(Cursor(LOG_ID.hex(), FRAME, 1, before=1), only_followed=True)


SCENES: dict[str, Callable[[Path], Scene]] = {
    "nothing is wrong": nothing,
    "a frame is behind the watermark": harm(3, at(2), frame(10 * FRAME, b"10")),
    "the frame of record 5 is corrupt": harm(2, at(1) + 24, b"!"),
    "the last frame of page 2 is corrupt": harm(2, at(3) + 24, b"!"),
    "the last frame of page 3 is bad": harm(3, at(1) + 24, b"!"),
    "the line of page 2 is damaged": harm(2, STATE, b"\7"),
    "page 2 is cut behind record 5": cut,
    "page 2 has no header": harm(2, 0, b"no header"),
    "page 2 is an empty file": empty,
    "page 2 is missing": missing,
    "page 2 is removed meanwhile": removed_meanwhile,
    "page 1 is an older copy": older_copy,
    "the end of page 2 was set aside": set_aside,
    "page 2 is of another version": another_version,
    "page 1 is retired": retired,
    "page 1 is retired while it is read": retired_while_read,
    "page 1 is retired, a cursor is there": retired_with_a_cursor,
    "a follower of page 1 is overtaken": overtaken,
    "a follower meets another log's page": another_log,
    "a cursor is of another log": foreign_cursor,
    "a cursor is beyond the end": cursor_beyond,
    "a cursor's record is another one": rewound,
}


def test_every_row_is_a_test() -> None:
    """No row without a test, no test without a row."""
    assert list(SCENES) == list(TABLE)


@pytest.mark.parametrize("way", ["iterated", "followed"])
@pytest.mark.parametrize("name", TABLE)
def test_a_row_of_the_table(name: str, way: str, tmp_path: Path) -> None:
    """Which records come, and what is reported; iterating and following a log agree."""
    path = tmp_path / "log"
    write_log(path, [b"%d" % i for i in range(10)], page_records=4)
    scene = SCENES[name](path)
    damage: list[Damage] = []
    records, error = read(Reader(path, on_damage=damage.append), scene, way)
    if scene.only_followed if way == "iterated" else scene.only_iterated:
        return
    reported = [*map(name_of, damage), *([type(error).__name__] if error else [])]

    assert records == numbers_in(TABLE[name]["records"])
    assert reported == ([] if TABLE[name]["reported"] == "-" else [TABLE[name]["reported"]])


def read(log: Reader, scene: Scene, way: str) -> tuple[list[int], Exception | None]:
    """Read all there is; return the records' numbers, and what was raised."""
    numbers: list[int] = []
    try:
        for record in records_of(log, scene, way):
            numbers.append(record.number)
            if len(numbers) == 1 and scene.after_first is not None:
                scene.after_first()
    except Exception as error:
        return numbers, error
    return numbers, None


def records_of(log: Reader, scene: Scene, way: str) -> Iterator[Record]:
    if way == "iterated":
        yield from log
        return
    stream = log.stream(scene.cursor)
    yield from stream
    if scene.when_read is not None:
        scene.when_read()
    yield from stream


def name_of(damage: Damage) -> str:
    return ("torn " if damage.torn else "") + type(damage).__name__


def numbers_in(text: str) -> list[int]:
    """The numbers of `0-4, 6-9`."""
    spans = [] if text == "-" else [span.split("-") for span in text.split(", ")]
    return [number for first, last in spans for number in range(int(first), int(last) + 1)]


class TestMissing:
    """The numbers, times and reasons of records that are missing."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """Three pages: records 0-3, 4-7, 8-9; the time of record 7 is 700 s, and so on."""
        path = tmp_path / "log"
        for page, numbers in enumerate((range(4), range(4, 8), range(8, 10)), 1):
            frames = [frame(i * FRAME, b"%d" % i, time=i * 100 * 10**9) for i in numbers]
            first, last_time = numbers[0], numbers[-1] * 100 * 10**9
            place = {"first_position": first * FRAME, "first_number": first}
            write_page(path, frames, number=page, last_time=last_time, sealed=page < 3, **place)
        return path

    def missing(self, path: Path) -> Missing:
        """The only report of iterating the log, which is that of following it."""
        iterated: list[Damage] = []
        followed: list[Damage] = []
        list(Reader(path, on_damage=iterated.append))
        list(Reader(path, on_damage=followed.append).stream())
        [found] = iterated
        assert isinstance(found, Missing)
        assert [vars(found)] == [vars(each) for each in followed]
        assert iterated == followed
        assert vars(pickle.loads(pickle.dumps(found))) == vars(found)
        return found

    def test_a_page_file_that_is_missing(self, path: Path) -> None:
        """Its records, the times around them, and the page."""
        page_path(path, 2).unlink()
        found = self.missing(path)

        assert (4, 7, 300 * 10**9, 800 * 10**9) == (
            found.first_number,
            found.last_number,
            found.before,
            found.after,
        )
        assert ("page file missing", 2, 2) == (found.why, found.page, found.last_page)
        assert describe(found).startswith("page 2 is missing: 4 records (4-7), between 1970-01-01 ")

    def test_the_end_of_an_older_copy(self, path: Path) -> None:
        """A page that was copied before its last records came: nothing tells why they are not there."""
        frames = [frame(i * FRAME, b"%d" % i, time=i * 100 * 10**9) for i in range(2)]
        write_page(path, frames, sealed=False)
        found = self.missing(path)

        assert (2, 3, 100 * 10**9, 400 * 10**9) == (
            found.first_number,
            found.last_number,
            found.before,
            found.after,
        )
        assert ("", 2) == (found.why, found.page)
        assert describe(found).startswith("records 2-3 are missing before page 2, between 1970-01-01 ")

    def test_a_damaged_record(self, path: Path) -> None:
        """Where it is, its number, and the times of its neighbours."""
        put(path, 2, at(1) + 24, b"!")
        found = self.missing(path)

        assert (5, 5, 400 * 10**9, 600 * 10**9) == (
            found.first_number,
            found.last_number,
            found.before,
            found.after,
        )
        assert ("damaged", 2, at(1), FRAME) == (found.why, found.page, found.offset, found.length)
        assert ", at least 1 record (5) (crc 0x" in describe(found)

    def test_a_page_without_a_header(self, path: Path) -> None:
        """One report says what is damaged and what is missing for it."""
        put(path, 2, 0, b"no header")
        found = self.missing(path)

        assert (4, 7, 300 * 10**9, 800 * 10**9) == (
            found.first_number,
            found.last_number,
            found.before,
            found.after,
        )
        assert ("damaged", 2, 0, at(4)) == (found.why, found.page, found.offset, found.length)
        assert "page 2: no page header: 4,224 bytes skipped, 4 records (4-7), between" in describe(found)

    def test_what_recovery_set_aside(self, path: Path) -> None:
        """Records that the next page counts, and whose bytes recovery moved to a file of their own."""
        frames = [frame(i * FRAME, b"%d" % i, time=i * 100 * 10**9) for i in range(2)]
        write_page(path, frames, last_time=100 * 10**9)
        (path / "page-0000000001.bad-4160").write_bytes(b"torn")
        found = self.missing(path)

        assert (2, 3, "damaged") == (found.first_number, found.last_number, found.why)
        assert "records 2-3 are missing before page 2, " in describe(found)
        assert describe(found).endswith(": their bytes were damaged")

    def test_a_page_that_retention_removed_while_the_log_was_read(self, path: Path) -> None:
        """It was there when reading began."""
        found: list[Damage] = []
        for record in Reader(path, on_damage=found.append):
            if record.number == 0:
                page_path(path, 2).unlink()

        [missing] = found
        assert isinstance(missing, Missing)
        assert (4, 7, "retired") == (missing.first_number, missing.last_number, missing.why)
        assert "page 2 was removed by retention: 4 records (4-7), between" in describe(missing)
