"""open, attach, serve: who starts a writer, who joins one, what is refused."""

import errno
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pytest
from support.command import run
from support.machine import stop_writer, wait_until
from support.rings import has_ring, ring_path
from support.sessions import ring_file_of
from support.workers import meet_at, open_and_log

import disklog_mp
from disklog_mp import _core
from disklog_mp._options import Options
from disklog_mp._pages.directory import Directory
from disklog_mp._ring import names as _names
from disklog_mp._verify.log import verify
from disklog_mp._writer.attendance import Attendance
from disklog_mp._writer.writer import Writer

OpenLog = Callable[..., disklog_mp.Session]
VERSION = _core.RING_VERSION.to_bytes(4, "little")


class TestOneWriter:
    def test_sixteen_processes_open_at_once_and_one_writer_results(self, name: str, path: Path) -> None:
        """All log, all that they logged is there, and the ring has had one writer."""
        spawn = get_context("spawn")
        with ProcessPoolExecutor(16, spawn, initializer=meet_at, initargs=(spawn.Barrier(16),)) as pool:
            jobs = [pool.submit(open_and_log, name, str(path), i, 100) for i in range(16)]
            writers = {job.result() for job in jobs}
        records = [record.data for record in disklog_mp.Reader(path)]

        assert len(writers) == 1
        assert sorted(b"%d %d" % (w, i) for w in range(16) for i in range(100)) == sorted(records)

    def test_a_process_that_attaches_while_the_writer_leaves_keeps_it(
        self, name: str, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The writer has found its log unused; then a producer attaches by name, and can start no writer.

        The writer looks again before it leaves, sees the producer and stays: flush() returns.
        """
        sessions: list[disklog_mp.Session] = []
        is_unused = Attendance.is_unused

        def attach_after_the_first_look(attendance: Attendance) -> bool:
            unused = is_unused(attendance)
            if unused and not sessions:
                sessions.append(disklog_mp.attach(name, timeout=1.0))
            return unused

        monkeypatch.setattr(Attendance, "is_unused", attach_after_the_first_look)
        writer = Writer(name, path, Options(ring_bytes=1 << 14, linger=0.0, sync="never"))
        thread = threading.Thread(target=writer.run)
        thread.start()
        with wait_until(lambda: sessions)[0] as log:
            log.log(b"kept")
            log.flush()
            assert os.getpid() == log.stats().writer_pid
        thread.join()

        assert [b"kept"] == [record.data for record in disklog_mp.Reader(path)]

    def test_a_second_open_joins(self, open_log: OpenLog) -> None:
        """The same log opened again, with no options or the same ones, has the same writer."""
        first = open_log(page_records=10)
        second = open_log(page_records=10)
        third = open_log()

        assert first.stats().writer_pid == second.stats().writer_pid == third.stats().writer_pid

    def test_a_directory_has_one_log(self, log: disklog_mp.Session, path: Path) -> None:
        """A second writer on the directory under another name: WriterActiveError names who has it."""
        with pytest.raises(disklog_mp.WriterActiveError) as caught:
            disklog_mp.open(log.name + "-other", path)

        assert (log.name, str(path), log.stats().writer_pid) == caught.value.args

    def test_a_directory_keeps_its_log(self, open_log: OpenLog, name: str, path: Path) -> None:
        """Another name is refused also when the log is not running."""
        open_log(linger=0).close()
        wait_until(lambda: not has_ring(name))
        with pytest.raises(disklog_mp.ConfigMismatchError, match="a directory of its own") as caught:
            disklog_mp.open(name + "-other", path)

        assert caught.value.args == ("name", name, name + "-other")


class TestDirectories:
    def test_a_file_is_no_directory(self, name: str, path: Path) -> None:
        """The error says that the directory is a file."""
        path.write_text("here first")
        with pytest.raises(NotADirectoryError, match="is a file"):
            disklog_mp.open(name, path)

        assert path.read_text() == "here first"

    def test_foreign_files_are_refused_and_not_touched(self, name: str, path: Path) -> None:
        """A directory that holds other files is not made a log."""
        path.mkdir()
        (path / "notes.txt").write_text("mine")
        with pytest.raises(OSError, match=r"notes\.txt") as caught:
            disklog_mp.open(name, path)

        assert caught.value.errno == errno.ENOTEMPTY
        assert ["notes.txt"] == os.listdir(path)

    def test_half_made_page_files_are_fine(self, open_log: OpenLog, path: Path) -> None:
        """Empty pages and pages that never got their name are what a crash leaves of nothing."""
        path.mkdir()
        (path / "page-0000000001.dlog").touch()
        (path / ".page-0000000002.new").write_bytes(b"half")
        log = open_log()
        log.log(b"x")
        log.flush()

        assert [b"x"] == [record.data for record in disklog_mp.Reader(path)]

    def test_a_directory_that_cannot_be_written(self, name: str, path: Path) -> None:
        """The operating system's error comes through from the writer's process."""
        if os.geteuid() == 0:
            path = Path("/proc/no-such-place")  # root may write everywhere else
        else:
            path.mkdir(mode=0o500)
        with pytest.raises(OSError, match=r"no-such-place|Permission|disklog\.lock"):
            disklog_mp.open(name, path)

    def test_parents_are_made(self, name: str, path: Path) -> None:
        """A deep directory that is not there is made, for the owner alone."""
        deep = path / "a" / "b"
        with disklog_mp.open(name, deep, linger=0) as log:
            log.log(b"x")
            log.flush()

            assert deep.stat().st_mode & 0o777 == 0o700

    def test_mode_and_group_are_given_to_all_files(self, name: str, path: Path) -> None:
        """mode=0o660 with a group: ring, pages and directory let the group in."""
        with disklog_mp.open(name, path, mode=0o660, group=os.getgid(), linger=0) as log:
            log.log(b"x")
            log.flush()
            ring = os.stat(ring_path(name))

            assert ring.st_mode & 0o777 == 0o660
            assert path.stat().st_mode & 0o777 == 0o770
            for file in path.iterdir():
                # The log's own file is replaced, never written to: its group only reads it.
                mode = 0o640 if file.name == "disklog.json" else 0o660
                assert (file.name, file.stat().st_mode & 0o777) == (file.name, mode)

    @pytest.mark.parametrize(
        "options",
        [
            {"page_records": 0},
            {"page_bytes": 100},
            {"page_bytes": "64 parsecs"},
            {"ring_bytes": 100},
            {"page_age": "soon"},
            {"sync": "sometimes"},
            {"mode": 0o777},
            {"mode": "rw"},
            {"group": "no-such-group-here"},
            {"keep_pages": -1},
            {"linger": float("nan")},
        ],
        ids=str,
    )
    def test_options_that_are_none(self, name: str, path: Path, options: dict[str, object]) -> None:
        """Each is a ValueError that names the option and the value, before anything is made."""
        with pytest.raises(ValueError, match=next(iter(options))):
            disklog_mp.open(name, path, **options)  # type: ignore[arg-type]

        assert not path.exists()

    @pytest.mark.parametrize("options", [{"page_records": "many"}, {"mode": 6.6}, {"keep_bytes": 1.5}])
    def test_options_of_the_wrong_type(self, name: str, path: Path, options: dict[str, object]) -> None:
        """Each is a TypeError that names the option."""
        with pytest.raises(TypeError, match=next(iter(options))):
            disklog_mp.open(name, path, **options)  # type: ignore[arg-type]

    def test_sizes_and_durations_may_be_written_out(self, open_log: OpenLog) -> None:
        """page_bytes="1 MiB", page_age="10min": the same as the numbers."""
        open_log(page_bytes="1 MiB", page_age="10min", keep_bytes="1g")
        again = open_log(page_bytes=1 << 20, page_age=600, keep_bytes=1 << 30)

        assert not again.closed


class TestRings:
    def test_a_ring_that_does_not_fit_is_an_error_at_open(self, name: str, path: Path) -> None:
        """Size, mount and remedy are named; no SIGBUS later, nothing left behind."""
        with pytest.raises(OSError, match="shm-size") as caught:
            disklog_mp.open(name, path, ring_bytes="1t")

        assert caught.value.errno == errno.ENOSPC
        assert "/dev/shm" in str(caught.value)
        assert not [entry for entry in os.listdir(_names.SHM) if name in entry]

    @pytest.mark.parametrize(
        ("content", "found"),
        [
            (b"", "0 bytes"),
            (b"garbage" * 10_000, "does not begin"),
            (b"DISKRING" + (99).to_bytes(4, "little") + (0x01020304).to_bytes(4, "little"), "version 99"),
            (b"DISKRING" + VERSION + (0x04030201).to_bytes(4, "little"), "byte order"),
            (b"DISKRING" + VERSION + (0x01020304).to_bytes(4, "little"), "checksum"),
        ],
        ids=["empty", "garbage", "version", "byte order", "checksum"],
    )
    def test_what_is_no_ring_is_refused(self, name: str, path: Path, content: bytes, found: str) -> None:
        """attach and open say what they found, what they read, and how to be rid of it."""
        with disklog_mp.open(name, path, linger=0):
            file = Path(ring_path(name))
        wait_until(lambda: not file.exists())
        file.write_bytes(content.ljust(300_000, b"\0") if content else b"")
        try:
            for use in (lambda: disklog_mp.attach(name), lambda: disklog_mp.open(name, path)):
                with pytest.raises(disklog_mp.FormatVersionError, match=found):
                    use()
        finally:
            file.unlink()

    def test_a_ring_may_live_in_a_directory_of_its_own(self, name: str, path: Path, tmp_path: Path) -> None:
        """ring_dir=: no /dev/shm at all, for containers that share a volume."""
        place = tmp_path / "rings"
        with disklog_mp.open(name, path, ring_dir=str(place), linger=0, ring_bytes=1 << 16) as log:
            assert not has_ring(name)
            with disklog_mp.attach(name, ring_dir=str(place)) as other:
                other.log(b"x")
                other.flush()

            assert [b"x"] == [record.data for record in log.get_page(1)]
        wait_until(lambda: not os.listdir(place))

    @pytest.mark.parametrize(("first", "second"), [(None, "rings"), ("rings", "other rings")])
    def test_its_ring_is_in_one_directory(
        self, name: str, path: Path, tmp_path: Path, first: str | None, second: str | None
    ) -> None:
        """A process that gives another one joins the log where it is, and is told so."""
        places = [None if place is None else str(tmp_path / place) for place in (first, second)]
        with disklog_mp.open(name, path, ring_dir=places[0], linger=0, ring_bytes=1 << 16) as log:
            with pytest.raises(disklog_mp.ConfigMismatchError) as caught:
                disklog_mp.open(name, path, ring_dir=places[1], strict=True)
            with pytest.warns(UserWarning, match="joined as it is") as told:
                other = disklog_mp.open(name, path, ring_dir=places[1])
            with other:
                other.log(b"x")
                other.flush()
                assert [b"x"] == [record.data for record in log.get_page(1)]

        assert ("ring_dir", places[0] or _names.SHM, places[1]) == caught.value.args
        assert places[1] in str(told[0].message)
        assert not os.path.exists(places[1])

    def test_the_place_of_the_ring_need_not_be_repeated(self, name: str, path: Path, tmp_path: Path) -> None:
        """The log's file says where it is: to open(), to attach(), to a session that is sent, to commands."""
        place = tmp_path / "rings"
        with disklog_mp.open(name, path, ring_dir=str(place), linger=0, ring_bytes=1 << 16) as log:
            log.log(b"1")
            with (
                disklog_mp.open(name, path) as same,
                disklog_mp.attach(name, path) as attached,
                pickle.loads(pickle.dumps(same)) as sent,
            ):
                for session in (same, attached, sent):
                    session.log(b"2")
                    session.flush()
            assert run("stat", path).returncode == 0
        wait_until(lambda: not os.listdir(place))
        with disklog_mp.open(name, path, linger=0):
            assert has_ring(name, str(place))
            assert not has_ring(name)
        wait_until(lambda: not os.listdir(place))
        assert [b"1", b"2", b"2", b"2"] == [record.data for record in disklog_mp.Reader(path)]

    def test_where_a_dead_writers_ring_was_is_nobodys_business(
        self, name: str, path: Path, tmp_path: Path
    ) -> None:
        """The next writer has the directory and has not said yet where its ring is: it is waited for."""
        place = str(tmp_path / "rings")
        disklog_mp.open(name, path, ring_dir=place, linger=0, ring_bytes=1 << 16).close()
        stop_writer(name, ring_dir=place)
        directory = Directory(path)
        assert directory.rings() == place
        assert directory.lock(0o600, -1)
        leaving = threading.Timer(0.5, directory.unlock)
        leaving.start()
        with disklog_mp.open(name, path, linger=0, ring_bytes=1 << 16) as log:
            log.log(b"x")
        leaving.join()

    def test_another_users_ring_is_refused(self, name: str, path: Path) -> None:
        """An object under our name that belongs to neither us nor root may be a trap."""
        if os.geteuid() != 0:
            pytest.skip("only root can make an object of another user")
        file = Path(ring_path(name))
        file.write_bytes(b"\0" * 4096)
        pid = os.fork()
        if pid == 0:
            os.chown(file, 12345, 12345)
            os.chmod(file, 0o666)
            os.setgroups([])
            os.setgid(23456)
            os.setuid(23456)
            try:
                disklog_mp.attach(name)
            except PermissionError:
                os._exit(0)
            os._exit(1)
        status = os.waitpid(pid, 0)[1]
        file.unlink()

        assert status == 0


class TestRetention:
    def test_keep_pages_removes_the_oldest(self, open_log: OpenLog, path: Path) -> None:
        """With keep_pages=3 three pages remain, and asking for a retired one says so."""
        log = open_log(page_records=5, keep_pages=3)
        for i in range(50):
            log.log(b"%d" % i)
        log.flush()
        wait_until(lambda: len(disklog_mp.Reader(path).page_numbers()) <= 3)

        assert [8, 9, 10] == disklog_mp.Reader(path).page_numbers()
        with pytest.raises(disklog_mp.PageRetiredError) as caught:
            log.get_page(2)
        assert (2, 8, 10) == caught.value.args
        with pytest.raises(disklog_mp.PageNotFoundError):
            log.get_page(11)

    def test_keep_bytes_bounds_the_directory(self, open_log: OpenLog, path: Path) -> None:
        """The sealed pages that pass keep_bytes go."""
        log = open_log(page_bytes=65536, keep_bytes=200_000)
        for _ in range(3000):
            log.log(b"x" * 500)
        log.flush()

        assert sum(file.stat().st_size for file in path.glob("page-*")) < 300_000

    def test_keep_age_removes_what_is_old(self, open_log: OpenLog, path: Path) -> None:
        """Pages whose last record is older than keep_age go, without any new record."""
        log = open_log(page_records=5, keep_age=0.2)
        for i in range(12):
            log.log(b"%d" % i)
        log.flush()

        wait_until(lambda: [3] == disklog_mp.Reader(path).page_numbers())

    def test_an_idle_log_stays_what_it_is(self, open_log: OpenLog, name: str, path: Path) -> None:
        """All of it is old: the newest page is kept, the older ones are known to be retired, the books
        balance, and after a restart numbers, positions and pages go on.
        """
        log = open_log(page_records=5, keep_age=0, linger=0)
        positions = [log.log(b"%d" % i) for i in range(10)]
        log.flush()
        wait_until(lambda: [2] == disklog_mp.Reader(path).page_numbers())
        with pytest.raises(disklog_mp.PageRetiredError):
            log.get_page(1)
        assert verify(str(path), name, ring_file_of(log)).exit_code == 0
        log.close()
        wait_until(lambda: not has_ring(name))
        cursor = disklog_mp.Reader(path).end()
        log = open_log(page_records=5, keep_age=0, linger=0)
        position = log.log(b"more")
        log.flush()
        records, _ = disklog_mp.Reader(path).read(cursor)

        assert [3] == disklog_mp.Reader(path).page_numbers()[-1:]
        assert position == positions[-1] + 32
        assert [(b"more", 10, position)] == [(each.data, each.number, each.position) for each in records]

    def test_a_halt_log_takes_no_more_than_max_bytes(self, open_log: OpenLog) -> None:
        """LogFullError when the limit is reached, at most a ring beyond it; what was accepted is there."""
        log = open_log(max_bytes=100_000, ring_bytes=1 << 20)
        accepted = 0
        with pytest.raises(disklog_mp.LogFullError) as caught:
            while True:
                log.log(b"x" * 1000)
                accepted += 1
        log.flush()

        assert caught.value.max_bytes == 100_000
        assert accepted == len(log.get_page(1))
        assert log.stats().page_bytes < 100_000 + (1 << 20) + 4096


class TestEndOfLife:
    def test_the_writer_leaves_when_nobody_needs_it(self, open_log: OpenLog, name: str, path: Path) -> None:
        """After the last session closed the writer goes, the ring with it, the records stay."""
        with open_log(linger=0) as log:
            log.log(b"x")
        wait_until(lambda: not has_ring(name))

        with pytest.raises(disklog_mp.LogNotFoundError):
            disklog_mp.attach(name)
        assert [b"x"] == [record.data for record in disklog_mp.Reader(path)]

    def test_reopening_continues_the_last_page(self, open_log: OpenLog, name: str, path: Path) -> None:
        """Three runs of four records with page_records=10: ten in the first page, two in the second."""
        for turn in range(3):
            with open_log(linger=0, page_records=10) as log:
                for i in range(4):
                    log.log(b"%d" % (turn * 4 + i))
            wait_until(lambda: not has_ring(name))
        pages = list(disklog_mp.Reader(path).pages())

        assert [10, 2] == [len(page) for page in pages]
        assert list(range(12)) == [int(record.data) for record in disklog_mp.Reader(path)]
        assert list(range(12)) == [record.number for record in disklog_mp.Reader(path)]

    def test_a_writer_inherits_no_descriptor_and_no_terminal(self, log: disklog_mp.Session) -> None:
        """It has a session of its own, nothing on stdin and stdout, and none of our files."""
        read, write = os.pipe()
        os.set_inheritable(read, True)
        pid = log.stats().writer_pid

        links = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}

        assert os.getsid(pid) != os.getsid(0)
        assert os.readlink(f"/proc/{pid}/fd/0") == os.devnull
        wait_until(lambda: os.readlink(f"/proc/{pid}/fd/1") == os.devnull)  # the answer was given
        assert not links & {os.readlink(f"/proc/self/fd/{read}")}
        assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
        os.close(read)
        os.close(write)


