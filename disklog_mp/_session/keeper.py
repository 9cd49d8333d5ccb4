"""Keeping a log's writer alive: what every attached session does, however it came to the log.

A session of the log's owner starts the next writer, and root does it as the owner: the user that the ring
belongs to.  A session of another user waits, and its error names the user that may.  So does a session of a
log that is served: its supervisor starts the next writer.  Which session it is, and how often one is started,
_ring/starts.py says.  A session that can start none, because no Python is known or its user may run none,
leaves its turns to the others for a while.

The ring tells where the log's directory is, but each process that is attached can write into the ring.  So
the directory must agree: it belongs to the owner or to root, and says that it is this log's.  The options
come from there.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from disklog_mp import _core
from disklog_mp._os.limits import longest_file_of
from disklog_mp._pages.directory import LOCK, Directory
from disklog_mp._pages.identity import LogIdentity, read_identity
from disklog_mp._ring import control as _control
from disklog_mp._ring import starts as _starts
from disklog_mp._ring.file import RingFile, is_current, unlink
from disklog_mp._ring.liveness import lock_as_writer, locked_slots, unlock_as_writer, writer_alive
from disklog_mp._session import start_writer
from disklog_mp._session.place import Place, is_ring_of
from disklog_mp._session.start_writer import Starting, User
from disklog_mp._session.stopped import stopped
from disklog_mp.errors import DiskLogError, LogStoppedError, WriterActiveError

LONGEST_LEAVE, PAUSE = 1.0, 0.01  # seconds that leaving waits for a writer, and between two looks
# Seconds between two attempts of a session that failed for reasons of its own: no process was started (the
# limit of processes, say), and a writer was that may not use the log.
REST_UNSTARTED, REST_FORBIDDEN = 1.0, 30.0
SERVED = "the log is served: its supervisor has to start the writer"
LIMITED = "the log needs longer files than a writer started here may have (ulimit -f)"

Begin = Callable[[], Starting]


class RefusedError(Exception):
    """This session may not start a writer; says why."""


class Log(NamedTuple):
    """A log whose directory agrees with its ring."""

    path: str
    given: dict[str, Any]  # options for the writer; {}: as the log's file has them


class Keeper:
    """Starts the next writer of one connection's log.  Only leave() waits; none raises."""

    def __init__(self, place: Place, begin: Begin | None) -> None:
        """`begin` starts a writer with the options of open(), if this session was opened."""
        self._place = place
        self._begin = begin
        self._pid = os.getpid()
        self._lock = threading.Lock()  # never waited for: a signal handler may find it taken
        self._starting: Starting | None = None
        self._rests_until, self._rests_for = 0.0, ""  # monotonic time, and what its last attempt failed of

    def keep(self, file: RingFile) -> None:
        """The ring has no live writer: start one if it is this session's turn and right."""
        self._notice_fork()
        if not self._lock.acquire(blocking=False):
            return  # another thread is at it, or this is its signal handler
        try:
            if self._starting is not None:
                self._listen(file.ring)
            elif (
                not _starts.until_next_turn(file.ring)
                and self.why_not(file) is None
                and _starts.take_turn(file.ring)
            ):
                self._start(file)
        finally:
            self._lock.release()

    def leave(self, file: RingFile, patience: float) -> None:
        """Leave no ring without a writer, if this session may start one.

        That writer takes what is in the ring, syncs what its predecessor had written, and removes the ring
        when the last process has left.  Of a log that is gone, or was stopped, an empty ring is removed here.

        Waits only for records, and while it is another session's turn: that one may have been killed before
        it started any.
        """
        deadline = time.monotonic() + min(patience, LONGEST_LEAVE)
        try:
            while not writer_alive(file):
                is_empty = _is_empty(file)
                if is_empty and not self._has_use(file):
                    _remove_unused(file)
                    return
                self.keep(file)
                is_started = self._starting is not None
                if is_started or is_empty or self.why_not(file) is not None or time.monotonic() >= deadline:
                    return
                time.sleep(PAUSE)
        except (DiskLogError, OSError):  # the kernel cannot tell
            return

    def _has_use(self, file: RingFile) -> bool:
        """True if ring and directory are those of a log that goes on: no writer is to make them anew."""
        identity = read_identity(self._directory_of(file))
        is_there = identity is not None and identity.log_id == file.ring.log_id and is_current(file)
        return is_there and stopped(self._place.name, self._directory_of(file)) is None

    def let_go(self) -> None:
        """Leave the writer that was started to itself: it is ready, or this session is closed."""
        self._notice_fork()
        if self._starting is not None and self._lock.acquire(blocking=False):
            try:
                if self._starting is not None:
                    self._starting.close()
                    self._starting = None
            finally:
                self._lock.release()

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():  # the parent waits for that answer
            self._pid, self._lock = os.getpid(), threading.Lock()
            self._rests_until = 0.0  # it may have other rights
            if self._starting is not None:
                self._starting.close()
                self._starting = None

    def _listen(self, ring: _core.Ring) -> None:
        assert self._starting is not None
        try:
            if not self._starting.answered():
                _starts.extend_turn(ring)
                return
        except WriterActiveError:
            pass
        except PermissionError as failure:
            self._rest(ring, failure, REST_FORBIDDEN)
        except (DiskLogError, OSError, TypeError, ValueError, RuntimeError) as failure:
            _starts.store_failure(ring, _told(failure))
        self._starting.close()
        self._starting = None

    def _start(self, file: RingFile) -> None:
        try:
            self._starting = self._begin_from_here(file)
        except RefusedError as refusal:
            _starts.store_failure(file.ring, str(refusal))
        except OSError as failure:
            self._rest(file.ring, failure, REST_UNSTARTED)
        except (DiskLogError, TypeError, ValueError) as failure:
            _starts.store_failure(file.ring, _told(failure))

    def _rest(self, ring: _core.Ring, failure: OSError, seconds: float) -> None:
        """Leave it to the others for so long: they may be able to."""
        self._rests_until, self._rests_for = time.monotonic() + seconds, _told(failure)
        _starts.store_failure(ring, self._rests_for)
        _starts.return_turn(ring)

    def _begin_from_here(self, file: RingFile) -> Starting:
        identity = self._identity_of(file)
        # A worker that dropped privileges may do what it may do with open(): start a writer as its own user.
        if self._begin is not None and (identity is None or not _may_act_for_owner(file)):
            return self._begin()
        log = self._log_of(file)
        user = _owner_for_root(file)
        return start_writer.begin(
            self._place.name,
            log.path,
            log.given,
            os.path.dirname(file.path),
            waiting=True,
            goes_on=True,
            user=user,
        )

    def _directory_of(self, file: RingFile) -> str:
        """Return the log's directory if it is known, else the one that the ring names: see _log_of()."""
        return self._place.directory or file.ring.path

    def _identity_of(self, file: RingFile) -> LogIdentity | None:
        """Return what the log's file says; None if there is none, or only the ring says where it is."""
        known = self._place.directory or (file.ring.path if is_ring_of(file) else None)
        return None if known is None else read_identity(known)

    # -- may this session do it? -------------------------------------------------------------------------

    def why_not(self, file: RingFile) -> str | None:
        """Return why this session may not start a writer; None if it may."""
        try:
            if not start_writer.may_start():
                return "a writer starts no other"
            if self._begin is None:
                _check_user(file)
            identity = self._identity_of(file)
            if identity and (stop := stopped(self._place.name, self._directory_of(file))):
                return LogStoppedError(*stop).how()
            if _is_served(file, identity):
                return SERVED
            if identity and 0 < identity.longest_file >= longest_file_of():
                return LIMITED
            if self._begin is None:
                self._log_of(file)
            if time.monotonic() < self._rests_until:
                return self._rests_for
        except RefusedError as refusal:
            return str(refusal)
        except (DiskLogError, OSError) as problem:
            return f"its directory cannot be read: {problem}"
        return None

    def reason(self, file: RingFile) -> str:
        """Return why the ring still has no writer, for an error; "" if that is not known."""
        return self.why_not(file) or _starts.failure(file.ring)

    def _log_of(self, file: RingFile) -> Log:
        """Return the log of a ring, if its directory agrees.  Raises RefusedError, DiskLogError, OSError."""
        ring, owner, path = file.ring, _check_user(file), self._directory_of(file)
        directory = Directory(path)
        try:
            there = os.lstat(os.path.join(path, LOCK))
            if not directory.exists() or not stat.S_ISREG(there.st_mode):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        except FileNotFoundError:
            raise RefusedError(f"the log's directory {path} is not there") from None
        if not {there.st_uid, os.stat(path).st_uid} <= {owner, 0}:
            raise RefusedError(f"{path} belongs to another user than the ring")
        identity = read_identity(path)
        rings = os.path.dirname(file.path)
        if identity is None:
            told, given = (directory.read_note()[1], directory.rings()), _options_without_file(ring, there)
        else:
            told, given = (identity.name, identity.ring_dir), {}
        if told != (self._place.name, rings) or (identity is not None and identity.log_id != ring.log_id):
            raise RefusedError(f"{path} is the directory of another log")
        return Log(path, given)


