"""The log's directory renamed, removed, replaced, unmounted or closed to its running writer: for real."""

import codecs
import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.faulty_files import FaultyFiles
from support.machine import processes_of, shared_memory_of, stop_writer, wait_until
from support.mounts import Mount, system
from support.rings import has_ring, remove_ring
from support.trouble import assert_healed, assert_trouble, log_until_full, numbers

import disklog_mp
from disklog_mp._options import Options
from disklog_mp._writer.writer import Writer

OpenLog = Callable[..., disklog_mp.Session]
LoopDisk = Callable[[str, int], Path]


def log_numbers(log: disklog_mp.Session, first: int, stop: int) -> None:
    for i in range(first, stop):
        log.log(b"%d" % i)


@pytest.fixture
def log(open_log: OpenLog) -> disklog_mp.Session:
    """A log with three records in its first page, which takes five."""
    log = open_log(page_records=5)
    log_numbers(log, 0, 3)
    log.flush()
    return log


class TestRenamed:
    def test_the_page_being_written_goes_on_and_the_next_waits(
        self, log: disklog_mp.Session, path: Path, tmp_path: Path
    ) -> None:
        """The page lives on under its directory's new name; the next is begun when one of the old is back."""
        path.rename(tmp_path / "moved")
        log_numbers(log, 3, 8)
        wait_until(lambda: "No such file" in (log.stats().error or ""))
        assert_trouble(log.name, "[Errno 2] No such file or directory")
        path.mkdir()
        log.flush(30)

        assert list(range(5)) == numbers(tmp_path / "moved")
        assert list(range(5, 8)) == numbers(path)
        assert [5, 6, 7] == [record.number for record in disklog_mp.Reader(path)]
        assert_healed(log)
        assert ["log", "moved"] == sorted(os.listdir(tmp_path))

    def test_a_directory_that_comes_back_is_the_same_log(
        self, log: disklog_mp.Session, path: Path, tmp_path: Path
    ) -> None:
        """Renamed and renamed back: nothing shows of it but for the time it was away."""
        path.rename(tmp_path / "moved")
        wait_until(lambda: "No such file" in (log.stats().error or ""))
        log_numbers(log, 3, 8)
        (tmp_path / "moved").rename(path)
        log.flush(30)

        assert list(range(8)) == numbers(path)
        assert_healed(log)

    def test_another_directory_in_its_place_is_written_to_soon(
        self, log: disklog_mp.Session, path: Path, tmp_path: Path
    ) -> None:
        """Not when the page is full, which may take long: the page is sealed where it is, the log goes on."""
        path.rename(tmp_path / "moved")
        path.mkdir()
        page = disklog_mp.Reader(tmp_path / "moved").get_page(1)
        wait_until(lambda: page.sealed)
        log_numbers(log, 3, 5)
        log.flush(30)

        assert list(range(3)) == numbers(tmp_path / "moved")
        assert [3, 4] == numbers(path)
        assert_healed(log)

    def test_who_follows_goes_over_to_the_other_directory(
        self, log: disklog_mp.Session, path: Path, tmp_path: Path
    ) -> None:
        """By the path it was given, with nothing missing."""
        following = disklog_mp.Reader(path).follow(timeout=30)
        seen = [int(next(following).data) for _ in range(3)]
        path.rename(tmp_path / "moved")
        path.mkdir()
        log_numbers(log, 3, 50)
        seen += [int(next(following).data) for _ in range(47)]
        following.close()

        assert list(range(50)) == seen


