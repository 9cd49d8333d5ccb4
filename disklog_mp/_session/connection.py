"""One session's tie to the ring of its name.

It attaches at first, again after a fork, and again when the ring was replaced.  It keeps a writer alive, and
it saves records of its own from a ring that lost its writer and its name.  It never waits for room or for the
writer: see policy.py and waiting.py.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from disklog_mp import _core
from disklog_mp._options import parse_duration
from disklog_mp._ring import policies as _policies
from disklog_mp._ring.file import RingFile
from disklog_mp._ring.labels import check_label
from disklog_mp._ring.liveness import writer_alive
from disklog_mp._ring.slots import SlotsReturnedError
from disklog_mp._session.attachments import Attachment, RingClosedError, attachments
from disklog_mp._session.drops import Drops
from disklog_mp._session.keeper import Begin, Keeper
from disklog_mp._session.place import Place
from disklog_mp._session.rescue import Orphans
from disklog_mp.errors import (
    DiskLogError,
    LogNotFoundError,
    SessionClosedError,
    TooManyProducersError,
    WriterActiveError,
)

POLICIES = ("block", "raise", "drop")
LONGEST_ATTACH = 5.0  # seconds for a writer that is about to make the next ring, or to leave
RING_PAUSE, SLOT_PAUSE = 0.002, 0.01  # seconds between two attempts to attach
START_AGAIN = 0.5  # seconds between two writers started by one session
SHORTEST_CLOSE = 0.02  # seconds that close() waits for appends of other threads, even with timeout=0
LABEL_PATIENCE = 0.1  # seconds to wait for the index of a label
LABEL_PAUSE = 0.0005  # seconds between two looks for it


class Starter(Protocol):
    """Starts a writer, waits `wait` seconds for its answer, raises the error in it; False: no answer."""

    def __call__(self, *, wait: float) -> bool: ...


def _seconds(timeout: float | str) -> float:
    if isinstance(timeout, str):
        timeout = parse_duration(timeout, "timeout")
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout >= 0:
        raise ValueError(f"timeout={timeout!r} is not a number of seconds")
    return float(timeout)


class Connection(_core.Producer):
    """A producer that finds its ring by name.  The core calls the two hooks at the end off the fast path.

    `on_full` and `timeout` (seconds) may be changed at any time; see disklog_mp.open().
    """

    def __init__(
        self,
        place: Place,
        *,
        on_full: str = "block",
        timeout: float | str = 5.0,
        label: str | None = None,
        starter: Starter | None = None,
        begin: Begin | None = None,
    ) -> None:
        """Does not attach; `starter` makes the first ring, `begin` a later writer.  ValueError, TypeError."""
        # Set first: a connection whose construction failed can be closed.
        self.is_closed = True
        self.attachment: Attachment | None = None
        self.place = place
        self.name = place.name
        if on_full not in POLICIES:
            raise ValueError(f"on_full={on_full!r} is not one of {', '.join(POLICIES)}")
        self.on_full = on_full
        self.timeout = _seconds(timeout)
        self.label = None if label is None else check_label(label)  # None: the default, "": none
        self.starter = starter
        self.keeper = Keeper(place, begin)
        self.drops, self.orphans = Drops(), Orphans()
        self.next_check = 0.0  # monotonic time of the next look at the writer by a call that does not wait
        self._next_start = 0.0  # monotonic time from which another writer may be started
        self.is_closed = False

    # -- attaching ---------------------------------------------------------------------------------------

    def attach(self, patience: float | None = None) -> None:
        """Bind to the log's ring as it is now: at first, after a fork, after the ring was replaced.

        The ring may not be there yet: its writer replaces it, or is being started.  Waits for it up to
        `patience` seconds (None: the timeout), at most LONGEST_ATTACH; other threads go on meanwhile.
        Raises LogNotFoundError, TooManyProducersError, SessionClosedError, and what the starter raises.
        """
        deadline = time.monotonic() + min(self.timeout if patience is None else patience, LONGEST_ATTACH)
        former = self.attachment
        while True:
            pause = RING_PAUSE
            try:
                attachments.in_turn(lambda: self._attach_in_turn(former))
                _await_label(self, deadline)
                self.rescue()
                return
            except SlotsReturnedError as full:
                problem: DiskLogError = TooManyProducersError(*full.args)
                pause = SLOT_PAUSE
            except LogNotFoundError as missing:
                if not self._is_coming(missing, former):
                    if self.starter is None:
                        raise LogNotFoundError(self.name) from None
                    self._start_writer(self.starter, deadline)
                problem = LogNotFoundError(self.name)
            if time.monotonic() >= deadline:
                try:
                    raise problem
                finally:
                    del problem  # its traceback has this frame: the cycle would keep `former` and its slot
            time.sleep(pause)

    def _attach_in_turn(self, seen: Attachment | None) -> None:
        """Attach; an exception at any line leaves what was there, or what the next call goes on from."""
        if self.is_closed:
            raise SessionClosedError(self.name)
        former, has_ended = self.attachment, self.is_bound
        if has_ended and former is not seen:
            return  # another thread was faster
        if former is not None and not former.is_own():
            self.drops, self.needs_attention = Drops(), False
            self.orphans.forget()
            former = None
        attachment = attachments.take(self.place, self.label, former if has_ended else None)
        former = self.attachment  # a signal handler that logged meanwhile may have attached, too
        # A writer that replaces a ring has drained it first; otherwise records of ours are still in it.
        if has_ended and former is not None and former.file.ring.released < self.end:
            self.orphans.add(former)  # before it is let go of
            self.needs_attention = True
            self.end = 0
        self.attachment = attachment
        self.bind(attachment.file.ring, attachment.slot, attachment.owner.pid)
        _attached[id(self)] = self
        self.watches_writer = True

    def _is_coming(self, missing: LogNotFoundError, former: Attachment | None) -> bool:
        """True if a live writer is about to make the ring that is missing."""
        if isinstance(missing, RingClosedError) and missing.coming:
            return True
        return former is not None and former.is_own() and former.mend() and writer_alive(former.file)

    def whole_attachment(self) -> Attachment | None:
        """Return the attachment if its locks can be asked for.

        None: a daemon closed the descriptor, and the name does not lead to this ring any more.
        """
        attachment = self.attachment
        if attachment is not None and attachment.mend():
            return attachment
        return None

    # -- the writer --------------------------------------------------------------------------------------

    def _start_writer(self, starter: Starter, deadline: float) -> None:
        """Start a writer, unless that was done a moment ago, and wait until the deadline for its answer."""
        now = time.monotonic()
        if now < self._next_start:
            return
        self._next_start = now + START_AGAIN
        try:
            has_answered = starter(wait=max(0.0, deadline - now))
        except WriterActiveError as active:
            if active.args[0] != self.name:
                raise
            has_answered = True
        if has_answered:
            self._next_start = 0.0

    def look_at_writer(self) -> None:
        """Wake a writer that has been silent.  Is it dead: start another, or go over to the ring of its name.

        Does not wait for a writer it starts; see Keeper.  Raises what attach() raises.
        """
        attachment = self.whole_attachment()
        if attachment is None:
            self.unbind()
            self.attach(0.0)
            return
        file = attachment.file
        if writer_alive(file):
            file.ring.wake()  # the producer that was to ring the bell may have died before it did
            self.keeper.let_go()
            return
        if self.is_replaced(file):
            self.attach(0.0)
        else:
            self.keeper.keep(file)

    def is_replaced(self, file: RingFile) -> bool:
        """True if the log has another ring."""
        return self.place.is_replaced(file)

    # -- drops -------------------------------------------------------------------------------------------

    def drop(self, count: int, since: int = 0) -> None:
        """Count records as dropped, and have the log report them when there is room.

        `since`: when the first was dropped, in ns since the epoch (0: now).
        """
        self.report_later(count, since)
        self.count(count, 0, _policies.BITS["drop"])

    def report_later(self, count: int, since: int = 0) -> None:
        """Have the log report drops, as drop() does; they are in the slot's counter already."""
        self.drops.add(count, since)
        self.needs_attention = True

    def report_drops(self) -> int:
        """Log a gap record: how many records were dropped, from when to when.  Returns 0, or a status."""
        self.needs_attention = False  # before the drops are taken: one that is noted now sets it again
        dropped, since = self.drops.take()
        status = 0
        if dropped:
            gap = {"dropped": dropped, "since": since, "until": time.time_ns()}
            status = min(0, self.try_record(json.dumps(gap).encode(), 0, _core.KIND_GAP))
            if status < 0:
                self.drops.add(dropped, since)
        if self.drops or self.orphans:
            self.needs_attention = True
        return status

    def rescue(self) -> bool:
        """Log again what is in rings that lost writer and name; True if nothing is left in them."""
        return self.orphans.rescue(self)

    # -- leaving -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Detach.  Twice is fine.

        Waits for appends of other threads no longer than the timeout.  The slot is then given back when they
        have ended and this process opens or closes a session.
        """
        if self.is_closed and self.attachment is None:
            return
        try:
            if not self.is_closed:
                self._finish_before_close()
        finally:  # an interrupted call closes, too
            self.is_closed = True
            self.keeper.let_go()
            attachments.leave(self, max(self.timeout, SHORTEST_CLOSE))

    def let_go(self) -> bool:
        """Give the attachment of a closed connection up; False while an append of another thread needs it."""
        if not self.is_closed or self.unbind():  # an append that is under way without the GIL
            return not self.is_closed
        self.attachment = None
        return True

    def _finish_before_close(self) -> None:
        """Report drops, and see to it that no record of ours needs this process to reach a page."""
        if not self.is_bound or self.attachment is None:
            return
        with contextlib.suppress(DiskLogError, OSError):
            file = self.attachment.file
            if file.ring.released < self.end and not writer_alive(file) and self.is_replaced(file):
                self.attach(0.0)
        if self.needs_attention:
            self.rescue()
            self.report_drops()
        self.orphans.leave()
        self.leave_to_writer()

    def leave_to_writer(self) -> None:
        """See to it that the ring has a writer when this process leaves it; waits a second at most."""
        attachment = self.whole_attachment()
        if attachment is not None:
            self.keeper.leave(attachment.file, max(self.timeout, SHORTEST_CLOSE))

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # An interpreter that ends has taken this module's names away; the kernel closes what is open.
        if not getattr(self, "is_closed", True) and not is_finalizing():
            _note_left_behind(self)
            self.close()

    # -- called by the core ------------------------------------------------------------------------------

    def _log_slowly(self, data: Any, tag: int, status: int) -> int:
        """Go on with a record that the core could not log at once; `status` says why."""
        raise NotImplementedError

    def _log_many_slowly(self, records: tuple[Any, ...], tag: int, status: int) -> int:
        """Go on with a group likewise."""
        raise NotImplementedError

    def _look_at_writer(self) -> None:
        """The writer's heartbeat is late.  Errors are dropped by the core: the record is committed."""
        self.look_at_writer()


_attached: weakref.WeakValueDictionary[int, Connection] = weakref.WeakValueDictionary()  # by id()
left_behind: dict[_core.Ring, int] = {}  # position behind what was logged and not waited for, by ring


def connections() -> list[Connection]:
    """Return all connections of this process that attached.

    Another thread, or a signal handler, may attach meanwhile: one step of the interpreter copies the list.
    """
    found = (reference() for reference in _attached.valuerefs())
    return [connection for connection in found if connection is not None]


def _note_left_behind(connection: Connection) -> None:
    """Note a connection that goes without a close(): the process waits at its exit."""
    for noted, until in list(left_behind.items()):
        if noted.written >= until:
            left_behind.pop(noted, None)
    ring, end = connection.ring, connection.end
    if ring is not None and connection.is_bound and ring.written < end:
        left_behind[ring] = max(end, left_behind.get(ring, 0))


def _await_label(connection: Connection, deadline: float) -> None:
    """Wait a moment for the index of the label; until the writer answers, records go without."""
    end = min(deadline, time.monotonic() + LABEL_PATIENCE)
    while connection.awaits_label and time.monotonic() < end:
        time.sleep(LABEL_PAUSE)
