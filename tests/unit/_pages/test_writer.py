"""The page writer, driven as the writer drives it: with runs of frames out of a ring."""

import errno
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.faulty_files import FaultyFiles, Killed, content, files_that_die
from support.pages import (
    GAP,
    LOG_ID,
    PADDING,
    SALT,
    Source,
    crc32c,
    options,
    page_path,
    page_writer,
    read_page,
    write_log,
    write_page,
)

from disklog_mp._os import clocks as _clocks
from disklog_mp._pages import folder as _folder
from disklog_mp._pages import format as _page_format
from disklog_mp._pages import retention as _retention
from disklog_mp._pages import roll_times as _roll_times
from disklog_mp._pages import unsynced as _unsynced
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.folder import PageFolder
from disklog_mp._pages.format import PAGE_OPEN, PAGE_SEALED, PageHeader, PageLine
from disklog_mp._pages.recovery import RingHints
from disklog_mp._pages.retention import KeptPage
from disklog_mp._pages.unsynced import SyncJob
from disklog_mp._pages.writer import PageWriter
from disklog_mp._reader.reader import Reader


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def facts(path: Path, number: int = 1) -> tuple[PageHeader, PageLine]:
    """A page's header, read from its file."""
    data = page_path(path, number).read_bytes()
    return _page_format.unpack(data), _page_format.unpack_line(data)