class TestRemoved:
    def test_what_is_logged_afterwards_is_not_written_into_a_removed_file(
        self, open_log: OpenLog, path: Path
    ) -> None:
        """Removed with all its pages under the writer, and made again: all that came since is there."""
        log = open_log(timeout=0.2)
        log_numbers(log, 0, 3)
        log.flush()
        remove(path)
        accepted = log_until_full(log, 3)
        wait_until(lambda: "No such file" in (log.stats().error or ""))
        assert_trouble(log.name, "[Errno 2] No such file or directory")
        path.mkdir()
        log.flush(30)

        assert accepted == numbers(path)
        assert next(iter(disklog_mp.Reader(path))).number == 3
        assert_healed(log)

    def test_an_emptied_directory_is_gone_on_in(self, log: disklog_mp.Session, path: Path) -> None:
        """`rm log/*`: the next record is in a page that is there, and the directory has its lock again."""
        empty(path)
        log_numbers(log, 3, 5)
        log.flush(30)
        wait_until(lambda: disklog_mp._pages.directory.Directory(path).is_locked())

        assert [3, 4] == numbers(path)
        assert_healed(log)
        with pytest.raises(disklog_mp.WriterActiveError):
            disklog_mp.open(log.name + "-2", path)

    def test_a_lock_that_was_removed_is_taken_again(self, log: disklog_mp.Session, path: Path) -> None:
        """The page stays, and no other log gets in."""
        (path / "disklog.lock").unlink()
        wait_until((path / "disklog.lock").exists)
        log_numbers(log, 3, 5)
        log.flush(30)

        assert list(range(5)) == numbers(path)
        assert [1] == disklog_mp.Reader(path).page_numbers()
        wait_until(lambda: disklog_mp._pages.directory.Directory(path).is_locked())
        with pytest.raises(disklog_mp.WriterActiveError):
            disklog_mp.open(log.name + "-2", path)

    def test_who_follows_a_page_that_was_removed_goes_on(self, log: disklog_mp.Session, path: Path) -> None:
        """What was in it is read to its end, then the page that came instead."""
        following = disklog_mp.Reader(path).follow(timeout=30)
        seen = [int(next(following).data) for _ in range(3)]
        remove(path)
        path.mkdir()
        log_numbers(log, 3, 20)
        seen += [int(next(following).data) for _ in range(17)]
        following.close()

        assert list(range(20)) == seen


def empty(path: Path) -> None:
    """Remove all files, those that come meanwhile included."""
    for entry in path.iterdir():
        entry.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove the directory with all that is in it."""
    while path.exists():
        shutil.rmtree(path, ignore_errors=True)


def test_an_old_page_that_cannot_be_removed_shows_and_goes_later(
    open_log: OpenLog, path: Path, mount: Mount, tmp_path: Path
) -> None:
    """The kernel removes no file that something is mounted on: retention tries again."""
    log = open_log(page_records=2, keep_pages=3)
    log_numbers(log, 0, 4)
    log.flush()
    (tmp_path / "cover").touch()
    first = disklog_mp.Reader(path).get_page(1).path
    mount("--bind", tmp_path / "cover", place=Path(first))
    log_numbers(log, 4, 20)
    log.flush()
    wait_until(lambda: "busy" in (log.stats().error or ""))
    assert_trouble(log.name, "[Errno 16] Device or resource busy")
    assert system("umount", first)
    wait_until(lambda: len(disklog_mp.Reader(path).page_numbers()) == 3)

    assert [15, 16, 17, 18, 19] == numbers(path)[-5:]
    assert_healed(log)


def test_pages_that_were_removed_by_hand_make_room_and_show(open_log: OpenLog, path: Path) -> None:
    """A full log takes records again; stats() and an event say what is gone, also from the middle."""
    log = open_log(page_bytes=32768, max_bytes=100_000, ring_bytes="64k")

    def takes_one() -> bool:
        try:
            log.log(b"x" * 1000)
        except disklog_mp.LogFullError:
            return False
        return True

    while takes_one():
        pass
    log.flush()
    before = log.stats()
    for number in (1, 2):
        Path(disklog_mp.Reader(path).get_page(number).path).unlink()
    wait_until(takes_one)
    after = log.stats()

    assert (1, 3) == (before.first_page, after.first_page)
    assert after.page_bytes <= before.page_bytes - 2 * 30_000 + 2 * 1100
    told = [(event.name, event.fields.get("page")) for event in log.events()]
    assert [("retired", 1), ("retired", 2)] == [each for each in told if each[0] == "retired"]
    assert ["full", "room-again"] == [name for name, _ in told if name in {"full", "room-again"}]


class TestReplaced:
    def test_a_directory_with_another_logs_pages_is_left_alone(
        self, log: disklog_mp.Session, path: Path, tmp_path: Path
    ) -> None:
        """They are no room for ours, and are not overwritten; put back, the log's own has all of it."""
        other = disklog_mp.open(log.name + "-2", tmp_path / "other", page_records=1, linger=0)
        log_numbers(other, 0, 3)
        other.flush()
        other.close()
        stop_writer(other.name)
        before = {entry.name: entry.read_bytes() for entry in (tmp_path / "other").glob("page-*")}
        path.rename(tmp_path / "moved")
        (tmp_path / "other").rename(path)
        log_numbers(log, 3, 12)
        wait_until(lambda: "another log" in (log.stats().error or ""))
        assert_trouble(log.name, "[Errno 17] another directory, with another log's pages")
        assert before == {entry.name: entry.read_bytes() for entry in path.glob("page-*")}
        path.rename(tmp_path / "other")
        (tmp_path / "moved").rename(path)
        log.flush(30)

        assert list(range(12)) == numbers(path)
        assert_healed(log)

    def test_a_directory_that_another_writer_has_is_left_alone(
        self, log: disklog_mp.Session, path: Path, tmp_path: Path
    ) -> None:
        """Two logs never write one directory, however it came to its name."""
        with disklog_mp.open(log.name + "-2", tmp_path / "other", linger=0.1) as other:
            path.rename(tmp_path / "moved")
            (tmp_path / "other").rename(path)
            log_numbers(log, 3, 12)
            wait_until(lambda: "Errno 11" in (log.stats().error or ""))
            other.log(b"0")
            path.rename(tmp_path / "other")
            (tmp_path / "moved").rename(path)
            log.flush(30)
            other.flush(30)
        stop_writer(other.name)

        assert list(range(12)) == numbers(path)
        assert [0] == numbers(tmp_path / "other")
        assert_healed(log)

    def test_a_file_in_its_place_is_no_directory(
        self, log: disklog_mp.Session, path: Path, tmp_path: Path
    ) -> None:
        """It shows, it waits, it goes on."""
        path.rename(tmp_path / "moved")
        path.write_text("mine")
        log_numbers(log, 3, 8)
        wait_until(lambda: "Not a directory" in (log.stats().error or ""))
        assert_trouble(log.name, "[Errno 20] Not a directory")
        assert path.read_text() == "mine"
        path.unlink()
        (tmp_path / "moved").rename(path)
        log.flush(30)

        assert list(range(8)) == numbers(path)
        assert_healed(log)

    def test_a_copy_of_the_directory_is_gone_on_in(
        self, log: disklog_mp.Session, path: Path, tmp_path: Path
    ) -> None:
        """Copied and swapped under the writer: the next page stands behind those that were copied."""
        shutil.copytree(path, tmp_path / "copy")
        path.rename(tmp_path / "moved")
        (tmp_path / "copy").rename(path)
        page = disklog_mp.Reader(tmp_path / "moved").get_page(1)
        wait_until(lambda: page.sealed)
        log_numbers(log, 3, 12)
        log.flush(30)

        assert list(range(12)) == numbers(path)
        assert_healed(log)


