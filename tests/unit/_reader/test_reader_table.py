"""The table of cases at the top of reader.py: each row is a test, and says what is expected."""

import pickle
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.pages import LOG_ID, crc32c, frame, group, page_path, seal, write_log, write_page
from support.tables import rows_of

from disklog_mp._core import Record
from disklog_mp._pages.format import HEADER_CRC, HEADER_LENGTH, PAGE_OPEN, STATE, VERSION, WATERMARK
from disklog_mp._reader import reader
from disklog_mp._reader import stream as _stream
from disklog_mp._reader.cursor import Cursor
from disklog_mp._reader.damage import Damage, Missing, describe
from disklog_mp._reader.reader import Reader

TABLE = rows_of(reader)
FRAME = 32
SECOND = 10**9


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


def empty_end(path: Path) -> Scene:
    page_path(path, 3).write_bytes(b"")
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


def foreign_page(path: Path) -> Scene:
    write_page(path, [frame(0, b"!")] * 4, number=2, first_number=4, log_id=b"o" * 16)
    return Scene(only_iterated=True)


def begins_again(path: Path) -> Scene:
    last_page(path, range(6, 10), first_position=6 * FRAME, first_number=6)
    return Scene(only_iterated=True)


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


def last_page(path: Path, numbers: range, **other: Any) -> None:
    """Put a page 3 with records of these numbers in the place of the one that is there, whose file stays."""
    frames = [frame(i * FRAME, b"%d" % i) for i in numbers]
    place = {"number": 3, "first_position": 8 * FRAME, "first_number": 8, "sealed": False}
    write_page(path, frames, **{**place, **other})


def older_end(path: Path) -> Scene:
    return Scene(when_read=lambda: last_page(path, range(8, 9)), only_followed=True)


def overwritten(path: Path) -> Scene:
    def overwrite() -> None:
        before = page_path(path, 3).rename(path / "before")
        last_page(path, range(8, 9))
        shutil.copyfile(page_path(path, 3), before)
        before.rename(page_path(path, 3))

    return Scene(when_read=overwrite, only_followed=True)


def another_page(path: Path) -> Scene:
    return Scene(when_read=lambda: last_page(path, range(8, 10), log_id=b"o" * 16), only_followed=True)


def other_records(path: Path) -> Scene:
    return Scene(when_read=lambda: last_page(path, range(8, 12)), only_followed=True)


def earlier_end(path: Path) -> Scene:
    def restore() -> None:
        page_path(path, 3).unlink()
        put(path, 2, STATE, PAGE_OPEN.to_bytes(4, "little"))

    return Scene(when_read=restore, only_followed=True)


def older_end_and_more(path: Path) -> Scene:
    def restore() -> None:
        last_page(path, range(8, 9), sealed=True)
        more = {"number": 4, "first_position": 64 * FRAME, "first_number": 9}
        write_page(path, [frame((64 + i) * FRAME, b"%d" % (9 + i)) for i in range(3)], **more)

    return Scene(when_read=restore, only_followed=True)


def next_page_begins_again(path: Path) -> Scene:
    place = {"number": 4, "first_position": 64 * FRAME, "first_number": 9}
    frames = [frame((64 + i) * FRAME, b"%d" % (9 + i)) for i in range(3)]
    return Scene(when_read=lambda: write_page(path, frames, **place), only_followed=True)


def write_copy(path: Path) -> None:
    """Copy page 3, as an overlay does, and write records 10 and 11 to the copy, as a group."""
    page = bytearray(page_path(path, 3).read_bytes())
    page[at(2) : at(5)] = group(10 * FRAME, [b"10", b"11"])
    struct.pack_into("<QQ", page, WATERMARK, at(5), 4)
    (path / "copy").write_bytes(page)
    (path / "copy").rename(page_path(path, 3))


def copied(path: Path) -> Scene:
    return Scene(when_read=lambda: write_copy(path), only_followed=True)


def copied_and_more(path: Path) -> Scene:
    def go_on() -> None:
        write_copy(path)
        page = bytearray(page_path(path, 3).read_bytes())
        seal(page)
        page_path(path, 3).write_bytes(page)
        more = {"number": 4, "first_position": 13 * FRAME, "first_number": 12}
        write_page(path, [frame(13 * FRAME, b"12")], **more)

    return Scene(when_read=go_on, only_followed=True)


def no_directory(path: Path) -> Scene:
    return Scene(when_read=lambda: shutil.rmtree(path), only_followed=True)


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
    "page 3 is an empty file": empty_end,
    "page 2 is missing": missing,
    "page 2 is removed meanwhile": removed_meanwhile,
    "page 1 is an older copy": older_copy,
    "the end of page 2 was set aside": set_aside,
    "page 2 is of another log, no cursor": foreign_page,
    "page 3 begins again with record 6": begins_again,
    "page 2 is of another version": another_version,
    "page 1 is retired": retired,
    "page 1 is retired while it is read": retired_while_read,
    "page 1 is retired, a cursor is there": retired_with_a_cursor,
    "a follower of page 1 is overtaken": overtaken,
    "a follower meets another log's page": another_log,
    "page 3 becomes an older copy": older_end,
    "page 3 is overwritten by an older one": overwritten,
    "page 3 becomes another page": another_page,
    "page 3 becomes one of other records": other_records,
    "page 3 is gone, page 2 is open": earlier_end,
    "an older page 3, then page 4": older_end_and_more,
    "page 4 begins again with record 9": next_page_begins_again,
    "page 3 is copied, and is written": copied,
    "page 3 is copied, then comes page 4": copied_and_more,
    "the log's directory is gone": no_directory,
    "a cursor is of another log": foreign_cursor,
    "a cursor is beyond the end": cursor_beyond,
    "a cursor's record is another one": rewound,
}