@contextmanager
def serve(name: str, path: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run serve() in a process; killed at the end if the test did not end it."""
    code = f"import disklog_mp, sys\ndisklog_mp.serve({name!r}, {str(path)!r}, ring_bytes=65536)"
    with subprocess.Popen(
        [sys.executable, "-c", code], text=True, env={**os.environ, **environment}
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class TestServe:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_it_drains_and_leaves_in_good_order(self, name: str, path: Path, number: int) -> None:
        """SIGTERM or SIGINT: all that was logged is in the pages, exit status 0, no ring."""
        with serve(name, path) as process:
            log = wait_until(lambda: try_attach(name))
            for i in range(100):
                log.log(b"%d" % i)
            log.close()
            process.send_signal(number)
            assert process.wait() == 0

        assert 100 == len(list(disklog_mp.Reader(path)))
        assert not has_ring(name)

    def test_producers_stay_attached_over_a_restart(self, name: str, path: Path) -> None:
        """The ring stays for them; what they log meanwhile is there when the writer is back."""
        with serve(name, path) as process:
            log = wait_until(lambda: try_attach(name))
            log.log(b"before")
            process.terminate()
            assert process.wait() == 0
        log.log(b"between")
        with serve(name, path) as process:
            log.log(b"after")
            log.flush(30)
            log.close()
            process.terminate()
            assert process.wait() == 0

        assert [b"before", b"between", b"after"] == [r.data for r in disklog_mp.Reader(path)]

    def test_a_second_one_is_refused(self, log: disklog_mp.Session, path: Path) -> None:
        """WriterActiveError with the pid of the one that is."""
        with pytest.raises(disklog_mp.WriterActiveError, match=str(log.stats().writer_pid)):
            disklog_mp.serve(log.name, path)

    def test_systemd_is_told(self, name: str, path: Path, tmp_path: Path) -> None:
        """READY=1 when the ring is there, WATCHDOG=1 in time, STOPPING=1 at the end."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            address = str(tmp_path / "notify")
            server.bind(address)
            server.settimeout(20)
            with serve(name, path, NOTIFY_SOCKET=address, WATCHDOG_USEC="200000") as process:
                assert server.recv(4096).startswith(b"READY=1")
                assert has_ring(name)
                assert server.recv(4096) == b"WATCHDOG=1"
                process.terminate()
                while (told := server.recv(4096)) == b"WATCHDOG=1":
                    pass
                assert told == b"STOPPING=1"


def try_attach(name: str) -> disklog_mp.Session | None:
    """Attach, or None while there is nothing to attach to."""
    try:
        return disklog_mp.attach(name)
    except disklog_mp.LogNotFoundError:
        return None


def test_what_a_killed_creator_left_goes_before_anybody_has_reaped_it(name: str, path: Path) -> None:
    """A ring under its temporary name; one whose creator lives is left alone."""
    with subprocess.Popen(["true"]) as ended, subprocess.Popen(["sleep", "60"]) as living:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        with disklog_mp.open(name, path, linger=0.0):
            ring = os.path.basename(ring_path(name))
        wait_until(lambda: not has_ring(name))
        left, kept = (f"/dev/shm/.{ring}.{process.pid}" for process in (ended, living))
        Path(left).touch()
        Path(kept).touch()
        with disklog_mp.open(name, path, linger=0.0):
            pass

        assert [os.path.exists(left), os.path.exists(kept)] == [False, True]
        os.unlink(kept)
        living.kill()
