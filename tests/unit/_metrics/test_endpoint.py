"""The endpoint, with clients that do not what they should; its page is a text."""

import contextlib
import errno
import socket
import threading
from collections.abc import Iterator

import pytest
from support.machine import wait_until

from disklog_mp._addresses import Address
from disklog_mp._metrics import endpoint as _endpoint
from disklog_mp._metrics.endpoint import Endpoint

HERE = Address("127.0.0.1", 0)


def page(accept: str) -> tuple[str, bytes]:
    if accept == "trouble":
        raise ValueError("no page today")
    return f"text/{accept or 'any'}", b"x" * 3_000_000 if accept == "long" else b"the page"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """One that runs in a thread."""
    endpoint = Endpoint(HERE, page)
    assert endpoint.start()
    yield endpoint
    endpoint.close()
    wait_until(lambda: not any(thread.name == "disklog-metrics" for thread in threading.enumerate()))


def ask(endpoint: Endpoint, request: bytes) -> bytes:
    with socket.create_connection(endpoint.address, timeout=10) as client:
        client.sendall(request)
        answer = b""
        while more := client.recv(1 << 20):
            answer += more
    return answer


def get(endpoint: Endpoint, path: str = "/metrics", accept: str = "", method: str = "GET") -> bytes:
    return ask(endpoint, f"{method} {path} HTTP/1.1\r\nHost: a\r\nACCEPT: {accept}\r\n\r\n".encode())


def test_requests(endpoint: Endpoint) -> None:
    """The page, and one line for all that is not answered with it."""
    assert get(endpoint, accept="plain").startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n")
    assert get(endpoint).endswith(b"\r\n\r\nthe page")
    assert get(endpoint, "/").endswith(b"\r\n\r\nthe page")
    assert get(endpoint, "/metrics?a=b", method="HEAD").endswith(
        b"Content-Length: 8\r\nConnection: close\r\n\r\n"
    )
    assert len(get(endpoint, accept="long")) > 3_000_000
    assert get(endpoint, "/other").startswith(b"HTTP/1.1 404 ")
    assert get(endpoint, method="POST").startswith(b"HTTP/1.1 405 ")
    trouble = get(endpoint, accept="trouble")
    assert trouble.startswith(b"HTTP/1.1 500 ")
    assert trouble.endswith(b"ValueError: no page today\n")
    for request in (b"\r\n\r\n", b"GET /metrics\r\n\r\n", b"\xff" * 8192, b"\0 \0 \0\r\n\r\n"):
        assert ask(endpoint, request)[9:10] == b"4", request
    with contextlib.suppress(ConnectionError):  # the kernel may say so first: not all of it is read
        assert ask(endpoint, b"\xff" * 90_000)[9:10] == b"4"
    assert get(endpoint).endswith(b"the page")


def test_clients_that_send_nothing_hold_up_no_other(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are as many of them as are served at once; each has its time, then it is dropped."""
    monkeypatch.setattr(_endpoint, "PATIENCE", 0.2)
    idle = [socket.create_connection(endpoint.address) for _ in range(_endpoint.MOST_CLIENTS + 3)]
    try:
        assert get(endpoint).endswith(b"the page")
    finally:
        for client in idle:
            client.close()


def test_a_client_that_takes_no_answer_is_dropped(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer is longer than what the kernel keeps for it."""
    monkeypatch.setattr(_endpoint, "PATIENCE", 0.2)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(endpoint.address)
        client.sendall(b"GET /metrics HTTP/1.1\r\nAccept: long\r\n\r\n")
        assert get(endpoint).endswith(b"the page")
        wait_until(lambda: not endpoint.clients())
        client.settimeout(10)
        taken = 0
        with contextlib.suppress(ConnectionError):
            while more := client.recv(1 << 20):
                taken += len(more)
    assert taken < 3_000_000


def test_a_port_that_is_taken(endpoint: Endpoint) -> None:
    """An error that names the address; it is free again when the endpoint has ended."""
    with pytest.raises(OSError, match=f"in use: {endpoint.address}") as refused:
        Endpoint(endpoint.address, page)
    assert refused.value.errno == errno.EADDRINUSE
    endpoint.close()
    again = Endpoint(endpoint.address, page)
    assert again.start()
    again.close()


def test_an_address_that_is_not_here() -> None:
    """Nothing else is listened at instead."""
    with pytest.raises(OSError, match=r"192\.0\.2\.1:9464"):
        Endpoint(Address("192.0.2.1", 9464), page)
    with pytest.raises(OSError, match=r"metrics\.example:9464"):  # no name server is asked
        Endpoint(Address("metrics.example", 9464), page)


def test_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, and leaves nothing open."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    endpoint = Endpoint(HERE, page)
    monkeypatch.setattr(threading.Thread, "start", refuse)

    assert not endpoint.start()
    with pytest.raises(ConnectionError):
        socket.create_connection(endpoint.address, timeout=10)
    endpoint.close()