def test_every_row_is_a_test() -> None:
    """No row without a test, no test without a row."""
    assert list(SCENES) == list(TABLE)


@pytest.mark.parametrize("way", ["iterated", "followed"])
@pytest.mark.parametrize("name", TABLE)
def test_a_row_of_the_table(name: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which records come, and what is reported; iterating and following a log agree."""
    monkeypatch.setattr(_stream, "PATH_POLL", (0.0, 0.0))
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


@pytest.fixture
def timed(tmp_path: Path) -> Path:
    """Three pages: records 0-3, 4-7, 8-9; the time of record 7 is 700 s, and so on."""
    path = tmp_path / "log"
    for page, numbers in enumerate((range(4), range(4, 8), range(8, 10)), 1):
        frames = [frame(i * FRAME, b"%d" % i, time=i * 100 * SECOND) for i in numbers]
        first, last_time = numbers[0], numbers[-1] * 100 * SECOND
        place = {"first_position": first * FRAME, "first_number": first}
        write_page(path, frames, number=page, last_time=last_time, sealed=page < 3, **place)
    return path


def page_1_ends_with_record_1(path: Path, *, sealed: bool = False) -> None:
    frames = [frame(i * FRAME, b"%d" % i, time=i * 100 * SECOND) for i in range(2)]
    write_page(path, frames, last_time=100 * SECOND, sealed=sealed)


def bytes_were_set_aside(path: Path) -> None:
    page_1_ends_with_record_1(path, sealed=True)
    (path / "page-0000000001.bad-4160").write_bytes(b"torn")


def page_2_is_of_another_log(path: Path) -> None:
    write_page(path, [frame(0)], number=2, log_id=b"o" * 16)


# what happens: first and last number, seconds before and after, reason, pages, range, what the line has
Told = tuple[int, int, int, int, str, tuple[int, int], tuple[int, int], str]
MISSING: dict[Callable[[Path], object], Told] = {
    lambda path: page_path(path, 2).unlink(): (
        (
            4,
            7,
            300,
            800,
            "page file missing",
            (2, 2),
            (0, 0),
            "page 2 is missing: 4 records (4-7), between 1970-01-01 ",
        )
    ),
    page_1_ends_with_record_1: (
        (2, 3, 100, 400, "", (2, 2), (0, 0), "records 2-3 are missing before page 2, between 1970-01-01 ")
    ),
    lambda path: put(path, 2, at(1) + 24, b"!"): (
        (5, 5, 400, 600, "damaged", (2, 2), (at(1), FRAME), ", at least 1 record (5) (crc 0x")
    ),
    lambda path: put(path, 2, 0, b"no header"): (
        (
            4,
            7,
            300,
            800,
            "damaged",
            (2, 2),
            (0, at(4)),
            "page 2: no page header: 4,224 bytes skipped, 4 records (4-7), between",
        )
    ),
    lambda path: page_path(path, 2).write_bytes(b""): (
        (
            4,
            7,
            300,
            800,
            "page file empty",
            (2, 2),
            (0, 0),
            "page 2 is an empty file: 4 records (4-7), between",
        )
    ),
    bytes_were_set_aside: (2, 3, 100, 400, "damaged", (2, 2), (0, 0), ": their bytes were damaged"),
}


@pytest.mark.parametrize("happens", MISSING)
def test_numbers_times_and_reason_of_what_is_missing(happens: Callable[[Path], object], timed: Path) -> None:
    """The only report, of iterating the log and of following it; its line says the same."""
    happens(timed)
    reports: list[list[Damage]] = [[], []]
    list(Reader(timed, on_damage=reports[0].append))
    list(Reader(timed, on_damage=reports[1].append).stream())
    [found], [followed] = reports

    assert isinstance(found, Missing)
    assert (found, vars(found)) == (followed, vars(followed))
    assert vars(pickle.loads(pickle.dumps(found))) == vars(found)
    *expected, line = MISSING[happens]
    assert expected == [
        found.first_number,
        found.last_number,
        found.before // SECOND,
        found.after // SECOND,
        found.why,
        (found.page, found.last_page),
        (found.offset, found.length),
    ]
    assert line in describe(found)


def test_a_page_that_retention_removed_while_the_log_was_read(timed: Path) -> None:
    """It was there when reading began."""
    found: list[Damage] = []
    for record in Reader(timed, on_damage=found.append):
        if record.number == 0:
            page_path(timed, 2).unlink()

    [missing] = found
    assert isinstance(missing, Missing)
    assert (4, 7, "retired") == (missing.first_number, missing.last_number, missing.why)
    assert "page 2 was removed by retention: 4 records (4-7), between" in describe(missing)


def test_a_page_of_another_log_and_one_that_begins_again(timed: Path) -> None:
    """They are told where the log is iterated; the records of both copies are given."""
    told: list[Damage] = []
    place = {"number": 3, "first_position": 64 * FRAME, "first_number": 6}
    write_page(timed, [frame((64 + i) * FRAME) for i in range(4)], **place)
    assert [*range(8), *range(6, 10)] == [record.number for record in Reader(timed, on_damage=told.append)]
    page_2_is_of_another_log(timed)
    assert [*range(4), *range(6, 10)] == [record.number for record in Reader(timed, on_damage=told.append)]

    twice, foreign = map(describe, told)
    assert "page 3 begins with record 6 again: the page before it ends with record 7" == twice
    assert foreign.startswith("page 2 is of another log: 4,128 bytes skipped, 2 records (4-5), ")
