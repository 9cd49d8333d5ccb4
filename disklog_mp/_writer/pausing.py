"""Pausing: the writer keeps its hands off the directory while a backup or a snapshot is made of it.

All that was written is synced first.  Producers go on logging until the ring is full.  The writer answers
requests, and refuses those that would change the log.  It goes on when all that asked for a pause have taken
it back, when the process that asked is proven to be dead, or after a time that each pause has.

Pauses stand in the log's file, so that the next writer keeps them.  Taking over is all it does before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from typing import Any

from disklog_mp._os import processes as _processes
from disklog_mp._writer.event_book import EventBook
from disklog_mp._writer.leaving import Leaving
from disklog_mp._writer.live_ring import LiveRing
from disklog_mp._writer.log_file import LogFile
from disklog_mp._writer.requests import Kind, Request, Requests
from disklog_mp._writer.syncer import Syncer
from disklog_mp._writer.troubles import Troubles

LONGEST = 24 * 3600.0  # seconds of a pause; its process can ask for another
LOOK = 0.02  # seconds between two looks for requests; a pause is no time to save power
HARMLESS = ("ping", "pause", "resume", "stop")  # these change nothing of the pages, or end the pause

Pause = dict[str, Any]


class Pausing:
    """The pauses that there are, and the waiting."""

    def __init__(
        self,
        live: LiveRing,
        log_file: LogFile,
        requests: Requests,
        *,
        leaving: Leaving,
        syncer: Syncer,
        events: EventBook,
        troubles: Troubles,
    ) -> None:
        self._live = live
        self._log_file = log_file
        self._requests = requests
        self._leaving = leaving
        self._syncer = syncer
        self._events = events
        self._troubles = troubles
        self._pauses = [pause for pause in log_file.identity.pauses if _is_pause(pause)]
        self.stopping: Callable[[], bool] = lambda: False  # set by the writer
        self.alive: Callable[[], None] = lambda: None  # likewise: tells a supervisor
        requests.refuse = self._refuse

    def kinds(self) -> dict[str, Kind]:
        """Return the requests that are answered here."""
        return {
            "pause": Kind(self.pause, needs_owner=True),
            "resume": Kind(self.resume, needs_owner=True),
        }

    def pause(self, request: Request) -> dict[str, Any]:
        """Pause: {"seconds", "held"}; held: no longer than the asking process lives."""
        seconds, is_held = request.fields.get("seconds"), request.fields.get("held")
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= LONGEST:
            raise ValueError(f"a pause has a limit of up to {LONGEST:,.0f} seconds, not {seconds!r}")
        pid = request.peer.pid
        start = (_processes.start_ticks(pid) or 0) if pid else 0
        if not self._pauses:
            self._troubles.tell("paused", by=pid or None, seconds=seconds)
            self._events.write_last()
            self._syncer.run_now()
        held = {"pid": pid, "start": start} if is_held and pid else {"pid": 0, "start": 0}
        pause = {"id": request.id, "until": time.time() + seconds, **held}
        answer = {"pause": request.id}
        identity = self._log_file.identity
        self._log_file.write(
            identity._replace(pauses=(*identity.pauses, pause)).with_done(request.id, answer)
        )
        self._pauses.append(pause)
        self._troubles.say(f"paused by process {pid} for at most {seconds:g} s")
        return answer

    def resume(self, request: Request) -> dict[str, Any]:
        """Take a pause back: {"pause": its id}, or all of them: without."""
        wanted = request.fields.get("pause")
        ended = [pause for pause in self._pauses if wanted in (None, pause["id"])]
        for pause in ended:
            self._pauses.remove(pause)
        if ended:
            self._over("asked")
        return {"pauses": len(ended)}

    def _refuse(self, ask: str) -> None:
        if self._pauses and ask not in HARMLESS:
            text = "the log is paused, for a backup perhaps; `disklog-mp resume` ends that"
            raise OSError(errno.EBUSY, text, self._log_file.path)

    def hold(self) -> None:
        """Wait until there is no pause any more; requests are answered meanwhile."""
        while self._pauses:
            if self.stopping() or self._leaving.is_due(time.monotonic()):
                self._pauses.clear()
                self._over("stopped")
                return
            self._live.show_sign_of_life()
            self.alive()
            self._requests.answer()
            self._drop_those_that_are_over()
            if self._pauses:
                time.sleep(LOOK)

    def _drop_those_that_are_over(self) -> None:
        why = ""
        for pause in list(self._pauses):
            if time.time() >= pause["until"]:
                why = "limit"
            elif pause["pid"] and not _processes.is_running(pause["pid"], pause["start"]):
                why = "died"
            else:
                continue
            self._pauses.remove(pause)
        if why:
            self._over(why)

    def _over(self, why: str) -> None:
        """Note that a pause is over; the log goes on if it was the last."""
        identity = self._log_file.identity._replace(pauses=tuple(self._pauses))
        self._log_file.change(identity)
        with contextlib.suppress(OSError):  # later: no pause lasts longer than it was to last
            self._log_file.write(identity)
        if self._pauses:
            return
        self._troubles.tell("resumed", why=why, pid=os.getpid())
        self._troubles.say(f"going on after a pause: {why}")


def _is_pause(pause: Pause) -> bool:
    kinds = {"id": str, "pid": int, "start": int, "until": (int, float)}
    return all(isinstance(pause.get(name), kind) for name, kind in kinds.items())  # type: ignore[arg-type]
