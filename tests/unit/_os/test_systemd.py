"""The datagrams for systemd."""

import socket
from pathlib import Path

import pytest

from disklog_mp._os import systemd as _systemd


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


def test_without_a_socket_nothing_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No address, or one that is gone: no error."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    _systemd.Notifier().notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    _systemd.Notifier().notify("READY=1")
