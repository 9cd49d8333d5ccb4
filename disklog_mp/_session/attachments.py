"""The slots this process holds in rings, shared by its sessions.

One process needs one slot in a ring, however many sessions it has on the log.  Two events find this state in
the middle of a change: a signal handler that logs, and a fork.  The handler gets a slot of its own; the fork
waits a moment for the change, and the child begins with nothing.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable

from disklog_mp import _core
from disklog_mp._os.locks import lock_byte
from disklog_mp._os.processes import identity
from disklog_mp._ring import file as _ring
from disklog_mp._ring.liveness import writer_alive
from disklog_mp._ring.names import ring_path
from disklog_mp._ring.slots import take_slot
from disklog_mp.errors import LogNotFoundError

FORK_PATIENCE = 0.1  # seconds a fork waits for a thread that attaches


class RingClosedError(LogNotFoundError):
    """The ring of that name was closed.

    `coming`: the next ring is there already, or the writer lives and is about to make it, or to leave.
    """

    def __init__(self, name: str, coming: bool) -> None:
        super().__init__(name)
        self.coming = coming


class Attachment:
    """This process's slot in one ring."""

    def __init__(self, name: str, ring_dir: str | None) -> None:
        """Map the ring of that name and take a slot.

        Raises LogNotFoundError, RingClosedError, TooManyProducersError, FormatVersionError, PermissionError.
        """
        self.users = 0
        self.is_being_rescued = False  # by this process
        self._is_detached = False  # another thread may still look at it
        self.owner = identity()
        self.file = _ring.attach(name, ring_dir)
        try:
            status = os.fstat(self.file.fd)
            self._inode = (status.st_dev, status.st_ino)
            ring = self.file.ring
            # A slot in a ring that has ended, or that its writer is about to replace, is of no use.
            if ring.halted != _core.REPLACED and not ring.is_closed():
                self.slot = take_slot(self.file, self.owner, time.time_ns())
                self._incarnation = ring.slot(self.slot).incarnation
                if not ring.is_closed():
                    return
                ring.detach(self.slot, self._incarnation)
            # The writer closed it before it could see us: there is a successor, or soon no log.
            alive = writer_alive(self.file)
            if alive:
                ring.wake()  # a writer at rest checks then whether the ring is closed; it may not be
            raise RingClosedError(name, alive or _ring.is_replaced(self.file, name, ring_dir))
        except BaseException:
            os.close(self.file.fd)  # no other object knows this descriptor yet
            raise

    def is_own(self) -> bool:
        """False in a forked child: the slot is its parent's."""
        return self.owner.pid == os.getpid()

    def mend(self, path: str) -> bool:
        """Open the ring's file again if a daemon closed the descriptor; True if it is good now."""
        if self._is_detached:
            return False
        if self._has_descriptor():
            return True
        try:
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            status = os.fstat(fd)
            good = (status.st_dev, status.st_ino) == self._inode and lock_byte(fd, self.slot)
        except BaseException:
            os.close(fd)
            raise
        if good:
            self.file = self.file._replace(fd=fd)
        else:
            os.close(fd)
        return good

    def _has_descriptor(self) -> bool:
        """False if a daemon closed it; another file may have its number now."""
        try:
            status = os.fstat(self.file.fd)
        except OSError as error:
            return error.errno != errno.EBADF
        return (status.st_dev, status.st_ino) == self._inode

    def detach(self) -> None:
        """Give the slot back."""
        self._is_detached = True
        ring = self.file.ring
        if not ring.detach(self.slot, self._incarnation) and self._has_descriptor():
            # The slot's word was scribbled over, or another process has the slot: the lock says which.
            if lock_byte(self.file.fd, self.slot):
                ring.detach(self.slot, ring.slot(self.slot).incarnation)
        if ring.parked:  # the writer may have stayed for this process alone
            ring.wake()
        self.close_descriptor()

    def close_descriptor(self) -> None:
        """Drop the lock on the slot."""
        if self._has_descriptor():
            os.close(self.file.fd)


