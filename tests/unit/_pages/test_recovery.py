"""Opening is recovering: what is done with a directory as a crash, a bad disk or a stranger left it."""

import errno
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from shutil import rmtree
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.chance import TIMES
from support.faulty_files import FaultyFiles, Killed, content, files_that_die
from support.pages import (
    LOG_ID,
    SALT,
    Source,
    crc32c,
    frame,
    options,
    page_path,
    page_writer,
    seal,
    write_log,
    write_page,
)

from disklog_mp._os import processes as _processes
from disklog_mp._os.files import REAL, Files
from disklog_mp._pages import format as _page_format
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.recovery import Recovered, RingHints
from disklog_mp._pages.survey import LEAP
from disklog_mp._pages.writer import PageWriter
from disklog_mp._reader.damage import Damage
from disklog_mp._reader.reader import Reader
from disklog_mp.errors import FormatVersionError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


# The log all damages are done to: page 1 sealed with 4 records, page 2 open with 10, each frame 128 bytes.
FRAME = 128
END = 4096 + 10 * FRAME
FULL = 4096 + (1 << 20)
RECORDS = [b"%02d" % i * 50 for i in range(14)]
NEW = [b"new %d" % i for i in range(3)]
NOISE = bytes(range(1, 251)) * 4


def make_log(path: Path) -> None:
    pages = page_writer(path)
    source = Source()
    for i, data in enumerate(RECORDS):
        source.log(data)
        source.move(pages)
        if i == 3:
            pages.seal()
    pages.close()


def recover(
    path: Path, files: Files = REAL, *, ring: bool = False, released: int | None = None
) -> tuple[PageWriter, Recovered]:
    pages = PageWriter(Directory(path, files), "log", options())
    log_id, salt = (LOG_ID, SALT) if ring else (b"N" * 16, 99)
    return pages, pages.recover(RingHints(log_id, salt, ring_is_there=ring, released=released))


def append(pages: PageWriter, records: list[bytes]) -> list[int]:
    """Log these records behind what is there; return their positions."""
    source = Source(base=pages.position, salt=pages.salt, log_id=pages.log_id)
    positions = [source.log(data) for data in records]
    source.move(pages)
    return positions


def read(path: Path) -> tuple[list[bytes], list[Damage]]:
    damage: list[Damage] = []
    return [record.data for record in Reader(path, on_damage=damage.append)], damage


# -- the table -----------------------------------------------------------------------------------------------

Harm = Callable[[bytearray], object]


def cut(length: int) -> Harm:
    return lambda page: page.__delitem__(slice(length, None))


def extend(data: bytes) -> Harm:
    return lambda page: page.extend(data)


def put(offset: int, data: bytes) -> Harm:
    return lambda page: page.__setitem__(slice(offset, offset + len(data)), data)


def flip(offset: int, bit: int = 0) -> Harm:
    return lambda page: page.__setitem__(offset, page[offset] ^ 1 << bit)


def word(offset: int, value: int) -> Harm:
    return put(offset, struct.pack("<Q", value % 2**64))


def line(watermark: int, records: int) -> Harm:
    return put(256, struct.pack("<QQ", watermark, records))


def both(*harms: Harm) -> Harm:
    return lambda page: [harm(page) for harm in harms]


def at(record: int) -> int:
    """The offset of a record's frame in page 2."""
    return 4096 + record * FRAME


class Case(NamedTuple):
    """A damage of page 2, what recovery without a ring makes of it, and what is lost."""

    name: str
    harm: Harm
    lost: tuple[int, ...] = ()  # of its 10 records
    torn: int = 0
    ranges: int = 0
    aside: slice | None = None  # of the damaged file, kept aside
    number: int = 14  # of the next record
    gained: int = 0
    new_page: bool = False  # the log goes on in another page


