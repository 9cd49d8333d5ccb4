"""One page, read: while it is written, after it was sealed, after it was damaged."""

import gc
import logging
import os
import pickle
import struct
import weakref
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.chance import TIMES
from support.pages import (
    ABANDONED,
    GAP,
    PADDING,
    PID,
    SALT,
    Source,
    crc32c,
    frame,
    group,
    page_path,
    page_writer,
    read_page,
    seal,
    write_log,
    write_page,
)

import disklog_mp
from disklog_mp import CorruptPageError, Damage, DiskLogError, FormatVersionError, Page, Record
from disklog_mp._core import RecordIterator
from disklog_mp._pages.writer import PageWriter


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def pages(path: Path) -> Iterator[PageWriter]:
    """A page writer to read behind."""
    pages = page_writer(path)
    yield pages
    pages.close()


SHARED = [HealthCheck.function_scoped_fixture]  # each example writes the page anew


def open_page(path: Path, number: int = 1) -> Page:
    return Page(str(page_path(path, number)), on_damage=lambda damage: None)


def change(path: Path, offset: int, data: bytes, number: int = 1) -> None:
    """Overwrite bytes of a page file, in place."""
    with open(page_path(path, number), "r+b") as file:
        file.seek(offset)
        file.write(data)


def flip(path: Path, offset: int, number: int = 1) -> None:
    byte = page_path(path, number).read_bytes()[offset]
    change(path, offset, bytes([byte ^ 1]), number)


class TestFacts:
    def test_a_page_tells_what_it_is(self, path: Path) -> None:
        """Number, first number, first position, sealed, and all of the header."""
        write_log(path, [b"%d" % i for i in range(5)], page_records=2)
        with open_page(path, 2) as second, open_page(path, 3) as third:
            assert (2, 2, 64) == (second.number, second.first_number, second.first_position)
            assert (True, False) == (second.sealed, third.sealed)
            assert (2, 1) == (len(second), len(third))
            assert (128, 160) == (second.end_position(), third.end_position())
            assert ((128, 4), (160, 5)) == (second.place()[:2], third.place()[:2])
            assert "log" == second.header.name
            assert "<Page 2 of 'log', 2 records, sealed>" == repr(second)
            assert "<Page 3 of 'log', 1 records, open>" == repr(third)

    def test_a_page_that_is_not_there(self, path: Path) -> None:
        """FileNotFoundError: what is missing is a file, not a page of some log."""
        with pytest.raises(FileNotFoundError):
            open_page(path)

    @pytest.mark.parametrize("length", [0, 1, 100, 4095])
    def test_a_file_too_short_for_a_header(self, path: Path, length: int) -> None:
        """CorruptPageError with the length."""
        write_page(path, [frame(0, b"x")])
        os.truncate(page_path(path), length)
        with pytest.raises(CorruptPageError, match=f"at offset {length}: found {length} bytes") as caught:
            open_page(path)

        assert (str(page_path(path)), length) == (caught.value.path, caught.value.offset)

    def test_a_damaged_header(self, path: Path) -> None:
        """CorruptPageError with both checksums."""
        write_page(path, [frame(0, b"x")])
        flip(path, 40)
        with pytest.raises(CorruptPageError, match=r"at offset 252: found crc 0x\w{8}, expected 0x\w{8}"):
            open_page(path)

    def test_another_version(self, path: Path) -> None:
        """FormatVersionError with both versions."""
        page = bytearray(write_page(path, []))
        page[8] = 3
        page[252:256] = struct.pack("<I", crc32c(bytes(page[:252])))
        page_path(path).write_bytes(page)
        with pytest.raises(FormatVersionError, match=r"a page of version 3; .* reads format 2"):
            open_page(path)

    def test_a_page_head_longer_than_the_file(self, path: Path) -> None:
        """A header that makes sense and a file that was cut before the first frame."""
        write_page(path, [], head_length=4096, data_offset=8192)
        with pytest.raises(CorruptPageError, match="frames from offset 8192"):
            open_page(path)

    def test_what_is_no_file(self, path: Path) -> None:
        """A link is not followed, a pipe not waited for."""
        write_page(path, [])
        (path / "link").symlink_to(page_path(path))
        os.mkfifo(path / "pipe")
        for name in ("link", "pipe"):
            with pytest.raises(OSError, match=r"symbolic links|not a regular file"):
                Page(str(path / name))


