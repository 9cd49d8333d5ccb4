"""Directories that were copied, restored or mixed up: on every way through the log each record that is not
given is told, and none is given twice without a word.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from support.command import objects
from support.pages import frame, page_path, write_log, write_page

from disklog_mp import CorruptPageError, CursorError, PageNotFoundError, Record, aio
from disklog_mp._reader.damage import Damage, Missing, describe
from disklog_mp._reader.reader import Reader
from disklog_mp._verify.log import verify

FRAME = 32
COUNT = 20  # records, in five pages of four


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_log(tmp_path / "log", [b"%d" % i for i in range(COUNT)], page_records=4)
    return tmp_path / "log"


def missing(path: Path) -> None:
    page_path(path, 3).unlink()


def cut(path: Path) -> None:
    os.truncate(page_path(path, 2), 4096 + 2 * FRAME)


def cut_to_nothing(path: Path) -> None:
    os.truncate(page_path(path, 2), 0)


def swapped(path: Path) -> None:
    page_path(path, 2).rename(path / "other")
    page_path(path, 3).rename(page_path(path, 2))
    (path / "other").rename(page_path(path, 3))


def twice(path: Path) -> None:
    """Page 3 is a copy of page 2, under the name of page 3."""
    page_path(path, 3).write_bytes(page_path(path, 2).read_bytes())


def later_number(path: Path) -> None:
    """Page 4 and 5 are of a time at which other records had been logged."""
    page_path(path, 4).unlink()
    frames = [frame((30 + i) * FRAME, b"%d" % (30 + i)) for i in range(4)]
    write_page(path, frames, number=5, first_position=30 * FRAME, first_number=30, sealed=False)


def hole(path: Path) -> None:
    """Page 5 follows on page 4, and begins with a later record."""
    frames = [frame((18 + i) * FRAME, b"%d" % (18 + i)) for i in range(2)]
    write_page(path, frames, number=5, first_position=18 * FRAME, first_number=18, sealed=False)


def older_copy(path: Path) -> None:
    """Page 2 as it was copied before its last two records came."""
    frames = [frame((4 + i) * FRAME, b"%d" % (4 + i)) for i in range(2)]
    write_page(path, frames, number=2, first_position=4 * FRAME, first_number=4, sealed=False)


def overlapping(path: Path) -> None:
    """Page 3 to 5 are of a copy that went on behind record 5, on its own."""
    for number, first in ((3, 6), (4, 10), (5, 14)):
        frames = [frame((64 + first + i) * FRAME, b"%d" % (first + i)) for i in range(4)]
        write_page(path, frames, number=number, first_position=(64 + first) * FRAME, first_number=first)


def replaced(path: Path) -> None:
    """Page 2 is that of a copy that went on behind record 4: as many records, in more bytes."""
    records = [b"4", *(b"of the copy" * 4 for _ in range(3))]
    frames: list[bytes] = []
    for data in records:
        frames.append(frame(4 * FRAME + sum(map(len, frames)), data, time=1))
    write_page(path, frames, number=2, first_position=4 * FRAME, first_number=4)


def foreign(path: Path) -> None:
    """Page 3 is of another log, and all its numbers fit."""
    frames = [frame((8 + i) * FRAME, b"foreign") for i in range(4)]
    write_page(path, frames, number=3, first_position=8 * FRAME, first_number=8, log_id=b"f" * 16)


def foreign_first(path: Path) -> None:
    write_page(path, [frame(i * FRAME, b"foreign") for i in range(4)], log_id=b"f" * 16)


def sparse(path: Path) -> None:
    """A hole in page 2, where two records were."""
    with page_path(path, 2).open("r+b") as file:
        file.seek(4096 + FRAME)
        file.write(bytes(2 * FRAME))


def end_of_a_page(path: Path) -> None:
    """The last record of page 2 is damaged, and its first one."""
    with page_path(path, 2).open("r+b") as file:
        for place in (0, 3):
            file.seek(4096 + place * FRAME + 24)
            file.write(b"!")


ATTACKS = [
    sparse,
    end_of_a_page,
    missing,
    cut,
    cut_to_nothing,
    swapped,
    twice,
    later_number,
    hole,
    older_copy,
    overlapping,
    replaced,
    foreign,
    foreign_first,
]


class Listening(Reader):
    """A reader that keeps what it reports."""

    def __init__(self, path: Path) -> None:
        self.told: list[Damage] = []
        self.tell = self.told.append
        super().__init__(path, on_damage=self.tell)

    def forget(self) -> None:
        """Be as new."""
        super().__init__(self.path, on_damage=self.tell)


def iterate(reader: Listening) -> Iterable[Record]:
    return list(reader)


def follow(reader: Listening) -> Iterable[Record]:
    return reader.follow(timeout=0)


def read(reader: Listening) -> Iterable[Record]:
    cursor = None
    while True:
        records, cursor = reader.read(cursor, 3)
        if not records:
            return
        yield from records


def read_anew(reader: Listening) -> Iterable[Record]:
    """As a program that is started again for each bite."""
    cursor = None
    while True:
        reader.forget()
        records, cursor = reader.read(cursor and str(cursor), 3)
        if not records:
            return
        yield from records


def read_backward(reader: Listening) -> Iterable[Record]:
    cursor = None
    while True:
        records, cursor = reader.read(cursor, 3, backward=True)
        if not records:
            return
        yield from records


def page_by_page(reader: Listening) -> Iterable[Record]:
    for page in reader.pages():
        yield from page


def part_by_part(reader: Listening) -> Iterable[Record]:
    """By numbers, from 2 on, and the rest."""
    yield from reader.records(2)
    yield from reader.records(0, 2)


def with_asyncio(reader: Listening) -> Iterable[Record]:
    async def read() -> list[Record]:
        return [record async for record in aio.Reader(reader.path, on_damage=reader.tell)]

    return asyncio.run(read())


WAYS = [iterate, follow, read, read_anew, read_backward, page_by_page, part_by_part, with_asyncio]


RAISE = [follow, read, read_anew]  # CursorError behind the page of another log, or before that of a copy


def numbers_of(missing: Missing) -> range:
    """The records that are told to be missing."""
    return range(missing.first_number, missing.first_number + missing.records)


def check(given: list[int], told: Iterable[range], said: str, *, is_told_twice: bool) -> None:
    """Each record from the first to the last is given or told, and told if it is given twice."""
    lost = {number for numbers in told for number in numbers}
    everything = range(min(given, default=0), max(given) + 1)
    assert set(everything) <= set(given) | lost, said
    assert not set(given) & lost, said
    assert len(given) == len(set(given)) or is_told_twice, said


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_what_is_not_given_is_told(attack: Callable[[Path], None], path: Path) -> None:
    """Iterated, followed, in bites, backward, by pages, by numbers, with asyncio; cat and tail as well."""
    attack(path)
    for way in WAYS:
        reader = Listening(path)
        given: list[int] = []
        try:
            for record in way(reader):
                assert b"foreign" != record.data or way in RAISE
                given.append(record.number)
        except CursorError:
            assert way in RAISE
            continue
        lost = [each for each in reader.told if isinstance(each, Missing)]
        again = any(each.why == "numbered twice" for each in lost)
        said = f"{way.__name__}: {given}, {[*map(describe, reader.told)]}"
        check(given, map(numbers_of, lost), said, is_told_twice=again)
        assert reader.told, said

    for command in (("cat",), ("cat", "-n", 100), ("tail", "-n", 100)):
        given, told, again = [], [], False
        for each in objects(*command, path, "--notes", code=1):
            if "number" in each:
                given.append(each["number"])
            elif "first_number" in each:
                told.append(range(each["first_number"], each["first_number"] + each["records"]))
                again |= each["why"] == "numbered twice"
        check(given, told, f"{command}: {given} {told}", is_told_twice=again)

    assert 3 == verify(str(path), "log", None).exit_code


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_steps_and_pages_are_those_that_were_asked_for(attack: Callable[[Path], None], path: Path) -> None:
    """step() and get_page() go to the page of that number or raise; what they pass over is told."""
    attack(path)
    for number in range(1, 6):
        reader = Listening(path)
        try:
            with reader.get_page(number) as page:
                assert number == page.number
                given = [record.number for record in page if record.data != b"foreign"]
                lost = [
                    record for each in reader.told if isinstance(each, Missing) for record in numbers_of(each)
                ]
                assert len(page) == len(given) + len(lost)
        except (PageNotFoundError, CorruptPageError):
            assert attack in {missing, cut_to_nothing, swapped, twice, later_number, foreign, foreign_first}

    reader = Listening(path)
    if attack is foreign_first:
        with pytest.raises(CursorError):
            reader.step(None)
        with pytest.raises(CursorError):
            reader.step(reader.end(), -4)
        return
    last = reader.step(None, 5 - next(reader.pages()).number)
    told = set(reader.told)
    assert told
    first = reader.step(last, -4)
    assert first is not None
    assert 0 == first.number
    assert told == set(reader.told)
