"""The writer's metrics: the log goes on without them, and one line says so."""

import errno
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
from support.machine import wait_until

from disklog_mp._metrics import exposition as _exposition
from disklog_mp._writer import exporter as _exporter
from disklog_mp._writer.exporter import Exporter


class Bench:
    """An exporter with its option, and what it said."""

    def __init__(self) -> None:
        self.pages = Mock()
        self.troubles = Mock()
        self.exporter = Exporter(self.pages, Mock(), Mock(), self.troubles)
        self.now = 100.0

    def inspect(self, metrics: str | None, after: float = 1.0) -> None:
        self.pages.options.metrics = metrics
        self.now += after
        self.exporter.inspect(self.now)

    def said(self) -> list[str]:
        return [call.args[0] for call in self.troubles.say.call_args_list]

    def told(self) -> list[Any]:
        return [(*call.args, call.kwargs) for call in self.troubles.tell.call_args_list]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """The library counts as installed; at the end no thread serves."""
    monkeypatch.setattr(_exposition, "is_there", lambda: True)
    bench = Bench()
    yield bench
    bench.exporter.close()
    wait_until(lambda: not any(thread.name == "disklog-metrics" for thread in threading.enumerate()))


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """A port that another process listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_it_follows_the_option(bench: Bench) -> None:
    """On, elsewhere, off."""
    bench.inspect(None)
    bench.inspect("127.0.0.1:0")
    bench.inspect("127.0.0.1:0")
    (first,) = bench.said()
    port = int(first.removesuffix("/metrics").rpartition(":")[2])
    socket.create_connection(("127.0.0.1", port)).close()
    bench.inspect("localhost:0")
    bench.inspect(None)

    assert first.startswith("metrics at http://127.0.0.1:")
    assert len(bench.said()) == 2
    assert not bench.told()
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", port), timeout=10)


def test_a_port_in_use_is_told_once_and_tried_again(bench: Bench, taken: socket.socket) -> None:
    """Not at each round, and it is served when the port is free."""
    address = f"127.0.0.1:{taken.getsockname()[1]}"
    for _ in range(5):
        bench.inspect(address, _exporter.TRY_AGAIN)
    (said,) = bench.said()

    assert said == (
        f"no metrics: Address already in use: {address}; give each log a port of its own, or serve all with "
        "`disklog-mp metrics --listen`; the log goes on, trying again"
    )
    ((name, fields),) = bench.told()
    assert (name, fields["what"], fields["errno"]) == ("error", "metrics", errno.EADDRINUSE)
    taken.close()
    bench.inspect(address)
    assert len(bench.said()) == 1
    bench.inspect(address, _exporter.TRY_AGAIN)
    assert bench.said()[1:] == [f"metrics at http://{address}/metrics"]
    assert bench.told()[1:] == [("recovered", {"what": "metrics"})]


def test_no_thread_can_be_started(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under a limit of processes; the address is let go."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    bench.inspect("127.0.0.1:0")

    assert bench.said() == ["no metrics: no thread can be started; the log goes on, trying again"]
    assert bench.told()[0][1]["error"] == "no thread can be started"


def test_the_library_is_missing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line has the command that installs it."""
    monkeypatch.undo()
    missing: Any = None
    monkeypatch.setitem(sys.modules, "prometheus_client", missing)
    bench.inspect("127.0.0.1:0")

    assert bench.said() == [
        "no metrics: metrics need prometheus-client: pip install 'disklog-mp[metrics]'; the log goes on, "
        "trying again"
    ]


def test_logs_of_one_process_share_an_address(bench: Bench, taken: socket.socket) -> None:
    """The second joins the page of the first; the last one that leaves ends it."""
    address = f"127.0.0.1:{taken.getsockname()[1]}"
    taken.close()
    other = Bench()
    bench.inspect(address)
    other.inspect(address)
    assert [bench.said(), other.said()] == [[f"metrics at http://{address}/metrics"]] * 2

    bench.exporter.close()
    socket.create_connection(("127.0.0.1", int(address[10:]))).close()
    other.exporter.close()
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", int(address[10:])), timeout=10)
