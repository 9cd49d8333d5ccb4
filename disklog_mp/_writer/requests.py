"""Requests to the writer: a stream socket beside the ring, one JSON line each way.

Why a socket, and not words and a mailbox in the ring's control block.  The kernel tells which user asks
(SO_PEERCRED), so a request can be refused to a user that may log but not rule.  Both ends learn at once
that the other one died.  Nothing is added to the append path, and a process that scribbles over the ring
reaches none of it.  An answer can be longer than a mailbox.

    request  {"id": 32 hexadecimal digits, "ask": NAME, ...}
    answer   {"id": ..., "ok": {...}}  or  {"id": ..., "error": {"kind": CLASS, "values": [...]}}

A request is done once or not at all.  One that changes something has its id and its answer written into
the log's file with its effect, in one step (see log_file.py).  If the writer dies before it answers, the
other end asks the next writer with the same id.  That one finds it done, or does it now.

Why beside the ring, and not in the log's directory.  There it kept shutil.copytree() from copying the
directory of a running log.  All processes that may attach reach the place of the ring, from other containers
too, which an abstract name does not let them: it ends at a network namespace.  Rights are the same.  The
socket has the mode and group of the ring, and the kernel's word for the asking user is compared with the
log's directory.  Others may make files in /dev/shm, so the asking process looks which user listens.

The socket is made under another name with the access rights of the log, and then renamed: a process that
finds it may use it.  It goes when its ring goes.  Where the file system takes no socket, or another user took
its name, it has an abstract name instead, which stands in the log's file.

The thread of the death watch rings the bell for a socket that can be read.  The main thread then accepts and
answers, and waits for no client: a request that is not complete after READING is refused.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from disklog_mp import errors
from disklog_mp._os import files as _files
from disklog_mp._ring.death_watch import DeathWatch
from disklog_mp._ring.names import socket_path

LONGEST_REQUEST = 64 << 10  # bytes
READING = 1.0  # seconds for a request to be complete
MOST_READ = 32  # connections that are read at the same time; others wait in the kernel
BACKLOG = 128
SO_PEERGROUPS = 59  # Linux 4.13 and later; the socket module has no name for it
NO_SOCKET = (
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.ENOSYS,
    errno.EINVAL,
    errno.ENOSPC,
    errno.EROFS,
    errno.ENXIO,
)


class Peer(NamedTuple):
    """The process that asks, as the kernel knows it; pid 0 if it is of another pid namespace."""

    pid: int
    uid: int
    groups: frozenset[int]

    def may_write(self, path: str) -> bool:
        """True if this user may make and remove files in the directory: such a user rules the log."""
        status = os.stat(path)
        return (
            self.uid in (0, status.st_uid)
            or bool(status.st_mode & 0o020 and status.st_gid in self.groups)
            or bool(status.st_mode & 0o002)
        )


class Request(NamedTuple):
    """What is asked, and by which process."""

    id: str
    ask: str
    fields: dict[str, Any]
    peer: Peer


class Kind(NamedTuple):
    """A kind of request: the function that does it, and which user may ask for it.

    The function returns the answer, or raises an error of this package, OSError, ValueError or TypeError.
    """

    function: Callable[[Request], dict[str, Any]]
    needs_owner: bool = False
    stays_open: bool = False  # the connection ends with this writer, as a sign of that


class Memory(Protocol):
    """Remembers the requests that were done."""

    def answer_to(self, request: str) -> dict[str, Any] | None: ...


class _Connection:
    """A client whose request is not complete yet."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.deadline = time.monotonic() + READING
        self.received = b""

    def read(self) -> bool:
        """Read what is there; True if the line is complete, or there will be no more."""
        while b"\n" not in self.received and len(self.received) < LONGEST_REQUEST:
            try:
                more = self.client.recv(LONGEST_REQUEST)
            except BlockingIOError:
                return time.monotonic() >= self.deadline
            except OSError:
                return True
            if not more:
                return True
            self.received += more
        return True