class TestUnmounted:
    @pytest.fixture
    def disk(self, mount: Mount, tmp_path: Path) -> Callable[[], Path]:
        """Mounts a new file system where the log's directory is."""
        return lambda: mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", place=tmp_path / "disk")

    def test_a_log_goes_on_when_there_is_a_disk_again(
        self, name: str, disk: Callable[[], Path], tmp_path: Path
    ) -> None:
        """Unmounted lazily under the writer, and another mounted: nothing is written below the mount."""
        path = disk() / "log"
        with disklog_mp.open(name, path, page_records=5, ring_bytes=1 << 16, linger=0.1) as log:
            log_numbers(log, 0, 3)
            log.flush()
            page = log.get_page(1)
            assert system("umount", "--lazy", tmp_path / "disk")
            log_numbers(log, 3, 8)
            wait_until(lambda: "No such file" in (log.stats().error or ""))
            assert_trouble(name, "[Errno 2] No such file or directory")
            assert not list((tmp_path / "disk").iterdir())
            disk()
            path.mkdir()
            log.flush(30)
            assert_healed(log)

            assert [b"%d" % i for i in range(5)] == list(page.payloads())
            assert list(range(5, 8)) == numbers(path)
            page.close()
        stop_writer(name)


class TestClosed:
    USER = 23456

    @pytest.fixture
    def path(self) -> Iterator[Path]:
        """A directory that belongs to another user, and can be reached by it."""
        if os.geteuid() != 0:
            pytest.skip("only root can be two users")
        top = Path(tempfile.mkdtemp(prefix="disklog-test-"))
        top.chmod(0o755)
        path = top / "log"
        path.mkdir()
        os.chown(path, self.USER, self.USER)
        yield path
        shutil.rmtree(top)

    @pytest.mark.parametrize("mode", [0o500, 0o000])
    def test_a_directory_whose_permissions_are_taken_waits_for_the_next_page(
        self, name: str, path: Path, mode: int
    ) -> None:
        """The page that is open goes on, the next one waits until they are given back."""
        codecs.lookup("ascii")  # the other user may not be able to read the interpreter's own files
        pid = os.fork()
        if pid == 0:  # its own user's writer and producer, in a process that ends without a word
            status = 1
            try:
                os.setgroups([])
                os.setgid(self.USER)
                os.setuid(self.USER)
                live_with(name, path, mode)
                status = 0
            finally:
                os._exit(status)

        assert os.waitpid(pid, 0)[1] == 0
        assert list(range(8)) == numbers(path)


