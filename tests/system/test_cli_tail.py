"""tail: the last records, following, cursor files, records that are skipped."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.command import call, lines, start
from support.machine import stop_writer, wait_until
from support.pages import write_log

import disklog_mp

OpenLog = Callable[..., disklog_mp.Session]


@pytest.fixture
def ten(open_log: OpenLog, path: Path) -> list[disklog_mp.Record]:
    """Ten records in pages of three, tagged with their number modulo 3."""
    log = open_log(page_records=3)
    for i in range(10):
        log.log(b"record %d" % i, tag=i % 3)
    log.flush()
    return list(disklog_mp.Reader(path))


def flip(file: Path, offset: int) -> None:
    """Change one byte of a file."""
    data = bytearray(file.read_bytes())
    data[offset] ^= 0x40
    file.write_bytes(data)


def number_in(cursor: Path) -> int:
    """The number in a cursor file."""
    return disklog_mp.Cursor.parse(cursor.read_text().strip()).number


class TestTail:
    @pytest.fixture
    def follower(self, ten: list[disklog_mp.Record], path: Path) -> Iterator[subprocess.Popen[bytes]]:
        """`tail -f --raw -n 1`, which has shown the last of the ten."""
        with start("tail", "-f", "--raw", "-n", 1, path) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"record 9\n"
            yield process
            process.kill()

    def test_the_last_records(self, ten: list[disklog_mp.Record], path: Path) -> None:
        """Ten records unless told otherwise, in the formats of cat."""
        assert lines("tail", path) == lines("cat", path)
        assert call("tail", "-n", "2", "--raw", path).stdout == b"record 8\nrecord 9\n"
        assert call("tail", "-n", "all", "--raw", path).stdout == call("cat", "--raw", path).stdout

    def test_it_follows_over_rolls_and_restarts(
        self, follower: subprocess.Popen[bytes], open_log: OpenLog, name: str
    ) -> None:
        """Every record comes once and in order while pages roll and the writer is killed and replaced."""
        assert follower.stdout is not None
        log = open_log()
        for i in range(10, 30):
            if i == 20:
                stop_writer(name, signal.SIGKILL)
            log.log(b"record %d" % i)
            log.flush()

        assert [b"record %d\n" % i for i in range(10, 30)] == [follower.stdout.readline() for _ in range(20)]

    def test_control_c(self, follower: subprocess.Popen[bytes]) -> None:
        """Ctrl-C ends it with 130 and no traceback."""
        follower.send_signal(signal.SIGINT)
        assert follower.stderr is not None
        complaint = follower.stderr.read()

        assert follower.wait() == 130
        assert complaint.strip() == b""

    def test_it_waits_for_the_first_record(self, open_log: OpenLog, path: Path) -> None:
        """A log that is open and empty can be followed."""
        log = open_log()
        with start("tail", "-f", "--raw", path) as process:
            assert process.stdout is not None
            log.log(b"at last")
            assert process.stdout.readline() == b"at last\n"
            process.kill()

    def test_a_cursor_file(self, ten: list[disklog_mp.Record], path: Path, tmp_path: Path, name: str) -> None:
        """Each run goes on where the last one stopped, over any number of new records."""
        cursor = tmp_path / "cursor"
        first = call("tail", "--raw", "-n", 1, "--cursor-file", cursor, path)
        second = call("tail", "--raw", "--cursor-file", cursor, path)
        with disklog_mp.attach(name) as log:
            for i in range(10, 25):
                log.log(b"record %d" % i)
            log.flush()
        third = call("tail", "--raw", "-n", 1, "--cursor-file", cursor, path)
        fourth = call("tail", "--raw", "--cursor-file", cursor, path)

        assert first.stdout == b"record 9\n"
        assert second.stdout == b""
        assert third.stdout == b"".join(b"record %d\n" % i for i in range(10, 25))
        assert fourth.stdout == b""
        assert {"cursor", ".cursor.before", "log"} == {entry.name for entry in tmp_path.iterdir()}

    def test_a_cursor_file_is_kept_while_following(
        self, ten: list[disklog_mp.Record], path: Path, tmp_path: Path
    ) -> None:
        """With -f the file names the place behind what was shown, soon after it was shown."""
        cursor = tmp_path / "cursor"
        with start("tail", "-f", "--raw", "-n", "all", "--cursor-file", cursor, path) as process:
            assert process.stdout is not None
            shown = [process.stdout.readline() for _ in range(10)]
            wait_until(cursor.exists)
            wait_until(lambda: disklog_mp.Cursor.parse(cursor.read_text().strip()).number == 10)
            process.kill()

        assert shown[-1] == b"record 9\n"

    def test_what_is_no_cursor(self, ten: list[disklog_mp.Record], path: Path, tmp_path: Path) -> None:
        """A file with something else in it is refused and left alone."""
        (tmp_path / "cursor").write_text("nonsense\n")
        done = call("tail", "--cursor-file", tmp_path / "cursor", path)

        assert done.returncode == 2
        assert b"cursor: 'nonsense' is not a cursor" in done.stderr
        assert (tmp_path / "cursor").read_text() == "nonsense\n"

    @pytest.mark.parametrize("follow", [[], ["-f"]], ids=["once", "followed"])
    def test_a_cursor_file_of_a_log_that_was_restored(
        self, path: Path, tmp_path: Path, follow: list[str]
    ) -> None:
        """It neither waits for ever nor guesses: one line and exit code 2; --if-lost says where to resume."""
        write_log(path, [b"record %d" % i for i in range(9)], page_records=3)
        cursor = tmp_path / "cursor"
        call("tail", "--cursor-file", cursor, path)
        stored = cursor.read_text()
        (path / "page-0000000003.dlog").unlink()
        done = call("tail", "--raw", *follow, "--cursor-file", cursor, path)

        assert (2, b"") == (done.returncode, done.stdout)
        [line] = done.stderr.splitlines()
        assert b"beyond the end" in line
        assert b"--if-lost" in line
        assert stored == cursor.read_text()
        if not follow:
            done = call("tail", "--raw", "--if-lost", "newest", "--cursor-file", cursor, path)
            assert (1, b"", 6) == (done.returncode, done.stdout, number_in(cursor))
            cursor.write_text(stored)
            done = call("tail", "--raw", "--if-lost", "oldest", "--cursor-file", cursor, path)
            assert (1, b"".join(b"record %d\n" % i for i in range(6))) == (done.returncode, done.stdout)
            assert 6 == number_in(cursor)

    def test_a_cursor_file_that_a_power_loss_emptied(
        self, ten: list[disklog_mp.Record], path: Path, tmp_path: Path
    ) -> None:
        """It is told, and all is shown again, rather than nothing for ever."""
        (tmp_path / "cursor").write_bytes(b"")
        done = call("tail", "--raw", "-n", "1", "--cursor-file", tmp_path / "cursor", path)

        assert done.returncode == 0
        assert b"cursor is empty: beginning with the oldest record" in done.stderr
        assert done.stdout.count(b"\n") == len(ten)
        assert (tmp_path / "cursor").read_text().strip()

    def test_what_is_damaged(self, ten: list[disklog_mp.Record], path: Path) -> None:
        """Damaged records are skipped, one line says which, and the exit code is 1."""
        flip(path / "page-0000000002.dlog", 4096 + 32 + 30)
        done = call("tail", "--raw", "-n", "all", path)

        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert (
            b"disklog-mp: page 2: corrupt range of 32 bytes at offset 4,128, at least 1 record (4) " in line
        )

    def test_what_retention_removed(self, open_log: OpenLog, path: Path, tmp_path: Path) -> None:
        """A cursor behind which pages were retired goes on at the oldest, says so, and exits with 1."""
        log = open_log(page_records=3, keep_pages=2)
        log.log(b"record 0")
        log.flush()
        cursor = tmp_path / "cursor"
        call("tail", "--cursor-file", cursor, path)
        for i in range(1, 20):
            log.log(b"record %d" % i)
            log.flush()
        first = disklog_mp.Reader(path).begin()
        assert first is not None
        done = call("tail", "--raw", "--cursor-file", cursor, path)

        assert done.returncode == 1
        assert f"skipped records 1-{first.number - 1}: removed by retention\n".encode() in done.stderr
        assert b"".join(b"record %d\n" % i for i in range(first.number, 20)) == done.stdout
