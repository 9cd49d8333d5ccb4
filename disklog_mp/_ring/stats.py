"""What stats() returns, and how it is read out of a ring.  Reading changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from disklog_mp._ring import control as _control
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring import repair as _repair
from disklog_mp._ring import slots as _slots
from disklog_mp._ring.labels import wanted_label
from disklog_mp._ring.repair import Repair


@dataclass(frozen=True)
class ProducerStats:
    """One attached process: what it logged, dropped, how often it found the ring full, since when (ns).

    `label` is "" if it has none.
    """

    pid: int
    logged: int
    dropped: int
    waited: int
    since: int
    label: str = ""


@dataclass(frozen=True)
class Stats:
    """A log in use.  Positions are bytes since the log began.

    claimed ≥ written ≥ durable and claimed ≥ released.  `logged` counts records committed through this
    ring by processes attached now or before, `records` those in page files since the log began.
    """

    name: str
    path: str
    claimed: int
    released: int
    written: int
    durable: int
    ring_used: int
    ring_capacity: int
    records: int
    logged: int
    dropped: int
    abandoned: int
    pages: int
    first_page: int
    last_page: int
    page_bytes: int
    writer_pid: int  # 0: none alive
    writers: int  # that this ring has had
    error: str | None  # the last one that is not over
    repair: Repair | None  # the last one, by a writer of this ring
    producers: tuple[ProducerStats, ...]


def read(file: _ring.RingFile) -> Stats:
    """Return the statistics of an attached ring."""
    ring = file.ring
    released = ring.released
    claimed = ring.frontier(released)
    tallies = _slots.tallies(ring)
    total = tallies.total()
    producers = [
        ProducerStats(
            slot.pid, slot.logged, slot.dropped, slot.waited, slot.since, wanted_label(ring, slot.index)
        )
        for slot in tallies.attached
    ]
    first, last = ring.first_page, ring.page
    return Stats(
        name=ring.name,
        path=ring.path,
        claimed=claimed,
        released=released,
        written=ring.written,
        durable=ring.durable,
        ring_used=claimed - released,
        ring_capacity=ring.capacity,
        records=ring.records,
        logged=total.logged,
        dropped=total.dropped,
        abandoned=ring.abandoned,
        pages=last - first + 1 if first else 0,
        first_page=first,
        last_page=last,
        page_bytes=ring.page_bytes,
        writer_pid=ring.writer_pid if _liveness.writer_alive(file) else 0,
        writers=ring.writer_count,
        error=_control.error_text(ring) if ring.error_time else None,
        repair=_repair.read(ring),
        producers=tuple(producers),
    )
