"""Options of a running log: what a newcomer brings, what configure() changes, who may."""

import errno
import os
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import COMMAND
from support.configured import SMALL, identity_of, worker_on
from support.machine import shared_memory_of, stop_writer, wait_until
from support.rings import ring_path
from support.sessions import ring_of
from support.users import NOBODY, as_user

import disklog_mp
from disklog_mp._options import Options
from disklog_mp._os import files as _files
from disklog_mp._ring.names import socket_path
from disklog_mp._session import interpreter, requests
from disklog_mp._writer.writer import Writer


@pytest.fixture(autouse=True)
def _end(name: str) -> Iterator[None]:
    """The writer need not linger when a test is over."""
    yield
    stop_writer(name)


class TestJoining:
    """A newcomer's options and a running log's."""

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("page_bytes", 1 << 20),
            ("page_records", 3),
            ("keep_bytes", 1 << 24),
            ("keep_age", 3600.0),
            ("page_at", "06:00,18:00"),
            ("page_tz", "Europe/Berlin"),
            ("max_bytes", 1 << 30),
            ("sync", "page"),
            ("linger", 3.0),
            ("kill_stalled", 30.0),
            ("event_bytes", 1 << 18),
            ("ring_bytes", 1 << 17),
        ],
    )
    def test_a_restart_with_another_option_loses_nothing(
        self, name: str, path: Path, option: str, value: object
    ) -> None:
        """The writer lingers, no other process is attached: what is given applies, and all is logged."""
        with disklog_mp.open(name, path, **SMALL) as log:
            log.log(b"before")
            writer = log.stats().writer_pid
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            log = disklog_mp.open(name, path, **{**SMALL, option: value})  # type: ignore[arg-type]
        with log:
            for number in range(100):
                log.log(b"%d" % number)
            log.flush()

            assert writer == log.stats().writer_pid
            assert value == identity_of(path).options[option]
            assert f"open, process {os.getpid()}" == identity_of(path).sources[option]
            if option == "ring_bytes":
                wait_until(lambda: ring_of(log).capacity == value)

        kept = [record.data for record in disklog_mp.Reader(path)]
        assert kept == [b"before", *(b"%d" % number for number in range(100))]

    def test_limits_of_pages_apply_at_once(self, name: str, path: Path) -> None:
        """The page that was begun ends, the next has the new limit."""
        with disklog_mp.open(name, path, **SMALL) as log:
            log.log(b"before")
        with disklog_mp.open(name, path, page_records=2, **SMALL) as log:
            for number in range(6):
                log.log(b"%d" % number)
            log.flush()

        pages = [len(list(page)) for page in disklog_mp.Reader(path).pages()]
        assert sum(pages) == 7
        assert max(pages) == 2

    def test_mode_reaches_ring_directory_and_pages(self, name: str, path: Path) -> None:
        """Also the pages that were there."""
        with disklog_mp.open(name, path, page_records=1, **SMALL) as log:
            for _ in range(3):
                log.log(b"x")
            log.flush()
        with disklog_mp.open(name, path, page_records=1, mode="0660", **SMALL) as log:
            log.log(b"x")
            log.flush()
            ring = os.stat(ring_path(name))

            assert ring.st_mode & 0o777 == 0o660
            assert path.stat().st_mode & 0o777 == 0o770
            modes = {file.name: file.stat().st_mode & 0o777 for file in path.iterdir()}
            assert modes.pop("disklog.json") == 0o640
            assert set(modes.values()) == {0o660}
            log.configure(mode=0o600)
            modes = {file.name: file.stat().st_mode & 0o777 for file in path.iterdir()}
            assert set(modes.values()) == {0o600}
            assert path.stat().st_mode & 0o777 == 0o700

    def test_with_others_attached_they_stay(self, name: str, path: Path) -> None:
        """The newcomer joins, and is warned once: both values, and the command that changes it."""
        with disklog_mp.open(name, path, keep_bytes="2G", **SMALL), worker_on(name):
            pass
        with disklog_mp.open(name, path, keep_bytes="2G", **SMALL) as log, worker_on(name):
            with pytest.warns(UserWarning, match="runs with keep_bytes=2 GiB, not 10 MiB") as caught:
                other = disklog_mp.open(name, path, keep_bytes="10M")
            other.log(b"joined")
            other.flush()
            other.close()

            assert len(caught) == 1
            assert caught[0].filename == __file__
            text = str(caught[0].message)
            assert "another process uses it" in text
            assert f"`disklog-mp set {name} keep_bytes=10MiB`" in text
            assert identity_of(path).options["keep_bytes"] == 2 << 30
            assert log.stats().error is None

        assert b"joined" in [record.data for record in disklog_mp.Reader(path)]

    def test_strict_is_an_error(self, name: str, path: Path) -> None:
        """ConfigMismatchError, and nothing has changed."""
        with disklog_mp.open(name, path, **SMALL), worker_on(name):
            with pytest.raises(disklog_mp.ConfigMismatchError) as caught:
                disklog_mp.open(name, path, sync="page", strict=True)

            assert ("sync", "1s", "page") == caught.value.args
        with disklog_mp.open(name, path, sync="page", strict=True, **SMALL) as log:
            log.log(b"x")

    def test_others_are_told_of_a_writer_started_with_the_wrong_options(self, name: str, path: Path) -> None:
        """A worker is attached, the writer was killed: its options stay, although another process opens."""
        with disklog_mp.open(name, path, keep_bytes="2G", **SMALL), worker_on(name):
            stop_writer(name, 9)
            code = (
                "import disklog_mp, sys, warnings; warnings.simplefilter('always')\n"
                "log = disklog_mp.open(*sys.argv[1:], keep_bytes='10M'); log.log(b'late'); log.flush()"
            )
            done = subprocess.run(
                [sys.executable, "-c", code, name, path], capture_output=True, text=True, check=True
            )

            assert "keep_bytes=2 GiB, not 10 MiB" in done.stderr
            assert identity_of(path).options["keep_bytes"] == 2 << 30

    def test_a_writer_that_died_is_replaced_with_what_is_in_force(self, name: str, path: Path) -> None:
        """Not with what the session that starts it was opened with."""
        with disklog_mp.open(name, path, keep_pages=5, **SMALL) as log:
            log.configure(keep_pages=7, page_records=2)
            stop_writer(name, 9)
            for _ in range(5):
                log.log(b"x")
            log.flush()

            assert identity_of(path).options["keep_pages"] == 7
            assert log.stats().pages == 3

    def test_left_out_options_of_a_log_that_does_not_run(self, name: str, path: Path) -> None:
        """What was set stays; what an earlier open() gave does not."""
        with disklog_mp.open(name, path, page_records=5, ring_bytes=1 << 16, linger=0) as log:
            log.configure(keep_pages=7)
        stop_writer(name)
        with disklog_mp.open(name, path, ring_bytes=1 << 16, linger=0):
            found = identity_of(path)

        assert (found.options["keep_pages"], found.options["page_records"]) == (7, None)


