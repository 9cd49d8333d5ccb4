"""Names and places: one directory has one log, names may repeat over directories."""

import gzip
import json
import logging
import os
import pickle
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import pytest
from support.children import fork, succeeds
from support.command import call
from support.machine import processes_of, stop_writer, wait_until
from support.rings import has_ring

import disklog_mp
from disklog_mp import pools
from disklog_mp._os import locks
from disklog_mp._pages.identity import FILE, read_identity
from disklog_mp._ring import names
from disklog_mp._verify.log import verify
from disklog_mp.logging import DiskLogHandler
from disklog_mp.structlog import LoggerFactory

FIXTURES = Path(__file__).parent.parent / "fixtures" / "0.1.0"
SMALL = {"ring_bytes": 1 << 16, "linger": 0.1}


def read(path: Path) -> list[bytes]:
    return [record.data for record in disklog_mp.Reader(path)]


def id_of(path: Path) -> bytes:
    identity = read_identity(str(path))
    assert identity is not None
    return identity.log_id


def crash(name: str, path: Path) -> None:
    """Leave a log with record 1 in a page and record 2 in the ring, without any process."""
    child = os.fork()
    if child == 0:
        log = disklog_mp.open(name, path, **SMALL)
        log.log(b"1")
        log.flush()
        stop_writer(name, signal.SIGKILL)
        log.log(b"2")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.fixture
def sites(tmp_path: Path) -> tuple[Path, Path]:
    """The log directories of two instances of one application."""
    return tmp_path / "site1" / "web", tmp_path / "site2" / "web"


class TestOneNameInTwoDirectories:
    def test_each_has_its_log(self, name: str, sites: tuple[Path, Path]) -> None:
        """Both run at once, under one name; what a forked or a spawned process logs goes to its own log."""
        with ExitStack() as stack:
            logs = [stack.enter_context(disklog_mp.open(name, site, **SMALL)) for site in sites]
            for number, log in enumerate(logs):
                log.log(b"of site %d" % number)
            for number, log in enumerate(logs):
                worker = get_context("spawn").Process(
                    target=_log_in_worker, args=(log, b"worker %d" % number)
                )
                worker.start()
                worker.join()
                child = os.fork()
                if child == 0:
                    log.log(b"child %d" % number)
                    os._exit(0)
                os.waitpid(child, 0)
                log.flush()
        for number, site in enumerate(sites):
            assert read(site) == [b"of site %d" % number, b"worker %d" % number, b"child %d" % number]

    def test_by_name_a_process_means_the_log_it_uses(self, name: str, sites: tuple[Path, Path]) -> None:
        """Loggers, handlers, pools, also in processes they are handed to: never another of that name."""
        is_open, leave = os.pipe(), os.pipe()
        other = fork(lambda: _use_until_told(name, sites[1], is_open[1], leave[0]))
        os.read(is_open[0], 1)
        with disklog_mp.open(name, sites[0], **SMALL) as log:
            ways = (disklog_mp.get_logger("a", name), DiskLogHandler(name), LoggerFactory(name))
            worker = get_context("spawn").Process(target=_log_in_all_ways, args=(ways, log))
            worker.start()
            _log_in_all_ways(ways)
            worker.join()
            assert worker.exitcode == 0
            worker.close()
            log.flush()
            for way in ways:
                way.close()
        os.write(leave[1], b".")
        succeeds(other)
        for end in (*is_open, *leave):
            os.close(end)
        assert [len(read(site)) for site in sites] == [3 + 5, 0]

    def test_a_name_that_two_logs_have_is_ambiguous(self, name: str, sites: tuple[Path, Path]) -> None:
        """attach() lists their directories, and path= decides; so do commands."""
        with disklog_mp.open(name, sites[0], **SMALL), disklog_mp.open(name, sites[1], **SMALL):
            with pytest.raises(disklog_mp.AmbiguousLogError) as caught:
                disklog_mp.attach(name)
            for site in sites:
                with disklog_mp.attach(name, site) as log:
                    assert log.path == str(site)
                    log.log(os.fsencode(site))
                    log.flush()
            told = call("stat", name)
            listed = call("ls").stdout.decode()
        assert caught.value.args == (name, tuple(map(str, sites)))
        assert pickle.loads(pickle.dumps(caught.value)).paths == caught.value.paths
        assert told.returncode == 2
        assert all(str(site) in told.stderr.decode() and str(site) in listed for site in sites)
        assert [read(site) for site in sites] == [[os.fsencode(site)] for site in sites]

    def test_a_live_log_comes_before_a_dead_one(self, name: str, sites: tuple[Path, Path]) -> None:
        """The ring that a crash left is not what attach() means while another has a writer."""
        dead = disklog_mp.open(name, sites[0], **SMALL)
        stop_writer(name, signal.SIGKILL)
        with disklog_mp.open(name, sites[1], **SMALL), disklog_mp.attach(name) as log:
            assert log.path == str(sites[1])
        dead.close()
        with disklog_mp.open(name, sites[0], **SMALL):
            pass

    def test_a_log_without_producers_gives_way(self, name: str, sites: tuple[Path, Path]) -> None:
        """While the writer of the one lingers, attach() means the other."""
        disklog_mp.open(name, sites[0], ring_bytes=1 << 16, linger=60).close()
        with disklog_mp.open(name, sites[1], **SMALL), disklog_mp.attach(name) as log:
            assert log.path == str(sites[1])
        wait_until(lambda: len(names.rings_of(name)) == 1)
        stop_writer(name)


