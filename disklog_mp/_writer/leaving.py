"""How a writer ends: nothing that is committed is left behind unwritten, and no process without a log."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from disklog_mp import _core
from disklog_mp._pages.writer import NO_LIMIT, PageWriter
from disklog_mp._writer.attendance import Attendance
from disklog_mp._writer.event_book import EventBook
from disklog_mp._writer.live_ring import LiveRing, close_at
from disklog_mp._writer.log_file import LogFile
from disklog_mp._writer.requests import Kind, Request
from disklog_mp._writer.ring_maker import RingMaker
from disklog_mp._writer.succession import Succession
from disklog_mp._writer.syncer import Syncer
from disklog_mp._writer.troubles import BackOff, Troubles

SEGMENT = 4 << 20  # bytes looked at for what is still to be written
GRACE = 1.0  # seconds that a writer of a stopped log takes requests before it ends


class Leaving:
    """Whether a writer was asked to end, and the steps of ending.

    A log that was stopped stays stopped until open() or serve: a writer that is started otherwise writes
    what is in the ring, answers what it is asked, and ends.
    """

    def __init__(
        self,
        live: LiveRing,
        pages: PageWriter,
        maker: RingMaker,
        log_file: LogFile,
        *,
        attendance: Attendance,
        succession: Succession,
        syncer: Syncer,
        back_off: BackOff,
        events: EventBook,
        troubles: Troubles,
        abandon_if_dead: Callable[[int], bool],
    ) -> None:
        self._live = live
        self._pages = pages
        self._maker = maker
        self._log_file = log_file
        self._attendance = attendance
        self._succession = succession
        self._syncer = syncer
        self._back_off = back_off
        self._events = events
        self._troubles = troubles
        self._abandon_if_dead = abandon_if_dead
        # Of a log that is stopped: when to leave, and the end of what was in the ring when it was stopped.
        self._stops_at: float | None = None
        self._stopped_end = 0
        self._by = 0  # pid of the process that stopped it
        self._makes_way = False
        if log_file.identity.stopped is not None:
            self._stop(GRACE)

    def kinds(self) -> dict[str, Kind]:
        """Return the requests that are answered here."""
        return {"stop": Kind(self.stop, needs_owner=True, stays_open=True)}

    def stop(self, request: Request) -> dict[str, object]:
        """End when what is in the ring now is written and synced; no other writer follows."""
        identity = self._log_file.identity
        peer = request.peer
        told = request.fields.get("pid")
        pid = peer.pid or (told if isinstance(told, int) else 0)
        stopped = {"pid": pid, "uid": peer.uid, "time_ns": time.time_ns()}
        end = self._live.ring.frontier(self._pages.position)
        answer: dict[str, object] = {"stopped": stopped, "end": end}
        self._log_file.write(identity._replace(stopped=stopped).with_done(request.id, answer))
        self._troubles.say(f"stopped by process {pid}")
        self._by = pid
        self._stop(0.0)
        return answer

    def _stop(self, grace: float) -> None:
        self._stops_at = time.monotonic() + grace if grace else 0.0
        self._stopped_end = self._live.ring.frontier(self._pages.position)

    def make_way(self) -> None:
        """End at once: another process can start a writer that can do what this one cannot."""
        self._makes_way = True

    def is_due(self, now: float) -> bool:
        """True if it is time to leave: the log was stopped, or this writer makes way."""
        return self._makes_way or (self._stops_at is not None and now >= self._stops_at)

    def is_stopping(self) -> bool:
        """True if the log was stopped."""
        return self._stops_at is not None

    def leave(self, now: float, asked: bool, *, lets_go: bool = False) -> bool:
        """End in good order; False if this writer has to stay.  `lets_go`: the log is served no longer."""
        has_left = self._leave(now, asked)
        if has_left and lets_go:
            self._log_file.let_go()
        return has_left

    def _leave(self, now: float, asked: bool) -> bool:
        """Have all that is committed written and synced.  False if this writer has to stay.

        A ring without producers is removed.  A writer that was asked to end leaves a ring with producers to
        them and to the next writer; what they log while a log is stopped stays in the ring.  One that was not
        asked stays if a producer has just attached: that producer may have no right to start another writer.
        """
        ring, position = self._live.ring, self._pages.position
        if self._back_off.seconds:
            self._troubles.say("leaving with records in the ring: the next writer takes them")
        elif not (self.is_due(now) and position >= self._stopped_end):
            rest = ring.drain(position, SEGMENT, NO_LIMIT)
            is_held = rest.stop == _core.STOP_CLAIMED and self._abandon_if_dead(rest.next)
            if rest.end != position or is_held:
                return False
        ends = self._attendance.is_unused() and close_at(ring, position)
        if ends:
            if self._attendance.has_come():
                self._succession.replace()
                self._attendance.last_used = now
                return False
            try:
                self._maker.unlink()
            except OSError as error:  # another user's, in a directory where only the owner may
                self._troubles.say(f"the ring stays, closed, for the next writer: {error}")
        elif self._attendance.is_abandoned():
            return True
        elif not asked:
            self._attendance.last_used = now
            return False
        self._troubles.tell("stopped", why=self._why(asked), by=self._by or None, pid=os.getpid())
        self._events.write_last()
        if self._pages.options.sync != "never" or self.is_due(now):
            self._syncer.is_leaving = ends
            self._syncer.run_now()
        return True

    def _why(self, asked: bool) -> str:
        if self.is_stopping():
            return "stop"
        if self._makes_way:
            return "limit"
        return "asked" if asked else "unused"