class TestConfigure:
    """Session.configure()."""

    def test_it_changes_the_log_for_all(self, name: str, path: Path) -> None:
        """Others are attached; the sources say so."""
        with disklog_mp.open(name, path, keep_bytes="1G", **SMALL) as log, worker_on(name):
            log.configure(keep_bytes=None, sync="always", page_records="2")
            log.log(b"x")
            log.log(b"y")
            log.flush()
            found = identity_of(path)

            assert found.options["keep_bytes"] is None
            assert (found.options["sync"], found.options["page_records"]) == ("always", 2)
            assert found.sources["sync"] == f"set, process {os.getpid()}"
            assert wait_until(lambda: log.stats().pages == 2)

    def test_another_ring_loses_nothing(self, name: str, path: Path) -> None:
        """The successor takes over while a worker and this process log."""
        with disklog_mp.open(name, path, **SMALL) as log:
            for number in range(2000):
                if number == 1000:
                    log.configure(ring_bytes="256 KiB")
                log.log(b"%d" % number)
            wait_until(lambda: ring_of(log).capacity == 1 << 18 or log.log(b"more") < 0)
            log.flush()

        kept = [record.data for record in disklog_mp.Reader(path)]
        assert kept[:2000] == [b"%d" % number for number in range(2000)]

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"colour": 1}, TypeError),
            ({"page_bytes": None}, TypeError),
            ({"keep_age": "soon"}, ValueError),
            ({"ring_bytes": 1 << 39}, OSError),
        ],
        ids=str,
    )
    def test_what_cannot_be_is_refused(
        self, name: str, path: Path, options: dict[str, object], error: type[Exception]
    ) -> None:
        """The log is as it was."""
        with disklog_mp.open(name, path, **SMALL) as log:
            before = identity_of(path)
            with pytest.raises(error):
                log.configure(page_records=4, **options)
            log.log(b"fine")
            log.flush()

            assert identity_of(path) == before

    def test_it_starts_a_writer_where_none_is(self, name: str, path: Path) -> None:
        """And asks that one."""
        with disklog_mp.open(name, path, **SMALL) as log:
            stop_writer(name, 9)
            log.configure(keep_pages=9)

            assert identity_of(path).options["keep_pages"] == 9
            assert log.stats().writer_pid

    def test_a_frozen_writer_costs_no_more_than_the_timeout(
        self, name: str, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """TimeoutError; it is not done later."""
        from support.machine import stopped_writer

        from disklog_mp._session import requests

        with disklog_mp.open(name, path, **SMALL) as log:
            log.flush()
            monkeypatch.setattr(
                requests.ask, "__kwdefaults__", {**requests.ask.__kwdefaults__, "timeout": 0.3}
            )
            with stopped_writer(name):
                began = time.monotonic()
                with pytest.raises(TimeoutError, match="did not answer within"):
                    log.configure(keep_pages=3)
                assert time.monotonic() - began < 2
            log.configure(keep_age="7 days")

            assert identity_of(path).options["keep_pages"] is None

    def test_a_file_system_without_sockets(
        self, name: str, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The writer listens under an abstract name, which the log's file tells."""

        def refuse(*_: object) -> None:
            raise OSError(errno.EOPNOTSUPP, "no sockets here")

        monkeypatch.setattr(_files, "bind_socket", refuse)
        writer = Writer(name, path, Options(ring_bytes=1 << 16, linger=0.0))
        thread = threading.Thread(target=writer.run)
        thread.start()
        with disklog_mp.attach(name) as log:
            log.configure(keep_pages=3)

            assert identity_of(path).socket == f"disklog-{identity_of(path).log_id.hex()}"
            assert identity_of(path).options["keep_pages"] == 3
            assert not os.path.exists(socket_path(ring_path(name)))
        thread.join()


def test_a_running_log_is_copied_as_plain_files(name: str, path: Path, tmp_path: Path) -> None:
    """By every means there is; what is asked of the copy does not reach the original."""
    with disklog_mp.open(name, path, ring_bytes=1 << 16, linger=0.5) as log:
        log.log(b"x")
        log.flush()
        log.configure(keep_pages=7)
        assert os.path.exists(socket_path(ring_path(name)))
        assert all(stat.S_ISREG(file.lstat().st_mode) for file in path.iterdir())
        copy = Path(shutil.copytree(path, tmp_path / "copy"))
        subprocess.run(["tar", "-cf", tmp_path / "tar", "-C", path, "."], check=True)
        with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
            for file in path.iterdir():
                archive.write(file)
        subprocess.run([*COMMAND, "set", copy, "keep_pages=3"], check=True)

        assert identity_of(path).options["keep_pages"] == 7
        assert identity_of(copy).options["keep_pages"] == 3
        subprocess.run([*COMMAND, "stop", copy], check=True)
    wait_until(lambda: not shared_memory_of(name))  # both writers have ended
    assert [record.data for record in disklog_mp.Reader(copy)] == [b"x"]


def test_what_a_killed_writer_left_beside_its_ring_goes_with_the_ring(
    name: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket; and what the next writer finds in its way is replaced."""
    with disklog_mp.open(name, path, **SMALL) as log:
        stop_writer(name, 9)
        place = socket_path(ring_path(name))
        assert os.path.exists(place)
        log.configure(keep_pages=5)
        stop_writer(name, 9)
        log.flush()
        monkeypatch.setenv(interpreter.MARK, "1")  # the close starts no other writer
        stop_writer(name, 9)
    assert subprocess.run([*COMMAND, "rm", "--force", path], check=False).returncode == 0
    assert not os.path.lexists(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_socket_that_another_user_planted_is_not_asked(name: str, path: Path) -> None:
    """The writer takes another name, and sessions find that; without a writer they say which user listens."""
    with disklog_mp.open(name, path, **SMALL):
        place = socket_path(ring_path(name))
        stop_writer(name)
    disklog_mp.open(name, path, linger=0, ring_bytes=1 << 16).close()
    wait_until(lambda: not os.path.exists(place))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as planted:

        def plant() -> None:
            planted.bind(place)
            planted.listen()

        as_user(NOBODY, plant)
        os.chmod(place, 0o666)
        try:
            with pytest.raises(PermissionError, match="user 65534 listens"):
                requests.ask(requests.Log(name, str(path)), "ping", timeout=1.0)
        finally:
            os.unlink(place)


def test_the_command_names_the_directory_where_the_name_is_not_enough(
    name: str, path: Path, tmp_path: Path
) -> None:
    """The ring is elsewhere, so no command finds it by its name."""
    rings = str(tmp_path / "my rings")
    with disklog_mp.open(name, path, ring_dir=rings, keep_bytes="2G", **SMALL), worker_on(name, path):
        with pytest.warns(UserWarning, match="joined as it is") as caught:
            disklog_mp.open(name, path, keep_bytes="10M").close()
        command = str(caught[0].message).split("`")[1]
        subprocess.run([*COMMAND, *shlex.split(command)[1:]], check=True)

        assert identity_of(path).options["keep_bytes"] == 10 << 20
