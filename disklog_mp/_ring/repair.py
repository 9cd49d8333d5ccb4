"""What a writer found broken when it took a log over, and put right: kept in the ring, told in one line."""

from __future__ import annotations

from typing import NamedTuple

from disklog_mp._core import Ring


class Repair(NamedTuple):
    """The last repair of a log.  Nothing of what it counts was thrown away."""

    time: int = 0  # ns since the epoch
    records: int = 0  # that can be read in the pages: in sealed ones as they say, in the others counted
    abandoned: int = 0  # frames of dead producers in the pages that were counted
    torn_bytes: int = 0  # behind the last whole frame of a page
    corrupt_ranges: int = 0  # in the middle
    corrupt_bytes: int = 0
    set_aside: int = 0  # files page-N.bad-OFFSET made: what could not be read
    ring_records: int = 0  # taken out of the ring of a writer that died
    ring_abandoned: int = 0  # claims of dead producers in it

    def is_worth_telling(self) -> bool:
        """True if anything was to be repaired."""
        return any(
            (self.torn_bytes, self.corrupt_ranges, self.set_aside, self.ring_records, self.ring_abandoned)
        )

    def text(self) -> str:
        """Return it as part of a line."""
        parts = [_plural(self.records, "record") + " kept in pages"]
        if self.ring_records or self.ring_abandoned:
            parts.append(_plural(self.ring_records, "record") + " taken from the ring of a writer that died")
        if self.torn_bytes:
            parts.append(_plural(self.torn_bytes, "torn byte"))
        if self.corrupt_ranges:
            ranges = _plural(self.corrupt_ranges, "corrupt range")
            parts.append(f"{ranges} ({_plural(self.corrupt_bytes, 'byte')})")
        if self.abandoned or self.ring_abandoned:
            parts.append(_plural(self.abandoned + self.ring_abandoned, "abandoned frame"))
        if self.set_aside:
            parts.append(_plural(self.set_aside, "file") + " set aside")
        return ", ".join(parts)

    def store(self, ring: Ring) -> None:
        """Put it into the ring, its time last."""
        ring.repair = tuple(self)


def read(ring: Ring) -> Repair | None:
    """Return the last repair of which this ring knows."""
    repair = Repair(*ring.repair)
    return repair if repair.time else None


def _plural(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
