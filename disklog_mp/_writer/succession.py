"""Replacing a ring that was closed, resized, unlinked or damaged, by a successor of the same name.

| the ring                                       | what is done                                 |
|------------------------------------------------|----------------------------------------------|
| has another size than asked for, another path  | reserve the successor, close, drain, replace |
| has lost its name (logind unlinks it)          | the same                                     |
| was scribbled over in its control block        | the same, and report it                      |
| was closed, and not replaced (its writer died) | replace                                      |
| was scribbled over in its claim map            | save the whole frames, replace, report it    |

The order is what loses nothing: the successor has its memory before the old ring is closed, and all that
was claimed in the old ring is in pages before the successor has the name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NamedTuple

from disklog_mp import _core
from disklog_mp._core import Slot
from disklog_mp._pages.writer import PageWriter
from disklog_mp._ring.file import RingFile, is_current
from disklog_mp._ring.liveness import Witnesses, locked_slots
from disklog_mp._ring.room import keep_own_blocks
from disklog_mp._ring.slots import read_slots
from disklog_mp._writer import intervals
from disklog_mp._writer import live_ring as _live
from disklog_mp._writer.live_ring import LiveRing
from disklog_mp._writer.ring_maker import RingMaker
from disklog_mp._writer.salvage import save, whole_runs
from disklog_mp._writer.troubles import Troubles


class OldRing(NamedTuple):
    """A ring that was replaced, while producers are attached to it."""

    file: RingFile
    witnesses: Witnesses
    end: int  # all below this position is in pages, and there is nothing behind


class Succession:
    """Puts another ring in the place of the live one; keeps old rings until no producer is attached."""

    def __init__(
        self,
        live: LiveRing,
        pages: PageWriter,
        maker: RingMaker,
        troubles: Troubles,
        served: Callable[[], None],
    ) -> None:
        """`served` is called when another ring is served."""
        self._live = live
        self._pages = pages
        self._maker = maker
        self._troubles = troubles
        self._served = served
        self._is_damaged = False  # the control block
        self._is_ending = False  # the successor is reserved, the live ring is to be closed
        self._salvage_end: int | None = None  # position up to which a damaged ring is being saved
        self._saved = 0  # records
        self._old_rings: list[OldRing] = []

    # -- is it still good? -------------------------------------------------------------------------------

    def inspect(self, now: float) -> None:
        """Replace the ring if it is damaged, has lost its name, or is to have another size."""
        live, position = self._live, self._pages.position
        if live.is_given_up:
            return
        self._keep_own_blocks()
        if live.guard.is_damaged(position, live.durable, live.abandoned):
            if not self._is_damaged:
                self._is_damaged = True
                self._troubles.say("the ring's control block was overwritten: going on in another ring")
                self._troubles.note("the ring's control block was damaged; the ring was replaced")
                self._troubles.tell("damaged", what="ring", part="control block")
            live.restore(position)
        if self._is_damaged or not self._maker.fits(live.ring) or not is_current(live.file):
            try:
                self._maker.reserve()
            except OSError as error:
                said = f"cannot make another ring: {error}; going on in this one, trying again"
                self._troubles.meet("ring", error, said)
                self._maker.capacity = live.ring.capacity
                return
            self._is_ending = True
            self.close_if_ending()
        self._troubles.over("ring", "there is a ring, or room for it")

    def _keep_own_blocks(self) -> None:
        """Another process may have copied the ring's file, as a backup does."""
        file = self._live.file
        try:
            keep_own_blocks(file.fd, len(file.ring), file.path)
        except OSError as error:
            self._troubles.meet("blocks", error, f"{error}; trying again")
        else:
            self._troubles.over("blocks", "the ring's blocks are its own again")

    def check(self, now: float) -> None:
        """Between two inspections: what a waiting producer would feel at once, and what is under way."""
        if self._live.ring.released != self._pages.position:
            self.inspect(now)
        self.close_if_ending()

    def close_if_ending(self) -> None:
        """Close the live ring if its successor is reserved: what was claimed before is drained first, then
        the closed word is met and the ring replaced.
        """
        if self._is_ending and self._live.close_at_frontier(self._pages.position):
            self._is_ending = False

    # -- replace it --------------------------------------------------------------------------------------

    def go_on(self, stop: int) -> None:
        """The live ring ends at the position: it was closed, by us or by a writer that did not live to
        replace it, or it is damaged.  Raises OSError: to be called again.
        """
        if stop == _core.STOP_CLOSED and not self._is_more_behind():
            self.replace()
        else:
            self._replace_damaged()

    def _is_more_behind(self) -> bool:
        """True if a ring that was closed holds records behind: then it was not closed but damaged."""
        ring, position = self._live.ring, self._pages.position
        return any(whole_runs(ring, self._pages, position, position + ring.capacity))

    def replace(self) -> None:
        """Go on in a successor of the same name, after the last position of the live ring."""
        old, maker = self._live.file, self._maker
        try:
            file = self._make(old.ring.generation + 1)
        except OSError:
            self._troubles.show_in(old.ring)
            if maker.capacity == old.ring.capacity:
                raise
            maker.capacity = old.ring.capacity  # there is room for no other
            file = self._make(old.ring.generation + 1)
        self._old_rings.append(OldRing(old, self._live.witnesses, self._pages.position))
        self._live.serve(file, self._pages.position)
        self._is_damaged = self._is_ending = False
        self._served()
        _live.send_over(old.ring)

    def _make(self, generation: int) -> RingFile:
        def fill(ring: _core.Ring) -> None:
            self._troubles.show_in(ring)
            self._live.carry_over(ring)

        return self._maker.make(generation & _live.WORD, replace=True, fill=fill)

    def _replace_damaged(self) -> None:
        """Save what is whole in a ring with a damaged claim map, and go on in another."""
        ring, pages = self._live.ring, self._pages
        if self._salvage_end is None:
            self._troubles.say(f"the claim map is damaged at position {pages.position}: saving what is whole")
            self._live.give_up()
            time.sleep(intervals.IN_FLIGHT)
            self._salvage_end, self._saved = pages.position + ring.capacity, 0
        # Where the disk stops us we are called again, and go on behind what is saved.
        for run in whole_runs(ring, pages, pages.position, self._salvage_end):
            save(pages, run)
            self._saved += run.records
        pages.leap(self._salvage_end)
        _live.empty_for_good(ring, self._salvage_end)  # or sessions would want to log it again
        self._troubles.note(f"the claim map was damaged; {self._saved} records saved, the ring was replaced")
        self.replace()
        self._troubles.say(f"going on in a new ring; {self._saved} records of the old one saved")
        self._troubles.tell("damaged", what="ring", part="claim map", saved=self._saved)
        self._salvage_end = None

    # -- old rings ---------------------------------------------------------------------------------------

    def living(self) -> list[Slot]:
        """Return the slots of producers that are attached to old rings and not certainly dead."""
        return [
            slot
            for old in self._old_rings
            for slot in read_slots(old.file.ring, _core.SLOT_ATTACHED)
            if not old.witnesses.is_dead(slot)
        ]

    def count_attached(self) -> int:
        """Return how many producers are still attached to old rings, and close those that have none.

        An old ring goes on saying that it is empty: if another process scribbled there, a session would
        wait for its records.
        """
        attached = 0
        for old in list(self._old_rings):
            slots = read_slots(old.file.ring, _core.SLOT_ATTACHED)
            alive = {slot.index for slot in slots if not old.witnesses.is_dead(slot)}
            # The kernel's lock says it where another process scribbled over a slot.
            left = len(alive | locked_slots(old.file))
            attached += left
            if left:
                _live.empty_for_good(old.file.ring, old.end)
            else:
                self._old_rings.remove(old)
                old.witnesses.close()
                os.close(old.file.fd)
        return attached

    def has_old_rings(self) -> bool:
        """True if producers are attached to old rings."""
        return bool(self._old_rings)

    def close(self) -> None:
        """Let go of all rings."""
        self._maker.drop()
        last = OldRing(self._live.file, self._live.witnesses, self._pages.position)
        for old in [*self._old_rings, last]:
            old.witnesses.close()
            os.close(old.file.fd)
