"""The slots this process holds in rings, shared by its sessions.

One process needs one slot in a ring, however many sessions it has on the log.  An attachment lives as long as
a connection refers to it: there is no count of users, and no flag says that a change is under way.  So an
exception at any line (KeyboardInterrupt, or what else a signal handler raises) leaves nothing that would have
to be put right.  A signal handler that logs in the middle of a change finds no attachment, or a good one.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

from disklog_mp import _core
from disklog_mp._os.processes import Identity, identity
from disklog_mp._ring import file as _ring
from disklog_mp._ring.labels import default_label
from disklog_mp._ring.liveness import writer_alive
from disklog_mp._ring.names import log_of
from disklog_mp._ring.room import keep_own_blocks
from disklog_mp._ring.slots import take_slot
from disklog_mp._session.place import Place
from disklog_mp.errors import LogNotFoundError

LONGEST_TURN = 1.0  # seconds to wait for another thread that attaches

Result = TypeVar("Result")


class RingClosedError(LogNotFoundError):
    """The ring of that name was closed.

    `coming`: the next ring is there already, or the writer lives and is about to make it, or to leave.
    """

    def __init__(self, name: str, coming: bool) -> None:
        super().__init__(name)
        self.coming = coming


class Attachment:
    """This process's slot in one ring.  The last reference to it gives the slot back."""

    def __init__(
        self,
        path: str,
        label: str | None = None,
        inheritance: Inheritance | None = None,
        owner: int | None = None,
    ) -> None:
        """Map the ring of that path, or take what the parent had open, and take a slot.

        `label`: None is the default, "" is none.  `owner`: see hold().

        Raises LogNotFoundError, RingClosedError, TooManyProducersError, FormatVersionError, PermissionError.
        """
        self.is_inherited = inheritance is not None
        self.owner = identity() if inheritance is None else _own_identity()
        self.end = 0  # position behind what closed connections logged
        held = _ring.hold(path, owner) if inheritance is None else inheritance.take()
        self._path = path
        self._ring, self._seat = held
        keep_own_blocks(self._seat.fd, len(self._ring), path)
        self._rescuer: weakref.ref[object] | None = None
        ring = self._ring
        # A slot in a ring that has ended, or that its writer is about to replace, is of no use.
        if ring.halted != _core.REPLACED and not ring.is_closed():
            if label is None:
                label = default_label(ring.writer_namespace, self.owner.namespace)
            self.slot = take_slot(held, self.owner, time.time_ns(), label.encode())
            if not ring.is_closed():
                return
        # The writer closed it before it could see us: there is a successor, or soon no log.
        alive = writer_alive(self.file)
        if alive:
            ring.wake()  # a writer at rest checks then whether the ring is closed; it may not be
        coming = alive or _ring.is_replaced(self.file)
        self._seat.close()
        raise RingClosedError(log_of(path), coming)

    @property
    def file(self) -> _ring.RingFile:
        """The ring, and the descriptor that holds our lock."""
        return _ring.RingFile(self._ring, self._seat.fd, self._path)

    def is_own(self) -> bool:
        """False in a forked child: the slot is its parent's."""
        return self.owner.pid == os.getpid()

    def mend(self) -> bool:
        """Open the ring's file again if a daemon closed the descriptor; True if it is good now."""
        return self._seat.mend(os.fsencode(self._path))

    def for_child(self) -> Inheritance | None:
        """Open the ring once more, for a child that is about to be forked; None if that cannot be."""
        if not self.is_own() or self._seat.slot < 0:
            return None
        try:
            fd = os.open(f"/proc/self/fd/{self._seat.fd}", os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # no descriptor is left, or this process may not any more
            return None
        return Inheritance(self._ring, fd, _inode_of(fd))

    def begin_rescue(self) -> object | None:
        """Return what makes the caller the one thread that rescues while it is kept; None: another is."""
        rescuer = self._rescuer
        if rescuer is not None and rescuer() is not None:
            return None
        turn = _Turn()
        self._rescuer = weakref.ref(turn)
        return turn


class _Turn:
    """A claim on something, that ends with the last reference to it."""


def _inode_of(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return (status.st_dev, status.st_ino)


def _own_identity() -> Identity:
    """Return this process's identity, where there may be no /proc and no descriptor left.

    Then the lock on the slot alone tells that the process lives.
    """
    try:
        return identity()
    except OSError:
        return Identity(os.getpid(), 0, 0)


class Inheritance(NamedTuple):
    """A ring as the parent had it open, with a descriptor that no other process uses."""

    ring: _core.Ring
    fd: int
    inode: tuple[int, int]

    def is_open(self) -> bool:
        """False if a daemon closed the descriptor; another file may have its number now."""
        try:
            return _inode_of(self.fd) == self.inode
        except OSError:
            return False

    def close(self) -> None:
        """Close the descriptor."""
        if self.is_open():
            os.close(self.fd)

    def take(self) -> _ring.Held:
        """Return ring and descriptor as what an attachment holds."""
        return _ring.Held(self.ring, _core.Seat(b"", self.fd))


class Leaving(Protocol):
    """A closed connection, with appends under way in other threads."""

    def let_go(self) -> bool:
        """Give the attachment up if no append needs it; False if one does."""


class Attachments:
    """All attachments of this process."""

    def __init__(self) -> None:
        self._shared: dict[tuple[str, str | None], weakref.ref[Attachment]] = {}  # by ring's path and label
        self._leaving: list[Leaving] = []
        # For a child that may not open the rings itself: it has other rights, another root, no descriptors.
        self._for_child: dict[str, Inheritance] = {}
        self._inherited: dict[str, Inheritance] = {}
        self._lock = threading.RLock()
        self._pid = os.getpid()

    def in_turn(self, action: Callable[[], Result]) -> Result:
        """Perform an action while no other thread performs one, so that all threads share a slot.

        A signal handler may do that in the middle of its thread's action.  After LONGEST_TURN the action is
        performed all the same: nothing breaks if two threads act at once.
        """
        if self._pid != os.getpid():  # forked: the thread that has the lock may not be there
            self._lock, self._pid = threading.RLock(), os.getpid()
        return _core.in_turn(self._lock, LONGEST_TURN, action)

    def take(self, place: Place, label: str | None, ended: Attachment | None) -> Attachment:
        """Return this process's attachment to the present ring of that log, with that label.

        `ended`: the attachment that the caller has and can no longer use.  Raises what Attachment() and
        Place.ring_path() raise.
        """
        return self.in_turn(lambda: self._take(place, label, ended))

    def _take(self, place: Place, label: str | None, ended: Attachment | None) -> Attachment:
        self.finish_leaving()
        try:
            path = place.ring_path()
        except (LogNotFoundError, OSError):
            file = self.inherited(place)
            if file is None:
                raise
            path = file.path
        shared = self._shared.get((path, label))
        attachment = None if shared is None else shared()
        if (
            attachment is not None
            and attachment is not ended
            and attachment.is_own()
            and attachment.mend()
            and (attachment.is_inherited or _ring.is_current(attachment.file))
        ):
            place.attached(attachment.file)
            return attachment
        attachment = self._attach(path, label, place.owner_for_root())
        self._shared[path, label] = weakref.ref(attachment)
        place.attached(attachment.file)
        return attachment

    def _attach(self, path: str, label: str | None, owner: int | None) -> Attachment:
        try:
            attachment = Attachment(path, label, owner=owner)
        except (LogNotFoundError, OSError) as refused:
            inheritance = self._inherited.get(path)
            if inheritance is None or not inheritance.is_open():
                raise
            file = _ring.RingFile(inheritance.ring, inheritance.fd, path)
            if isinstance(refused, LogNotFoundError) and not writer_alive(file):
                raise
            del self._inherited[path]
            return Attachment(path, label, inheritance)
        if (unused := self._inherited.pop(path, None)) is not None:
            unused.close()
        return attachment

    def inherited(self, place: Place) -> _ring.RingFile | None:
        """Return the log's ring as the parent had it open, for a process that cannot open it, or None."""
        for shared in list(self._shared.values()):
            attachment = shared()
            if attachment is not None and attachment.is_inherited and attachment.is_own():
                if place.may_be_of(attachment.file):
                    return attachment.file
        for path, inheritance in list(self._inherited.items()):
            file = _ring.RingFile(inheritance.ring, inheritance.fd, path)
            if inheritance.is_open() and place.may_be_of(file):
                return file
        return None

    def before_fork(self) -> None:
        """Open the rings once more for the child: it may not be able to."""
        for key_of_shared, shared in list(self._shared.items()):
            attachment, key = shared(), key_of_shared[0]
            if attachment is None or key in self._for_child:
                continue
            if (inheritance := attachment.for_child()) is not None:
                self._for_child[key] = inheritance

    def after_fork_in_parent(self) -> None:
        """Close what is the child's."""
        while self._for_child:
            self._for_child.popitem()[1].close()

    def after_fork_in_child(self) -> None:
        """Close what was the parent's."""
        _core.forked()
        for inheritance in self._inherited.values():
            inheritance.close()
        self._inherited, self._for_child = self._for_child, {}

    def leave(self, connection: Leaving, seconds: float) -> None:
        """Have the connection let go of its attachment, in so many seconds or when a later call can do it."""
        deadline = time.monotonic() + seconds
        self._leaving.append(connection)
        while not connection.let_go() and time.monotonic() < deadline:
            time.sleep(0.0001)
        self.finish_leaving()

    def finish_leaving(self) -> None:
        """See leave()."""
        for connection in list(self._leaving):
            if connection.let_go():
                with contextlib.suppress(ValueError):  # another thread, or a signal handler, was faster
                    self._leaving.remove(connection)


attachments = Attachments()  # of this process
os.register_at_fork(
    before=attachments.before_fork,
    after_in_parent=attachments.after_fork_in_parent,
    after_in_child=attachments.after_fork_in_child,
)
