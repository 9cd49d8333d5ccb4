"""A ring that names the directory of another log: nothing of that log is believed, asked or changed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import call
from support.configured import identity_of
from support.machine import stop_writer, wait_until
from support.rings import ring_path

import disklog_mp
from disklog_mp import _core

PATH_AT, CRC_AT, CONSTANTS = 232, 4088, 4096  # in the ring's constants: see layout.h


def forge(name: str, target: Path) -> None:
    """Have the ring of that log name another directory, as a process that may attach can."""
    with open(ring_path(name), "r+b") as ring:
        constants = bytearray(ring.read(CONSTANTS))
        constants[PATH_AT:CRC_AT] = bytes(target).ljust(CRC_AT - PATH_AT, b"\0")
        constants[CRC_AT:] = _core.crc32c(constants[:CRC_AT]).to_bytes(8, "little")
        ring.seek(0)
        ring.write(constants)


@pytest.fixture
def other(name: str, tmp_path: Path) -> Path:
    """The directory of a log that was stopped."""
    path = tmp_path / "other"
    with disklog_mp.open(f"{name}-other", path, keep_pages=9, ring_bytes=1 << 16, linger=0):
        pass
    disklog_mp.open(f"{name}-other", path, keep_pages=9, ring_bytes=1 << 16, linger=5).close()
    assert call("stop", path).returncode == 0
    return path


@pytest.fixture
def forged(name: str, path: Path, other: Path) -> Iterator[str]:
    """The name of a log whose writer was killed, with a process attached and a forged ring."""
    with disklog_mp.open(name, path, ring_bytes=1 << 16, linger=0) as log:
        log.log(b"x")
        log.flush()
        stop_writer(name, 9)  # it would put the ring right
        forge(name, other)
        yield name
        stop_writer(name)
    wait_until(lambda: call("rm", "--force", path).returncode in (0, 2))


def test_commands_ask_and_show_nothing_of_it(forged: str, other: Path) -> None:
    """set and stop refuse; stat has no options to show."""
    before = identity_of(other)
    for command in (["set", forged, "keep_pages=1"], ["stop", forged]):
        done = call(*command)
        assert done.returncode == 2
        assert b"give its directory" in done.stderr
    shown = call("stat", forged).stdout.decode()

    assert "keep_pages 9" not in shown
    assert "stopped" not in shown
    assert identity_of(other) == before


def test_a_session_is_not_stopped_by_it(forged: str, other: Path) -> None:
    """The other log was stopped, this one was not: the error says that its directory is not known."""
    with disklog_mp.attach(forged) as log:
        with pytest.raises(FileNotFoundError, match="missing or another's"):
            log.configure(keep_pages=1)
        log.log(b"y")
        with pytest.raises(disklog_mp.WriterDiedError, match="directory of another log") as caught:
            log.flush(1)
        log.timeout = 0.1

    assert not isinstance(caught.value, disklog_mp.LogStoppedError)
