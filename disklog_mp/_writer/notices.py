"""What happens to the log, as the writer's parts tell it: events that wait to be written.

tell() never does I/O and never fails.  The queue is bounded: what has no place in it is counted.  Events of a
kind that can come often are told one by one while they are few; of more than that a sum is told now and then.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, NamedTuple

MOST_WAITING = 512  # events; untuned: seconds of a disk that is full, at the rates below
BURST = 32  # events of one kind that are told one by one
REFILL = 30.0  # seconds after which one more of that kind is
VALUES = ("from", "to")  # of an option, which may be None
LONGEST_TEXT = 300  # characters of one field
CONFIGURED = "configured"
# The fields that sums of events add up, by name; there can be many events of these names.
SUMS = {
    "rolled": ("records", "bytes"),
    "sealed": ("records", "bytes"),
    "retired": ("records", "bytes"),
    "archived": ("records", "bytes"),
    "producer-attached": (),
    "producer-left": ("logged", "dropped"),
    "producer-died": ("logged", "dropped", "abandoned"),
    "dropped": ("count",),
    CONFIGURED: (),
    "error": (),
    "recovered": (),
    "full": (),
    "room-again": (),
    "stalled": (),
    "synced-late": (),
    "clock-stepped": (),
    "damaged": ("length", "records"),
}
# These leave no trace: how many a writer was adding up when it was killed, the next one does not find out.
UNTRACED = ("error", "recovered", "stalled", "synced-late", "clock-stepped", "damaged")
FIRST = ("page", "from")  # fields of which a sum has the first
MISSED = "events-missed"


def changed_options(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what options such an event put in force, or a sum of such events."""
    told = fields.get("options")
    return dict(told) if isinstance(told, dict) else {str(fields.get("option")): fields.get("to")}


class Notice(NamedTuple):
    """One event that waits to be written."""

    name: str
    time: int  # ns since the epoch
    position: int  # of the log
    fields: dict[str, Any]


class Allowance:
    """How many events of one kind may still be told one by one, and the sum of those that were not."""

    def __init__(self, now: float) -> None:
        self.left = float(BURST)
        self.at = now
        self.gathered: Notice | None = None

    def is_left(self, now: float) -> bool:
        """Take one, if there is one."""
        self.left = min(float(BURST), self.left + (now - self.at) / REFILL)
        self.at = now
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True


class Notices:
    """Takes events from all parts of the writer; see event_book.py for where they go."""

    def __init__(self) -> None:
        self.position: Callable[[], int] = lambda: 0  # set by the writer
        self._waiting: deque[Notice] = deque()
        self._missed: Counter[str] = Counter()
        self._allowed: dict[str, Allowance] = {}

    def tell(self, name: str, **fields: Any) -> None:
        """Note an event, now.  Fields that are None are left out, but for `from` and `to`."""
        kept = {key: _short(value) for key, value in fields.items() if value is not None or key in VALUES}
        notice = Notice(name, time.time_ns(), self.position(), kept)
        if name not in SUMS:
            self._add(notice)
            return
        now = time.monotonic()
        allowed = self._allowed.setdefault(name, Allowance(now))
        if allowed.gathered is not None:
            allowed.gathered = _added(allowed.gathered, notice)
        elif allowed.is_left(now):
            self._add(notice)
        else:
            allowed.gathered = notice

    def _add(self, notice: Notice) -> None:
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(notice)
        else:
            self._missed[notice.name] += notice.fields.get("events", 1)

    def gather(self, now: float, *, is_last: bool = False) -> None:
        """Tell the sums of which it is time, or, at the end, all."""
        for allowed in self._allowed.values():
            if allowed.gathered is not None and (is_last or allowed.is_left(now)):
                self._add(allowed.gathered._replace(position=self.position()))
                allowed.gathered = None

    def is_waiting(self) -> bool:
        """True if there is anything to be written now."""
        return bool(self._waiting) or bool(self._missed)

    def is_gathering(self) -> bool:
        """True if there are events of which a sum is to be told later."""
        return any(allowed.gathered is not None for allowed in self._allowed.values())

    def waiting(self) -> list[Notice]:
        """Return what waits, oldest first; what had no place in the queue comes last, as one event."""
        found = list(self._waiting)
        if self._missed:
            missed = {"events": sum(self._missed.values()), "names": dict(self._missed)}
            found.append(Notice(MISSED, time.time_ns(), self.position(), missed))
        return found

    def written(self, count: int) -> None:
        """Forget so many of them, the oldest: they are written."""
        for _ in range(count):
            if self._waiting:
                self._waiting.popleft()
            else:
                self._missed.clear()


def _short(value: Any) -> Any:
    return value[:LONGEST_TEXT] if isinstance(value, str) else value


def _added(former: Notice, notice: Notice) -> Notice:
    """Return the sum of two events of one kind, at the time of the first.

    Beside the sums it has what both say, and from when to when.
    """
    one, other = former.fields, notice.fields
    fields = {key: value for key, value in one.items() if key in FIRST or other.get(key) == value}
    if "to" in other and "from" in fields:
        fields["to"] = other["to"]
    fields["events"] = one.get("events", 1) + other.get("events", 1)
    for key in SUMS[former.name]:
        if key in one or key in other:
            fields[key] = one.get(key, 0) + other.get(key, 0)
    if former.name == CONFIGURED:
        fields["options"] = changed_options(one) | changed_options(other)
    if "page" in other:
        fields["last_page"] = other.get("last_page", other["page"])
    fields["until"] = notice.time
    if "since" in other:
        fields["since"] = max(one.get("since", 0), other["since"])
    return former._replace(fields=fields)
