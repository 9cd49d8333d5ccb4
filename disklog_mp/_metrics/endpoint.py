"""One page of metrics over HTTP, from one thread that no client can hold up.

It knows HTTP as far as a scrape needs it, and nothing of logs.  Clients are few, slow ones have a deadline,
and all of them share one thread: more threads would take the interpreter from a writer.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections.abc import Callable

from disklog_mp._addresses import LOCALHOST, Address
from disklog_mp._os.background import Background

MOST_CLIENTS = 16  # at the same time; others wait in the kernel
PATIENCE = 5.0  # seconds for a client to send its request and to take the answer
PARTING = 0.5  # seconds; a page may be waiting for a disk
LONGEST_REQUEST = 8192  # bytes
PAUSE = 0.5  # seconds until another client is looked for when no descriptor is left
PLAIN = "text/plain; charset=utf-8"

Page = Callable[[str], tuple[str, bytes]]


class Endpoint:
    """Listens at one address; `page` returns content type and text for what a client accepts."""

    def __init__(self, address: Address, page: Page) -> None:
        """Bind to this address and no other.  Raises OSError."""
        self._page = page
        self._listening = _bind(address)
        host, port = self._listening.getsockname()[:2]
        self.address = Address(host, port)
        try:
            self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        except OSError:
            self._listening.close()
            raise
        self._lock = threading.RLock()  # on the bell: its number may be another file's when it is closed
        self._thread: Background[Endpoint] = Background("disklog-metrics", _serve)
        self._is_ending = False
        self._clients: set[_Client] = set()
        self._is_accepting = False
        self._accept_at = 0.0

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{self.address}/metrics"

    def clients(self) -> int:
        """Return how many clients are connected."""
        return len(self._clients)

    def start(self) -> bool:
        """Serve in a thread of its own; False if none can be started: then it is closed."""
        if self._thread.give(self):
            return True
        self._close()
        return False

    def stop(self) -> None:
        """Have run() end soon.  Any thread may call it, and a signal handler."""
        self._is_ending = True
        with self._lock:
            if self._bell >= 0:
                os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        """End run() in another thread, and wait a moment for it to let go of the address."""
        self.stop()
        self._thread.close(PARTING)

    def run(self) -> None:
        """Serve until stop()."""
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._bell, selectors.EVENT_READ)
                while not self._is_ending:
                    self._watch(selector)
                    for key, _ in selector.select(self._rest()):
                        if key.fileobj is self._listening:
                            self._accept(selector)
                        elif isinstance(key.data, _Client):
                            self._go_on(selector, key.data)
                    self._drop_the_late(selector)
        finally:
            self._close()

    def _watch(self, selector: selectors.BaseSelector) -> None:
        """Look for another client, or not, if there are enough of them."""
        wanted = len(self._clients) < MOST_CLIENTS and time.monotonic() >= self._accept_at
        if wanted and not self._is_accepting:
            selector.register(self._listening, selectors.EVENT_READ)
        elif self._is_accepting and not wanted:
            selector.unregister(self._listening)
        self._is_accepting = wanted

    def _rest(self) -> float | None:
        deadlines = [client.deadline for client in self._clients]
        if not self._is_accepting and len(self._clients) < MOST_CLIENTS:
            deadlines.append(self._accept_at)
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _accept(self, selector: selectors.BaseSelector) -> None:
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, ConnectionError):  # the client is gone again
            return
        except OSError:  # no descriptor is left
            self._accept_at = time.monotonic() + PAUSE
            return
        connection.setblocking(False)
        client = _Client(connection)
        self._clients.add(client)
        selector.register(connection, selectors.EVENT_READ, client)

    def _go_on(self, selector: selectors.BaseSelector, client: _Client) -> None:
        try:
            if client.answer is None:
                if not client.read():
                    return
                client.answer = memoryview(self._answer_to(bytes(client.received)))
                selector.modify(client.connection, selectors.EVENT_WRITE, client)
            if client.write():
                self._drop(selector, client)
        except BlockingIOError:
            pass
        except OSError:  # the client is gone
            self._drop(selector, client)

    def _drop_the_late(self, selector: selectors.BaseSelector) -> None:
        now = time.monotonic()
        for client in [client for client in self._clients if now >= client.deadline]:
            self._drop(selector, client)

    def _drop(self, selector: selectors.BaseSelector, client: _Client) -> None:
        selector.unregister(client.connection)
        client.connection.close()
        self._clients.discard(client)

    def _answer_to(self, request: bytes) -> bytes:
        words = request.partition(b"\r\n")[0].decode("latin-1").split(" ")
        if b"\r\n\r\n" not in request or len(words) != 3:
            return _answer("400 Bad Request", PLAIN, b"this is no request for a page\n")
        method, target, _ = words
        is_head = method == "HEAD"
        if method not in ("GET", "HEAD"):
            return _answer("405 Method Not Allowed", PLAIN, b"only GET is answered here\n")
        if target.partition("?")[0] not in ("/metrics", "/"):
            return _answer("404 Not Found", PLAIN, b"the metrics are at /metrics\n", is_head=is_head)
        try:
            content_type, body = self._page(_accepted(request))
        except Exception as problem:  # it must not end this thread, and a scrape that fails is seen
            text = f"{type(problem).__name__}: {problem}\n".encode("utf-8", "backslashreplace")
            return _answer("500 Internal Server Error", PLAIN, text, is_head=is_head)
        return _answer("200 OK", content_type, body, is_head=is_head)

    def _close(self) -> None:
        for client in self._clients:
            client.connection.close()
        self._clients.clear()
        self._listening.close()
        with self._lock:
            bell, self._bell = self._bell, -1
            os.close(bell)


class _Client:
    """A connection, and how far its request and the answer to it are."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.deadline = time.monotonic() + PATIENCE
        self.received = bytearray()
        self.answer: memoryview | None = None

    def read(self) -> bool:
        """Read what is there; True if the request is complete, or will never be.  Raises OSError."""
        more = self.connection.recv(LONGEST_REQUEST)
        self.received += more
        return not more or b"\r\n\r\n" in self.received or len(self.received) >= LONGEST_REQUEST

    def write(self) -> bool:
        """Send what the connection takes; True if that was all.  Raises OSError."""
        assert self.answer is not None
        self.answer = self.answer[self.connection.send(self.answer) :]
        return not self.answer


def _serve(endpoint: Endpoint) -> None:
    endpoint.run()


def _bind(address: Address) -> socket.socket:
    """Return a socket that listens at the address.  Raises OSError that names it."""
    try:
        host = "127.0.0.1" if address.host == LOCALHOST else address.host
        found = socket.getaddrinfo(host, address.port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
        family, _, _, _, place = found[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # a port that was used a moment ago
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.setblocking(False)
            listening.bind(place)
            listening.listen(MOST_CLIENTS)
        except BaseException:
            listening.close()
            raise
    except OSError as problem:
        raise OSError(problem.errno, f"{problem.strerror or problem}: {address}") from None
    return listening


def _accepted(request: bytes) -> str:
    """Return what the header Accept says."""
    for line in request.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"accept":
            return value.strip().decode("latin-1")
    return ""


def _answer(status: str, content_type: str, body: bytes, *, is_head: bool = False) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (b"" if is_head else body)
