"""stat, ls and verify: how a log is, and whether it is what was written."""

import json
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from support.command import call, kill_writer, lines, objects
from support.layout import LOGGED, slot_offset
from support.machine import stop_writer, wait_until
from support.pages import frame, write_page
from support.rings import attach_ring, remove_ring, ring_path

import disklog_mp
from disklog_mp import _core
from disklog_mp._pages.format import STATE
from disklog_mp._ring import slots as _slots
from disklog_mp._session import interpreter
from disklog_mp._verify.books import Books
from disklog_mp.cli.state.verify import counters_line

OpenLog = Callable[..., disklog_mp.Session]
__all__ = ["kill_writer"]  # a fixture
HEADER = 4096


@pytest.fixture
def sealed(open_log: OpenLog, name: str, path: Path) -> Path:
    """The directory of a log whose writer is gone: three sealed pages of three records, one open page."""
    log = open_log(page_records=3)
    for i in range(10):
        log.log(b"record number %d" % i)
    log.flush()
    log.close()
    stop_writer(name)
    return path


def page(path: Path, number: int) -> Path:
    return path / f"page-{number:010d}.dlog"


def change(file: Path, offset: int, data: bytes) -> None:
    """Put other bytes into a file."""
    with open(file, "r+b") as opened:
        opened.seek(offset)
        opened.write(data)


class TestStat:
    def test_an_open_log(self, open_log: OpenLog, name: str, path: Path) -> None:
        """Ring, writer, pages, counters and attached processes, by name or by directory."""
        log = open_log(page_records=3)
        for _ in range(10):
            log.log(b"x" * 100)
        log.sync()
        (told,) = objects("stat", name)
        stats = log.stats()

        assert told["status"] == "ok"
        assert (name, str(path), stats.writer_pid) == (told["name"], told["path"], told["writer_pid"])
        assert (told["records"], told["logged"], told["dropped"], told["pages"]) == (10, 10, 0, 4)
        assert told["claimed"] == told["released"] == told["written"] == told["durable"] == 10 * 128
        (producer,) = told["producers"]
        assert (os.getpid(), 10, True) == (producer["pid"], producer["logged"], producer["alive"])
        assert " ".join(psutil.Process().cmdline()) == producer["command"]
        (again,) = objects("stat", path)
        assert told == again

    def test_for_people(self, log: disklog_mp.Session, name: str) -> None:
        """The same in a few lines, with a table of the producers."""
        log.log(b"x")
        log.flush()
        shown = lines("stat", name)

        assert f"log        {name}" == shown[0]
        assert "ring       0 % full: 0 B of 1 MiB" in shown
        assert "records    1 ever; on disk 1 page (1), 4.0 KiB" in shown
        assert shown[-2].split() == ["PRODUCER", "LOGGED", "DROPPED", "WAITED", "SINCE", "COMMAND"]
        assert shown[-1].split()[:2] == [str(os.getpid()), "1"]

    def test_looking_changes_nothing(
        self, log: disklog_mp.Session, name: str, kill_writer: Callable[[], None]
    ) -> None:
        """stat, ls, verify and cat take no slot in the ring."""
        kill_writer()
        ring = Path(ring_path(name))
        before = ring.read_bytes()
        for arguments in (["stat", name], ["ls"], ["verify", name], ["cat", name, "--ring"]):
            call(*arguments)

        assert before == ring.read_bytes()

    def test_no_writer(
        self, log: disklog_mp.Session, name: str, path: Path, kill_writer: Callable[[], None]
    ) -> None:
        """A producer and no writer: exit code 1, and the command that helps."""
        kill_writer()
        done = call("stat", name)

        assert done.returncode == 1
        assert b"writer     none alive" in done.stdout
        assert f"no writer is alive and producers are attached: `disklog-mp serve {name} {path}`" in (
            done.stdout.decode()
        )

    def test_a_ring_that_is_nearly_full(self, open_log: OpenLog, name: str) -> None:
        """More than 80 % in use and drops are warnings."""
        log = open_log(ring_bytes=4096, on_full="drop")
        writer = log.stats().writer_pid
        os.kill(writer, signal.SIGSTOP)
        accepted = sum(log.log(b"x" * 100) >= 0 for _ in range(40))
        (told,) = objects("stat", name, code=1)
        os.kill(writer, signal.SIGCONT)

        assert told["status"] == "warning"
        assert ["the ring is 100 % full", f"{40 - accepted} records dropped"] == [
            problem.partition(":")[0].partition(" because")[0] for problem in told["problems"]
        ]

    def test_a_writer_that_cannot_write(self, open_log: OpenLog, name: str, path: Path) -> None:
        """Trouble with the disk is exit code 2 and the system's own words."""
        log = open_log(page_records=1)
        log.log(b"first")
        log.flush()
        wait_until(lambda: not shutil.rmtree(path, ignore_errors=True) and not path.exists())
        log.log(b"second")
        wait_until(lambda: log.stats().error)
        done = call("stat", name)
        path.mkdir()
        log.flush()

        assert done.returncode == 2
        assert b"error      the writer cannot write: [Errno 2] No such file or directory" in done.stdout
        assert call("stat", name).returncode == 0

    def test_a_log_nobody_writes(self, sealed: Path) -> None:
        """Without a ring the page files tell what there is."""
        (told,) = objects("stat", sealed)

        assert tuple(told[key] for key in ("records", "pages", "sealed", "first_page", "last_page")) == (
            10,
            4,
            3,
            1,
            4,
        )
        assert told["writer_pid"] == 0
        assert "ring       none" in lines("stat", sealed)

    def test_a_ring_elsewhere(self, open_log: OpenLog, name: str, path: Path, tmp_path: Path) -> None:
        """A ring elsewhere is found through the lock file; if it is not there, stat says where it looked."""
        rings = str(tmp_path / "rings")
        log = open_log(ring_dir=rings)
        log.log(b"x")
        log.sync()
        (found,) = objects("stat", path)
        (told,) = objects("stat", path, "--ring-dir", rings)
        (blind,) = objects("stat", path, "--ring-dir", tmp_path, code=1)
        log.close()
        stop_writer(name, ring_dir=rings)

        assert found == told
        assert f"its ring is not in {tmp_path}" in blind["problems"][0]
        assert (told["status"], told["records"]) == ("ok", 1)

    def test_every_log(self, open_log: OpenLog, name: str, tmp_path: Path) -> None:
        """Without a name all that are open are shown; none is no error."""
        none = call("stat", "--ring-dir", tmp_path)
        open_log(ring_dir=str(tmp_path / "rings"))
        (told,) = objects("stat", "--ring-dir", tmp_path / "rings")
        stop_writer(name, ring_dir=str(tmp_path / "rings"))

        assert (none.returncode, none.stdout) == (0, b"")
        assert told["name"] == name