class TestReading:
    def test_records_come_with_all_that_is_known_of_them(self, path: Path) -> None:
        """Bytes, position, number, time, pid, tag; whether it stands for dropped ones."""
        write_page(
            path,
            [
                frame(6400, b"abc", tag=7, time=111, pid=222),
                frame(6432, b"{}", kind=GAP, time=2**63, pid=2**32 - 1, tag=2**16 - 1),
            ],
            first_position=6400,
            first_number=50,
        )
        with open_page(path) as page:
            first, second = page

        assert (b"abc", 6400, 50, 111, 222, 7, False) == (
            first.data, first.position, first.number, first.timestamp, first.pid, first.tag, first.gap,
        )  # fmt: skip
        assert (b"{}", 6432, 51, 2**63, 2**32 - 1, 2**16 - 1, True) == (
            second.data, second.position, second.number, second.timestamp, second.pid, second.tag, second.gap,
        )  # fmt: skip

    def test_padding_and_abandoned_frames_are_no_records(self, path: Path) -> None:
        """They have positions, and neither numbers nor bytes that count."""
        frames = [
            frame(0, b"a"),
            frame(32, bytes(40), kind=PADDING)[:24] + b"left from before" + bytes(24),
            frame(96, b"\xff" * 8, kind=ABANDONED),
            frame(128, b"b"),
        ]
        # The checksum of the two covers no bytes.
        for i, kind, length in ((1, PADDING, 40), (2, ABANDONED, 8)):
            position = 32 if i == 1 else 96
            bare = bytearray(frame(position, b"", kind=kind, time=0))
            label = PID | kind << 32
            bare[:4] = struct.pack("<I", length)
            bare[4:8] = struct.pack("<I", crc32c(struct.pack("<QQQQQ", SALT, position, 0, label, length)))
            frames[i] = bytes(bare[:24]) + frames[i][24:]
        write_page(path, frames, records=2)
        with open_page(path) as page:
            found = [(record.number, record.position, record.data) for record in page]

            assert [(0, 0, b"a"), (1, 128, b"b")] == found
            assert [] == page.damage
            assert b"b" == page[1].data

    def test_a_group_is_its_records(self, path: Path) -> None:
        """Each with a number and a position of its own."""
        write_page(path, [frame(0, b"a"), group(32, [b"x", b"", b"yy" * 9], tag=3, time=5), frame(192, b"b")],
                   records=5)  # fmt: skip
        with open_page(path) as page:
            found = [(record.number, record.position, record.data) for record in page]

            assert [(0, 0, b"a"), (1, 64, b"x"), (2, 96, b""), (3, 120, b"yy" * 9), (4, 192, b"b")] == found
            assert [(3, 5, PID)] * 3 == [(record.tag, record.timestamp, record.pid) for record in page[1:4]]
            assert [data for _, _, data in found] == list(page.payloads())

    def test_an_empty_page(self, path: Path) -> None:
        """Sealed or not: no records, and no trouble."""
        for sealed in (True, False):
            write_page(path, [], sealed=sealed)
            with open_page(path) as page:
                assert ([], [], 0, []) == (list(page), list(page.payloads()), len(page), page[:])
                with pytest.raises(IndexError, match="page 1 has 0 records, no record 0"):
                    _ = page[0]
                with pytest.raises(IndexError, match="no record -1"):
                    _ = page[-1]

    @settings(max_examples=40 * TIMES, deadline=None, suppress_health_check=SHARED)
    @given(
        sizes=st.lists(st.integers(0, 5), max_size=30),
        slices=st.lists(st.slices(40), max_size=8),
        sealed=st.booleans(),
        data=st.data(),
    )
    def test_a_page_is_a_sequence(
        self,
        path: Path,
        sizes: list[int],
        slices: list[slice],
        sealed: bool,
        data: st.DataObject,
    ) -> None:
        """Length, indexes, slices with any step: as of the list of its records; groups or not."""
        position, frames, expected = 3200, [], []
        for size in sizes:
            records = [b"%d" % (len(expected) + i) for i in range(max(1, size))]
            frames.append(group(position, records) if size else frame(position, records[0]))
            position += len(frames[-1])
            expected += records
        write_page(path, frames, first_position=3200, first_number=77, records=len(expected), sealed=sealed)
        with open_page(path) as page:
            for index in data.draw(st.lists(st.integers(-len(expected) - 2, len(expected) + 1), max_size=6)):
                if -len(expected) <= index < len(expected):
                    record = page[index]
                    assert expected[index] == record.data
                    assert 77 + range(len(expected))[index] == record.number
                else:
                    with pytest.raises(IndexError):
                        _ = page[index]
            assert len(expected) == len(page)
            assert expected == [record.data for record in page] == list(page.payloads())
            for each in slices:
                assert expected[each] == [record.data for record in page[each]]
            assert [] == page.damage

    def test_an_index_is_a_whole_number(self, path: Path) -> None:
        """Any object with __index__; nothing else."""
        write_page(path, [frame(0, b"a")])
        with open_page(path) as page:
            assert b"a" == page[False].data
            for wrong in ("0", 0.0, None):
                with pytest.raises(TypeError):
                    _ = page[wrong]  # type: ignore[call-overload]
            for far in (2**64, -(2**64), 2**200):
                with pytest.raises(IndexError):
                    _ = page[far]

    def test_places_between_groups_are_remembered(self, path: Path) -> None:
        """Indexing does not walk from the page's begin each time, for any mix of frames."""
        frames, position = [], 0
        for i in range(300):
            frames.append(group(position, [b"%d" % i] * 7))
            position += len(frames[-1])
        write_page(path, frames, records=2100)
        with open_page(path) as page:
            assert b"299" == page[-1].data
            numbers = [number for number, _ in page.checkpoints]
            assert numbers == sorted(set(numbers))
            assert max(later - sooner for sooner, later in pairwise(numbers)) <= 512 + 7
            assert [b"%d" % (i // 7) for i in range(2100)] == [page[i].data for i in range(2100)]


class TestLive:
    def test_a_reader_sees_what_was_published_when_it_gets_there(self, path: Path, pages: PageWriter) -> None:
        """One iterator, and a writer that is always one record ahead of it."""
        source = Source()
        source.log(b"0")
        source.move(pages)
        found = []
        with open_page(path) as page:
            for record in page:
                found.append(record.data)
                if len(found) < 100:
                    source.log(b"%d" % len(found))
                    source.move(pages)

        assert [b"%d" % i for i in range(100)] == found

    def test_what_is_not_published_is_not_there(self, path: Path, pages: PageWriter) -> None:
        """Bytes behind the watermark, complete as they may be."""
        source = Source()
        source.log(b"a")
        source.move(pages)
        change(path, 4096 + 32, frame(32, b"b"))

        assert ([b"a"], []) == read_page(path)

    def test_length_and_index_follow_the_writer(self, path: Path, pages: PageWriter) -> None:
        """On one open page, while it grows and when it is sealed."""
        source = Source()
        source.log(b"0")
        source.move(pages)
        with open_page(path) as page:
            for i in range(1, 2000, 37):
                assert not page.sealed
                for j in range(page.place()[1], i):
                    source.log(b"%d" % j)
                source.move(pages)
                assert i == len(page)
                assert b"%d" % (i - 1) == page[-1].data == page[i - 1].data
                with pytest.raises(IndexError):
                    _ = page[i]
            pages.seal()
            assert page.sealed
            assert len(page) == i
            assert b"0" == page[0].data

    def test_a_page_grows_beyond_what_was_mapped(self, path: Path, tmp_path: Path) -> None:
        """The reader opened it when it was a megabyte; records it holds stay what they were."""
        pages = page_writer(path, page_bytes=16 << 20)
        source = Source(capacity=1 << 22)
        source.log(b"first")
        source.move(pages)
        with open_page(path) as page:
            first = page[0]
            view = first.view
            frames = page.records_from()
            for i in range(40):
                source.log(b"%02d" % i * 100_000)
                source.move(pages)
            assert page.extend(frames)
            assert 41 == len(page) == len(list(frames))
            assert b"39" * 100_000 == page[-1].data
            assert (b"first", b"first") == (first.data, bytes(view))
        pages.close()

    def test_an_iterator_goes_on_while_there_is_more_and_once_it_has_ended_stays_so(
        self, path: Path, pages: PageWriter
    ) -> None:
        """An iterator sees records published after it began; exhausted, it stays exhausted."""
        source = Source()
        source.log(b"0")
        source.move(pages)
        with open_page(path) as page:
            payloads, records = page.payloads(), iter(page)
            assert b"0" == next(payloads) == next(records).data
            source.log(b"1")
            source.move(pages)
            assert [b"1"] == list(payloads)
            source.log(b"2")
            source.move(pages)
            assert [] == list(payloads)
            assert [b"1", b"2"] == [record.data for record in records]

    def test_an_iterator_kept_by_whom_the_page_tells_of_damage_is_collected(
        self, path: Path, pages: PageWriter
    ) -> None:
        """A page, its iterators and the holder of its on_damage callback are a cycle that gc frees."""
        source = Source()
        for i in range(10):
            source.log(b"%d" % i)
        source.move(pages)

        class Holder:
            def __init__(self) -> None:
                self.page = Page(page_path(path), on_damage=self.note)
                self.records, self.payloads = iter(self.page), self.page.payloads()
                next(self.records), next(self.payloads)

            def note(self, damage: Damage) -> None:
                raise AssertionError(damage)

        holders = [Holder() for _ in range(20)]
        weak = [weakref.ref(holder) for holder in holders]
        del holders
        gc.collect()

        assert {None} == {reference() for reference in weak}

    def test_readers_do_not_see_each_other(self, path: Path, pages: PageWriter) -> None:
        """Several pages, iterators and indexes at different places of one file."""
        source = Source()
        for i in range(100):
            source.log(b"%d" % i)
        source.move(pages)
        expected = [b"%d" % i for i in range(100)]
        with open_page(path) as one, open_page(path) as other:
            a, b, c = iter(one), iter(one), iter(other)
            taken: list[list[bytes]] = [[], [], []]
            for i in range(300):
                which = (a, b, c)[i % 3]
                record = next(which)
                taken[i % 3].append(record.data)
                assert expected[i // 4] == one[i // 4].data

        assert [expected] * 3 == taken

    def test_the_bell_rings_when_records_come(self, path: Path, pages: PageWriter) -> None:
        """Waiting returns at once if it rang since, and after the time if it did not."""
        source = Source()
        source.log(b"a")
        source.move(pages)
        with open_page(path) as page:
            bell = page.bell()
            assert not page.wait(bell, 0.001)
            source.log(b"b")
            source.move(pages)
            assert page.wait(bell, 60)
            assert page.bell() != bell


class TestLifetime:
    def test_a_page_closes_itself(self, path: Path) -> None:
        """As a context manager, when told so, twice, and when it is forgotten."""
        write_page(path, [frame(0, b"a")], sealed=False)
        before = len(os.listdir("/proc/self/fd"))
        with open_page(path) as page:
            assert len(os.listdir("/proc/self/fd")) == before + 1
        page.close()
        forgotten = open_page(path)
        del forgotten
        gc.collect()

        assert len(os.listdir("/proc/self/fd")) == before

    def test_a_failed_opening_leaves_nothing_behind(self, path: Path) -> None:
        """Neither a descriptor nor a complaint about an attribute."""
        write_page(path, [])
        flip(path, 100)
        for _ in range(5):
            with pytest.raises(CorruptPageError):
                open_page(path)
        with pytest.raises(FileNotFoundError):
            Page(str(path / "nothing"))

    def test_a_closed_page_can_be_read(self, path: Path, pages: PageWriter) -> None:
        """The memory is there; what is published later is seen as far as it was mapped."""
        source = Source()
        source.log(b"a")
        source.move(pages)
        page = open_page(path)
        page.close()
        source.log(b"b")
        source.move(pages)

        assert [b"a", b"b"] == [record.data for record in page]
        assert 2 == len(page)
        assert not page.sealed

    def test_a_retired_page_can_be_read_to_its_end(self, path: Path) -> None:
        """The file's name is gone, the mapping is not."""
        write_log(path, [b"%d" % i for i in range(100)])
        page = open_page(path)
        records = iter(page)
        next(records)
        page_path(path).unlink()
        page.close()

        assert [b"%d" % i for i in range(1, 100)] == [record.data for record in records]
        assert b"50" == page[50].data

    def test_a_view_keeps_the_bytes(self, path: Path) -> None:
        """After record, page and file are gone."""
        write_log(path, [b"some bytes"])
        page = open_page(path)
        view = page[0].view
        page.close()
        del page
        page_path(path).unlink()
        gc.collect()

        assert b"some bytes" == bytes(view)
        assert view.readonly


class TestRecord:
    RECORD = Record(b"data", position=64, number=3, timestamp=5, pid=7, tag=9, gap=True)

    def test_a_record_is_its_values(self, path: Path) -> None:
        """Equal if all are, with one hash, whether made or read; not equal to anything else."""
        write_page(
            path, [frame(64, b"data", kind=GAP, time=5, pid=7, tag=9)], first_position=64, first_number=3
        )
        with open_page(path) as page:
            read = page[0]

        assert read == self.RECORD
        assert hash(read) == hash(self.RECORD)
        assert {read} == {self.RECORD}
        for other in (
            Record(b"Data", 64, 3, 5, 7, 9, True),
            Record(b"data", 96, 3, 5, 7, 9, True),
            Record(b"data", 64, 4, 5, 7, 9, True),
            Record(b"data", 64, 3, 6, 7, 9, True),
            Record(b"data", 64, 3, 5, 8, 9, True),
            Record(b"data", 64, 3, 5, 7, 8, True),
            Record(b"data", 64, 3, 5, 7, 9, False),
            b"data",
        ):
            assert read != other

    def test_a_record_pickles_by_value(self, path: Path) -> None:
        """To another process, where the page may not be."""
        write_page(path, [frame(0, b"data" * 1000, time=5)])
        with open_page(path) as page:
            read = page[0]
            pickled = pickle.dumps(read)
        page_path(path).unlink()

        assert read == pickle.loads(pickled)

    def test_a_record_prints_as_what_makes_it(self) -> None:
        """The repr is a call that makes an equal record."""
        assert self.RECORD == eval(repr(self.RECORD), {"Record": Record})

    def test_a_record_cannot_be_changed(self) -> None:
        """Nor can attributes be added."""
        for name in ("data", "number", "anything"):
            with pytest.raises(AttributeError):
                setattr(self.RECORD, name, 1)


class TestDamage:
    def test_a_damaged_record_costs_itself(self, path: Path) -> None:
        """It is passed over; those behind it keep their numbers; where and what is told."""
        write_log(path, [b"%d" % i * 30 for i in range(10)], page_records=10)
        flip(path, 4096 + 3 * 64 + 30)
        with open_page(path) as page:
            found = [(record.number, record.data) for record in page]

            assert [(i, b"%d" % i * 30) for i in range(10) if i != 3] == found
            assert [(1, 4096 + 3 * 64, 64, 1)] == [damage[:4] for damage in page.damage]
            assert not page.damage[0].torn
            assert page.damage[0].found != page.damage[0].expected
            assert 10 == len(page)

    def test_damage_is_reported_once(self, path: Path) -> None:
        """However often the page is iterated, indexed, counted."""
        write_log(path, [b"%d" % i for i in range(10)], page_records=10)
        flip(path, 4096 + 3 * 32 + 24)
        flip(path, 4096 + 7 * 32 + 24)
        reported: list[Damage] = []
        with Page(str(page_path(path)), on_damage=reported.append) as page:
            for _ in range(3):
                list(page)
                list(page.payloads())
                _ = len(page), page[-1], page[:]

            assert [4096 + 3 * 32, 4096 + 7 * 32] == [damage.offset for damage in reported]
            assert page.damage == reported

    def test_damage_is_logged_unless_somebody_takes_it(
        self, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """On the channel "disklog_mp", as a warning with page, offset, length and both checksums."""
        write_log(path, [b"%d" % i for i in range(4)], page_records=4)
        flip(path, 4096 + 32 + 24)
        with caplog.at_level(logging.WARNING), Page(str(page_path(path))) as page:
            list(page)

        [message] = [record.getMessage() for record in caplog.records if record.name == "disklog_mp"]
        assert "page 1: corrupt range of 32 bytes at offset 4,128, at least 1 record (1) (crc 0x" in message

    def test_who_takes_it_may_raise(self, path: Path) -> None:
        """The exception ends the iteration, after the records before the end."""
        write_log(path, [b"%d" % i for i in range(4)], page_records=4)
        flip(path, 4096 + 32 + 24)

        def refuse(damage: Damage) -> None:
            raise RuntimeError(f"damage at {damage.offset}")

        with (
            Page(str(page_path(path)), on_damage=refuse) as page,
            pytest.raises(RuntimeError, match="at 4128"),
        ):
            list(page)

    def test_a_damaged_record_cannot_be_indexed(self, path: Path) -> None:
        """CorruptPageError with its offset; its neighbours can, and slices pass it over."""
        write_log(path, [b"%d" % i for i in range(10)], page_records=10)
        flip(path, 4096 + 3 * 32 + 24)
        with open_page(path) as page:
            for index in (3, -7):
                with pytest.raises(CorruptPageError, match="at offset 4192: found crc 0x") as caught:
                    _ = page[index]
                assert 4096 + 96 == caught.value.offset
            assert (b"2", b"4") == (page[2].data, page[4].data)
            assert [b"2", b"4"] == [record.data for record in page[2:5]]
            assert [b"5", b"4", b"2"] == [record.data for record in page[5:1:-1]]
            assert [b"1", b"5"] == [record.data for record in page[1:6:2]]
            with pytest.raises(IndexError):
                _ = page[10]

    @pytest.mark.parametrize("sealed", [True, False])
    def test_a_damaged_group_is_lost_whole(self, path: Path, sealed: bool) -> None:
        """None of its records is given: it was logged as one, and its checksum is one."""
        frames = [frame(0, b"a"), group(32, [b"x", b"y", b"z"]), frame(160, b"b")]
        write_page(path, frames, records=5, sealed=sealed)
        flip(path, 4096 + 32 + 24 + 8 + 24)
        with open_page(path) as page:
            assert [(0, b"a"), (4, b"b")] == [(record.number, record.data) for record in page]
            assert [(4128, 128, 3)] == [damage[1:4] for damage in page.damage]
            for index in (1, 2, 3):
                with pytest.raises(CorruptPageError):
                    _ = page[index]

    def test_a_group_whose_header_is_gone_counts_when_the_page_is_sealed(
        self, path: Path, pages: PageWriter
    ) -> None:
        """Before that it counts as one record at the least; the page's own count puts it right."""
        source = Source()
        source.log(b"a")
        source.log_many([b"x", b"y", b"z"])
        source.log(b"b")
        source.move(pages)
        change(path, 4096 + 32, b"\xff" * 20)
        with open_page(path) as page:
            assert [(0, b"a"), (2, b"b")] == [(record.number, record.data) for record in page]
            assert (3, b"b") == (len(page), page[2].data)
            pages.seal()
            assert [(0, b"a"), (4, b"b")] == [(record.number, record.data) for record in page]
            assert (5, b"b") == (len(page), page[4].data)
            with pytest.raises(CorruptPageError):
                _ = page[2]

    @pytest.mark.parametrize(
        ("sealed", "offset", "torn"),
        [(True, 2, False), (True, 9, False), (False, 2, False), (False, 9, True)],
    )
    def test_torn_is_what_has_nothing_valid_behind_it_in_a_page_never_sealed(
        self, path: Path, sealed: bool, offset: int, torn: bool
    ) -> None:
        """All else is corrupt."""
        write_page(path, [frame(32 * i, b"%d" % i) for i in range(10)], sealed=sealed)
        flip(path, 4096 + 32 * offset + 24)
        with open_page(path) as page:
            list(page)

            assert [torn] == [damage.torn for damage in page.damage]

    def test_many_damages_are_told_apart(self, path: Path) -> None:
        """Every second record of a long page."""
        write_page(path, [frame(32 * i, b"%05d" % i) for i in range(5000)])
        page = bytearray(page_path(path).read_bytes())
        for i in range(0, 5000, 2):
            page[4096 + 32 * i + 24] ^= 1
        page_path(path).write_bytes(page)
        with open_page(path) as damaged:
            assert [b"%05d" % i for i in range(1, 5000, 2)] == list(damaged.payloads())
            assert list(range(1, 5000, 2)) == [record.number for record in damaged]
            assert 2500 == len(damaged.damage)


class TestCut:
    @pytest.mark.parametrize("sealed", [True, False])
    @pytest.mark.parametrize("length", [0, 1, 31, 32, 64, 100, 319, 320 - 32])
    def test_a_file_that_was_cut_says_what_is_missing(self, path: Path, sealed: bool, length: int) -> None:
        """One range from the first byte that cannot be read to where the page once ended."""
        write_page(path, [frame(32 * i, b"%d" % i) for i in range(10)], sealed=sealed)
        os.truncate(page_path(path), 4096 + length)
        whole = length // 32
        with open_page(path) as page:
            assert [b"%d" % i for i in range(whole)] == list(page.payloads())
            [damage] = page.damage
            assert (4096 + 32 * whole, 320 - 32 * whole) == damage[1:3]
            assert damage.torn == (not sealed)
            assert damage.records == (10 - whole if sealed else 0)
            assert len(page) == (10 if sealed else whole)
            if sealed:
                with pytest.raises(CorruptPageError):
                    _ = page[9]

    def test_a_page_cut_while_it_is_open_is_read_as_far_as_it_goes(self, path: Path) -> None:
        """The file's length is looked at before memory behind it is touched."""
        write_page(path, [frame(4096 * i, b"x" * 4072) for i in range(50)], page_bytes=1 << 20)
        with open_page(path) as page:
            os.truncate(page_path(path), 4096 * 11)

            assert 10 == len(list(page))
            assert [4096 * 11] == [damage.offset for damage in page.damage]


class TestLine:
    FRAMES = tuple(frame(32 * i, b"%d" % i) for i in range(10))

    @pytest.mark.parametrize("offset", [256, 257, 263, 264, 270, 272, 280, 281, 288, 291, 292, 295])
    @pytest.mark.parametrize("bit", [0, 6])
    def test_any_bit_of_a_sealed_line(self, path: Path, offset: int, bit: int) -> None:
        """The line no longer vouches for anything: all frames there are read, and the line is reported."""
        write_page(path, self.FRAMES)
        byte = page_path(path).read_bytes()[offset]
        change(path, offset, bytes([byte ^ 1 << bit]))
        with open_page(path) as page:
            assert [b"%d" % i for i in range(10)] == list(page.payloads())
            assert not page.sealed
            assert 10 == len(page)
            assert [(1, 256, 40, 0)] == [damage[:4] for damage in page.damage]

    @pytest.mark.parametrize(
        "watermark", [0, 4095, 4096, 4096 + 3 * 32 + 1, 4096 + 320, 8192, 2**40, 2**64 - 1]
    )
    def test_any_watermark_of_an_open_page(self, path: Path, watermark: int) -> None:
        """Nothing vouches for it: what it shows is read, whole granules, and never behind the file's end."""
        page = bytearray(write_page(path, self.FRAMES, sealed=False))
        struct.pack_into("<Q", page, 256, watermark)
        page_path(path).write_bytes(page + bytes(8192 - len(page)))
        with open_page(path) as opened:
            shown = min(10, max(0, watermark - 4096) // 32)
            assert [b"%d" % i for i in range(shown)] == list(opened.payloads())
            assert opened.end() <= 8192
            assert shown == len(opened)

    def test_a_count_nobody_can_have(self, path: Path) -> None:
        """A seal that holds, over more records than bytes: not a seal."""
        page = bytearray(write_page(path, self.FRAMES, sealed=False))
        for count in (2**64 - 1, 2**63, 2**31, 14):
            struct.pack_into("<Q", page, 264, count)
            seal(page)
            page_path(path).write_bytes(page)
            with open_page(path) as opened:
                assert not opened.sealed
                assert 10 == len(opened)
                assert 10 == len(opened[:])

    def test_a_count_that_is_too_high(self, path: Path) -> None:
        """A seal that holds, over more records than there are: indexing them is CorruptPageError."""
        page = bytearray(write_page(path, self.FRAMES, sealed=False))
        struct.pack_into("<Q", page, 264, 13)
        seal(page)
        page_path(path).write_bytes(page)
        with open_page(path) as opened:
            assert 13 == len(opened)
            assert 10 == len(opened[:]) == len(opened[::-1])
            with pytest.raises(CorruptPageError, match="no frame"):
                _ = opened[12]
            with pytest.raises(CorruptPageError):
                _ = opened[-1]

    def test_a_line_scribbled_over_while_it_is_read(self, path: Path, pages: PageWriter) -> None:
        """The next records put the watermark right."""
        source = Source()
        source.log(b"a")
        source.move(pages)
        with open_page(path) as page:
            change(path, 256, struct.pack("<Q", 4096))
            assert [] == list(page)
            source.log(b"b")
            source.move(pages)
            assert [b"a", b"b"] == list(page.payloads())
            change(path, 280, b"\x09")
            assert [b"a", b"b"] == list(page.payloads())
            source.log(b"c")
            source.move(pages)
            assert [b"a", b"b", b"c"] == list(page.payloads())


def use(path: Path) -> None:
    """All that can be done with a page."""
    try:
        page = open_page(path)
    except DiskLogError:
        return
    with page:
        records = list(page)
        assert [record.data for record in records] == list(page.payloads())
        assert [record.number for record in records] == sorted({record.number for record in records})
        assert len(page) >= 0
        assert len(page[::-1]) <= len(records)
        for index in (0, -1, len(records) // 2, len(page)):
            try:
                assert isinstance(page[index], Record)
            except (IndexError, CorruptPageError):
                pass
        for record in records:
            assert len(record.view) == len(record.data)
            assert record.timestamp >= 0
        repr(page)
        assert len(page.damage) == len({damage.offset for damage in page.damage})


class TestHostile:
    """Any bytes give records, damage or a DiskLogError, and come to an end."""

    BASE = (
        frame(0, b"a"),
        group(32, [b"x", b"yy", b"z" * 40]),
        frame(224, b"b" * 300, kind=GAP),
        frame(224 + 352, b"c"),
    )

    @settings(max_examples=80 * TIMES, deadline=None, suppress_health_check=SHARED)
    @given(
        changes=st.lists(
            st.tuples(
                st.one_of(st.integers(0, 299), st.integers(4096, 4096 + 640)),
                st.one_of(
                    st.binary(min_size=1, max_size=8),
                    st.integers(0, 2**64 - 1).map(lambda n: n.to_bytes(8, "little")),
                    st.sampled_from([b"\xff" * 8, bytes(8), b"\xff\xff\xff\x7f", bytes(7) + b"\x80"]),
                ),
            ),
            min_size=1,
            max_size=6,
        ),
        length=st.one_of(st.none(), st.integers(0, 5000)),
        sealed=st.booleans(),
        checksums=st.booleans(),
    )
    def test_any_bytes(
        self,
        path: Path,
        changes: list[tuple[int, bytes]],
        length: int | None,
        sealed: bool,
        checksums: bool,
    ) -> None:
        """Mutated, cut, grown; with and without checksums that were made to fit."""
        page = bytearray(write_page(path, self.BASE, records=6, sealed=False))
        for offset, data in changes:
            page[offset : offset + len(data)] = data
        if checksums:
            page[252:256] = struct.pack("<I", crc32c(bytes(page[:252])))
            if sealed:
                seal(page)
        if length is not None:
            del page[length:]
            page.extend(bytes(length - len(page)))
        page_path(path).write_bytes(page)
        use(path)

    @settings(max_examples=80 * TIMES, deadline=None, suppress_health_check=SHARED)
    @given(st.binary(max_size=6000), st.booleans())
    def test_any_frames(self, path: Path, data: bytes, sealed: bool) -> None:
        """A good header before noise."""
        write_page(path, [data], records=len(data) // 100, sealed=sealed)
        use(path)

    @settings(max_examples=80 * TIMES, deadline=None, suppress_health_check=SHARED)
    @given(
        counts=st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 4)),
        inner=st.lists(
            st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 6), st.binary(max_size=20)), max_size=4
        ),
        length=st.integers(0, 200),
    )
    def test_any_group(
        self,
        path: Path,
        counts: tuple[int, int],
        inner: list[tuple[int, int, bytes]],
        length: int,
    ) -> None:
        """Groups with good checksums and lengths, kinds and counts that lie."""
        body = struct.pack("<II", counts[0] if counts[1] else len(inner), 0)
        for size, kind, data in inner:
            real = len(data) if counts[1] != 3 else size
            body += struct.pack("<IIQIHH", real, 0, 0, 1, kind if counts[1] != 1 else 1, 0) + data
            body += bytes(-len(body) % 8)
        body = body[:length] if counts[1] == 4 else body
        frames = [frame(0, b"a"), frame(32, body, kind=5)]
        frames.append(frame(sum(map(len, frames)), b"b"))
        write_page(path, frames, records=3)
        use(path)

    def test_headers_planted_in_records_do_not_make_the_search_long(self, path: Path) -> None:
        """A damaged record full of headers that claim megabytes: found out in one pass over the bytes."""
        planted = struct.pack("<IIQIHH", 0x00F00000, 1, 0, 1, 1, 0) + bytes(8)
        frames = [frame(0, b"a"), frame(32, bytes(8) + planted * 120_000)]
        frames.append(frame(sum(map(len, frames)), b"b"))
        write_page(path, frames, page_bytes=64 << 20)
        change(path, 4096 + 32 + 4, b"\0\0\0\0")
        with open_page(path) as page:
            assert [b"a", b"b"] == list(page.payloads())

    def test_an_offset_is_checked_before_it_is_used(self, path: Path) -> None:
        """The core's iterator refuses what is not inside the mapping."""
        write_page(path, [frame(0, b"a")])
        with open_page(path) as page:
            for offset, end in ((4096, 2**40), (5000, 4096), (2**63, 2**63), (4097, 4128)):
                with pytest.raises(ValueError, match="not inside"):
                    RecordIterator(page._mapping, offset, end, 0, 0, 0)
            frames = page.records_from()
            with pytest.raises(ValueError, match="not inside"):
                frames.extend(2**40)


def test_the_public_names_are_the_package_s() -> None:
    """Page, Damage and Record say where users find them."""
    assert {"disklog_mp"} == {kind.__module__ for kind in (Page, Damage, Record)}
    assert disklog_mp.Page is Page
