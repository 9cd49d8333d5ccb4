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
from typing import Protocol, TypeVar

from disklog_mp import _core
from disklog_mp._os.processes import identity
from disklog_mp._ring import file as _ring
from disklog_mp._ring.labels import default_label
from disklog_mp._ring.liveness import writer_alive
from disklog_mp._ring.names import ring_path
from disklog_mp._ring.slots import take_slot
from disklog_mp.errors import LogNotFoundError

LONGEST_TURN = 1.0  # seconds to wait for another thread that attaches

Place = tuple[str, str | None, str | None]  # name, ring_dir, label
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

    def __init__(self, name: str, ring_dir: str | None, label: str | None = None) -> None:
        """Map the ring of that name and take a slot.  `label`: None is the default, "" is none.

        Raises LogNotFoundError, RingClosedError, TooManyProducersError, FormatVersionError, PermissionError.
        """
        self.owner = identity()
        self.end = 0  # position behind what closed connections logged
        held = _ring.hold(name, ring_dir)
        self._ring, self._seat = held
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
        coming = alive or _ring.is_replaced(self.file, name, ring_dir)
        self._seat.close()
        raise RingClosedError(name, coming)

    @property
    def file(self) -> _ring.RingFile:
        """The ring, and the descriptor that holds our lock."""
        return _ring.RingFile(self._ring, self._seat.fd)

    def is_own(self) -> bool:
        """False in a forked child: the slot is its parent's."""
        return self.owner.pid == os.getpid()

    def mend(self, path: str) -> bool:
        """Open the ring's file again if a daemon closed the descriptor; True if it is good now."""
        return self._seat.mend(os.fsencode(path))

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


class Leaving(Protocol):
    """A closed connection, with appends under way in other threads."""

    def let_go(self) -> bool:
        """Give the attachment up if no append needs it; False if one does."""


class Attachments:
    """All attachments of this process."""

    def __init__(self) -> None:
        self._shared: dict[Place, weakref.ref[Attachment]] = {}
        self._leaving: list[Leaving] = []
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

    def take(self, place: Place, ended: Attachment | None) -> Attachment:
        """Return this process's attachment to the present ring of that name, with that label.

        `ended`: the attachment that the caller has and can no longer use.  Raises what Attachment() raises.
        """
        return self.in_turn(lambda: self._take(place, ended))

    def _take(self, place: Place, ended: Attachment | None) -> Attachment:
        name, ring_dir, label = place
        self.finish_leaving()
        shared = self._shared.get(place)
        attachment = None if shared is None else shared()
        if (
            attachment is not None
            and attachment is not ended
            and attachment.is_own()
            and attachment.mend(ring_path(name, ring_dir))
            and _ring.is_current(attachment.file, name, ring_dir)
        ):
            return attachment
        attachment = Attachment(name, ring_dir, label)
        self._shared[place] = weakref.ref(attachment)
        return attachment

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
os.register_at_fork(after_in_child=_core.forked)