def data_crc(page: bytes, watermark: int) -> int:
    """The checksum of a sealed page's frames without padding's bytes, told by walking over them."""
    covered, offset = b"", 4096
    while offset < watermark:
        length = int.from_bytes(page[offset : offset + 4], "little")
        span = -(-(24 + length) // 32) * 32
        kind = page[offset + 20]
        covered += page[offset : offset + (24 if kind == PADDING else span)]
        offset += span
    return crc32c(covered)


class TestCreation:
    def test_no_page_is_begun_before_there_is_a_record(self, path: Path) -> None:
        """An open log without a record is an empty directory."""
        pages = page_writer(path)
        pages.close()

        assert not list(path.iterdir())
        assert pages.is_empty()
        assert (pages.retention.first_page(), pages.retention.total_bytes()) == (0, 0)

    def test_a_page_has_its_name_when_it_has_its_header(self, path: Path) -> None:
        """It is made under another name, synced, and renamed: killed on the way it never was a page."""
        for step in range(1, 20):
            pages = page_writer(path, files := FaultyFiles())
            source = Source()
            source.log(b"x")
            files.die_at = files.steps + step
            with suppress(Killed):
                source.move(pages)
            files.bury()
            for number in Directory(path).pages():
                header, _ = facts(path, number)
                assert (number, LOG_ID, SALT) == (header.number, header.log_id, header.salt)
            page_writer(path).close()
            assert {page_path(path)} >= set(path.iterdir()), f"killed at step {step}"
            for entry in path.iterdir():
                entry.unlink()

    def test_the_header_says_where_the_page_stands_and_what_it_may_hold(self, path: Path) -> None:
        """Position, number, limits, name and time of the page's beginning."""
        before = time.time_ns()
        pages = page_writer(path, page_records=3, page_bytes=8192, page_age=1.5)
        source = Source()
        for i in range(5):
            source.log(b"%d" % i)
            source.move(pages)
        pages.close()
        header, line = facts(path, 2)

        assert (header.number, header.first_position, header.first_number) == (2, 3 * 32, 3)
        assert (header.page_bytes, header.page_records, header.page_age) == (8192, 3, 1_500_000_000)
        assert (header.data_offset, header.head_length, header.name) == (4096, 0, "log")
        assert before <= header.created <= time.time_ns()
        assert (line.watermark, line.records, line.state) == (4096 + 64, 2, PAGE_OPEN)

    def test_limits_that_no_header_holds_are_as_good_as_none(self, path: Path) -> None:
        """page_bytes, page_records and page_age beyond 64 bits."""
        pages = page_writer(path, page_bytes=2**70, page_records=2**70, page_age=1e30)
        source = Source()
        source.log(b"x")
        source.move(pages)
        pages.close()

        assert read_page(path) == ([b"x"], [])

    def test_files_have_the_mode_they_are_given(self, path: Path) -> None:
        """With any umask."""
        former = os.umask(0o077)
        try:
            write_log(path, [b"x"], mode=0o640)
        finally:
            os.umask(former)

        assert page_path(path).stat().st_mode & 0o777 == 0o640

    def test_a_failed_attempt_leaves_nothing_and_the_next_succeeds(self, path: Path) -> None:
        """Whichever step of making a page fails."""
        for operation in ("create", "allocate", "write_at", "sync", "map", "rename"):
            pages = page_writer(path / operation, files := FaultyFiles())
            source = Source()
            source.log(b"x")
            run = source.drain()
            files.fail(operation, number=errno.EIO)
            with pytest.raises(OSError, match="Input/output"):
                pages.append(*run)
            assert not list((path / operation).iterdir()), operation
            pages.append(*run)
            pages.close()

            assert read_page(path / operation) == ([b"x"], [])


class TestSpace:
    def test_space_is_reserved_in_steps_that_grow(self, path: Path) -> None:
        """1 MiB first, doubling up to 8 MiB at a time, and never beyond the page's limit."""
        pages = page_writer(path, page_bytes=24 << 20)
        source = Source(capacity=1 << 22)
        sizes = []
        while pages.page_number < 2:
            source.log(b"x" * 262_000)
            source.move(pages)
            sizes.append(page_path(path).stat().st_size - 4096)
        pages.close()
        cut = sizes.pop()

        assert [round(size / 2**20) for size in sorted(set(sizes))] == [1, 2, 4, 8, 16, 24]
        assert max(sizes) == 24 << 20
        assert cut == -(-facts(path)[1].watermark // 4096) * 4096 - 4096

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
    def test_a_disk_without_room_for_a_step_may_have_room_for_the_frames(
        self, path: Path, number: int
    ) -> None:
        """When reserving ahead fails the writer reserves just what it needs."""
        pages = page_writer(path, files := FaultyFiles())
        source = Source()
        source.log(b"x" * 5000)
        run = source.drain()
        files.fail("allocate", 2, number)  # the first is the header's
        pages.append(*run)

        assert page_path(path).stat().st_size == 4096 + 8192
        assert read_page(path) == ([b"x" * 5000], [])
        pages.close()

    def test_a_disk_that_is_full_says_so(self, path: Path) -> None:
        """No room for the frames either: ENOSPC, and nothing has changed."""
        pages = page_writer(path, files := FaultyFiles())
        source = Source()
        source.log(b"x" * 5000)
        files.fail("allocate", 2, errno.ENOSPC, times=2)
        with pytest.raises(OSError, match="No space"):
            pages.append(*source.drain())

        assert (pages.position, pages.number) == (0, 0)
        assert source.move(pages) == 1
        pages.close()

    def test_a_page_is_cut_to_what_it_holds_when_it_is_sealed_or_closed(self, path: Path) -> None:
        """To the OS page behind the watermark, and never below the watermark."""
        for seal in (True, False):
            pages = page_writer(path / str(seal))
            source = Source()
            source.log(b"x" * 5000)
            source.move(pages)
            assert page_path(path / str(seal)).stat().st_size >= 1 << 20
            if seal:
                pages.seal()
            pages.close()

            assert page_path(path / str(seal)).stat().st_size == 3 * 4096
            assert read_page(path / str(seal)) == ([b"x" * 5000], [])

    def test_a_page_that_cannot_be_cut_is_sealed_all_the_same(self, path: Path) -> None:
        """It costs disk space; the append that filled the page has not failed."""
        pages = page_writer(path, files := FaultyFiles(), page_records=1)
        source = Source()
        files.fail("truncate", number=errno.EIO)
        source.log(b"x")
        source.move(pages)
        pages.close()

        assert facts(path)[1].state == PAGE_SEALED
        assert read_page(path) == ([b"x"], [])

    def test_a_file_system_that_reserves_nothing_will_do(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file is made as long; also for padding, of which only the header is written."""

        def refuse(*_: object) -> None:
            raise OSError(errno.EOPNOTSUPP, "not supported")

        monkeypatch.setattr(os, "posix_fallocate", refuse)
        pages = page_writer(path)
        source = Source(capacity=4096)
        for i in range(20):  # frames of 320 bytes: the ring's end is padded
            source.log(b"%03d" % i * 99)
            source.move(pages)

        assert ([b"%03d" % i * 99 for i in range(20)], []) == read_page(path)
        pages.close()


class TestAppend:
    def test_what_is_appended_is_read_at_once(self, path: Path) -> None:
        """Each append publishes its records, with their count and the last one's time."""
        pages = page_writer(path)
        source = Source()
        before = time.time_ns()
        for i in range(10):
            source.log(b"%d" % i)
            source.move(pages)
            _, line = facts(path)
            assert ([b"%d" % j for j in range(i + 1)], []) == read_page(path)
            assert (4096 + 32 * (i + 1), i + 1) == (line.watermark, line.records)
            assert before <= line.last_time <= time.time_ns()
        assert (source.position, 10, 1) == (pages.position, pages.number, pages.page_number)
        pages.close()

    def test_a_run_is_written_verbatim(self, path: Path) -> None:
        """Groups, gaps, abandoned claims and padding too: the page's bytes are the ring's."""
        pages = page_writer(path)
        source = Source(capacity=4096)
        written = b""
        for i in range(40):
            if i % 3:
                source.log_many([b"%d" % i, b"", b"x" * (i * 7)], tag=i)
            else:
                source.log(b"%d" % i * 50, tag=i, kind=GAP if i % 2 else 1)
            run = source.drain()
            while run.end != source.position:
                written += bytes(run.data).ljust(run.end - source.position, b"\0")
                pages.append(*run)
                source.release(run.end)
                run = source.drain()
        pages.close()
        page = page_path(path).read_bytes()

        # Of padding only the header counts: what the ring held behind it did not come along.
        assert written == page[4096 : 4096 + len(written)]
        assert read_page(path)[1] == []

    @pytest.mark.parametrize("base", [0, 2**32 - 4096, 2**63 - 4096])
    def test_frames_end_and_begin_at_every_offset_of_an_os_page(self, path: Path, base: int) -> None:
        """A page of many OS pages: a frame's header, its bytes and its end stand across each boundary."""
        source = Source(base=base, capacity=1 << 20)
        pages = PageWriter(Directory(path), "log", options(page_bytes=1 << 20))
        path.mkdir()
        pages.recover(RingHints(LOG_ID, SALT, ring_is_there=True, released=base))
        records = [bytes([i % 251]) * (i % 4200) for i in range(0, 8400, 29)]
        ends = set()
        for data in records:
            source.log(data)
            source.move(pages)
            ends.add(pages.position % 4096)
        pages.close()
        found = list(Reader(path))

        assert records == [record.data for record in found]
        assert base == found[0].position
        assert {0, 32, 4064} <= ends

    @pytest.mark.parametrize("length", [4096 * k + d for k in (1, 2) for d in (-56, -25, -24, -23, -1, 0, 1)])
    def test_a_page_whose_end_is_at_an_os_page(self, path: Path, length: int) -> None:
        """A last frame that just fills an OS page, and one that just does not, sealed and read back."""
        records = [b"a" * length, b"b" * length, b"c"]
        write_log(path, records, page_records=2)

        assert (records[:2], []) == read_page(path)
        assert page_path(path).stat().st_size == -(-facts(path)[1].watermark // 4096) * 4096

    @pytest.mark.parametrize(
        ("operation", "number", "half"),
        [
            ("allocate", errno.EIO, False),
            ("write_at", errno.ENOSPC, False),
            ("write_at", errno.ENOSPC, True),
            ("write_at", errno.EIO, True),
        ],
    )
    def test_an_append_that_failed_is_made_again(
        self, path: Path, operation: str, number: int, half: bool
    ) -> None:
        """OSError, and nothing has changed; the same call later leaves the same bytes as without trouble."""
        source = Source()
        troubled = page_writer(path / "troubled", files := FaultyFiles(), page_bytes=3 << 20)
        smooth = page_writer(path / "smooth", page_bytes=3 << 20)
        refused = 0
        for i in range(18):
            for data in (b"%d" % i, b"y" * 250_000, b"z" * 31):
                source.log(data)
            run = source.drain(min(troubled.room()[0], 1 << 20))
            before = troubled.position, troubled.number, troubled.room()
            files.fail(operation, 1, number, half=half)
            try:
                troubled.append(*run)
            except OSError:
                refused += before == (troubled.position, troubled.number, troubled.room())
                files.heal()
                troubled.append(*run)
            smooth.append(*run)
            source.release(run.end)
            if troubled.room()[0] < 300_000:
                troubled.seal()
                smooth.seal()
        troubled.close()
        smooth.close()

        assert refused == (18 if operation == "write_at" else 5)
        for name in os.listdir(path / "smooth"):
            ours, theirs = (path / run / name for run in ("troubled", "smooth"))
            # All but the time at which it was made, its checksum, and how often the bell rang.
            assert ours.read_bytes()[4096:] == theirs.read_bytes()[4096:]
            assert ours.read_bytes()[256:284] == theirs.read_bytes()[256:284]

    def test_an_append_that_fills_its_page_cannot_fail_any_more(self, path: Path) -> None:
        """Once the bytes are written the page is sealed, even if the file cannot be trimmed."""
        pages = page_writer(path, files := FaultyFiles(), page_records=2)
        source = Source()
        source.log(b"a")
        source.move(pages)
        source.log(b"b")
        files.fail("size", number=errno.EIO, times=5)
        files.fail("truncate", number=errno.EIO, times=5)
        source.move(pages)
        files.heal()
        source.log(b"c")
        source.move(pages)
        pages.close()

        assert [record.data for record in Reader(path)] == [b"a", b"b", b"c"]


class TestRoll:
    @pytest.mark.parametrize("records", [1, 2, 7])
    def test_a_page_has_so_many_records(self, path: Path, records: int) -> None:
        """With page_records each page is sealed as soon as it has them."""
        write_log(path, [b"%d" % i for i in range(15)], page_records=records)
        pages = list(Reader(path).pages())

        assert [min(records, 15 - n) for n in range(0, 15, records)] == [len(page) for page in pages]
        assert [len(page) == records for page in pages] == [page.sealed for page in pages]

    def test_a_page_has_so_many_bytes(self, path: Path) -> None:
        """The frame that would pass page_bytes begins the next page; one that just fits does not."""
        write_log(path, [b"x" * 1000] * 9, page_bytes=4096)  # frames of 1,024 bytes

        assert [len(page) for page in Reader(path).pages()] == [4, 4, 1]
        assert facts(path)[1].watermark == 4096 + 4096

    def test_a_frame_longer_than_a_page_has_a_page_of_its_own(self, path: Path) -> None:
        """And the pages before and after it keep their limit."""
        write_log(path, [b"a", b"x" * 10_000, b"y" * 5000, b"b", b"c"], page_bytes=4096)
        headers = [facts(path, number)[0] for number in (1, 2, 3, 4)]

        assert [len(page) for page in Reader(path).pages()] == [1, 1, 1, 2]
        assert [4096, 10_048, 5024 + 32, 4096][:2] == [header.page_bytes for header in headers][:2]
        assert headers[3].page_bytes == 4096

    def test_room_is_never_less_than_none(self, path: Path) -> None:
        """Also when a page was reopened with smaller limits than it was begun with."""
        write_log(path, [b"x" * 1000] * 3, page_bytes=4096)
        header, line = facts(path)
        assert (header.page_bytes, line.records) == (4096, 3)
        pages = page_writer(path, page_records=2, page_bytes=4096)

        assert pages.room() == (1024, 0)
        pages.close()

    def test_a_page_that_is_empty_is_not_sealed(self, path: Path) -> None:
        """A roll on request does nothing where nothing is."""
        pages = page_writer(path)

        assert not pages.seal()
        pages.close()

    def test_a_page_grows_older_from_the_day_its_first_record_came(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not from the day its present writer came to it, nor from that on which it was made, empty."""
        write_log(path, [b"x"])
        data = bytearray(page_path(path).read_bytes())
        data[64:72] = (time.time_ns() - 3_600_000_000_000).to_bytes(8, "little")
        data[252:256] = crc32c(bytes(data[:252])).to_bytes(4, "little")
        page_path(path).write_bytes(data)
        now = time.time_ns()
        monkeypatch.setattr(time, "time_ns", lambda: now + 60 * 10**9)
        pages = page_writer(path, page_age=100.0)

        assert 30 < pages.times.left(pages.page) < 40.1
        pages.close()


class TestSeal:
    def test_a_sealed_page_says_what_it_holds(self, path: Path) -> None:
        """Records, last time, a checksum of all its frames but padding's bytes, and one of the line."""
        pages = page_writer(path)
        source = Source(capacity=4096)
        for i in range(50):
            source.log(b"%d" % i * 40)
            source.log_many([b"g"] * (i % 5 + 1))
            source.move(pages)
        pages.seal()
        pages.close()
        page = page_path(path).read_bytes()
        records = list(Reader(path))
        _, line = facts(path)

        assert len(records) == line.records
        assert records[-1].timestamp == line.last_time
        assert data_crc(page, line.watermark) == line.data_crc
        assert crc32c(page[256:284] + page[288:292]) == line.seal_crc

    def test_a_page_reopened_again_and_again_has_the_checksum_of_all_its_frames(self, path: Path) -> None:
        """Each writer goes on with the checksum where its predecessor stopped."""
        for i in range(4):
            pages = page_writer(path)
            source = Source(base=pages.position)
            source.log(b"%d" % i * 100)
            source.move(pages)
            if i == 3:
                pages.seal()
            pages.close()
        _, line = facts(path)

        assert line.records == 4
        assert data_crc(page_path(path).read_bytes(), line.watermark) == line.data_crc

    def test_a_page_is_sealed_at_one_instant(self, path: Path) -> None:
        """Killed at any store of it, the page is open as before, or sealed with all that belongs to it."""
        outcomes = set()
        for step in range(1, 8):
            pages = page_writer(path / str(step), files := FaultyFiles())
            source = Source()
            source.log(b"x")
            source.move(pages)
            files.die_at = files.steps + step
            with suppress(Killed):
                pages.seal()
            files.bury()
            data = page_path(path / str(step)).read_bytes()
            outcomes.add((_page_format.unpack_line(data).state, _page_format.is_sealed(data)))

        assert {(PAGE_OPEN, False), (PAGE_SEALED, True)} == outcomes

    def test_readers_who_sleep_at_its_end_are_woken_by_the_next_page(self, path: Path) -> None:
        """A sealed page's bell rings once more when the next page has its name."""
        pages = page_writer(path, page_records=1)
        source = Source()
        source.log(b"a")
        source.move(pages)
        page = next(Reader(path).pages())
        bell = page.bell()
        source.log(b"b")
        source.move(pages)

        assert page.bell() != bell
        assert page.sealed
        page.close()
        pages.close()


class TestRetention:
    def test_keep_pages_keeps_so_many(self, path: Path) -> None:
        """The oldest go first, and the one being written counts."""
        pages = page_writer(path, page_records=2, keep_pages=3)
        source = Source()
        gone = []
        for i in range(13):
            source.log(b"%d" % i)
            source.move(pages)
            gone += pages.retire()

        assert gone == [1, 2, 3, 4]
        assert Directory(path).pages() == [5, 6, 7]
        assert pages.retention.first_page() == 5
        pages.close()

    def test_keep_bytes_keeps_so_many(self, path: Path) -> None:
        """Pages count with their header; the newest stays, however long it is."""
        pages = page_writer(path, page_records=1, keep_bytes=3 * (4096 + 1024))
        source = Source()
        for i in range(6):
            source.log(b"%d" % i * 1000)
            source.move(pages)
            pages.retire()
        kept = Directory(path).pages()

        assert kept == [4, 5, 6]
        assert sum(facts(path, number)[1].watermark for number in kept) == pages.retention.total_bytes()
        pages.close()

    def test_keep_age_keeps_what_is_not_older(self, path: Path) -> None:
        """A page was sealed when the next one was begun; what producers' clocks say does not matter."""
        now = time.time_ns()
        for number, (age, last) in enumerate(((200, 0), (100, 2**62), (50, 0), (5, 2**62)), 1):
            write_page(
                path,
                [],
                number=number,
                created=now - age * 10**9,
                last_time=last,
                sealed=number < 4,
            )
        pages = page_writer(path, keep_age=20.0)

        assert pages.retire() == [1, 2]
        assert Directory(path).pages() == [3, 4]
        pages.close()

    def test_no_step_of_the_wall_clock_makes_a_page_older(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither while the writer runs, nor when the next one of this boot takes over after the step."""

        def locked(path: Path) -> PageWriter:
            directory = Directory(path)
            directory.create(0o600, -1)
            assert directory.lock(0o600, -1)
            pages = PageWriter(directory, "log", options(page_records=1, keep_age=3600.0))
            directory.note("4711 app")
            pages.recover(RingHints(LOG_ID, SALT))
            return pages

        ahead = time.time() + 31 * 86400
        pages = locked(path)
        source = Source()
        for i in range(5):
            source.log(b"%d" % i)
            source.move(pages)
        monkeypatch.setattr(time, "time", lambda: ahead)
        monkeypatch.setattr(time, "time_ns", lambda: int(ahead * 1e9))
        assert pages.retire() == []
        pages.close()
        pages.folder.directory.unlock()

        pages = locked(path)
        assert not pages.folder.directory.rebooted
        assert pages.retire() == []
        boot_time = _clocks.boot_time()
        monkeypatch.setattr(_retention, "boot_time", lambda: boot_time + 3601)
        assert pages.retire() == [1, 2, 3, 4]
        pages.close()
        pages.folder.directory.unlock()

    def test_the_age_of_a_page_is_looked_at_before_a_record_goes_in(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The time for which the machine was suspended counts: a page of yesterday has no room."""
        pages = page_writer(path, page_age=3600.0)
        assert min(pages.room()) > 0
        source = Source()
        source.log(b"yesterday")
        source.move(pages)
        assert min(pages.room()) > 0
        boot_time = _clocks.boot_time()
        monkeypatch.setattr(_roll_times, "boot_time", lambda: boot_time + 3601)

        assert pages.room() == (0, 0)
        assert pages.seal()
        assert min(pages.room()) > 0
        pages.close()

    @pytest.mark.parametrize("kept", [{"keep_pages": 1}, {"keep_bytes": 1}, {"keep_age": 0.0}])
    def test_the_newest_page_stays(self, path: Path, kept: dict[str, Any]) -> None:
        """Sealed and beyond every limit: without it a log would forget its positions and numbers."""
        write_log(path, [b"%d" % i for i in range(6)], page_records=2)
        pages = page_writer(path, page_records=2, **kept)

        assert pages.retire() == [1, 2]
        assert pages.retire() == []
        pages.close()
        pages = page_writer(path, page_records=2, **kept)
        assert (pages.log_id, pages.position, pages.number, pages.page_number) == (LOG_ID, 192, 6, 3)
        pages.close()

    def test_a_page_that_cannot_be_read_is_not_old(self, path: Path) -> None:
        """Without a header its end is unknown: it stays as long as a page of today."""
        write_log(path, [b"%d" % i for i in range(3)], page_records=1)
        page_path(path, 1).write_bytes(b"no page at all")
        pages = page_writer(path, keep_age=3600.0)

        assert pages.retire() == []
        assert Directory(path).pages() == [1, 2, 3]
        pages.close()

    def test_pages_of_an_earlier_writer_are_retired_too(self, path: Path) -> None:
        """A new writer knows what is there, how long it is and how old."""
        write_log(path, [b"%d" % i for i in range(10)], page_records=2)
        pages = page_writer(path, page_records=2, keep_pages=2)

        assert sum(4096 + 64 for _ in range(5)) == pages.retention.total_bytes()
        assert pages.retire() == [1, 2, 3]
        assert pages.retention.total_bytes() == 2 * (4096 + 64)
        pages.close()

    def test_somebody_else_may_remove_pages(self, path: Path) -> None:
        """One that is gone already is retired."""
        write_log(path, [b"%d" % i for i in range(10)], page_records=2)
        pages = page_writer(path, keep_pages=2)
        page_path(path, 2).unlink()

        assert pages.retire() == [1, 2, 3]
        pages.close()

    def test_what_was_removed_by_hand_is_forgotten(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """And told; but not if another directory stands there, or none."""
        monkeypatch.setattr(_folder, "LISTING", 0)
        write_log(path, [b"%d" % i for i in range(10)], page_records=2)
        pages = page_writer(path)
        assert pages.folder.directory.lock(0o600, -1)
        told: list[tuple[int, str]] = []
        pages.retention.on_retired = lambda page, why: told.append((page.number, why))
        before = pages.retention.total_bytes()
        assert [] == pages.retire()
        for number in (1, 3):
            page_path(path, number).unlink()
        assert [1, 3] == pages.retire()
        assert 2 == pages.retention.first_page()
        assert before > pages.retention.total_bytes()

        path.rename(path.with_name("moved"))
        assert [] == pages.retire()
        path.mkdir()
        assert [] == pages.retire()
        assert [(1, "removed by hand"), (3, "removed by hand")] == told
        pages.close()
        pages.folder.directory.unlock()

    def test_the_page_being_written_was_removed_from_a_full_log(self, path: Path) -> None:
        """No record comes that would meet that; its bytes count no more."""
        pages = page_writer(path, max_bytes=1)
        source = Source()
        source.log(b"x")
        source.move(pages)
        page_path(path, 1).unlink()
        pages.retire()

        assert 0 == pages.retention.total_bytes()
        source.log(b"y")
        source.move(pages)
        assert [b"y"] == read_page(path, 2)[0]
        pages.close()

    def test_a_page_that_cannot_be_removed_is_tried_again(self, path: Path) -> None:
        """Retention never stops the writing; what was in its way is told."""
        write_log(path, [b"%d" % i for i in range(10)], page_records=2)
        pages = page_writer(path, files := FaultyFiles(), keep_pages=2)
        files.fail("unlink", 2, errno.EPERM)

        assert pages.retire() == [1]
        assert isinstance(pages.retire_error, PermissionError)
        assert pages.retire() == [2, 3]
        assert pages.retire_error is None
        pages.close()

    def test_ten_thousand_pages_are_retired_one_look_each(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What all pages have together is known, not added up each time."""
        monkeypatch.setattr(PageFolder, "pages_if_changed", lambda folder: None)
        pages = page_writer(path, keep_bytes=5000)
        for number in range(1, 10_001):
            pages.retention.keep(KeptPage(number, 4096, 0))

        assert pages.retention.total_bytes() == 40_960_000
        assert list(range(1, 10_000)) == pages.retire()
        assert pages.retention.total_bytes() == 4096
        pages.close()


class TestSync:
    def test_a_job_syncs_what_was_written_before_it(self, path: Path) -> None:
        """Sealed pages and the open one, and the directory if names in it changed."""
        pages = page_writer(path, files := FaultyFiles(), page_records=2)
        source = Source()
        for i in range(5):
            source.log(b"%d" % i)
            source.move(pages)
        job = pages.sync_job()
        syncs = files.calls["sync"]
        job.run()
        pages.synced(job)

        assert source.position == job.position
        assert (files.calls["sync"] - syncs, files.calls["sync_directory"]) == (3, 1)
        assert len(pages.sync_job().files) == 1
        assert pages.sync_job().directory is None
        pages.close()

    def test_a_page_sealed_while_a_job_runs_is_synced_by_the_next(self, path: Path) -> None:
        """What was written into it meanwhile is not on disk for that job."""
        pages = page_writer(path, FaultyFiles(), page_records=3)
        source = Source()
        source.log(b"a")
        source.move(pages)
        job = pages.sync_job()
        job.run()
        source.log(b"b")
        source.log(b"c")
        source.log(b"d")
        source.move(pages)
        pages.synced(job)

        assert len(pages.sync_job().files) == 2
        assert pages.sync_job().directory is not None
        pages.close()

    def test_a_page_begun_while_a_job_runs_has_its_name_synced_by_the_next(self, path: Path) -> None:
        """The directory is clean only as far as the job knew it."""
        pages = page_writer(path, page_records=1)
        source = Source()
        source.log(b"a")
        source.move(pages)
        job = pages.sync_job()
        source.log(b"b")
        source.move(pages)
        job.run()
        pages.synced(job)

        assert pages.sync_job().directory is not None
        pages.close()

    def test_synced_pages_are_closed(self, path: Path) -> None:
        """A log of many pages keeps no descriptor of those that are done."""
        pages = page_writer(path, page_records=1)
        source = Source()
        before = len(os.listdir("/proc/self/fd"))
        for i in range(50):
            source.log(b"%d" % i)
            source.move(pages)
            job = pages.sync_job()
            job.run()
            pages.synced(job)

        assert len(os.listdir("/proc/self/fd")) == before
        pages.close()

    def test_pages_that_nobody_syncs_hold_no_descriptors(self, path: Path) -> None:
        """With sync="never" there may never be a job; if there is one after all it syncs them all."""
        pages = page_writer(path, files := FaultyFiles(), page_records=1, sync="never")
        source = Source()
        for i in range(100):
            source.log(b"%d" % i)
            source.move(pages)
        held = sum("page-" in os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd"))
        job = pages.sync_job()
        job.run()
        pages.synced(job)

        assert held <= _unsynced.FILES_KEPT + 1
        assert files.calls["sync"] == 100
        assert pages.sync_job().files == ()
        pages.close()

    def test_a_page_retired_before_it_was_synced_needs_no_sync(self, path: Path) -> None:
        """Its descriptor goes with its name."""
        pages = page_writer(path, page_records=1, keep_pages=2, sync="never")
        source = Source()
        for i in range(100):
            source.log(b"%d" % i)
            source.move(pages)
            pages.retire()

        assert len(pages.sync_job().files) == 2
        pages.close()

    def test_what_a_dead_writer_left_unsynced_is_synced(self, path: Path) -> None:
        """Pages that reach beyond the durable position, sealed or not, are in the first job."""
        write_log(path, [b"%d" % i for i in range(11)], page_records=2)
        pages = PageWriter(Directory(path), "log", options(page_records=2))
        pages.recover(RingHints(LOG_ID, SALT, ring_is_there=True, released=11 * 32, durable=5 * 32))

        assert len(pages.sync_job().files) == 4  # pages 3 to 5, and the open one
        pages.close()

    def test_a_sync_that_fails_is_told_and_can_be_repeated(self, path: Path) -> None:
        """The first error is raised when all have been tried; until synced() is called all is to be done."""
        pages = page_writer(path, files := FaultyFiles(), page_records=1)
        source = Source()
        for i in range(3):
            source.log(b"%d" % i)
            source.move(pages)
        files.fail("sync", 2, errno.EIO)
        with pytest.raises(OSError, match="Input/output"):
            pages.sync_job().run()

        assert len(pages.sync_job().files) == 3
        pages.close()


class TestRescue:
    def failed(self, path: Path) -> tuple[PageWriter, FaultyFiles, Source, SyncJob]:
        """Two sealed pages and one begun, and a sync that failed on all but the first."""
        pages = page_writer(path, files := FaultyFiles(), page_records=4)
        source = Source()
        for i in range(10):
            source.log(b"%d" % i)
        source.move(pages)
        files.fail("sync", 2, errno.EIO, times=2)
        job = pages.sync_job()
        with pytest.raises(OSError, match="Input/output"):
            job.run()
        return pages, files, source, job

    def test_pages_at_risk_are_written_anew(self, path: Path) -> None:
        """To new files, synced before they take the old ones' names; the one begun is sealed for it."""
        pages, files, source, job = self.failed(path)
        inodes = [page_path(path, number).stat().st_ino for number in (1, 2, 3)]
        readers = list(Reader(path).pages())
        before = content(path)
        syncs = files.calls["sync"]

        assert pages.rescue(job) == []
        assert files.calls["sync"] - syncs == 2
        assert inodes[0] == page_path(path, 1).stat().st_ino
        assert not set(inodes) & {page_path(path, number).stat().st_ino for number in (2, 3)}
        assert list(before) == list(content(path))
        assert before["page-0000000002.dlog"] == content(path)["page-0000000002.dlog"]
        again = pages.sync_job()
        assert again.files == ()
        assert again.directory is not None
        source.log(b"10")
        source.move(pages)
        assert [b"%d" % i for i in range(11)] == [record.data for record in Reader(path)]
        # A reader that has the old files mapped sees them complete, and finds the next page.
        assert [b"%d" % i for i in range(10)] == [r.data for page in readers for r in page]
        assert readers[-1].sealed
        for page in readers:
            page.close()
        pages.close()

    def test_what_the_kernel_dropped_is_named(self, path: Path) -> None:
        """A page whose bytes are no longer what was written: its range of positions."""
        pages, _, _, job = self.failed(path)
        with open(page_path(path, 2), "r+b") as file:
            file.seek(4096 + 40)
            file.write(b"!")

        assert pages.rescue(job) == [(4 * 32, 8 * 32)]
        pages.close()

    def test_a_rescue_that_fails_is_made_again(self, path: Path) -> None:
        """After any failure on the way all is there in the end, and nothing else."""
        for operation in ("open", "create", "allocate", "write_at", "sync", "rename"):
            for nth in (1, 2):
                place = path / f"{operation}-{nth}"
                pages, files, source, job = self.failed(place)
                files.fail(operation, nth, errno.ENOSPC)
                with pytest.raises(OSError, match="No space"):
                    pages.rescue(job)
                assert pages.rescue(job) == []
                source.log(b"10")
                source.move(pages)
                pages.close()

                assert [b"%d" % i for i in range(11)] == [record.data for record in Reader(place)]
                assert [page_path(place, n).name for n in (1, 2, 3, 4)] == sorted(os.listdir(place))

    def test_a_page_retired_meanwhile_needs_no_rescue(self, path: Path) -> None:
        """Nor does it come back.  One that is gone for another reason is told as lost."""
        for is_retired in (True, False):
            place = path / str(is_retired)
            pages, _, _, job = self.failed(place)
            page_path(place, 2).unlink()
            if is_retired:
                assert [] == pages.unsynced.retired([2])  # the job has it

            assert pages.rescue(job) == ([] if is_retired else [(128, 256)])
            assert Directory(place).pages() == [1, 3]
            pages.close()


class TestReopening:
    def test_the_last_page_goes_on(self, path: Path) -> None:
        """Closed in good order and opened again: the same page, the next number, the next position."""
        write_log(path, [b"a", b"b"])
        pages = page_writer(path)
        assert (pages.position, pages.number, pages.page_number) == (64, 2, 1)
        source = Source(base=64)
        source.log_many([b"c", b"d"])
        source.move(pages)
        pages.close()
        records = list(Reader(path))

        assert [record.data for record in records] == [b"a", b"b", b"c", b"d"]
        assert [record.number for record in records] == [0, 1, 2, 3]
        assert Directory(path).pages() == [1]

    def test_a_sealed_last_page_is_followed_by_another(self, path: Path) -> None:
        """And it is not touched: not a byte of it but the bell."""
        write_log(path, [b"a", b"b"], page_records=2)
        before = page_path(path).read_bytes()
        pages = page_writer(path, page_records=2)
        source = Source(base=pages.position)
        source.log(b"c")
        source.move(pages)
        pages.close()
        after = page_path(path).read_bytes()

        assert (before[:284], before[288:]) == (after[:284], after[288:])
        assert [record.number for record in Reader(path)] == [0, 1, 2]

    def test_close_twice_is_fine(self, path: Path) -> None:
        """And a page writer that never recovered can be closed."""
        pages = page_writer(path)
        pages.close()
        pages.close()
        PageWriter(Directory(path), "log", options()).close()


class TestKills:
    def test_killed_at_any_step_the_next_writer_makes_the_same_log(self, path: Path) -> None:
        """With the ring at hand nothing is lost or doubled, and pages are as they would have been."""

        def write(place: Path, files: FaultyFiles) -> None:
            source = Source()
            directory = Directory(place, files)
            place.mkdir(parents=True, exist_ok=True)
            for i in range(7):
                source.log(b"%d" % i * 30)
                source.log_many([b"g%d" % i] * 2)
            while source.position < source.ring.frontier(0):
                pages = PageWriter(directory, "log", options(page_records=4, keep_pages=3))
                try:
                    released = source.ring.released
                    pages.recover(RingHints(LOG_ID, SALT, ring_is_there=True, released=released))
                    while source.position < pages.position:  # as the writer does: written, not released
                        run = source.drain(pages.position - source.position)
                        assert run.end > source.position
                        source.release(run.end)
                    source.move(pages)
                except Killed:
                    pass
                files.bury()

        def reading(place: Path) -> list[tuple[int, int, int, bytes]]:
            found = []
            for page in Reader(place).pages():
                assert len(page) == len(list(page))
                found += [(page.number, r.position, r.number, r.data) for r in page]
            return found

        write(path / "0", counting := FaultyFiles())
        expected = reading(path / "0")
        assert len(expected) == 21
        for step in range(1, counting.steps + 1):
            write(path / str(step), files_that_die(step))
            assert expected == reading(path / str(step)), f"killed at step {step}"