def live_with(name: str, path: Path, mode: int) -> None:
    """Log while the directory has that mode, and when it has its own again."""
    stop = threading.Event()
    work = Writer(name, path, Options(ring_bytes=1 << 16, page_records=5))
    thread = threading.Thread(target=work.run, args=(stop.is_set,))
    thread.start()
    try:
        with disklog_mp.attach(name) as log:
            log_numbers(log, 0, 3)
            log.flush()
            path.chmod(mode)
            log_numbers(log, 3, 8)
            wait_until(lambda: "Permission denied" in (log.stats().error or ""))
            wait_until(lambda: log.stats().records == 5)
            path.chmod(0o700)
            log.flush(30)
            wait_until(lambda: log.stats().error is None)
    finally:
        path.chmod(0o700)
        stop.set()
        thread.join()


def test_a_directory_taken_down_behind_its_last_user_is_no_trouble(
    open_log: OpenLog, name: str, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As temporary ones are: the writer, which lingers a moment, leaves without a word."""
    log = open_log(linger=0.3)
    log.log(b"x")
    log.flush()
    log.close()
    wait_until(lambda: shutil.rmtree(path, ignore_errors=True) or not path.exists())  # it may write meanwhile
    wait_until(lambda: not processes_of(name) and not shared_memory_of(name))

    assert capfd.readouterr().err == ""


# -- a directory that cannot hold a page ---------------------------------------------------------------------


@pytest.mark.parametrize("is_new", [True, False], ids=["a new log", "a log with pages"])
def test_an_append_only_directory_is_refused_at_open(loop_disk: LoopDisk, is_new: bool) -> None:
    """Its pages could be made and never named: open() says what is wrong, and works when it is not."""
    place = loop_disk("ext4", 16 << 20) / "log"
    place.mkdir()
    name = f"append-only-{os.getpid()}"
    if not is_new:
        with disklog_mp.open(name, place, linger=0.1) as log:
            log.log(b"0")
        stop_writer(name)
    if not system("chattr", "+a", place):
        pytest.skip("no chattr")
    try:
        with pytest.raises(
            PermissionError, match="append-only, and pages are renamed and removed: chattr -a"
        ):
            disklog_mp.open(name, place, linger=0.1)
        assert not has_ring(name)
    finally:
        assert system("chattr", "-a", place)
    with disklog_mp.open(name, place, linger=0.1) as log:
        log.log(b"1")
        log.flush()
    stop_writer(name)
    assert not [entry for entry in os.listdir(place) if entry.endswith(".new")]


def test_a_read_only_file_system_is_refused_at_open(loop_disk: LoopDisk) -> None:
    """Also where a log was before."""
    place = loop_disk("ext4", 16 << 20)
    name = f"read-only-{os.getpid()}"
    with disklog_mp.open(name, place / "log", linger=0.1) as log:
        log.log(b"0")
    stop_writer(name)
    wait_until(lambda: system("mount", "-o", "remount,ro", place))  # the writer may still end

    for directory in (place / "log", place / "another"):
        with pytest.raises(OSError, match="Read-only file system"):
            disklog_mp.open(name, directory, linger=0.1)
    remove_ring(name)


def test_a_file_system_that_maps_no_files_is_refused_at_open(name: str, path: Path) -> None:
    """Before there is a ring, and nothing is left in the directory but its lock."""
    files = FaultyFiles()
    files.fail("map", number=errno.ENODEV)
    with pytest.raises(OSError, match="maps no files for several processes"):
        Writer(name, path, Options(), files=files)

    assert not has_ring(name)
    assert os.listdir(path) == ["disklog.lock"]