def _use_until_told(name: str, path: Path, is_open: int, leave: int) -> None:
    with disklog_mp.open(name, path, **SMALL):
        os.write(is_open, b".")
        os.read(leave, 1)


def _log_in_all_ways(
    ways: tuple[disklog_mp.Logger, DiskLogHandler, LoggerFactory], log: disklog_mp.Session | None = None
) -> None:
    logger, handler, factory = ways
    logger.info("by a logger")
    handler.handle(logging.makeLogRecord({"msg": "by a handler", "levelno": 20}))
    factory().info("by structlog's")
    if log is not None:  # in a pool's worker
        pools.start(log)
        logging.info("by the root logger")
        disklog_mp.get_logger("b").info("by another logger")


def _log_in_worker(log: disklog_mp.Session, data: bytes) -> None:
    log.log(data)
    log.flush()


class TestOneDirectory:
    def test_it_is_the_same_under_every_spelling(
        self, name: str, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Relative, with dots, over a link in its path: all join one writer."""
        (tmp_path / "link").symlink_to(tmp_path)
        monkeypatch.chdir(tmp_path)
        spelled = (path, "log", "./x/../log", tmp_path / "link" / "log")
        with ExitStack() as stack:
            for place in spelled:
                log = stack.enter_context(disklog_mp.open(name, place, **SMALL))
                log.log(os.fsencode(place))
            assert log.stats().writers == 1
            log.flush()
        assert read(path) == [os.fsencode(place) for place in spelled]

    def test_hidden_files_are_no_hindrance(self, name: str, path: Path) -> None:
        """Neither what keeps a directory in git nor the lost+found of a file system."""
        (path / "lost+found").mkdir(parents=True)
        (path / ".gitkeep").touch()
        DiskLogHandler(name, path, **SMALL).close()
        with disklog_mp.open(name, path, **SMALL) as log:
            log.log(b"x")
        wait_until(lambda: not has_ring(name))
        assert {".gitkeep", "lost+found"} < set(os.listdir(path))

    def test_foreign_files_are_refused_at_set_up(self, name: str, path: Path) -> None:
        """By a handler that was never given a record; nothing is made or started."""
        path.mkdir()
        (path / "notes.txt").touch()
        with pytest.raises(OSError, match=r"notes\.txt"):
            DiskLogHandler(name, path)
        assert os.listdir(path) == ["notes.txt"]

    def test_a_second_log_is_refused_at_set_up(self, name: str, path: Path) -> None:
        """Whether the first one is set up, is running, or ran once."""
        first = DiskLogHandler(name, path, encoding="text", **SMALL)
        for step in range(3):
            with pytest.raises(disklog_mp.ConfigMismatchError) as caught:
                DiskLogHandler(name + "-2", path)
            assert caught.value.args == ("name", name, name + "-2")
            if step == 0:
                first.handle(logging.makeLogRecord({"msg": "x", "levelno": logging.INFO}))
            else:
                first.close()
                del first
                wait_until(lambda: not has_ring(name))
                first = DiskLogHandler(name, path)
        assert read(path) == [b"x"]

    def test_a_file_and_a_place_that_cannot_be_made_are_refused_at_set_up(
        self, name: str, path: Path
    ) -> None:
        """NotADirectoryError, as open() says it."""
        path.write_text("a file")
        for place in (path, path / "below"):
            with pytest.raises(NotADirectoryError):
                DiskLogHandler(name, place)

    def test_a_writer_whose_directory_was_removed_ends(self, name: str, path: Path) -> None:
        """Nobody uses it: within its linger, though there are records that it cannot write."""
        with disklog_mp.open(name, path, **SMALL) as log:
            log.log(b"x")
            log.flush()
            pid = log.stats().writer_pid
            os.kill(pid, signal.SIGSTOP)
            log.log(b"y")
            shutil.rmtree(path)
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: pid not in processes_of(name), 10)
        with disklog_mp.open(name, path, **SMALL):
            pass
        wait_until(lambda: not has_ring(name))
        assert read(path) == [b"y"]


class TestMovedAndCopied:
    def test_a_directory_that_was_moved_keeps_its_log(self, name: str, sites: tuple[Path, Path]) -> None:
        """With what a crash left in the ring."""
        crash(name, sites[0])
        before = id_of(sites[0])
        sites[1].parent.mkdir()
        sites[0].rename(sites[1])
        with disklog_mp.open(name, sites[1], **SMALL) as log:
            log.log(b"3")
            log.flush()
            assert log.path == str(sites[1])
            wait_until(lambda: str(sites[1]) in call("ls").stdout.decode())  # in a ring that says so
        assert id_of(sites[1]) == before
        assert read(sites[1]) == [b"1", b"2", b"3"]

    def test_a_copy_gets_an_id_of_its_own(self, name: str, sites: tuple[Path, Path]) -> None:
        """While the original is there; both run at once, and all pages of the copy can be read."""
        with disklog_mp.open(name, sites[0], **SMALL) as log:
            log.log(b"1")
            log.sync()
            shutil.copytree(sites[0], sites[1])
            with disklog_mp.open(name, sites[1], **SMALL) as other:
                other.log(b"copy")
                other.flush()
                log.log(b"2")
                log.flush()
                assert other.path == str(sites[1])
        wait_until(lambda: not has_ring(name))
        assert id_of(sites[0]) != id_of(sites[1])
        assert read(sites[0]) == [b"1", b"2"]
        assert read(sites[1]) == [b"1", b"copy"]
        reader = disklog_mp.Reader(sites[1])
        assert [record.data for record in reader.follow(timeout=0.1)] == [b"1", b"copy"]
        assert verify(str(sites[1]), name, None).exit_code < 2
        with disklog_mp.open(name, sites[1], **SMALL) as other:
            other.log(b"more")
        wait_until(lambda: not has_ring(name))
        assert read(sites[1]) == [b"1", b"copy", b"more"]

    @pytest.mark.parametrize("content", [None, b"", b'{"format": 1'])
    def test_a_log_that_lost_its_file_keeps_its_id(
        self, name: str, path: Path, content: bytes | None
    ) -> None:
        """It is made again from the newest page; the ring that a crash left is served."""
        crash(name, path)
        before = id_of(path)
        (path / FILE).unlink()
        if content is not None:
            (path / FILE).write_bytes(content)
        with disklog_mp.open(name, path, **SMALL):
            pass
        wait_until(lambda: not has_ring(name))
        assert id_of(path) == before
        assert read(path) == [b"1", b"2"]

    @pytest.mark.parametrize("attached", [False, True])
    def test_records_of_a_directory_that_was_made_anew_are_logged_again(
        self, name: str, path: Path, attached: bool
    ) -> None:
        """The ring names the directory and has no writer: what is in it goes into the new log."""
        if attached:
            log = disklog_mp.open(name, path, **SMALL)
            log.log(b"1")
            log.flush()
            stop_writer(name, signal.SIGKILL)
            log.log(b"2")
        else:
            crash(name, path)
        shutil.rmtree(path)
        with disklog_mp.open(name, path, **SMALL) as again:
            again.log(b"3")
            if attached:
                log.log(b"4")
                log.flush()
                log.close()
            again.flush()
        wait_until(lambda: not has_ring(name))
        assert sorted(read(path)) == ([b"2", b"3", b"4"] if attached else [b"2", b"3"])

    def test_a_ring_moves_to_another_directory(self, name: str, path: Path, tmp_path: Path) -> None:
        """ring_dir= changes while no writer lives: what was in the old ring goes into the new one."""
        crash(name, path)
        place = str(tmp_path / "rings")
        with disklog_mp.open(name, path, ring_dir=place, **SMALL) as log:
            log.log(b"3")
        wait_until(lambda: not has_ring(name) and not has_ring(name, place))
        assert sorted(read(path)) == [b"1", b"2", b"3"]


class TestVersion010:
    """A log that version 0.1.0 made: its pages and cursors, and the ring that a crash left."""

    @pytest.fixture
    def old(self, tmp_path: Path) -> Iterator[Path]:
        """Its directory; the ring is in place."""
        path = tmp_path / "old"
        path.mkdir()
        for file in FIXTURES.glob("*.gz"):
            target = Path("/dev/shm/disklog-old") if file.name == "ring.gz" else path / file.stem
            target.write_bytes(gzip.decompress(file.read_bytes()))
        yield path
        for ring in ("/dev/shm/disklog-old", *names.rings_of("old")):
            Path(ring).unlink(missing_ok=True)

    def test_pages_and_cursors_are_read(self, old: Path) -> None:
        """For ever."""
        reader = disklog_mp.Reader(old)
        assert [record.data for record in reader] == [b"record %d" % number for number in range(25)]
        assert [record.tag for record in reader] == list(range(25))
        records, _ = reader.read((FIXTURES / "cursor").read_text())
        assert [record.number for record in records] == list(range(12, 25))
        assert call("cat", old).returncode == 0

    def test_its_ring_is_drained(self, old: Path) -> None:
        """Where no process is attached to it, the next writer takes what is in it, and goes on."""
        with pytest.raises(disklog_mp.FormatVersionError, match="version 1"):
            disklog_mp.attach("old")
        with disklog_mp.open("old", old, **SMALL) as log:
            log.log(b"record 30", tag=30)
            log.flush()
            assert not os.path.exists("/dev/shm/disklog-old")
        wait_until(lambda: not has_ring("old"))
        assert read(old) == [b"record %d" % number for number in range(31)]
        cursor = (FIXTURES / "cursor").read_text()
        records, _ = disklog_mp.Reader(old).read(cursor)
        assert [record.number for record in records] == list(range(12, 31))
        assert json.loads((old / FILE).read_text())["log_id"] == cursor.partition(":")[0]

    def test_a_ring_in_use_is_refused(self, old: Path) -> None:
        """The error names the processes; nothing has changed, and when they have ended all goes well."""
        before = Path("/dev/shm/disklog-old").read_bytes()
        pid = int.from_bytes(before[8192 + 8 : 8192 + 12], "little")  # of the first slot
        with open("/dev/shm/disklog-old", "r+b") as ring:
            assert locks.lock_byte(ring.fileno(), 0)
            with pytest.raises(disklog_mp.FormatVersionError, match=f"in use.* {pid}, then"):
                disklog_mp.open("old", old, **SMALL)
        assert Path("/dev/shm/disklog-old").read_bytes() == before
        with disklog_mp.open("old", old, **SMALL):
            pass
        wait_until(lambda: not has_ring("old"))
        assert len(read(old)) == 30
