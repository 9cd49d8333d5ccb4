"""Several logs in one process: `disklog-mp serve --config`."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from support.chance import TIMES
from support.command import COMMAND, call
from support.configured import identity_of
from support.machine import RUN, stop_writer, wait_until
from support.mounts import system

import disklog_mp

LOGS = 50
PRODUCERS = 3  # processes, each of which logs to all logs
ROUNDS = 2 if TIMES == 1 else 4  # the server is killed so often


def config_of(path: Path, places: dict[str, Path], more: str = "") -> Path:
    """A file that serves these logs."""
    file = path / "logs.toml"
    tables = [f'[[log]]\nname = "{name}"\npath = "{place}"\n' for name, place in places.items()]
    file.write_text(f'[defaults]\nring_bytes = "256k"\nsync = "100ms"\n{more}\n' + "\n".join(tables))
    return file


def is_served(name: str) -> bool:
    try:
        with disklog_mp.attach(name) as log:
            return log.stats().writer_pid != 0
    except disklog_mp.LogNotFoundError:
        return False


@contextmanager
def serving(
    config: Path, names: list[str], stderr: IO[bytes] | int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """A server, once all of its logs are served."""
    process = subprocess.Popen([*COMMAND, "serve", "--config", str(config)], stderr=stderr)
    try:
        wait_until(lambda: all(map(is_served, names)), 30)
        yield process
    finally:
        process.kill()
        process.wait()


def leave_nothing(names: list[str]) -> None:
    for name in names:
        call("rm", "--force", name)


@pytest.fixture
def names() -> Iterator[list[str]]:
    """Names for logs; their rings are removed at the end."""
    names = [f"{RUN}-many-{number}" for number in range(LOGS)]
    yield names
    leave_nothing(names)


def test_two_logs_in_one_process(tmp_path: Path, names: list[str]) -> None:
    """Both are written, by one process; SIGTERM ends both in good order."""
    places = {name: tmp_path / name for name in names[:2]}
    with serving(config_of(tmp_path, places), list(places)) as server:
        for name in places:
            with disklog_mp.attach(name, label=name) as log:
                assert log.stats().writer_pid == server.pid
                log.log(name.encode())
        server.terminate()
        assert server.wait(20) == 0

    for name, place in places.items():
        (record,) = disklog_mp.Reader(place)
        assert record.data == name.encode()
        assert record.label in (None, name)  # None: the writer was busy with its start
        assert call("verify", place).returncode == 0


def test_a_log_that_cannot_be_served_keeps_no_other(tmp_path: Path, names: list[str]) -> None:
    """A file stands where its directory should be; it is served when that is gone."""
    good, bad = names[:2]
    places = {good: tmp_path / "good", bad: tmp_path / "bad"}
    places[bad].write_text("in the way")
    with serving(config_of(tmp_path, places), [good]) as server:
        assert not is_served(bad)
        places[bad].unlink()
        wait_until(lambda: is_served(bad), 30)
        time.sleep(0.5)  # the ring is there a moment before the log counts as served
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no [[log]]"),
        ("[[log]]\nname = 'a'\n", "without path"),
        ("[[log]]\nname = 'a'\npath = 'a'\npage_byte = 1\n", "did you mean page_bytes"),
        ("[[log]]\nname = 'a'\npath = 'a'\n[[log]]\nname = 'b'\npath = 'a'\n", "is there twice"),
        ("[other]\n", "neither [defaults] nor [[log]]"),
        ("[[log]\n", "logs.toml"),
    ],
)
def test_a_wrong_file(tmp_path: Path, content: str, said: str) -> None:
    """One line says what is wrong, before any log is served."""
    file = tmp_path / "logs.toml"
    file.write_text(content)
    done = subprocess.run(
        [*COMMAND, "serve", "--config", str(file)], capture_output=True, timeout=30, check=False
    )

    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


class TestHangup:
    """SIGHUP has the server read its file again."""

    def test_logs_come_go_and_change(self, tmp_path: Path, names: list[str]) -> None:
        """Under the same process; of the log that goes, a session starts the next writer."""
        stays, goes, comes = names[:3]
        places = {name: tmp_path / name for name in names[:3]}
        file = config_of(tmp_path, {name: places[name] for name in (stays, goes)}, "keep_pages = 5")
        with serving(file, [stays, goes]) as server, disklog_mp.attach(goes) as log:
            log.log(b"before")
            config_of(tmp_path, {name: places[name] for name in (stays, comes)}, 'keep_bytes = "2G"')
            server.send_signal(signal.SIGHUP)
            wait_until(lambda: is_served(comes), 30)
            wait_until(lambda: identity_of(places[stays]).options["keep_bytes"] == 2 << 30)
            wait_until(lambda: not identity_of(places[goes]).served)
            log.log(b"after")
            log.flush(20)

            assert log.stats().writer_pid not in (0, server.pid)
            assert identity_of(places[stays]).options["keep_pages"] is None
            for name in (stays, comes):
                with disklog_mp.attach(name) as other:
                    assert other.stats().writer_pid == server.pid
            server.terminate()
            assert server.wait(20) == 0
        stop_writer(goes)
        assert [record.data for record in disklog_mp.Reader(places[goes])] == [b"before", b"after"]

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            ("keep_byte = 1", "did you mean keep_bytes"),
            ('keep_bytes = "much"', "keep_bytes='much' is not a size"),
            ("keep_bytes = ", "logs.toml"),
            ('ring_dir = "/mnt/elsewhere"', "cannot move"),
        ],
    )
    def test_an_error_changes_nothing(self, tmp_path: Path, names: list[str], more: str, said: str) -> None:
        """It is told, and both logs go on; a file that is right again is taken."""
        places = {name: tmp_path / name for name in names[:2]}
        file = config_of(tmp_path, {names[0]: places[names[0]]})
        with open(tmp_path / "stderr", "wb") as stderr, serving(file, names[:1], stderr) as server:
            config_of(tmp_path, places, more)
            server.send_signal(signal.SIGHUP)
            wait_until(lambda: b"SIGHUP" in (tmp_path / "stderr").read_bytes())
            told = (tmp_path / "stderr").read_text()
            assert "all logs stay as they are" in told
            assert said in told
            assert is_served(names[0])
            assert not is_served(names[1])
            config_of(tmp_path, places)
            server.send_signal(signal.SIGHUP)
            wait_until(lambda: is_served(names[1]), 30)


def test_the_environment_applies(tmp_path: Path, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """To what the file leaves out, the directory, too; stat names the variable."""
    name = names[0]
    variable = f"DISKLOG_MP_{name.upper().replace('-', '_')}_KEEP_PAGES"
    monkeypatch.setenv("DISKLOG_MP_DIR", str(tmp_path / "logs"))
    monkeypatch.setenv("DISKLOG_MP_KEEP_PAGES", "3")
    monkeypatch.setenv("DISKLOG_MP_SYNC", "page")
    monkeypatch.setenv("DISKLOG_MP_LINGER", "1s")  # of sessions: a served log stays
    monkeypatch.setenv(variable, "4")
    file = tmp_path / "logs.toml"
    file.write_text(f'[[log]]\nname = "{name}"\nring_bytes = "64k"\nsync = "2s"\n')
    with serving(file, [name]) as server:
        for _ in range(2):
            shown = call("stat", name).stdout.decode()
            assert f"keep_pages 4 (environment {variable})" in shown
            assert "sync 2s (serve)" in shown
            assert "linger none" in shown
            assert str(tmp_path / "logs" / name) in shown
            server.send_signal(signal.SIGHUP)  # changes none of it
            with disklog_mp.attach(name) as log:
                log.log(b"x")
                log.flush()


def test_a_log_that_is_stopped_stays_stopped(tmp_path: Path, names: list[str]) -> None:
    """The others are served on; when all are stopped the server ends."""
    places = {name: tmp_path / name for name in names[:2]}
    with serving(config_of(tmp_path, places), list(places)) as server:
        assert call("stop", names[0]).returncode == 0
        assert is_served(names[1])
        assert identity_of(places[names[0]]).stopped is not None
        assert call("stop", places[names[1]]).returncode == 0
        assert server.wait(20) == 0


PRODUCER = """
import sys, time, disklog_mp
worker, names = int(sys.argv[1]), sys.argv[2:]
logs = [disklog_mp.attach(name, timeout=60.0, label=f"w{worker}") for name in names]
sequence = 0
print("ready", flush=True)
while not sys.stdin.closed:
    for log in logs:
        log.on_full = "drop"
        log.log(b"%d %d" % (worker, sequence))
    sequence += 1
    time.sleep(0.01)
