"""`disklog-mp stop`, `set`, `rm DIRECTORY`, and SIGHUP to a server."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from support import command
from support.configured import SMALL, identity_of, worker_on
from support.machine import processes_of, shared_memory_of, stop_writer, wait_until
from support.rings import has_ring
from support.sessions import ring_of

import disklog_mp
from disklog_mp._pages.identity import read_identity


@pytest.fixture(autouse=True)
def _end(name: str, path: Path) -> Iterator[None]:
    """The writer need not linger when a test is over; the ring of a stopped log is written."""
    yield
    stop_writer(name)
    if shared_memory_of(name):
        disklog_mp.open(name, path, linger=0).close()
    wait_until(lambda: not shared_memory_of(name))


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str) -> Done:
    """Run a command."""
    done = command.run(*arguments)
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def data_of(path: Path) -> list[bytes]:
    """What can be read."""
    return [record.data for record in disklog_mp.Reader(path)]


class TestStop:
    """disklog-mp stop LOG."""

    def test_it_writes_all_and_ends(self, name: str, path: Path) -> None:
        """Nothing is attached: nothing is left in memory either."""
        with disklog_mp.open(name, path, **SMALL) as log:
            for number in range(500):
                log.log(b"%d" % number)
        done = run("stop", name)

        assert (done.returncode, done.stderr) == (
            0,
            f"disklog-mp: {name}: stopped; all records are written\n",
        )
        assert data_of(path) == [b"%d" % number for number in range(500)]
        assert not shared_memory_of(name)
        wait_until(lambda: not processes_of(name))

    def test_it_is_given_a_directory(self, name: str, path: Path) -> None:
        """As other commands are."""
        disklog_mp.open(name, path, **SMALL).close()

        assert run("stop", str(path)).returncode == 0
        assert run("stop", str(path)).stderr == f"disklog-mp: {name}: is not running\n"

    def test_an_attached_process_does_not_start_it_again(self, name: str, path: Path) -> None:
        """It logs until the ring is full; then the error says which process stopped the log, and when."""
        with disklog_mp.open(name, path, timeout=0.2, **SMALL) as log:
            log.log(b"before")
            assert run("stop", name).returncode == 0
            with pytest.raises(disklog_mp.RingFullError, match="was stopped by process") as caught:
                for _ in range(100):
                    log.log(bytes(1000))
            with pytest.raises(disklog_mp.LogStoppedError, match=r"stopped by process \d+ of user 0 at 20"):
                log.flush()
            time.sleep(0.3)

            assert caught.value.reason
            wait_until(lambda: not processes_of(str(path)))
            assert data_of(path) == [b"before"]
            stat = run("stat", name)
            assert "stopped    by process" in stat.stdout
            assert "no writer is alive" not in stat.stdout
            with disklog_mp.open(name, path, **SMALL) as again:  # the records logged meanwhile are there
                again.flush()
                wait_until(lambda: len(data_of(path)) > 30)
                assert identity_of(path).stopped is None
            log.log(b"after")
            log.flush()

        assert data_of(path)[-1] == b"after"

    def test_the_last_process_to_leave_removes_the_ring(self, name: str, path: Path) -> None:
        """It is empty, and no writer will come for it."""
        with disklog_mp.open(name, path, **SMALL) as log:
            log.log(b"before")
            assert run("stop", name).returncode == 0
        assert not has_ring(name)
        assert data_of(path) == [b"before"]

    def test_a_process_that_attached_by_name_does_not_either(self, name: str, path: Path) -> None:
        """Nor one that logs on."""
        with disklog_mp.open(name, path, **SMALL), worker_on(name):
            assert run("stop", name).returncode == 0
            with disklog_mp.attach(name) as log:
                log.log(b"x")
                with pytest.raises(disklog_mp.LogStoppedError):
                    log.flush()
            wait_until(lambda: not processes_of(str(path)))

    def test_a_writer_that_is_dead_is_started_to_write_the_rest(self, name: str, path: Path) -> None:
        """What its ring holds is written before the log is stopped."""
        with disklog_mp.open(name, path, **SMALL) as log:
            stop_writer(name, signal.SIGKILL)
            log.log(b"in the ring")
            done = run("stop", name)

            assert done.returncode == 0, done.stderr
            assert data_of(path) == [b"in the ring"]
            wait_until(lambda: not processes_of(str(path)))

    def test_busy_producers_do_not_keep_it_from_ending(self, name: str, path: Path) -> None:
        """What they log after the request stays in the ring."""
        code = (
            "import disklog_mp, sys, time; log = disklog_mp.attach(sys.argv[1], timeout=30)\n"
            "end = time.monotonic() + 30\n"
            "while time.monotonic() < end: log.log(bytes(100))"
        )
        with disklog_mp.open(name, path, ring_bytes=1 << 20, linger=5, keep_bytes="1G", page_bytes="8M"):
            busy = subprocess.Popen([sys.executable, "-c", code, name])
            wait_until(lambda: len(os.listdir(path)) > 3)
            time.sleep(0.3)
            done = run("stop", name)
            busy.kill()
            busy.wait()

            assert done.returncode == 0, done.stderr

    def test_serve_is_stopped_as_well(self, name: str, path: Path) -> None:
        """It ends as after SIGTERM."""
        command = [sys.executable, "-m", "disklog_mp", "serve", name, path]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as server:
            assert server.stderr is not None
            assert b"writes to" in server.stderr.readline()

            assert run("stop", name).returncode == 0
            assert server.wait(30) == 0


class TestSet:
    """disklog-mp set LOG OPTION=VALUE ..."""

    def test_it_changes_and_stat_shows_it(self, name: str, path: Path) -> None:
        """With where each option came from."""
        with disklog_mp.open(name, path, **SMALL) as log:
            done = run("set", name, "keep_bytes=20G", "keep-age=7 days", "sync=200ms")
            shown = run("stat", name).stdout

            assert done.stderr == f"disklog-mp: {name}: keep_bytes=20GiB keep_age=604800s sync=0.2s\n"
            assert "keep_bytes 20 GiB (set, process " in shown
            assert f"ring_bytes 64 KiB (open, process {os.getpid()})" in shown
            assert ", mode 0o600, " in shown
            assert run("set", name, "keep_bytes=20G").stderr == f"disklog-mp: {name}: nothing changed\n"
            assert run("set", str(path), "keep_bytes=none").returncode == 0
            assert identity_of(path).options["keep_bytes"] is None
            log.log(b"x")

    @pytest.mark.parametrize(
        ("assignment", "said"),
        [("keep_bytes", "is not OPTION=VALUE"), ("colour=1", "no such option"), ("sync=soon", "sync='soon'")],
    )
    def test_what_is_wrong_is_said(self, name: str, path: Path, assignment: str, said: str) -> None:
        """In one line, and nothing changes."""
        with disklog_mp.open(name, path, **SMALL):
            done = run("set", name, "page_records=3", assignment)

            assert done.returncode == 2
            assert said in done.stderr
            assert len(done.stderr.splitlines()) == 1
            assert identity_of(path).options["page_records"] is None

    def test_a_log_that_does_not_run_is_changed_too(self, name: str, path: Path) -> None:
        """A writer is started, asked, and ends."""
        disklog_mp.open(name, path, ring_bytes=1 << 16, linger=0).close()
        wait_until(lambda: not shared_memory_of(name))

        assert run("set", str(path), "keep_pages=3").returncode == 0
        assert identity_of(path).options["keep_pages"] == 3
        wait_until(lambda: not processes_of(str(path)))


class TestServed:
    """A log whose writer runs in `serve`."""

    @pytest.fixture
    def server(self, name: str, path: Path) -> Iterator[subprocess.Popen[str]]:
        """A server with options."""
        command = [sys.executable, "-m", "disklog_mp", "serve", name, str(path), "--keep-pages", "7"]
        process = subprocess.Popen([*command, "--ring-bytes", "64k"], stderr=subprocess.PIPE, text=True)
        wait_until(lambda: has_ring(name) and read_identity(str(path)))
        yield process
        process.terminate()
        process.communicate()

    def test_its_options_stay(self, server: subprocess.Popen[str], name: str, path: Path) -> None:
        """A newcomer joins it, alone or not."""
        with pytest.warns(UserWarning, match="a served log keeps its server's options"):
            log = disklog_mp.open(name, path, keep_pages=3)
        with log:
            log.log(b"x")
            log.flush()

        assert identity_of(path).options["keep_pages"] == 7
        assert identity_of(path).served
        assert "keep_pages 7 (serve)" in run("stat", name).stdout

    def test_a_hangup_puts_its_options_in_force_again(
        self, server: subprocess.Popen[str], name: str, path: Path
    ) -> None:
        """It goes on; what was set meanwhile gives way to what its command line names."""
        with disklog_mp.attach(name) as log:
            log.configure(keep_pages=9, page_records=5)
            server.send_signal(signal.SIGHUP)
            wait_until(lambda: identity_of(path).options["keep_pages"] == 7)
            log.log(b"x")
            log.flush()

        assert identity_of(path).options["page_records"] == 5
        assert server.poll() is None


def test_rm_takes_a_directory(name: str, path: Path) -> None:
    """Of a log whose processes were killed."""
    code = "import disklog_mp, sys, os; disklog_mp.open(*sys.argv[1:]).log(b'x'); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, name, path], check=False)
    stop_writer(name, signal.SIGKILL)

    assert shared_memory_of(name)
    assert run("rm", "--force", str(path)).returncode == 0
    assert not shared_memory_of(name)
    assert "has no ring" in run("rm", str(path)).stderr


def test_a_door_joins_with_other_options(name: str, path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A process says once on stderr that options do not apply, and logs every record of each handler."""
    import logging

    from disklog_mp.logging import DiskLogHandler

    with disklog_mp.open(name, path, keep_bytes="2G", **SMALL) as log, worker_on(name):
        logger = disklog_mp.get_logger("app", name, path, keep_bytes="10M")
        handlers = [DiskLogHandler(name, path=path, keep_bytes="10M") for _ in range(2)]
        for number in range(100):
            record = logging.LogRecord("app", logging.INFO, __file__, 1, f"event {number}", None, None)
            for handler in handlers:
                handler.emit(record)
            logger.info("event", number=number)
        for each in (*handlers, logger):
            assert each.dropped == 0
            each.close()
        log.flush()

        assert capfd.readouterr().err.count("it is joined as it is") == 1
        wait_until(lambda: log.stats().records == 301)
        assert ring_of(log).capacity == 1 << 16
