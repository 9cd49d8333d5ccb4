"""The producers of the live ring: attached, gone, dead with a claim, or holding up all others."""

from __future__ import annotations

import resource
import time

from disklog_mp import _core
from disklog_mp._core import Slot
from disklog_mp._pages.writer import PageWriter
from disklog_mp._ring.slots import read_slots
from disklog_mp._writer.arrivals import Arrivals
from disklog_mp._writer.live_ring import LiveRing
from disklog_mp._writer.troubles import Troubles

STALLED = 5.0  # seconds that a producer may hold up the log before that is told


class Producers:
    """Watches the slots of the live ring, and makes them free when their producers are gone."""

    def __init__(self, live: LiveRing, pages: PageWriter, troubles: Troubles, arrivals: Arrivals) -> None:
        self._live = live
        self.arrivals = arrivals
        self._pages = pages
        self._troubles = troubles
        # Slots of dead producers: what they had claimed is drained at this position.
        self._retire_when_drained_to: dict[int, int] = {}
        self._held_at, self._held_since = -1, 0.0  # a claim that is not committed, and since when
        self._stalled_since: float | None = None  # it was told that a producer holds up the log

    def forget(self) -> None:
        """Another ring is served."""
        self._retire_when_drained_to.clear()
        self.arrivals.ring_replaced()

    def free_left(self, now: float = 0.0) -> None:
        """Retire the slots of producers that detached."""
        self._retire(read_slots(self._live.ring, _core.SLOT_DETACHED), is_dead=False)

    def count(self) -> int:
        """Retire the slots of producers that detached or died; return how many are still taken."""
        ring, position = self._live.ring, self._pages.position
        self.free_left()
        self._tell_going_on()
        self.arrivals.begin_look()
        taken, dead = 0, []
        for slot in read_slots(ring, _core.SLOT_ATTACHED):
            taken += 1
            self.arrivals.seen(slot)
            if slot.index not in self._retire_when_drained_to:
                if not self._live.witnesses.is_dead(slot):
                    continue
                self._retire_when_drained_to[slot.index] = self.end_of_claims()
            if position >= self._retire_when_drained_to[slot.index]:
                del self._retire_when_drained_to[slot.index]
                dead.append(slot)
                taken -= 1
        self._retire(dead, is_dead=True)
        return taken

    @property
    def namespace(self) -> int:
        """The pid namespace of this process."""
        return self._live.namespace

    def living(self) -> list[Slot]:
        """Return the slots of attached producers that are not certainly dead."""
        witnesses = self._live.witnesses
        return [
            slot for slot in read_slots(self._live.ring, _core.SLOT_ATTACHED) if not witnesses.is_dead(slot)
        ]

    def end_of_claims(self) -> int:
        """Return the position behind all that a producer can have claimed that is dead now."""
        return self._live.ring.frontier(self._pages.position)

    def _retire(self, slots: list[Slot], *, is_dead: bool) -> None:
        """Tell what became of producers, and then make their slots free: the next writer sees these."""
        for slot in slots:
            self.arrivals.gone(slot, is_dead=is_dead)
        if slots:
            self.arrivals.write()
        for slot in slots:
            self._live.witnesses.forget(slot)
            self._live.retire(slot.index)

    def is_dead(self, owner: int) -> bool:
        """True if the producer that holds the claim at the position is dead, in any state of its slot."""
        slot = self._live.ring.slot(owner)
        if self._live.witnesses.is_dead(slot):
            return True
        self._lose_patience(slot)
        return False

    def _lose_patience(self, slot: Slot) -> None:
        """Kill a producer that has held up the log for too long, if that was asked for."""
        limit, now, position = self._pages.options.kill_stalled, time.monotonic(), self._pages.position
        if position != self._held_at:
            self._tell_going_on()
            self._held_at, self._held_since = position, now
        if self._stalled_since is None and now - self._held_since >= STALLED:
            self._stalled_since = self._held_since
            self._troubles.tell("stalled", pid=slot.pid, seconds=round(now - self._held_since, 3))
        if limit is not None and now - self._held_since >= limit and self._live.witnesses.kill(slot):
            self._troubles.say(f"process {slot.pid} held up the log for {limit:g} s: killed")
            self._held_since = now

    def _tell_going_on(self) -> None:
        """Tell that a claim which held up the log is committed or given up."""
        if self._stalled_since is not None and self._pages.position != self._held_at:
            after = round(time.monotonic() - self._stalled_since, 3)
            self._troubles.tell("recovered", what="stalled", after=after)
            self._stalled_since = None


def raise_descriptor_limit() -> None:
    """Take as many descriptors as this user may have: there is one pidfd for each producer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