ALL = tuple(range(10))
NEXT = frame(14 * FRAME, RECORDS[0])
CASES = [
    Case("nothing", lambda page: None),
    # -- cut
    Case("the last frame cut in half", cut(at(9) + 64), (9,), FRAME, 0, slice(at(9), None), new_page=True),
    Case("the last frame's header cut", cut(at(9) + 11), (9,), FRAME, 0, slice(at(9), None), new_page=True),
    Case("the last record's last byte", cut(at(9) + 123), (9,), FRAME, 0, slice(at(9), None), new_page=True),
    Case("only padding cut off", cut(END - 4), (9,), FRAME, 0, slice(at(9), None), new_page=True),
    Case("cut between two frames", cut(at(7)), (7, 8, 9), 3 * FRAME, 0, None, new_page=True),
    Case("cut behind its header", cut(4096), ALL, 10 * FRAME, 0, None, new_page=True),
    # -- extended
    Case("grown but never filled", extend(bytes(40_000))),
    Case("cut to its last frame", cut(END)),
    Case("noise behind its end", extend(NOISE), (), 8192 - END + 1000, 0, slice(END, None), new_page=True),
    Case("noise behind its last frame", put(END, NOISE), (), 1000, 0, slice(END, END + 1000), new_page=True),
    Case("one byte behind its last frame", put(END, b"!"), (), 1, 0, slice(END, END + 1), new_page=True),
    # -- bits
    *(
        Case(f"a bit of frame 3's {what}", flip(at(3) + offset), (3,), 0, 1)
        for what, offset in [
            ("length", 0), ("length, far", 3), ("checksum", 5), ("time", 10), ("pid", 17), ("kind", 20),
            ("tag", 22), ("first byte", 24), ("last byte", 123),
        ]
    ),
    Case("a bit of padding", flip(at(3) + 125)),
    Case("a bit of the first frame", flip(at(0) + 30), (0,), 0, 1),
    Case("two frames apart", both(flip(at(2) + 30), flip(at(6) + 30)), (2, 6), 0, 2),
    Case("two frames in a row", both(flip(at(2) + 30), flip(at(3) + 30)), (2, 3), 0, 1),
    Case("a bit of the last frame", flip(at(9) + 30), (9,), FRAME, 0, slice(at(9), END), new_page=True),
    Case(
        "a frame in the middle and the last", both(flip(at(2) + 30), flip(at(9) + 30)),
        (2, 9), FRAME, 1, slice(at(9), END), new_page=True,
    ),
    Case("the last two frames zeros", put(at(8), bytes(2 * FRAME)), (8, 9), 2 * FRAME, new_page=True),
    Case("zeros in the middle", put(at(4), bytes(FRAME)), (4,), 0, 1),
    Case("all frames zeros", put(4096, bytes(10 * FRAME)), ALL, 10 * FRAME, new_page=True),
    Case("all frames noise", put(4096, NOISE + NOISE[:280]), ALL, 10 * FRAME, 0,
         slice(4096, END), new_page=True),
    Case("a frame of another place", put(at(3), frame(3 * FRAME, RECORDS[3])), (3,), 0, 1),
    Case("a frame of another log", put(at(3), frame(7 * FRAME, b"x" * 100, salt=1)), (3,), 0, 1),
    # -- behind the watermark
    Case("a frame not published", put(END, NEXT), gained=1, number=15),
    Case("half a frame not published", put(END, NEXT[:64]), (), 64, 0, slice(END, END + 64), new_page=True),
    Case("a frame behind a hole", put(END + 64, frame(14 * FRAME + 64, b"x")), (), 0, 1, gained=1, number=16),
    # -- the line
    Case("a watermark of zero", word(256, 0)),
    Case("a watermark of noise", word(256, 0xFEDCBA9876543210)),
    Case("a watermark of all ones", word(256, -1)),
    Case("a watermark between granules", word(256, END - 1)),
    Case("a watermark of earlier", line(at(5), 5)),
    Case("a watermark of later", word(256, 8192), (), 8192 - END, new_page=True),
    Case("a watermark behind the file's end", word(256, FULL), (), FULL - END, new_page=True),
    Case("a count of noise", word(264, 0xFEDCBA9876543210)),
    Case("a count of none", word(264, 0)),
    Case("a time of noise", word(272, 0xFEDCBA9876543210)),
    Case("a state of zero", put(280, bytes(4))),
    Case("a state of noise", put(280, b"\x07")),
    Case("a seal without its checksum", put(280, b"\2")),
    Case("a seal of noise", put(280, b"\2\0\0\0abcdABCDabcd")),
    Case("a line of zeros", put(256, bytes(40))),
    # -- the header
    *(
        Case(f"a bit of the header's {what}", flip(offset), ALL, 0, 0, slice(0, None), new_page=True)
        for what, offset in [
            ("magic", 0), ("version", 8), ("length", 12), ("log", 20), ("number", 32), ("position", 40),
            ("salt", 56), ("name", 105), ("reserve", 240), ("checksum", 254),
        ]
    ),
    Case("a header of noise", put(0, NOISE + NOISE), ALL, 0, 0, slice(0, None), new_page=True),
    Case("a header of zeros", put(0, bytes(4096)), ALL, 0, 0, slice(0, None), new_page=True),
    Case("half a header", cut(2000), ALL, 0, 0, slice(0, None), number=4, new_page=True),
    Case("an empty file", cut(0), ALL, 0, 0, slice(0, None), number=4, new_page=True),
]  # fmt: skip


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest, path: Path) -> Case:
    """Each damage of the table, done."""
    chosen: Case = request.param
    make_log(path)
    page = bytearray(page_path(path, 2).read_bytes())
    chosen.harm(page)
    page_path(path, 2).write_bytes(page)
    return chosen


