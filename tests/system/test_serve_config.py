"""Several logs in one process: `disklog-mp serve --config`."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.command import COMMAND, call
from support.machine import RUN, wait_until

import disklog_mp

LOGS = 2


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
def serving(config: Path, names: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A server, once all of its logs are served."""
    process = subprocess.Popen([*COMMAND, "serve", "--config", str(config)], stderr=subprocess.DEVNULL)
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