class Requests:
    """The writer's end of the socket."""

    def __init__(self, path: Callable[[], str], ring_path: str, deaths: DeathWatch, memory: Memory) -> None:
        """`path` returns the log's directory."""
        self._path = path
        self._address = socket_path(ring_path)
        self._deaths = deaths
        self._memory = memory
        self._socket: socket.socket | None = None
        self._place: tuple[int, int] | None = None  # device and inode of the socket's name
        self._reading: list[_Connection] = []
        self._kept: list[socket.socket] = []
        self.kinds: dict[str, Kind] = {}
        self.refuse: Callable[[str], None] = lambda ask: None  # raises OSError for what cannot be done now

    def add(self, kinds: Mapping[str, Kind]) -> None:
        """Answer requests of these kinds."""
        self.kinds.update(kinds)

    # -- the socket --------------------------------------------------------------------------------------

    def listen(self, log_id: bytes, mode: int, gid: int) -> str:
        """Begin to listen, or again: the name may be gone.  Returns the abstract name, "" if the socket
        stands beside the ring.  Raises OSError.
        """
        listening, abstract = self._bind(log_id, mode, gid)
        self._close_socket()
        self._socket = listening
        self._place = None if abstract else _place(self._address)
        self._deaths.add_again(listening.fileno())
        return abstract

    def _bind(self, log_id: bytes, mode: int, gid: int) -> tuple[socket.socket, str]:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            listening.setblocking(False)
            abstract = ""
            try:
                _files.bind_socket(listening, self._address, mode, gid, BACKLOG)
            except OSError as problem:
                if problem.errno not in NO_SOCKET:
                    raise
                abstract = f"disklog-{log_id.hex()}"
                listening.bind("\0" + abstract)
                listening.listen(BACKLOG)
        except BaseException:
            listening.close()
            raise
        return listening, abstract

    def is_listening(self) -> bool:
        """True if a process that looks for the socket finds it."""
        if self._socket is None:
            return False
        return self._place is None or _place(self._address) == self._place

    def renew_access(self, mode: int, gid: int) -> None:
        """Give the socket's name another mode and group.  Raises OSError."""
        if self._place is not None:
            _files.set_access_at(self._address, mode, gid)

    # -- answering ---------------------------------------------------------------------------------------

    def answer(self, now: float = 0.0) -> None:
        """Answer all requests that are complete; none is waited for."""
        if self._socket is None:
            return
        self._deaths.has_news = False
        self._accept(self._socket)
        for connection in list(self._reading):
            if connection.read():
                self._reading.remove(connection)
                self._finish(connection)
            else:
                self._deaths.add_again(connection.client.fileno())

    def is_reading(self) -> bool:
        """True if a request is not complete yet: it has to be looked at again before long."""
        return bool(self._reading)

    def _accept(self, listening: socket.socket) -> None:
        while len(self._reading) < MOST_READ:
            try:
                client, _ = listening.accept()
            except OSError:  # none waits, or no descriptor is left: later
                break
            client.setblocking(False)
            self._reading.append(_Connection(client))
        self._deaths.add_again(listening.fileno())

    def _finish(self, connection: _Connection) -> None:
        client = connection.client
        kept = False
        with contextlib.suppress(OSError):  # the other end may be gone
            if _is_gone(client):  # it gave up, or died: then nothing is done
                client.close()
                return
            answer, kept = self._answer_to(connection.received, _peer(client))
            client.send(json.dumps(answer, default=str).encode() + b"\n")
        if kept:
            self._kept.append(client)
        else:
            client.close()

    def _answer_to(self, line: bytes, peer: Peer) -> tuple[dict[str, Any], bool]:
        """Return the answer, and whether the connection is to stay open."""
        number = ""
        try:
            request = _parse(line, peer)
            number = request.id
            kind = self.kinds.get(request.ask)
            if kind is None:
                raise ValueError(f"the log's writer (process {os.getpid()}) knows no request {request.ask!r}")
            path = self._path()
            if kind.needs_owner and not peer.may_write(path):
                why = f"only a user that may write there can ask for {request.ask}: you are uid {peer.uid}"
                raise PermissionError(errno.EACCES, why, path)
            done = self._memory.answer_to(number)
            if done is None:
                self.refuse(request.ask)
            answer = kind.function(request) if done is None else done
        except (errors.DiskLogError, OSError, TypeError, ValueError) as error:
            return {"id": number, "error": describe(error)}, False
        return {"id": number, "ok": answer}, kind.stays_open

    # -- the end -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop listening, and remove the socket's name.  The directory's lock is still held."""
        if self.is_listening() and self._place is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._address)
        self._close_socket()

    def let_go(self) -> None:
        """Let the processes know that wait for the end of this writer: the directory's lock is free."""
        for client in self._kept:
            client.close()
        self._kept.clear()

    def _close_socket(self) -> None:
        for connection in self._reading:
            connection.client.close()
        self._reading.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _is_gone(client: socket.socket) -> bool:
    try:
        return client.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False


def _place(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _peer(client: socket.socket) -> Peer:
    pid, uid, gid = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    others: tuple[int, ...] = ()
    with contextlib.suppress(OSError):  # an older kernel
        groups = client.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * 4096)
        others = struct.unpack(f"{len(groups) // 4}I", groups)
    return Peer(pid, uid, frozenset((gid, *others)))


def _parse(line: bytes, peer: Peer) -> Request:
    """Return the request in a line.  Raises ValueError, TypeError."""
    if not line.endswith(b"\n"):
        raise ValueError(f"the request was not complete after {READING:g} s or {LONGEST_REQUEST:,} bytes")
    try:
        told = json.loads(line)
    except RecursionError:  # many brackets, one in another
        raise ValueError("the request is not understood") from None
    if not isinstance(told, dict):
        raise TypeError("a request is a JSON object")
    number, ask = told.pop("id", None), told.pop("ask", None)
    if not (isinstance(number, str) and len(number) == 32 and isinstance(ask, str)):
        raise TypeError("a request has an id of 32 digits and the name of what is asked")
    return Request(number, ask, told, peer)


def describe(error: Exception) -> dict[str, Any]:
    """Return an error as the other end can raise it again."""
    if isinstance(error, errors.DiskLogError):
        return {"kind": type(error).__name__, "values": error.args}
    if isinstance(error, OSError):
        return {"kind": "OSError", "values": [error.errno, error.strerror, error.filename]}
    return {"kind": type(error).__name__, "values": [str(error)]}
