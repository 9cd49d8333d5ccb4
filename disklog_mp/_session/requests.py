"""Asking a log's writer for something: the session's end; what travels is described in _writer/requests.py.

A request is done once or not at all.  If the writer dies before it answers, the next one is asked with the
same id, and finds in the log's file whether it was done.  Where no writer lives, one is started first, as
for any session.  Every wait has a deadline.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import struct
import time

# Not `socket`: an application may have replaced what that offers (gevent, eventlet).
from _socket import AF_UNIX, SO_PEERCRED, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket
from collections.abc import Callable
from typing import Any, NamedTuple

from disklog_mp._os import files as _files
from disklog_mp._pages.directory import LOCK, Directory
from disklog_mp._pages.identity import LogIdentity, is_copy, path_of, read_identity
from disklog_mp._ring.names import ring_path, socket_path
from disklog_mp._session import start_writer
from disklog_mp.errors import FormatVersionError, LogNotFoundError, WriterActiveError

TIMEOUT = 5.0  # seconds for a writer to answer
LONG_TIMEOUT = 60.0  # likewise where it has to write what was logged, and sync, before
LOOK = 0.05  # seconds between two questions whether a request is done that takes a while
PAUSE = 0.01  # seconds between two attempts to reach a writer that is starting or leaving
LONGEST_ANSWER = 1 << 20  # bytes


class StrangerError(PermissionError):
    """Another user has a socket of the name that the log's writer would have."""


class Log(NamedTuple):
    """The log whose writer is asked."""

    name: str
    path: str  # its directory
    start: Callable[[float], object] | None = None  # starts a writer and waits so many seconds; None: never
    wake: Callable[[], object] = lambda: None  # has a writer look at its socket that no thread watches for it


def log_in(name: str, path: str, ring_dir: str | None, wake: Callable[[], object] = lambda: None) -> Log:
    """Return the log in a directory; where no writer lives, one is started to be asked."""

    def start(seconds: float) -> None:
        start_writer.start(name, path, {}, ring_dir, wait=seconds, goes_on=True)

    return Log(name, path, start, wake)


def ask(
    log: Log,
    what: str,
    *,
    timeout: float = TIMEOUT,
    number: str = "",
    until_end: bool = False,
    **fields: Any,
) -> dict[str, Any]:
    """Return the writer's answer to a request of that name, with these fields.

    `number`: the request's id, if it was asked before.  `until_end`: wait until that writer has ended, too.
    Raises what the writer raised for it, TimeoutError, PermissionError, and what starting a writer raises.
    """
    number = number or new_number()
    deadline = time.monotonic() + timeout
    told = {"id": number, "ask": what, "pid": os.getpid(), **fields}
    line = json.dumps(told).encode() + b"\n"
    while True:
        left = deadline - time.monotonic()
        answer = _exchange(log, line, max(left, PAUSE), until_end=until_end)
        if answer is not None:
            start_writer.raise_told(answer.get("error"))
            result: dict[str, Any] = answer["ok"]
            return result
        left = deadline - time.monotonic()
        if left <= 0:
            text = f"the writer of log {log.name!r} did not answer within {timeout:g} s"
            raise TimeoutError(errno.ETIMEDOUT, text, log.path)
        if not Directory(log.path).is_locked():
            _start(log, left)
        time.sleep(min(PAUSE, left))


def ask_until_done(log: Log, what: str, **fields: Any) -> dict[str, Any]:
    """Ask for something that may take a while, until the writer says that it is done; return its answer.

    Raises what ask() raises.
    """
    number = new_number()
    while (answer := ask(log, what, timeout=LONG_TIMEOUT, number=number, **fields)).get("goes_on"):
        time.sleep(LOOK)
    return answer


def new_number() -> str:
    """Return an id for a request."""
    return os.urandom(16).hex()


def _start(log: Log, seconds: float) -> None:
    if log.start is None:
        raise LogNotFoundError(log.name)
    with contextlib.suppress(WriterActiveError):  # another process was faster
        log.start(seconds)


def _exchange(log: Log, line: bytes, seconds: float, *, until_end: bool) -> dict[str, Any] | None:
    """Return the answer of the writer that listens now; None if none does, or it ended without an answer."""
    deadline = time.monotonic() + seconds
    client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        client.settimeout(seconds)
        _connect(client, log.path)
        client.sendall(line)
        log.wake()
        return _read_answer(client, deadline, until_end=until_end)
    except StrangerError:
        raise
    except PermissionError as problem:
        raise _files.no_access(problem, log.path) from None
    except (FileNotFoundError, ConnectionError, BlockingIOError, TimeoutError):  # it ends, starts or hangs
        return None
    finally:
        client.close()


def _connect(client: socket, path: str) -> None:
    """Connect to the writer of the log in that directory.  Raises OSError."""
    identity = _identity(path)
    if identity is None or is_copy(identity, path):  # the file of a copy leads to the original's writer
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if identity.socket:
        client.connect("\0" + identity.socket)
    else:
        ring = ring_path(identity.name, identity.log_id, identity.ring_dir)
        _files.connect_socket(client, socket_path(ring))
    # Any process may take such a name: it counts if it belongs to a user that rules the log.
    _, uid, _ = struct.unpack("3i", client.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))
    rulers = {0, *(os.stat(place).st_uid for place in (path, os.path.join(path, LOCK), path_of(path)))}
    if uid not in rulers:
        raise StrangerError(errno.EACCES, f"user {uid} listens in place of the log's writer", path)


def _identity(path: str) -> LogIdentity | None:
    try:
        return read_identity(path)
    except FormatVersionError:
        return None


def _read_answer(client: socket, deadline: float, *, until_end: bool) -> dict[str, Any] | None:
    received, has_ended = b"", False
    while (until_end or not received.endswith(b"\n")) and len(received) < LONGEST_ANSWER:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        client.settimeout(left)
        try:
            more = client.recv(LONGEST_ANSWER)
        except (ConnectionError, TimeoutError):
            more = b""
            has_ended = time.monotonic() < deadline
        if not more:
            has_ended = has_ended or time.monotonic() < deadline
            break
        received += more
    if not received.endswith(b"\n"):
        return None
    answer: dict[str, Any] = json.loads(received)
    if until_end and "ok" in answer:
        answer["ok"]["has_ended"] = has_ended
    return answer