class TestDamages:
    def test_what_is_reported_kept_aside_and_read(self, case: Case, path: Path) -> None:
        """Each damage costs what it must, is reported with its extent, and no byte of it is thrown away."""
        damaged = page_path(path, 2).read_bytes()
        whole = case.aside == slice(0, None)
        pages, report = recover(path)
        pages.close()
        left = [data for i, data in enumerate(RECORDS) if i - 4 not in case.lost]

        assert (4 if whole else 14 - len(case.lost) + case.gained) == report.records
        assert (case.torn, case.ranges) == (report.torn_bytes, report.corrupt_ranges)
        assert (len(case.lost) if case.ranges and not case.torn else 0) <= report.corrupt_bytes
        kept = {name: data for name, data in content(path).items() if ".bad-" in name}
        if case.aside is None:
            assert not kept
            assert report.set_aside == ()
        else:
            assert [damaged[case.aside]] == list(kept.values())
            assert [f"page-0000000002.bad-{case.aside.start}"] == list(kept)
            assert tuple(str(path / name) for name in kept) == report.set_aside
        found, damage = read(path)
        assert left == found[: len(left)]
        assert len(left) + case.gained == len(found)
        assert case.number - len(found) == sum(each.records for each in damage)
        assert case.ranges == sum(each.length > 0 for each in damage)
        assert not any(each.torn for each in damage)

    def test_nothing_is_given_twice(self, case: Case, path: Path) -> None:
        """No position, number or page number that a record or a page had before, though it be lost."""
        pages, report = recover(path)
        left = page_path(path, 2).exists()
        positions = append(pages, NEW)
        pages.close()
        records = list(Reader(path, on_damage=lambda damage: None))

        assert report.position == positions[0] >= 14 * FRAME
        assert report.position < 14 * FRAME + (2 << 20) or not left
        assert case.number == report.number
        assert [case.number, case.number + 1, case.number + 2] == [record.number for record in records[-3:]]
        allowed = {(1, 2, 3) if left else (1, 3)} if case.new_page else {(1, 2), (1, 2, 3)}
        assert tuple(Directory(path).pages()) in allowed
        assert sorted(record.position for record in records) == [record.position for record in records]

    def test_what_is_logged_afterwards_survives_another_recovery(self, case: Case, path: Path) -> None:
        """A repaired log is a log: it is read, recovered and continued like any other."""
        pages, _ = recover(path)
        append(pages, NEW)
        pages.close()
        before = read(path)
        aside = [name for name in os.listdir(path) if ".bad-" in name]
        pages, report = recover(path)
        append(pages, NEW)
        pages.close()
        found, damage = read(path)

        assert before[0][-3:] == NEW
        assert before[0] + NEW == found
        assert before[1] == damage
        assert (report.torn_bytes, report.set_aside) == (0, ())
        assert aside == [name for name in os.listdir(path) if ".bad-" in name]

    def test_numbers_are_right_behind_the_damage(self, case: Case, path: Path) -> None:
        """A record that survived has the number it was logged under, in a page that says how many it has."""
        pages, _ = recover(path)
        append(pages, NEW)
        pages.close()
        places = {data: number for number, data in enumerate(RECORDS)}
        for page in Reader(path, on_damage=lambda damage: None).pages():
            for record in page:
                if record.data in places and record.position < 14 * FRAME:
                    assert places[record.data] == record.number
            lost = sum(damage.records for damage in page.damage)
            assert len(page) == lost + len(list(page))

    def test_with_the_ring_at_hand_only_what_it_gave_back_is_lost(self, case: Case, path: Path) -> None:
        """The last three records, still in the ring, are written again over any bytes in their place."""
        source = Source()
        for data in RECORDS:
            source.log(data)
        source.release(11 * FRAME)
        pages, report = recover(path, ring=True, released=11 * FRAME)
        while source.position < min(pages.position, 14 * FRAME):  # as the writer does
            source.release(source.drain(FRAME).end)
        assert source.position == pages.position
        source.move(pages)
        append(pages, NEW)
        pages.close()
        left = [data for i, data in enumerate(RECORDS) if i - 4 not in case.lost or i >= 11]
        found, _ = read(path)

        assert left + NEW == found
        assert report.position < LEAP

    def test_interrupted_at_any_step_it_can_be_repeated(self, case: Case, path: Path, tmp_path: Path) -> None:
        """Killed in each file operation and before each store: the second time the outcome is the same."""
        before = content(path)
        counting = FaultyFiles()
        pages, expected = recover(path, counting)
        pages.close()
        outcome = normal(path)
        for step in range(1, counting.steps + 1):
            again = tmp_path / str(step)
            again.mkdir()
            for name, data in before.items():
                (again / name).write_bytes(data)
            files = files_that_die(step)
            with suppress(Killed):
                pages, _ = recover(again, files)
                pages.close()
            files.bury()
            pages, report = recover(again)
            pages.close()

            assert outcome == normal(again), f"killed at step {step}"
            assert (expected.position, expected.number) == (report.position, report.number)


def normal(path: Path) -> dict[str, bytes]:
    """The files of a directory but for what may differ: when a page was made, how often its bell rang, and
    how much disk space behind a sealed page was given back.
    """
    files = {}
    for name, data in content(path).items():
        files[name] = data
        if name.endswith(".dlog") and len(data) >= 4096:
            watermark, state, data_crc = struct.unpack_from("<Q16xI4xI", data, 256)
            kept = data[296 : watermark if state == 2 else None]
            data_crc = data_crc if state == 2 else 0
            files[name] = data[:64] + data[72:252] + data[256:284] + struct.pack("<I", data_crc) + kept
    return files