class TestLs:
    def test_the_logs_of_this_machine(self, log: disklog_mp.Session, name: str, path: Path) -> None:
        """A line each: name, writer, ring, producers, directory."""
        writer = log.stats().writer_pid
        # The exit code does not matter: other tests have logs of this machine in odd states.
        shown_lines, told_lines = (call("ls", *how).stdout.decode().splitlines() for how in ((), ("--json",)))
        (shown,) = [line.split() for line in shown_lines if line.startswith(name + " ")]
        (told,) = [told for told in map(json.loads, told_lines) if told["name"] == name]

        assert [name, str(writer), "1", "MiB", "0", "%", "1", str(path)] == shown
        assert (writer, 1, str(path)) == (told["writer_pid"], told["producers"], told["path"])
        [info] = [each for each in disklog_mp.list_logs() if each.name == name]
        assert told.items() <= info._asdict().items()
        assert (ring_path(name), "") == (info.ring, info.problem)
        log.log(b"x")
        log.flush()
        report = disklog_mp.verify(path)
        assert (report.status, report.name, report.live, report.records) == ("clean", name, True, 1)
        assert report.books is not None
        told, same = objects("verify", path)[0], report.to_dict()
        for part in ("books", "told"):  # their counters may have changed since
            assert told.pop(part).keys() == same.pop(part).keys()
        assert told == same

    def test_what_is_no_ring(self, tmp_path: Path) -> None:
        """A ring that cannot be read is reported on stderr, with exit code 1; other files are ignored."""
        (tmp_path / "disklog-broken.0123456789abcdef").write_bytes(b"nonsense" * 1000)
        (tmp_path / "something").write_bytes(b"")
        done = call("ls", "--ring-dir", tmp_path)

        assert done.returncode == 1
        assert done.stdout == b""
        assert done.stderr.startswith(b"disklog-mp: broken: ")
        [info] = disklog_mp.list_logs(tmp_path)
        assert info.name == "broken"
        assert f"disklog-mp: broken: {info.problem}\n".encode() == done.stderr


