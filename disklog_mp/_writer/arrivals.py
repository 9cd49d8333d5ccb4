"""Which producers came, left, died and dropped records, as events of the log.

It is shown every taken slot now and then, and every slot before it is made free.  A producer that the writer
before told, or that came from a ring that was replaced, is not told again.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import NamedTuple

from disklog_mp._core import Slot
from disklog_mp._os import processes as _processes
from disklog_mp._ring import policies as _policies
from disklog_mp._ring.slots import tallies
from disklog_mp._writer.event_book import EventBook, Totals
from disklog_mp._writer.live_ring import LiveRing

DROPS_INTERVAL = 10.0  # seconds between two events about one producer that goes on dropping


Process = tuple[int, int, int]  # pid, start, pid namespace


class _Known(NamedTuple):
    """What was told of a producer."""

    process: Process
    command: str
    dropped: int  # that were told
    at: int  # when it had no more than these, ns since the epoch
    seen: int  # dropped at the last look
    grew_at: int  # when that was first seen, ns since the epoch
    tell_again: float  # not before that, by the monotonic clock


class Arrivals:
    """Compares the slots with what was told."""

    def __init__(self, live: LiveRing, events: EventBook) -> None:
        """`events` knows what earlier writers told."""
        told = events.totals
        self._live = live
        self._tell = events.notices.tell
        self.write = events.write  # writes the events told
        self._known: dict[tuple[int, int], _Known] = {}
        self._moving: set[Process] = set()  # from a ring that was replaced
        self._abandoned: Counter[int] = Counter()  # claims, by slot
        self._told_gone: set[tuple[int, int]] = set()  # their slots are not free yet
        self._looked_before = self._looked_at = 0  # times of the last two looks at all, ns since the epoch
        counted = tallies(live.ring)
        for slot in counted.slots:
            if slot.since <= told.attached_until:
                self._begin(slot, slot.dropped, time.time_ns())
            if (slot.pid, slot.since) in told.gone:
                self._told_gone.add((slot.index, slot.incarnation))
        self._tell_untold(told, len(self._known))
        untold = counted.freed.dropped - told.dropped
        untold += sum(slot.dropped for slot in counted.slots if slot.since <= told.attached_until)
        if untold > 0:
            self._tell("dropped", count=untold)

    def _tell_untold(self, told: Totals, still: int) -> None:
        """Tell that producers are gone, of which no more than that is known; `still`: how many are not."""
        events = told.events
        attached = events["producer-attached"] - events["producer-left"] - events["producer-died"]
        gone = attached - still + len(self._told_gone)
        if gone > 0:
            self._tell("producer-left", events=gone, why="not known")

    def _begin(self, slot: Slot, dropped: int, at: int) -> _Known:
        is_near = slot.namespace == self._live.namespace
        command = _processes.name_of(slot.pid) if is_near else ""
        known = _Known((slot.pid, slot.start, slot.namespace), command, dropped, at, dropped, at, 0.0)
        self._known[slot.index, slot.incarnation] = known
        return known

    def ring_replaced(self) -> None:
        """Another ring is served: producers go there one by one."""
        self._moving = {known.process for known in self._known.values()}
        self._known.clear()
        self._told_gone.clear()
        self._abandoned.clear()

    def begin_look(self) -> None:
        """All taken slots are shown from here on."""
        self._looked_before, self._looked_at = self._looked_at, time.time_ns()

    def seen(self, slot: Slot) -> None:
        """A producer holds that slot."""
        known = self._known.get((slot.index, slot.incarnation))
        if known is None:
            known = self._came(slot)
        known = self._looked(slot, known)
        if slot.dropped > known.dropped and time.monotonic() >= known.tell_again:
            self._tell_drops(slot, known)

    def _looked(self, slot: Slot, known: _Known) -> _Known:
        """Note since when a producer drops records, and until when."""
        if slot.dropped > known.seen:
            at = max(known.at, self._looked_before) if known.seen == known.dropped else known.at
            known = known._replace(seen=slot.dropped, at=at, grew_at=time.time_ns())
            self._known[slot.index, slot.incarnation] = known
        return known

    def _came(self, slot: Slot) -> _Known:
        since = min(slot.since, time.time_ns())  # another process may have scribbled there
        known = self._begin(slot, 0, since)
        if known.process in self._moving:
            self._moving.discard(known.process)
        else:
            self._tell("producer-attached", **self._names(slot, known), since=since)
        return known

    def gone(self, slot: Slot, *, is_dead: bool) -> None:
        """That slot is made free: its producer detached, or died."""
        known = self._known.get((slot.index, slot.incarnation)) or self._came(slot)
        known = self._looked(slot, known)
        if slot.dropped > known.dropped:
            self._tell_drops(slot, known)
        fields = {**self._names(slot, known), "logged": slot.logged, "dropped": slot.dropped or None}
        fields["since"] = slot.since
        if (slot.index, slot.incarnation) in self._told_gone:
            self._told_gone.discard((slot.index, slot.incarnation))
        elif is_dead:
            signal = self._live.witnesses.signal_that_ended(slot)
            self._tell("producer-died", **fields, abandoned=self._abandoned[slot.index], signal=signal)
        else:
            self._tell("producer-left", **fields)
        del self._known[slot.index, slot.incarnation]
        del self._abandoned[slot.index]

    def abandoned(self, index: int) -> None:
        """A claim of the dead producer in that slot was given up."""
        self._abandoned[index] += 1

    def _tell_drops(self, slot: Slot, known: _Known) -> None:
        self._tell(
            "dropped",
            **self._names(slot, known),
            count=slot.dropped - known.dropped,
            policy=_policies.names(self._live.ring.label(slot.index)[2]) or None,
            **{"from": known.at, "to": known.grew_at},
        )
        tell_again = time.monotonic() + DROPS_INTERVAL
        told = known._replace(dropped=slot.dropped, at=known.grew_at, tell_again=tell_again)
        self._known[slot.index, slot.incarnation] = told

    def _names(self, slot: Slot, known: _Known) -> dict[str, object]:
        label = self._live.ring.label(slot.index)[0].decode("utf-8", "replace")
        return {"pid": slot.pid, "label": label or None, "command": known.command or None}
