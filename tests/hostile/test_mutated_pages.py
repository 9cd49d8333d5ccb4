"""A log of several pages, with everything that can stand in one, and then its bytes are mutated: no error but
those of the tree, no record that was not logged, every record whose bytes are untouched, and an end to it.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from shutil import rmtree
from typing import NamedTuple

import pytest
from support.chance import TIMES
from support.command import in_process
from support.layout import MAP_OFFSET
from support.pages import GAP, LOG_ID, SALT, Source, closes_what_it_opens, options, page_path, page_writer

from disklog_mp._core import GRANULE, Record
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.format import HEADER_LENGTH
from disklog_mp._pages.recovery import RingHints
from disklog_mp._pages.writer import PageWriter
from disklog_mp._reader.page import Page
from disklog_mp._reader.reader import Reader
from disklog_mp.errors import DiskLogError, FormatVersionError

RUNS = 40 * TIMES
LINE_END = 296  # of what a page's header says about it
NEW = [b"new %d" % i for i in range(3)]


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No processes and no shared memory here."""
    yield from closes_what_it_opens()


# -- the log -------------------------------------------------------------------------------------------------

Files = dict[int, bytearray]  # by page number


class Stood(NamedTuple):
    """Where the frame of a record stood."""

    page: int
    offset: int
    end: int


class Log(NamedTuple):
    """What was logged, and the page files as they were."""

    files: Files
    records: dict[int, Record]  # by position
    places: dict[int, Stood]


