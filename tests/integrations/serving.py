"""Servers started by a test, and requests to them."""

import contextlib
import http.client
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from support.machine import wait_until

TESTS = Path(__file__).parent.parent
_numbers = itertools.count()


class Server:
    """A server's process."""

    def __init__(self, process: subprocess.Popen[bytes], said: Path) -> None:
        self.process = process
        self.pid = process.pid
        self._said = said

    def said(self) -> str:
        """What it wrote to stdout and stderr."""
        return self._said.read_text()

    def workers(self) -> list[int]:
        """Its child processes."""
        return [child.pid for child in psutil.Process(self.pid).children()]


@contextlib.contextmanager
def running(
    directory: Path, *arguments: str | Path, stop: int = signal.SIGTERM, **environment: str
) -> Iterator[Server]:
    """Run `python -m ...` until the block ends, in a directory of the test's; nothing of it is left after."""
    said = directory / "said"
    with said.open("ab") as file:  # no pipe: the log's writer would keep it open
        process = subprocess.Popen(
            [sys.executable, "-m", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(TESTS), "HOME": str(directory), **environment},
        )
    server = Server(process, said)
    children: list[psutil.Process] = []
    try:
        yield server
    except BaseException:
        print(server.said()[-5000:])
        raise
    finally:
        if process.poll() is None:
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(stop)
        try:
            process.wait(40)
        finally:
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            process.kill()
            process.wait()


class UnansweredError(OSError):
    """The server closed the connection without an answer, or the answer is that something went wrong."""


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def get(path: str | Path, target: str = "/") -> str:
    """Send one request over a Unix socket; return what was answered.  Raises OSError if it was not."""
    connection = _Connection(str(path))
    try:
        connection.request("GET", target, headers={"X-Request-ID": "42"})
        response = connection.getresponse()
        text = response.read().decode()
        if response.status != 200:
            raise UnansweredError(f"{response.status}: {text}")
        return text
    except (http.client.HTTPException, ConnectionResetError) as error:
        raise UnansweredError(str(error)) from error
    finally:
        connection.close()


def asks(path: str | Path) -> Callable[[], tuple[int, str]]:
    """Something that sends a numbered request, and returns its number and the answer."""

    def ask() -> tuple[int, str]:
        number = next(_numbers)
        return number, get(path, f"/?{number}")

    return ask


def answers(path: str | Path) -> bool:
    """True once the server there answers."""
    try:
        get(path)
    except OSError:
        return False
    return True


def wait_for(path: str | Path) -> None:
    """Wait until a server answers."""
    wait_until(lambda: answers(path), 30)


@contextlib.contextmanager
def redis(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A redis-server of the test's own, at tmp_path/redis."""
    with subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", "redis", "--save", "", "--appendonly", "yes"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            wait_until((tmp_path / "redis").exists)
            yield process
        finally:
            process.kill()