class Attachments:
    """All attachments of this process, and how many sessions use each."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a signal handler may log while its thread attaches
        self._is_held_for_fork = False
        self._is_busy = False  # a change is under way; only a signal handler of the same thread sees True
        self._shared: dict[tuple[str, str | None], Attachment] = {}
        self._others: list[Attachment] = []  # of signal handlers, and to rings that have been replaced
        self._returned: list[Attachment] = []  # given back by users, still to be noted
        # Closed, but an append stands still in another thread: (how many appends, attachment).
        self._leaving: list[tuple[Callable[[], int], Attachment]] = []

    # -- fork --------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Wait for another thread that attaches: the child would inherit a slot it does not know of."""
        self._is_held_for_fork = self.lock.acquire(timeout=FORK_PATIENCE)

    def after_fork_in_parent(self) -> None:
        if self._is_held_for_fork:
            self.lock.release()

    def after_fork_in_child(self) -> None:
        """Let go of the parent's slots: a child that held their locks would keep a dead parent alive."""
        self.lock = threading.RLock()
        self._is_busy = False
        for attachment in [*self._shared.values(), *self._others]:
            attachment.close_descriptor()
        self._shared.clear()
        self._others.clear()
        self._returned.clear()
        self._leaving.clear()
        _core.forked()

    # -- users -------------------------------------------------------------------------------------------

    def take(self, name: str, ring_dir: str | None, ended: Attachment | None) -> Attachment:
        """Return this process's attachment to the present ring of that name, with one more user.

        `ended`: the attachment that the caller has and can no longer use.  Raises what Attachment() raises.
        """
        with self.lock:
            if self._is_busy:  # this is a signal handler, in the middle of what follows
                attachment = Attachment(name, ring_dir)
                attachment.users = 1
                self._others.append(attachment)
                return attachment
            self._is_busy = True
            try:
                return self._take_shared(name, ring_dir, ended)
            finally:
                self._detach_unused()

    def _take_shared(self, name: str, ring_dir: str | None, ended: Attachment | None) -> Attachment:
        attachment = self._shared.get((name, ring_dir))
        if attachment is not None and (
            attachment is ended
            or not attachment.is_own()
            or not attachment.mend(ring_path(name, ring_dir))
            or not _ring.is_current(attachment.file, name, ring_dir)
        ):
            del self._shared[name, ring_dir]
            if attachment.is_own():
                self._others.append(attachment)
            else:  # forked without Python's knowledge
                attachment.close_descriptor()
            attachment = None
        if attachment is None:
            attachment = Attachment(name, ring_dir)
            self._shared[name, ring_dir] = attachment
        attachment.users += 1
        return attachment

    def mend(self, attachment: Attachment, path: str) -> bool:
        """See Attachment.mend(); no other thread detaches it meanwhile."""
        with self.lock:
            return attachment.mend(path)

    def give_back(self, attachment: Attachment) -> None:
        """Note one user less; the last one gives the slot back."""
        with self.lock:
            self._returned.append(attachment)
            if not self._is_busy:
                self._detach_unused()

    def give_back_later(self, attachment: Attachment, appends: Callable[[], int]) -> None:
        """Note one user less when `appends`, which counts those under way, returns 0."""
        self._leaving.append((appends, attachment))

    def _detach_unused(self) -> None:
        """Detach the attachments without users, then clear the busy flag."""
        self._is_busy = True
        for pair in list(self._leaving):
            if not pair[0]():
                self._leaving.remove(pair)
                self._returned.append(pair[1])
        while self._returned:
            self._is_busy = True
            # A signal handler may have emptied the list before it saw the flag.
            attachment = self._returned.pop() if self._returned else None
            if attachment is not None and attachment.is_own():
                attachment.users -= 1
                if attachment.users == 0:
                    self._remove(attachment)
                    attachment.detach()
            self._is_busy = False  # the next round sees attachments that a handler returned until now
        self._is_busy = False

    def _remove(self, attachment: Attachment) -> None:
        for key, shared in list(self._shared.items()):
            if shared is attachment:
                del self._shared[key]
        if attachment in self._others:
            self._others.remove(attachment)


attachments = Attachments()  # of this process

os.register_at_fork(
    before=attachments.before_fork,
    after_in_parent=attachments.after_fork_in_parent,
    after_in_child=attachments.after_fork_in_child,
)
