"""What this writer found broken when it took over, reported when all of it is in pages."""

from __future__ import annotations

import os
import time

from disklog_mp._pages.recovery import DamagedBytes, Recovered
from disklog_mp._ring.repair import Repair
from disklog_mp._writer.live_ring import LiveRing
from disklog_mp._writer.troubles import Troubles


class Repairs:
    """Reports the repair of the pages at once, and the records that were in the ring when they are out."""

    def __init__(
        self, recovered: Recovered, inherited_until: int, position: int, live: LiveRing, troubles: Troubles
    ) -> None:
        """Positions below `inherited_until` were already in the ring when we took over."""
        self.inherited_until = inherited_until
        self.is_going_on = inherited_until > position
        self._live = live
        self._troubles = troubles
        self._repair = Repair(
            time=time.time_ns(),
            records=recovered.records,
            abandoned=recovered.abandoned,
            torn_bytes=recovered.torn_bytes,
            corrupt_ranges=recovered.corrupt_ranges,
            corrupt_bytes=recovered.corrupt_bytes,
            set_aside=len(recovered.set_aside),
        )
        for damaged in recovered.damaged:
            self._tell_damaged(damaged)
        for page in recovered.sealed:
            number, size, _, records = page
            troubles.tell("sealed", page=number, reason="recovery", records=records, bytes=size)
        self._report()

    def _tell_damaged(self, damaged: DamagedBytes) -> None:
        """Tell which bytes of a page could not be read, and the file in which they are kept."""
        page, offset, length, records, before, after, path = damaged
        fields = {"page": page, "offset": offset, "length": length, "records": records or None}
        times = {key: moment for key, moment in (("from", before), ("to", after)) if moment}
        self._troubles.tell("damaged", **fields, **times, file=os.path.basename(path) or None)

    def drained(self, records: int, position: int) -> None:
        """Count what was taken from the ring, up to a position."""
        self._repair = self._repair._replace(ring_records=self._repair.ring_records + records)
        if position >= self.inherited_until:
            self.is_going_on = False
            self._report()

    def abandoned(self) -> None:
        """Count a claim of a dead producer."""
        if self.is_going_on:
            abandoned = self._repair.ring_abandoned + 1
            self._repair = self._repair._replace(ring_abandoned=abandoned)

    def _report(self) -> None:
        if self._repair.is_worth_telling():
            self._live.show_repair(self._repair)
            self._troubles.say(f"repaired what a crash left: {self._repair.text()}")
            if not self.is_going_on:  # else there is more to come
                counts = self._repair._asdict()
                del counts["time"]
                self._troubles.tell("repaired", **{name: count for name, count in counts.items() if count})
