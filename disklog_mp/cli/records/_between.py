"""The log's own events among its records: each stands before the first record that came behind it."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Iterator

from disklog_mp._reader.damage import Damage
from disklog_mp._reader.events import EventStream, LogEvent
from disklog_mp.errors import DiskLogError

# Nothing is amiss where these happen, or the records tell it themselves (dropped); shown if asked for.
ROUTINE = {
    "opened",
    "writer-started",
    "stopped",
    "rolled",
    "retired",
    "truncated",
    "paused",
    "resumed",
    "archived",
    "configured",
    "producer-attached",
    "producer-left",
    "dropped",
    "totals",
}


class Between:
    """Gives out events at their positions."""

    def __init__(
        self, path: str, *, with_routine: bool, since: int | None = None, until: int | None = None
    ) -> None:
        self._stream = EventStream(path, _pass_over)
        self._with_routine = with_routine
        self._since, self._until = since, until
        self._waiting: deque[LogEvent] = deque()
        self.look()

    def look(self) -> None:
        """Take what came."""
        with contextlib.suppress(DiskLogError):  # another log's page is there: the command `events` says so
            self._waiting.extend(filter(self._is_wanted, self._stream))

    def _is_wanted(self, event: LogEvent) -> bool:
        return (
            (self._with_routine or not _is_routine(event))
            and (self._since is None or event.time >= self._since)
            and (self._until is None or event.time < self._until)
        )

    def due(self) -> float:
        """Return the position of the next one, infinite if there is none."""
        return self._waiting[0].position if self._waiting else math.inf

    def up_to(self, position: float) -> Iterator[LogEvent]:
        """Take those that come before the record at a position."""
        while self._waiting and self.due() <= position:
            yield self._waiting.popleft()

    def skip(self, position: float) -> None:
        """Forget those before a position."""
        while self._waiting and self.due() < position:
            self._waiting.popleft()


def _is_routine(event: LogEvent) -> bool:
    """True if nothing is amiss: a process may also end by os._exit(), as forked workers do.

    One that ended before the writer saw it alive has no command; what ended it is not known then.
    """
    if event.name == "producer-died":
        was_killed = event.fields.get("signal", "command" in event.fields)
        return not was_killed and not event.fields.get("abandoned")
    return event.name in ROUTINE


def _pass_over(damage: Damage) -> None:
    """The command `events` tells of damaged events; here they are not what was asked for."""
