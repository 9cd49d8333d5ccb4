"""Sizes and durations in words, and what systemd is told."""

import socket
from pathlib import Path

import pytest

from disklog_mp import _options
from disklog_mp._os import systemd as _systemd


@pytest.mark.parametrize(
    ("text", "size"),
    [(0, 0), ("12", 12), ("4k", 4096), ("64 MiB", 64 << 20), ("1G", 1 << 30), ("2tb", 2 << 40)],
)
def test_sizes(text: int | str, size: int) -> None:
    """A number of bytes, or one with a power of 1024."""
    assert size == _options.parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [(1.5, 1.5), ("200ms", 0.2), ("3s", 3), ("10min", 600), ("2h", 7200), ("7d", 604800)]
)
def test_durations(text: float | str, seconds: float) -> None:
    """A number of seconds, or one with a unit."""
    assert seconds == _options.parse_duration(text)


@pytest.mark.parametrize("parse", [_options.parse_size, _options.parse_duration])
@pytest.mark.parametrize("value", [True, None, b"1"])
def test_other_types_are_refused(parse: object, value: object) -> None:
    """What is neither a number nor a str is a TypeError that shows it."""
    with pytest.raises(TypeError, match="what"):
        parse(value, "what")  # type: ignore[operator]


@pytest.mark.parametrize("parse", [_options.parse_size, _options.parse_duration])
@pytest.mark.parametrize("value", [-1, "-1", "many", ""])
def test_other_values_are_refused(parse: object, value: object) -> None:
    """What is no size or duration is a ValueError that shows it."""
    with pytest.raises(ValueError, match="what"):
        parse(value, "what")  # type: ignore[operator]


@pytest.mark.parametrize("sync", [1, 1.0, "1s", "1 s", "1000ms"])
def test_a_duration_is_the_same_however_it_is_written(sync: float | str) -> None:
    """What a running log has is not contradicted by another spelling."""
    assert {"sync": "1s"} == _options.check({"sync": sync})


def test_a_group_is_the_same_by_name_and_by_number() -> None:
    """As above."""
    assert {"group": 0} == _options.check({"group": "root"}) == _options.check({"group": 0})


def test_an_unknown_option_is_named() -> None:
    """A TypeError, as for any argument that does not exist."""
    with pytest.raises(TypeError, match="no such option: colour"):
        _options.check({"colour": 1})


@pytest.mark.parametrize("abstract", [False, True])
def test_states_and_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, abstract: bool
) -> None:
    """READY=1 as asked, WATCHDOG=1 when half its time has passed, also through an abstract socket."""
    address = "@" + name if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind("\0" + name if abstract else address)
        server.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setenv("WATCHDOG_USEC", "2")
        notifier = _systemd.Notifier()
        notifier.notify("READY=1")
        notifier.alive()

        assert [b"READY=1", b"WATCHDOG=1"] == [server.recv(100), server.recv(100)]


def test_nobody_to_tell_is_fine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No socket, or one that is gone: nothing happens."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    _systemd.Notifier().notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    _systemd.Notifier().notify("READY=1")