def fill(path: Path) -> None:
    """Records of many lengths, groups, gaps, a dead producer's claims, ring ends; the last page is open."""
    pages, source, dice = page_writer(path, page_bytes=200_000), Source(capacity=1 << 19), Random(0)
    for number in range(150):
        match dice.randrange(12):
            case 0:
                source.log_many(dice.randbytes(dice.randrange(60)) for _ in range(dice.randrange(1, 9)))
            case 1:
                source.log(b'{"dropped": 3, "since": 1, "until": 2}', kind=GAP)
            case 2:
                source.move(pages)
                index, lap = source.position % (1 << 19), source.position // (1 << 19) + 1
                source.ring.store64(MAP_OFFSET + index // GRANULE * 8, lap << 36 | 1 << 33 | 3)
                source.ring.abandon(source.position)
            case 3:
                source.log(dice.randbytes(dice.randrange(100_000)))
            case _:
                source.log(b"%d " % number * dice.randrange(40), tag=number)
        source.move(pages)
    pages.close()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """Made once, its bytes kept."""
    path = tmp_path_factory.mktemp("pages") / "log"
    fill(path)
    files, records, places = {}, {}, {}
    for page in Reader(path).pages():
        with page:
            files[page.number] = bytearray(page_path(path, page.number).read_bytes())
            frames = page.records_from()
            begin = frames.offset
            for record in frames:
                # A group's records stand in one frame.
                begin = begin if frames.inside and begin < frames.offset else frames.offset
                records[record.position] = record
                offset = HEADER_LENGTH + record.position - page.first_position
                places[record.position] = Stood(page.number, offset & -GRANULE, frames.offset)
    assert len(files) > 3
    return Log(files, records, places)


# -- mutations -----------------------------------------------------------------------------------------------


def any_page(files: Files, dice: Random) -> bytearray:
    return files[dice.choice(sorted(files))]


def any_place(page: bytearray, dice: Random) -> int:
    """Often in the header's line, or where a frame may begin."""
    match dice.randrange(4):
        case 0:
            return min(dice.randrange(304), len(page))
        case 1:
            return dice.randrange(len(page) // GRANULE + 1) * GRANULE
        case _:
            return dice.randrange(len(page) + 1)


def flip(files: Files, dice: Random) -> None:
    page = any_page(files, dice)
    for _ in range(dice.randrange(1, 20)):
        if page:
            page[min(any_place(page, dice), len(page) - 1)] ^= 1 << dice.randrange(8)


def put(files: Files, dice: Random) -> None:
    page = any_page(files, dice)
    number = dice.choice((0, 1, 2, 31, 32, 4096, len(page), 2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1))
    data = number.to_bytes(8, "little")[: dice.choice((2, 4, 8))]
    at = any_place(page, dice) & -4
    page[at : at + len(data)] = data


def wipe(files: Files, dice: Random) -> None:
    page = any_page(files, dice)
    at, length = any_place(page, dice), dice.choice((1, 32, 4096, 100_000))
    page[at : at + length] = bytes(len(page[at : at + length]))


def noise(files: Files, dice: Random) -> None:
    page = any_page(files, dice)
    at = any_place(page, dice)
    page[at : at + dice.choice((0, 1, 8, 500))] = dice.randbytes(dice.randrange(500))


def insert(files: Files, dice: Random) -> None:
    page = any_page(files, dice)
    at = any_place(page, dice)
    page[at:at] = dice.randbytes(dice.choice((1, 8, 32, 512, 4096)))


def cut(files: Files, dice: Random) -> None:
    page = any_page(files, dice)
    del page[any_place(page, dice) :]


def extend(files: Files, dice: Random) -> None:
    page = any_page(files, dice)
    length = dice.choice((1, 31, 32, 4096, 50_000))
    page.extend(dice.choice((bytes(length), dice.randbytes(length))))


def swap_blocks(files: Files, dice: Random) -> None:
    one, other, size = any_page(files, dice), any_page(files, dice), dice.choice((32, 512, 4096))
    a, b = (dice.randrange(len(page) // size + 1) * size for page in (one, other))
    first, second = one[a : a + size], other[b : b + size]
    one[a : a + size] = second
    other[b : b + size] = first


def copy_page(files: Files, dice: Random) -> None:
    files[dice.randrange(1, max(files) + 4)] = bytearray(any_page(files, dice))


def swap_pages(files: Files, dice: Random) -> None:
    a, b = dice.choice(sorted(files)), dice.choice(sorted(files))
    files[a], files[b] = files[b], files[a]


def remove(files: Files, dice: Random) -> None:
    if len(files) > 1:
        del files[dice.choice(sorted(files))]


MUTATIONS: tuple[Callable[[Files, Random], None], ...] = (
    flip, put, wipe, noise, insert, cut, extend, swap_blocks, copy_page, swap_pages, remove,
)  # fmt: skip


def mutate(log: Log, path: Path, dice: Random) -> set[int]:
    """Write mutated page files; return the positions of the records that no mutation touched."""
    files = {number: bytearray(page) for number, page in log.files.items()}
    for _ in range(dice.choice((1, 1, 2, 3, 5))):
        dice.choice(MUTATIONS)(files, dice)
    path.mkdir()
    for number, page in files.items():
        page_path(path, number).write_bytes(page)
    whole = {n for n, page in log.files.items() if files.get(n, b"")[:LINE_END] == page[:LINE_END]}
    return {
        position
        for position, (number, offset, end) in log.places.items()
        if number in whole and files[number][offset:end] == log.files[number][offset:end]
    }


# -- what is done with it ------------------------------------------------------------------------------------


def read(path: Path) -> list[Record]:
    return list(Reader(path, on_damage=lambda damage: None))


def look_everywhere(path: Path, found: list[Record]) -> None:
    """All ways to read come to the same records."""
    reader = Reader(path, on_damage=lambda damage: None)
    positions = [record.position for record in found]
    bites: list[int] = []
    place = None
    while bite := reader.read(place, max_records=7, max_bytes=50_000):
        bites += [record.position for record in bite[0]]
        if not bite[0]:
            break
        place = bite[1]
    assert positions == bites
    assert positions == [record.position for record in reader.follow(timeout=0)]
    middle = found[len(found) // 2] if found else None
    if middle is not None:
        place = next(r for r in [reader.begin()] if r is not None)
        rest = reader.follow(place._replace(position=middle.position, number=middle.number), timeout=0)
        assert set(positions[len(found) // 2 :]) <= {record.position for record in rest}
    times = [record.timestamp for record in reader.records(since=middle.timestamp if middle else 0)]
    times += [record.timestamp for record in reader.records(until=middle.timestamp if middle else 0)]
    assert len(times) == len(found)
    for number in (*reader.page_numbers(), 0, 99):
        with contextlib.suppress(DiskLogError), reader.get_page(number) as page:
            look_at_page(page)


def look_at_page(page: Page) -> None:
    data = [record.data for record in page]
    assert data == list(page.payloads())
    assert len(page[:]) <= len(data) <= len(page)
    assert page[::-2] == page[:][::-1][::2] or page.damage
    for index in (0, -1, len(page) // 2):
        with contextlib.suppress(IndexError, DiskLogError):
            assert page[index].data in data


def recover(path: Path) -> list[int]:
    """Open it as a writer does, log something; return the positions."""
    pages = PageWriter(Directory(path), "log", options(page_bytes=200_000))
    pages.recover(RingHints(LOG_ID, SALT))
    source = Source(base=pages.position, salt=pages.salt, log_id=pages.log_id)
    positions = [source.log(data) for data in NEW]
    source.move(pages)
    pages.close()
    return positions


@pytest.mark.parametrize("seed", range(RUNS))
def test_whatever_the_bytes_of_the_pages_are(log: Log, tmp_path: Path, seed: int) -> None:
    """Read, verified, recovered by opening, and read again; the log goes on."""
    path = tmp_path / "log"
    untouched = mutate(log, path, Random(seed))
    try:
        found = read(path)
        look_everywhere(path, found)
    except FormatVersionError:  # said plainly, and nothing is done to it
        return
    positions = {record.position for record in found}
    assert all(record == log.records.get(record.position) for record in found)
    assert untouched <= positions
    for command in ("verify", "cat", "stat"):
        assert in_process(command, str(path)) in (0, 1, 2, 3)

    new = recover(path)
    again = read(path)

    assert NEW == [record.data for record in again if record.position in new]
    assert not positions & set(new)
    assert positions <= {record.position for record in again}
    assert all(record.position in new or record == log.records.get(record.position) for record in again)
    look_everywhere(path, again)
    rmtree(path)