class TestCuts:
    @pytest.mark.parametrize("offset", [0, 1, 24, 31, 32, 33, 64, 96, 120, 127])
    def test_cut_at_any_byte(self, path: Path, offset: int) -> None:
        """What stood whole before the cut is read; the rest is kept aside; the log goes on."""
        make_log(path)
        page = page_path(path, 2).read_bytes()
        for record in (0, 4, 9):
            place = path / f"{record}"
            place.mkdir()
            (place / page_path(path).name).write_bytes(page_path(path).read_bytes())
            page_path(place, 2).write_bytes(page[: at(record) + offset])
            pages, report = recover(place)
            append(pages, NEW)
            pages.close()

            assert RECORDS[: 4 + record] + NEW == read(place)[0]
            assert (10 - record) * FRAME == report.torn_bytes
            assert (offset > 0) == bool(report.set_aside)

    @settings(
        max_examples=30 * TIMES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(data=st.data())
    def test_any_number_of_changed_bytes(self, path: Path, data: st.DataObject) -> None:
        """Mutated anywhere, opening never fails but for a version; what is read is a subset, in order."""
        rmtree(path, ignore_errors=True)
        make_log(path)
        page = bytearray(page_path(path, 2).read_bytes())
        for _ in range(data.draw(st.integers(1, 5), label="how many")):
            where = data.draw(st.one_of(st.integers(0, 300), st.integers(4096, END + 40)), label="where")
            page[where] = data.draw(st.integers(0, 255), label="what")
        if data.draw(st.booleans(), label="cut"):
            del page[data.draw(st.integers(0, len(page)), label="length") :]
        page_path(path, 2).write_bytes(page)
        ring = data.draw(st.booleans(), label="ring")
        try:
            pages, report = recover(path, ring=ring, released=14 * FRAME if ring else None)
        except FormatVersionError:
            return
        positions = append(pages, NEW)
        pages.close()
        found, _ = read(path)
        survived = iter(RECORDS)

        assert found[-3:] == NEW
        assert all(any(record == other for other in survived) for record in found[:-3])
        assert report.position == positions[0] >= 14 * FRAME
        pages, again = recover(path)
        pages.close()
        assert (again.torn_bytes, again.set_aside) == (0, ())


class TestFiles:
    def test_the_file_of_a_page_is_never_cut_below_what_was_published(self, path: Path) -> None:
        """A reader may have mapped it, and memory without a file behind it is SIGBUS."""
        make_log(path)
        page = bytearray(page_path(path, 2).read_bytes())
        page[at(0) : END] = NOISE + bytes(280)
        page += bytes(40 * 4096)
        struct.pack_into("<Q", page, 256, 4096 + 20_000 // 32 * 32)
        page_path(path, 2).write_bytes(page)
        pages, _ = recover(path)
        pages.close()

        assert page_path(path, 2).stat().st_size >= 4096 + 20_000 // 32 * 32

    def test_a_page_that_was_being_made_never_was(self, path: Path) -> None:
        """Leftovers under the temporary name go, of any number."""
        make_log(path)
        for number in (2, 3, 17):
            (path / f".page-{number:010d}.new").write_bytes(b"half a header")
        pages, report = recover(path)
        pages.close()

        assert Directory(path).pages() == [1, 2]
        assert (report.position, report.number) == (14 * FRAME, 14)
        assert not [name for name in os.listdir(path) if name.endswith(".new")]

    def test_a_page_of_another_version_is_left_alone(self, path: Path) -> None:
        """FormatVersionError with both versions, and not a byte is changed."""
        make_log(path)
        page = bytearray(page_path(path, 2).read_bytes())
        page[8] = 9
        page[252:256] = struct.pack("<I", crc32c(bytes(page[:252])))
        page_path(path, 2).write_bytes(page)
        before = content(path)
        with pytest.raises(
            FormatVersionError, match=r"page-0000000002.dlog: a page of version 9; .* format 2"
        ):
            recover(path)

        assert before == content(path)

    def test_an_older_page_of_another_version_is_in_nobodys_way(self, path: Path) -> None:
        """The log goes on behind it."""
        make_log(path)
        page = bytearray(page_path(path, 1).read_bytes())
        page[8] = 9
        page[252:256] = struct.pack("<I", crc32c(bytes(page[:252])))
        page_path(path, 1).write_bytes(page)
        pages, report = recover(path)
        pages.close()

        assert (report.position, report.number, report.records) == (14 * FRAME, 14, 10)

    def test_a_page_missing_in_the_middle_is_missed(self, path: Path) -> None:
        """Its records are gone; numbers and positions go on; a reader says what is not there."""
        write_log(path, RECORDS, page_records=4)
        page_path(path, 2).unlink()
        pages, report = recover(path)
        append(pages, NEW)
        pages.close()

        assert (report.number, report.position) == (14, 14 * FRAME)
        assert (RECORDS[:4] + RECORDS[8:] + NEW, [Damage(2, 0, 0, 4, 0, 0, False)]) == read(path)

    def test_a_page_under_another_name_is_not_that_page(self, path: Path) -> None:
        """A copy of page 1 as page 3: set aside, and neither its numbers nor its positions count."""
        make_log(path)
        page_path(path, 3).write_bytes(page_path(path, 1).read_bytes())
        pages, report = recover(path)
        append(pages, NEW)
        pages.close()

        assert (str(path / "page-0000000003.bad-0"),) == report.set_aside
        assert (RECORDS + NEW, [])[0] == read(path)[0]
        assert Directory(path).pages() == [1, 2, 4]
        assert report.position >= LEAP

    def test_all_pages_without_a_header(self, path: Path) -> None:
        """Nothing tells which log it was: another begins, with other page numbers, and nothing is lost."""
        make_log(path)
        for number in (1, 2):
            page_path(path, number).write_bytes(b"!" + page_path(path, number).read_bytes()[1:])
        pages, report = recover(path)
        append(pages, NEW)
        pages.close()

        assert (report.number, pages.log_id) == (0, b"N" * 16)
        assert Directory(path).pages() == [3]
        assert sorted(map(os.path.basename, report.set_aside)) == [
            "page-0000000001.bad-0",
            "page-0000000002.bad-0",
        ]
        assert read(path) == (NEW, [])

    def test_several_pages_without_a_header(self, path: Path) -> None:
        """All behind the last readable one are set aside, and their records are counted."""
        write_log(path, RECORDS, page_records=4)
        for number in (2, 3, 4):
            page_path(path, number).write_bytes(b"!" + page_path(path, number).read_bytes()[1:])
        pages, report = recover(path)
        append(pages, NEW)
        pages.close()

        assert (report.number, report.position) == (14, 4 * FRAME + LEAP)
        assert Directory(path).pages() == [1, 5]
        assert RECORDS[:4] + NEW == read(path)[0]

    def test_an_older_page_without_a_header_stays_where_it_is(self, path: Path) -> None:
        """Readers report it; retention will come to it."""
        write_log(path, RECORDS, page_records=4)
        page_path(path, 2).write_bytes(b"!" + page_path(path, 2).read_bytes()[1:])
        pages, report = recover(path)
        pages.close()
        found, damage = read(path)

        assert (report.number, report.set_aside) == (14, ())
        assert RECORDS[:4] + RECORDS[8:] == found
        assert [(2, 0, page_path(path, 2).stat().st_size)] == [damage[0][:3]]

    def test_names_that_are_almost_ours_are_not(self, path: Path) -> None:
        """Other digits, more zeros, no number: not pages, and not touched."""
        make_log(path)
        strangers = [
            "page-00000000003.dlog",
            "page-0000000000.dlog",
            "page-3.dlog",
            "page-" + "\u0663" * 10 + ".dlog",
            "page-0000000003.dlog~",
            "Page-0000000003.dlog",
        ]
        for name in strangers:
            (path / name).write_bytes(b"strange")
        pages, report = recover(path)
        pages.close()

        assert Directory(path).pages() == [1, 2]
        assert report.number == 14
        assert all((path / name).read_bytes() == b"strange" for name in strangers)

    def test_a_failure_on_the_way_leaves_nothing_open(self, path: Path) -> None:
        """An OSError in each operation of recovery comes through, and a repetition succeeds."""
        for operation in ("open", "size", "map", "create", "write_at", "allocate", "rename", "sync"):
            for nth in (1, 2, 3):
                place = path / f"{operation}-{nth}"
                make_log(place)
                page = bytearray(page_path(place, 2).read_bytes())
                flip(at(9) + 30)(page)
                page_path(place, 2).write_bytes(page)
                files = FaultyFiles()
                files.fail(operation, nth, errno.EIO)
                pages = None
                with suppress(OSError):
                    pages, _ = recover(place, files)
                if pages is not None:
                    pages.close()
                else:
                    assert all(file.fd < 0 for file in files.opened), operation
                pages, report = recover(place)
                append(pages, NEW)
                pages.close()

                assert RECORDS[:13] + NEW == read(place)[0]
                assert report.position == 14 * FRAME


class TestOlderPages:
    def test_a_page_left_unsealed_is_sealed(self, path: Path) -> None:
        """A power loss can keep the next page and lose this one's seal: the next one says where it ended."""
        write_log(path, RECORDS, page_records=4)
        page = bytearray(page_path(path, 2).read_bytes())
        line(at(1), 1)(page)
        put(272, bytes(24))(page)
        put(280, b"\1")(page)
        page_path(path, 2).write_bytes(page)
        files = FaultyFiles()
        pages, report = recover(path, files)
        pages.sync_job().run()
        pages.close()
        second = Reader(path).get_page(2)

        assert read(path) == (RECORDS, [])
        assert second.sealed
        assert len(second) == 4
        assert files.calls["sync"] == 4
        assert (report.number, report.torn_bytes) == (14, 0)
        second.close()

    def test_the_lost_end_of_a_page_left_unsealed_is_told(self, path: Path) -> None:
        """What does not check in its end is kept aside; the page is sealed with what is left."""
        write_log(path, RECORDS, page_records=4)
        page = bytearray(page_path(path, 2).read_bytes())
        put(280, b"\1")(page)
        flip(at(3) + 30)(page)
        page_path(path, 2).write_bytes(page)
        pages, report = recover(path)
        pages.close()

        found, (missing,) = read(path)
        assert RECORDS[:7] + RECORDS[8:] == found
        assert (missing.page, missing.length, missing.records) == (3, 0, 1)
        assert (report.torn_bytes, report.number, report.position) == (FRAME, 14, 14 * FRAME)
        assert [bytes(page[at(3) : at(4)])] == [(path / "page-0000000002.bad-4480").read_bytes()]
        assert [record.number for record in Reader(path)] == [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13]

    def test_a_page_left_unsealed_with_damage_inside_keeps_its_count(self, path: Path) -> None:
        """The next page's first number says how many records it had."""
        pages = page_writer(path)
        source = Source()
        for records in ([b"a"], [b"b"] * 7, [b"c"]):
            source.log_many(records)
        source.move(pages)
        pages.seal()
        source.log(b"d")
        source.move(pages)
        pages.close()
        page = bytearray(page_path(path, 1).read_bytes())
        put(280, b"\1")(page)
        flip(4096 + 64 + 40)(page)
        page_path(path, 1).write_bytes(page)
        pages, _ = recover(path)
        pages.close()

        assert [(r.data, r.number) for r in Reader(path, on_damage=lambda damage: None)] == [
            (b"a", 0),
            (b"c", 8),
            (b"d", 9),
        ]


class TestSealed:
    def test_damage_in_a_sealed_last_page_is_reported_and_left(self, path: Path) -> None:
        """A sealed page never changes; the log goes on behind it."""
        write_log(path, RECORDS[:4], page_records=4)
        for record in (1, 3):
            page = bytearray(page_path(path).read_bytes())
            flip(at(record) + 30)(page)
            page_path(path).write_bytes(page)
        before = page_path(path).read_bytes()
        pages, report = recover(path)
        append(pages, NEW)
        pages.close()
        found, damage = read(path)

        assert (report.corrupt_ranges, report.corrupt_bytes, report.torn_bytes) == (1, FRAME, FRAME)
        assert (
            before == page_path(path).read_bytes().replace(b"", b"")
            or before[288:] == page_path(path).read_bytes()[288:]
        )
        assert [RECORDS[0], RECORDS[2], *NEW] == found
        assert [each.records for each in damage] == [1, 1]
        assert [record.number for record in Reader(path, on_damage=lambda damage: None)] == [0, 2, 4, 5, 6]

    def test_a_sealed_page_that_was_cut(self, path: Path) -> None:
        """It says where it ended: positions and numbers go on behind that."""
        write_log(path, RECORDS[:4], page_records=4)
        os.truncate(page_path(path), at(2) + 50)
        pages, report = recover(path)
        append(pages, NEW)
        pages.close()
        found, damage = read(path)

        assert (report.position, report.number, report.torn_bytes) == (4 * FRAME, 4, 2 * FRAME)
        assert RECORDS[:2] + NEW == found
        assert [(1, at(2), 2 * FRAME, 2)] == [each[:4] for each in damage]

    def test_with_the_ring_a_sealed_page_is_not_scanned(self, path: Path) -> None:
        """Clean pages open without a scan."""
        write_log(path, RECORDS[:4], page_records=4)
        page = bytearray(page_path(path).read_bytes())
        flip(at(1) + 30)(page)
        page_path(path).write_bytes(page)
        pages, report = recover(path, ring=True, released=4 * FRAME)
        pages.close()

        assert (report.position, report.number, report.corrupt_ranges) == (4 * FRAME, 4, 0)

    def test_a_seal_that_cannot_be_is_none(self, path: Path) -> None:
        """Checksum and all, but with more records than bytes: counted anew."""
        make_log(path)
        page = bytearray(page_path(path, 2).read_bytes())
        line(END, 2**60)(page)
        seal(page)
        page_path(path, 2).write_bytes(page)
        pages, report = recover(path)
        pages.close()

        assert (report.number, report.position) == (14, 14 * FRAME)


class TestRing:
    def test_without_pages_the_log_goes_on_where_the_ring_is(self, path: Path) -> None:
        """All page files were removed: positions stay those of the ring."""
        path.mkdir()
        pages, report = recover(path, ring=True, released=6400)

        assert (6400, 6400, LOG_ID) == (report.position, pages.position, pages.log_id)
        pages.close()

    def test_a_ring_of_another_log_says_nothing_about_this_one(self, path: Path) -> None:
        """Its positions are not these; the pages are scanned as if there were none."""
        make_log(path)
        with open(page_path(path, 2), "r+b") as file:
            file.seek(256)
            file.write(struct.pack("<Q", at(3)))
        pages = PageWriter(Directory(path), "log", options())
        report = pages.recover(
            RingHints(b"o" * 16, 1, ring_is_there=True, released=2**40, durable=2**40, records=77)
        )
        pages.close()

        assert (14 * FRAME, 14, LOG_ID) == (report.position, report.number, pages.log_id)
        assert (RECORDS, []) == read(path)

    def test_numbers_go_on_where_the_ring_is(self, path: Path) -> None:
        """Its books know how many records there were, where pages are missing; else the pages know better."""
        make_log(path)
        for missing, number in (((), 14), ((2,), 50), ((1, 2), 50)):
            for each in missing:
                page_path(path, each).unlink(missing_ok=True)
            pages = PageWriter(Directory(path), "log", options())
            report = pages.recover(
                RingHints(LOG_ID, SALT, ring_is_there=True, released=14 * FRAME, records=50)
            )
            append(pages, NEW if missing else [])
            pages.close()

            assert (14 * FRAME, number) == (report.position, report.number)
            if missing:
                assert [50, 51, 52] == [record.number for record in Reader(path)][-3:]
                page_path(path, max(Directory(path).pages())).unlink()

    def test_a_position_that_was_scribbled_over_is_not_believed(self, path: Path) -> None:
        """Between granules, or where no log ever comes."""
        make_log(path)
        for released in (7, 2**64 - 32, 2**64 - 1):
            pages, report = recover(path, ring=True, released=released)
            pages.close()

            assert (14 * FRAME, 14) == (report.position, report.number)

    def test_what_the_ring_holds_is_not_torn(self, path: Path) -> None:
        """Half a frame behind what was released: it is written again, in place."""
        make_log(path)
        page = bytearray(page_path(path, 2).read_bytes())
        put(END, NEXT[:64])(page)
        page_path(path, 2).write_bytes(page)
        for released in (None, 14 * FRAME):
            pages, report = recover(path, ring=True, released=released)
            pages.close()

            assert (report.position, report.torn_bytes, report.set_aside) == (14 * FRAME, 0, ())

    def test_a_watermark_ahead_of_what_was_released_is_kept(self, path: Path) -> None:
        """The writer died between showing records and giving their space back: they stay shown."""
        make_log(path)
        pages, report = recover(path, ring=True, released=12 * FRAME)
        pages.close()

        assert (report.position, report.number) == (14 * FRAME, 14)

    def test_a_watermark_of_noise_costs_nothing(self, path: Path) -> None:
        """Told what was released, the line is not needed."""
        for watermark in (0, at(3), END - 1, END + FRAME, 8192, 4096 + (1 << 20), 2**64 - 1):
            place = path / str(watermark)
            make_log(place)
            page = bytearray(page_path(place, 2).read_bytes())
            word(256, watermark)(page)
            page_path(place, 2).write_bytes(page)
            pages, report = recover(place, ring=True, released=14 * FRAME)
            pages.close()

            assert (report.position, report.number, report.torn_bytes) == (14 * FRAME, 14, 0)


OTHER_BOOT = "00000000-0000-0000-0000-000000000000"


class TestReboot:
    def reopen(
        self, path: Path, files: Files = REAL, note: str | None = OTHER_BOOT
    ) -> tuple[PageWriter, Recovered]:
        """As a writer does it, with what the last one noted."""
        if note is not None:
            (path / "disklog.lock").write_text(f"123 log {note}\n")
        directory = Directory(path, files)
        assert directory.lock(0o600, -1)
        directory.note("456 log\n")
        pages = PageWriter(directory, "log", options())
        try:
            return pages, pages.recover(RingHints(LOG_ID, SALT))
        finally:
            directory.unlock()

    def test_after_a_reboot_no_position_can_be_one_that_was_lost(self, path: Path) -> None:
        """What a reader saw of what power took away: its cursor must not point into what comes instead."""
        make_log(path)
        pages, report = self.reopen(path)
        append(pages, NEW)
        pages.close()

        assert report.position == 14 * FRAME + LEAP
        assert report.number == 14
        assert read(path) == (RECORDS + NEW, [])
        assert Directory(path).pages() == [1, 2, 3]
        assert Reader(path).get_page(2).sealed

    def test_a_reader_ahead_of_what_survived_misses_nothing_that_comes(self, path: Path) -> None:
        """It had read, and remembered, more than was synced."""
        make_log(path)
        _, cursor = Reader(path).read(None, 100)
        os.truncate(page_path(path, 2), at(5))
        page = bytearray(page_path(path, 2).read_bytes())
        line(at(5), 5)(page)
        page_path(path, 2).write_bytes(page)
        pages, _ = self.reopen(path)
        append(pages, NEW)
        pages.close()

        assert [record.data for record in Reader(path).read(cursor)[0]] == NEW

    def test_in_the_same_boot_the_page_goes_on(self, path: Path) -> None:
        """Nothing that was written can have been lost."""
        make_log(path)
        pages, report = self.reopen(path, note=_processes.boot_id())
        pages.close()

        assert report.position == 14 * FRAME
        assert Directory(path).pages() == [1, 2]

    @pytest.mark.parametrize("note", ["", "123", "123 log", "123 log \xff\xfe", "a b c d e f"])
    def test_a_note_that_says_nothing_is_one_of_another_boot(self, path: Path, note: str) -> None:
        """The boot is unknown, so it is taken for another one."""
        make_log(path)
        (path / "disklog.lock").write_text(note, encoding="latin-1")
        pages, report = self.reopen(path, note=None)
        pages.close()

        assert report.position == 14 * FRAME + LEAP

    def test_care_is_taken_until_it_has_been_taken(self, path: Path) -> None:
        """A first recovery that fails must not make the second one think that all is well."""
        make_log(path)
        files = FaultyFiles()
        files.fail("create", 1, errno.ENOSPC)
        with pytest.raises(OSError, match="No space"):
            self.reopen(path, files)
        pages, report = self.reopen(path, note=None)
        pages.close()
        pages, again = self.reopen(path, note=None)
        pages.close()

        assert 14 * FRAME + LEAP == report.position == again.position
        assert Directory(path).read_note() == (456, "log")

    def test_nothing_is_leapt_over_in_a_new_log(self, path: Path) -> None:
        """A log without pages begins at position 0."""
        path.mkdir()
        pages, report = self.reopen(path)
        pages.close()

        assert report.position == 0


class TestPowerLoss:
    @settings(
        max_examples=30 * TIMES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        steps=st.lists(st.sampled_from(["log", "group", "long", "sync", "seal", "reopen"]), max_size=25),
        names_survive=st.booleans(),
        sync=st.sampled_from(["1s", "never"]),
        rounds=st.integers(1, 3),
        dice=st.randoms(use_true_random=False),
    )
    def test_what_was_synced_survives_and_what_was_not_is_not_mixed_up(
        self,
        path: Path,
        steps: list[str],
        names_survive: bool,
        sync: str,
        rounds: int,
        dice: Random,
    ) -> None:
        """However it was logged, rolled, synced and reopened, and over several power losses: all up to the
        last sync is there, in order, no position has two records, and a cursor never skips a new one.
        """
        rmtree(path, ignore_errors=True)
        path.mkdir()
        files = FaultyFiles()
        durable: list[tuple[int, bytes]] = []
        seen: dict[tuple[bytes, int], bytes] = {}
        count = 0
        chance = dice.choice([0.0, 0.5, 0.9])
        for _ in range(rounds):
            directory = Directory(path, files)
            directory.rebooted = True
            pages = PageWriter(directory, "log", options(page_bytes=8192, sync=sync))
            pages.recover(RingHints(os.urandom(16), SALT))
            survived = [(record.position, record.data) for record in Reader(path)]
            assert [record for record in survived if record in durable] == durable
            source = Source(base=pages.position, salt=pages.salt, log_id=pages.log_id)
            cursor = None
            for step in steps:
                if step in ("log", "group", "long"):
                    data = [b"%d" % (count + i) * (500 if step == "long" else 1) for i in range(3)]
                    count += 3
                    if step == "group":
                        source.log_many(data)
                    else:
                        for each in data:
                            source.log(each)
                    source.move(pages)
                    cursor = Reader(path).read(Reader(path).end())[1]
                elif step == "sync":
                    job = pages.sync_job()
                    job.run()
                    pages.synced(job)
                    durable = [(record.position, record.data) for record in Reader(path)]
                elif step == "seal":
                    pages.seal()
                else:
                    pages.close()
                    pages = PageWriter(Directory(path, files), "log", options(page_bytes=8192, sync=sync))
                    pages.recover(RingHints(LOG_ID, SALT))
            for record in Reader(path):
                assert seen.setdefault((pages.log_id, record.position), record.data) == record.data
            pages.close()
            files.lose_power(path, names_survive=names_survive, survives=lambda: dice.random() < chance)
            directory = Directory(path, files)
            directory.rebooted = True
            pages = PageWriter(directory, "log", options(page_bytes=8192, sync=sync))
            pages.recover(RingHints(os.urandom(16), SALT))
            append(pages, NEW)
            if cursor is not None and pages.log_id.hex() == cursor.log_id:
                assert NEW == [record.data for record in Reader(path).read(cursor)[0]][-3:]
            pages.close()


class TestDirectory:
    def test_a_directory_with_other_files_is_refused_and_not_touched(self, path: Path) -> None:
        """ENOTEMPTY that names some of them."""
        path.mkdir()
        for name in ("notes.txt", "photo.jpg", "a", "b"):
            (path / name).write_text("mine")
        with pytest.raises(OSError, match=r"4 files that are no log's \(a, b, notes.txt, ...\)") as caught:
            Directory(path).create(0o600, -1)

        assert caught.value.errno == errno.ENOTEMPTY
        assert len(os.listdir(path)) == 4

    def test_a_file_is_no_directory(self, path: Path) -> None:
        """NotADirectoryError, also for a link that leads nowhere; neither is touched."""
        path.write_text("mine")
        (path.parent / "link").symlink_to("nowhere")
        for each in (path, path.parent / "link"):
            with pytest.raises(NotADirectoryError):
                Directory(each).create(0o600, -1)

        assert path.read_text() == "mine"

    def test_the_root_of_a_file_system_will_do(self, path: Path) -> None:
        """lost+found belongs to the file system."""
        (path / "lost+found").mkdir(parents=True)
        Directory(path).create(0o600, -1)

    def test_a_directory_of_a_log_may_hold_other_files(self, path: Path) -> None:
        """Once it is a log's, what people put beside it is their business."""
        make_log(path)
        (path / "notes.txt").write_text("mine")
        Directory(path).create(0o600, -1)
        pages, _ = recover(path)
        pages.close()

        assert (path / "notes.txt").read_text() == "mine"

    def test_what_is_no_file_is_not_opened(self, path: Path) -> None:
        """A link, a pipe or a directory in a page's place: OSError, nothing is followed or waited for."""
        make_log(path)
        target = path / "target"
        page_path(path, 2).rename(target)
        page_path(path, 2).symlink_to(target)
        with pytest.raises(OSError, match="symbolic links"):
            recover(path)
        page_path(path, 2).unlink()
        os.mkfifo(page_path(path, 2))
        with pytest.raises(OSError, match=r"not a regular file|No such device"):
            recover(path)
        page_path(path, 2).unlink()
        page_path(path, 2).mkdir()
        with pytest.raises(OSError, match="directory"):
            recover(path)

    def test_one_writer_holds_the_lock_and_says_who_it_is(self, path: Path) -> None:
        """A second one is refused; the note is for its error message."""
        path.mkdir()
        first, second = Directory(path), Directory(path)
        assert first.lock(0o600, -1)
        first.note("4711 some-log\n")

        assert not second.lock(0o600, -1)
        assert second.read_note() == (4711, "some-log")
        assert second.is_locked()
        first.unlock()
        assert not second.is_locked()
        assert second.lock(0o600, -1)
        second.note("1 x\n")
        assert first.read_note() == (1, "x")
        second.unlock()

    def test_a_note_that_cannot_be_read_is_none(self, path: Path) -> None:
        """(0, "") for a directory without one, for an empty one, and for nonsense."""
        path.mkdir()
        assert Directory(path).read_note() == (0, "")
        for text in ("", "\n", "log", "x log", "\u0663 log", "-5 log"):
            (path / "disklog.lock").write_text(text)
            assert Directory(path).read_note() == (0, "")


def test_a_page_with_a_head_is_recovered(path: Path) -> None:
    """Frames begin behind the page head, wherever that ends."""
    head = 100
    page = write_page(
        path, [frame(0, b"a"), frame(32, b"b")], sealed=False, head_length=head, data_offset=4096 + 128
    )
    assert len(page) == 4096 + 64
    page_path(path).write_bytes(page[:4096] + b"h" * head + bytes(28) + page[4096:])
    pages, report = recover(path)
    append(pages, NEW)
    pages.close()

    assert (report.position, report.number) == (64, 2)
    assert ([b"a", b"b", *NEW], []) == read(path)
    assert _page_format.unpack(page_path(path).read_bytes()).head_length == 100