def _is_empty(file: RingFile) -> bool:
    return file.ring.frontier(file.ring.released) == file.ring.released


def _remove_unused(file: RingFile) -> None:
    """Remove a ring that is empty, has no writer, and that only this process is attached to.

    Its log is gone or was stopped, so no writer will do it.  With the writer's lock held none begins.  The
    ring is closed first: a process that attaches then looks for another ring.  One that attached before has
    its name left.
    """
    ring = file.ring
    if not lock_as_writer(file):
        return
    try:
        if is_current(file) and not locked_slots(file) and ring.close(ring.released):
            if not locked_slots(file):
                unlink(file.path)
    finally:
        unlock_as_writer(file)


def _told(failure: Exception) -> str:
    return f"starting another failed: {failure}"


def _may_act_for_owner(file: RingFile) -> bool:
    return os.geteuid() in (0, os.fstat(file.fd).st_uid)


def _check_user(file: RingFile) -> int:
    """Return the ring's owner.  Raises RefusedError if this process runs as neither that user nor root."""
    owner = os.fstat(file.fd).st_uid
    if not _may_act_for_owner(file):
        raise RefusedError(f"only user {owner} (the log's owner) or root may start another")
    return owner


def _is_served(file: RingFile, identity: LogIdentity | None) -> bool:
    """True if a supervisor runs the log's writer."""
    if identity is not None:
        return identity.served
    return _control.options(file.ring).get("linger", 0) is None


def _options_without_file(ring: _core.Ring, lock: os.stat_result) -> dict[str, Any]:
    """Return what is known of the options of a log whose directory has no file that says them."""
    mode = stat.S_IMODE(lock.st_mode) & 0o666
    return {"ring_bytes": ring.capacity, "mode": mode, **({"group": lock.st_gid} if mode & 0o060 else {})}


def _owner_for_root(file: RingFile) -> User | None:
    """Return the ring's owner if this process is another user's, and so root's."""
    status = os.fstat(file.fd)
    if status.st_uid == os.geteuid():
        return None
    return start_writer.user_of(status.st_uid, status.st_gid)