class TestVerify:
    def texts(self, path: Path, code: int) -> list[str]:
        """The findings, with the page each is about."""
        (told,) = objects("verify", path, code=code)
        return [f"{found['kind']} {found['page']}: {found['text']}" for found in told["findings"]]

    def test_a_log_in_use(self, log: disklog_mp.Session, name: str, path: Path) -> None:
        """All is checked while it is being written, and the counters match."""
        for i in range(100):
            log.log(b"x" * i)
        log.log_many([b"a", b"b"])
        log.flush()

        assert lines("verify", name) == [
            f"{path}: log {name}, being written",
            "1 page (0 sealed), 102 records, 12.8 KiB: intact",
            "102 ever = 102 kept + 0 retired + 0 archived + 0 missing + 0 still in the ring",
            "counters match: 102 logged = 102 written + 0 in the ring",
        ]

    def test_a_log_nobody_writes(self, sealed: Path) -> None:
        """Pages alone can be verified; there are no books without a ring."""
        shown = lines("verify", sealed)

        assert shown[1].startswith("4 pages (3 sealed), 10 records")
        assert shown[2] == "10 ever = 10 kept + 0 retired + 0 archived + 0 missing"
        assert shown[3] == "log is closed: counters not checked"

    def test_records_a_dead_writer_left(
        self, log: disklog_mp.Session, name: str, kill_writer: Callable[[], None]
    ) -> None:
        """What is in the ring alone is in the books."""
        log.log(b"written")
        log.flush()
        kill_writer()
        with disklog_mp.attach(name) as other:
            other.log(b"single")
            other.log_many([b"one", b"two"])

        assert lines("verify", name)[-1] == "counters match: 4 logged = 1 written + 3 in the ring"

    @pytest.mark.parametrize(
        ("counted", "code", "said"),
        [
            (6, 3, "MISSING: 5 records were logged and are nowhere: 6 logged ≠ 1 written + 0 in the ring"),
            (0, 0, "counters match: 1 logged = 1 written + 0 in the ring; 1 uncounted"),
        ],
        ids=["a record is missing", "one was never counted"],
    )
    def test_books_that_differ(
        self, counted: int, code: int, said: str, log: disklog_mp.Session, name: str
    ) -> None:
        """Counted and not there is damage; there and not counted is what a kill may leave."""
        log.log(b"x")
        log.flush()
        file = attach_ring(name)
        (slot,) = _slots.read_slots(file.ring, _core.SLOT_ATTACHED)
        file.ring.store64(slot_offset(slot.index) + LOGGED, counted)
        os.close(file.fd)
        done = call("verify", name)

        assert done.returncode == code
        assert done.stdout.decode().splitlines()[-1] == said

    @pytest.mark.parametrize(
        ("values", "balance", "said"),
        [
            ({}, True, "counters match: 10 logged before ≤ 12 written ≤ 14 logged after"),
            (
                {"written": 9},
                False,
                "MISSING: 1 record was logged and is nowhere: 10 logged before > 9 written ≤ 14 logged after",
            ),
            ({"written": 15}, True, "≤ 15 written > 14 logged after; 1 uncounted"),
            (
                {"closed": False},
                None,
                "counters are changing, not comparable now: 10 logged, 12 written, 0 in the ring",
            ),
            ({"dropped": 3, "abandoned": 1}, True, "14 logged after; 3 dropped or refused; 1 abandoned"),
        ],
    )
    def test_books_while_records_come_in(
        self, values: dict[str, int | None], balance: bool | None, said: str
    ) -> None:
        """What was counted before must be there, what is there counted after; or it cannot be told."""
        usual = {"dropped": 0, "written": 12, "in_ring": 0, "claimed": 0, "abandoned": 0, "closed": True}
        books = Books(**{"logged": 10, "logged_later": 14, **usual, **values})  # type: ignore[arg-type]
        line = counters_line(books)

        assert books.balance is balance
        assert line.endswith(said)
        assert bool(list(books.findings())) == (balance is not True or books.uncounted > 0)

    def test_a_log_that_went_on(self, open_log: OpenLog, sealed: Path, name: str) -> None:
        """A later ring's books begin where it began, in the middle of a page, too."""
        log = open_log()
        for _ in range(5):
            log.log(b"more")
        log.flush()

        assert lines("verify", name)[-1] == "counters match: 5 logged = 5 written + 0 in the ring"

    def test_a_flipped_byte(self, sealed: Path) -> None:
        """One damaged byte in a sealed page: exit code 3, the page, the range, the record."""
        change(page(sealed, 2), HEADER + 64 + 30, b"\xff")
        found = self.texts(sealed, 3)

        assert found[0].startswith(
            "damage 2: corrupt range of 64 bytes at offset 4,160, at least 1 record (4) (crc 0x"
        )
        assert found[1] == "damage 2: 1 of 3 records lost"

    def test_a_byte_no_frame_covers(self, sealed: Path) -> None:
        """The zeros that fill a frame up to its granule are covered by the page's own checksum."""
        change(page(sealed, 1), HEADER + 63, b"x")

        (found,) = self.texts(sealed, 3)
        assert found.startswith("damage 1: checksum of the whole page 0x")

    def test_a_broken_seal(self, sealed: Path) -> None:
        """A changed line in the header of a sealed page does not go unnoticed."""
        change(page(sealed, 1), 272, b"\0\0\0")

        assert self.texts(sealed, 3)[0] == "damage 1: the checksum of its seal is wrong"

    def test_a_missing_page(self, sealed: Path) -> None:
        """A page that is gone from the middle is damage; which records went with it is told."""
        page(sealed, 2).unlink()

        (found,) = self.texts(sealed, 3)
        assert found.startswith("damage 2: is missing: 3 records (3-5), between 2")
        shown = call("verify", sealed).stdout.decode().splitlines()
        assert shown[2] == "10 ever = 7 kept + 0 retired + 0 archived + 3 missing"
        assert shown[3].startswith("damage: page 2 is missing: 3 records (3-5), between 2")
        assert shown[1].endswith(": damaged")

    def test_several_missing_pages(self, sealed: Path) -> None:
        """Neighbours are reported together, with all their records."""
        page(sealed, 2).unlink()
        page(sealed, 3).unlink()

        (found,) = self.texts(sealed, 3)
        assert found.startswith("damage 2: is missing, so is page 3: 6 records (3-8), between 2")

    def test_the_oldest_pages_may_go(self, sealed: Path) -> None:
        """Retention removes pages from the front: nothing is missing then."""
        page(sealed, 1).unlink()
        page(sealed, 2).unlink()

        shown = lines("verify", sealed)
        assert shown[1].startswith("2 pages (1 sealed), 4 records")
        assert shown[2] == "10 ever = 4 kept + 6 retired + 0 archived + 0 missing"

    def test_a_hole_between_two_pages(self, tmp_path: Path) -> None:
        """The numbers of what is missing, and the times around it; stat counts it, too: exit code 3."""
        path = tmp_path / "restored"
        frames = [frame(32 * i, b"x", time=10**9) for i in range(31)]
        write_page(path, frames[:10], last_time=10**9)
        write_page(path, frames[30:], number=2, first_position=960, first_number=30, last_time=10**9)
        note, found = self.texts(path, 3)
        (told,) = objects("stat", path, code=3)

        assert note.startswith("note 2: 640 positions before it are unused")
        assert "number 30, not 10: records 10-29 are missing, between 1970-01-01 " in found
        assert ("damage", 20, 0) == (told["status"], told["missing"], told["dropped"])

    def test_stat_reads_the_pages_though_a_dead_writer_left_its_ring(
        self, open_log: OpenLog, name: str, path: Path
    ) -> None:
        """The writer was killed and none came: damage is told as without a ring, and by name, too."""
        log = open_log(page_records=3, linger=60)
        for i in range(10):
            log.log(b"record number %d" % i)
        log.flush()
        log.close()
        stop_writer(name, signal.SIGKILL)
        (told,) = objects("stat", name)
        assert ("ok", 0, 0) == (told["status"], told["missing"], told["dropped"])
        change(page(path, 2), HEADER + 70, b"\xff")

        for log_of in (name, path):
            (told,) = objects("stat", log_of, code=3)
            assert ("damage", 1, 0) == (told["status"], told["missing"], told["dropped"])
            assert "ring_capacity" in told
            assert told["problems"][-1].startswith("damaged, at least 1 record missing: `disklog-mp verify")
        remove_ring(name)

    def test_drops_that_only_a_dead_writers_ring_tells(
        self, open_log: OpenLog, name: str, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They are in no page yet, by name and by directory."""
        log = open_log(ring_bytes=4096, on_full="drop")
        with monkeypatch.context() as patch:
            patch.setenv(interpreter.MARK, "1")  # this process starts no other writer
            stop_writer(name, signal.SIGKILL)
            accepted = sum(log.log(b"x" * 100) >= 0 for _ in range(40))
            for log_of in (name, path):
                (told,) = objects("stat", log_of, code=1)
                assert ("warning", 40 - accepted, 0) == (told["status"], told["dropped"], told["missing"])
                assert f"{40 - accepted} records dropped because the ring was full" in told["problems"]
        log.flush()
        stop_writer(name)
        (told,) = objects("stat", path, code=1)  # from the page, once

        assert 0 < accepted < 40
        assert ("warning", 40 - accepted, 0) == (told["status"], told["dropped"], told["missing"])

    def test_drops_after_the_writer_has_left(self, tmp_path: Path) -> None:
        """They are counted from the pages: exit code 1, which process, how many, when and why."""
        path = tmp_path / "dropping"
        gaps = [
            b'{"dropped": 5, "since": 1000000000, "until": 2000000000}',
            b'{"dropped": 7, "since": 1000000000}',
        ]
        frames: list[bytes] = []
        for data, kind in ((b"x", 1), (gaps[0], 4), (gaps[1], 4), (b"y", 1)):
            frames.append(frame(sum(map(len, frames)), data, kind=kind, time=3 * 10**9))
        write_page(path, frames, records=4, last_time=3 * 10**9)
        (told,) = objects("stat", path, code=1)
        found = self.texts(path, 1)

        assert ("warning", 12, 0) == (told["status"], told["dropped"], told["missing"])
        assert [f"drop 1: process 4711 dropped {count} records from " for count in (5, 7)] == [
            text[: text.index("1970")] for text in found
        ]
        assert all(text.endswith(": the ring was full") for text in found)

    def test_garbage_for_a_page(self, sealed: Path) -> None:
        """A page file without a header is damage."""
        page(sealed, 2).write_bytes(random.Random(1).randbytes(9000))

        assert self.texts(sealed, 3)[0].startswith("damage 2: page header at offset 0: found b'")

    def test_a_page_of_another_log(self, sealed: Path, open_log: OpenLog, tmp_path: Path, name: str) -> None:
        """A page that was copied in from elsewhere, or under another number, is recognised."""
        shutil.copy(page(sealed, 1), page(sealed, 5))
        with disklog_mp.open(f"{name}-b", tmp_path / "other", linger=0.1) as other:
            other.log(b"x")
            other.flush()
        stop_writer(f"{name}-b")
        shutil.copy(page(tmp_path / "other", 1), page(sealed, 6))
        found = self.texts(sealed, 3)

        assert "damage 5: its header says that it is page 1" in found
        assert "damage 6: belongs to another log than page 5" in found

    def test_a_torn_tail(self, sealed: Path) -> None:
        """A last page cut short by a power loss is worth a note, not damage: its end was never promised."""
        change(page(sealed, 4), HEADER, b"torn")

        found = self.texts(sealed, 0)
        assert found[0].startswith("note 4: torn tail of 64 bytes at offset 4,096")

    def test_what_a_repair_left(self, sealed: Path, open_log: OpenLog) -> None:
        """After the next writer set the torn bytes aside the log is whole again; notes say what was."""
        change(page(sealed, 4), HEADER, b"torn")
        log = open_log(page_records=3)
        log.log(b"after")
        log.flush()
        found = self.texts(sealed, 0)

        assert any("aside as page-0000000004.bad-4096" in text for text in found)
        assert all(text.startswith("note") for text in found)

    def test_an_older_page_that_was_never_sealed(self, sealed: Path) -> None:
        """A page left open before others is a note."""
        change(page(sealed, 2), STATE, b"\x01\0\0\0")

        assert "note 3: the page before it, 2, was never sealed" in self.texts(sealed, 0)