"""


@pytest.mark.timeout(180)
def test_fifty_logs_under_kill_one_of_them_on_a_frozen_disk(
    tmp_path: Path, names: list[str], frozen_disk: Path
) -> None:
    """The others do not wait for it; over kills of the server all books balance, its own, too."""
    frozen = names[0]
    places = {name: (frozen_disk if name == frozen else tmp_path) / name for name in names}
    config = config_of(tmp_path, places)
    producers: list[subprocess.Popen[bytes]] = []
    try:
        for round in range(ROUNDS):
            with serving(config, names) as server:
                if not producers:
                    command = [sys.executable, "-c", PRODUCER]
                    producers = [
                        subprocess.Popen([*command, str(worker), *names], stdout=subprocess.PIPE)
                        for worker in range(PRODUCERS)
                    ]
                    for producer in producers:
                        assert producer.stdout is not None
                        producer.stdout.readline()
                time.sleep(0.5)
                if round == ROUNDS - 1:
                    longest = _flush_all_while_frozen(frozen_disk, [name for name in names if name != frozen])
                    assert longest < 1.0
                    time.sleep(0.3)
                server.kill()
                server.wait()
    finally:
        for producer in producers:
            producer.kill()
            producer.communicate()
    with serving(config, names) as server:
        server.terminate()
        assert server.wait(60) == 0
    for name, place in places.items():
        done = call("verify", place)
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
        last: dict[bytes, int] = {}
        for record in disklog_mp.Reader(place):
            worker, sequence = record.data.split()
            assert int(sequence) > last.get(worker, -1)
            assert record.label in (None, f"w{int(worker)}")
            last[worker] = int(sequence)
        assert len(last) >= PRODUCERS, name


def _flush_all_while_frozen(disk: Path, others: list[str]) -> float:
    """Freeze the disk for two seconds; return the longest flush of the other logs meanwhile."""
    assert system("fsfreeze", "--freeze", disk)
    thaw = threading.Timer(20.0, system, ["fsfreeze", "--unfreeze", disk])
    thaw.start()
    try:
        time.sleep(1.0)  # the writer of that log has met it
        longest = 0.0
        for name in others:
            with disklog_mp.attach(name) as log:
                began = time.monotonic()
                log.log(b"9 %d" % began)
                log.flush(10)
                longest = max(longest, time.monotonic() - began)
        return longest
    finally:
        thaw.cancel()
        assert system("fsfreeze", "--unfreeze", disk)
        os.sync()
