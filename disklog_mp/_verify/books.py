"""The counters of a ring, compared with the records that are found in pages and ring.

    logged = written + in the ring                    for all producers together
    logged ≤ written + in the ring                    for each attached producer
    abandoned claims = abandoned frames in pages + in the ring

A producer counts a call after its commit.  If it is killed between the two, its records are there but not
counted: at most those of one log() or log_many() for each of its threads.

A producer can be checked by itself while it is attached: then its slot holds its counters alone.  The
counters of producers that left are in one total, because a ring has 4,096 slots only.  Records carry pids,
and the system uses pids again: so a pid may have more records than its present owner counted, never fewer.

The number of tries is not counted but defined as logged + dropped (refused because the ring was full):
counting each call before it begins would cost every record another store.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from disklog_mp import _core
from disklog_mp._pages.directory import Directory
from disklog_mp._reader.cursor import Cursor
from disklog_mp._reader.reader import Reader
from disklog_mp._ring import claims as _claims
from disklog_mp._ring import file as _ring
from disklog_mp._ring import slots as _slots
from disklog_mp._verify.pages import DAMAGE, NOTE, count_abandoned

PATIENCE = 2.0  # seconds to wait for a moment in which no counter changes
GRACE = 0.5  # seconds for a producer to count what it has committed
PAUSE = 0.01  # seconds between two looks


class Counts(NamedTuple):
    """The counters of all producers."""

    logged: int
    dropped: int
    attached: Counter[int]  # by pid: logged by attached producers; without what they logged again


class ProducerBooks(NamedTuple):
    """The records of one pid."""

    pid: int
    logged: int  # counted by attached producers of that pid
    there: int  # in pages and ring, since the ring began to count


@dataclass(frozen=True)
class Books:
    """The counters of one ring at one moment; while records keep coming in, before and after one."""

    logged: int  # counted by producers, attached now or before
    logged_later: int  # the same, read again when all those were written
    dropped: int
    written: int  # records in pages since the ring began to count
    in_ring: int  # committed, not written
    claimed: int  # claims in the ring that are not committed
    abandoned: int
    closed: bool  # False: records kept coming in, and the writer did not catch up with them
    # Known for one moment only, and only if no page was removed since the ring began to count.
    abandoned_there: int | None = None  # abandoned frames in pages and ring
    producers: tuple[ProducerBooks, ...] = ()

    @property
    def missing(self) -> int:
        """Records that were counted and are nowhere."""
        return max(0, self.logged - self.written - self.in_ring)

    @property
    def uncounted(self) -> int:
        """Records that are there and were not counted."""
        return max(0, self.written + self.in_ring - self.logged_later)

    @property
    def balance(self) -> bool | None:
        """True if all counted records are there; None if that cannot be determined now."""
        if not self.closed:
            return None
        return not (self.missing or self.short or self.abandoned_there not in (None, self.abandoned))

    @property
    def short(self) -> list[ProducerBooks]:
        """Producers with missing records."""
        return [each for each in self.producers if each.there < each.logged]

    def findings(self) -> Iterator[tuple[str, str]]:
        """Return findings: kind and text."""
        if not self.closed:
            yield (
                NOTE,
                "counters are changing, not comparable now: records come in faster than they are written",
            )
            return
        for each in self.short:
            text = f"process {each.pid} logged {each.logged:,} records, {each.there:,} are there"
            yield DAMAGE, text
        if self.abandoned_there not in (None, self.abandoned):
            yield (
                DAMAGE,
                f"{self.abandoned:,} claims of dead producers counted, {self.abandoned_there:,} are there",
            )
        if self.missing:
            yield (
                DAMAGE,
                f"{self.missing:,} records were logged and are neither in a page nor in the ring",
            )
        elif self.uncounted:
            yield (
                NOTE,
                f"{self.uncounted:,} records were logged by processes that died before counting them",
            )


def close_books(path: str, file: _ring.RingFile) -> Books:
    """Read the counters of a ring while none changes, or before and after a moment if they never rest."""
    reader = Reader(path, on_damage=lambda damage: None)
    ring = file.ring
    began_at = time.monotonic()
    while (waited := time.monotonic() - began_at) < PATIENCE:
        look = _look(reader, ring)
        if look == _look(reader, ring):
            books = _books(ring, look, look.counts)
            # A producer may have to wait for a core between its commit and its count.
            if not books.uncounted or waited > GRACE:
                return _prove(reader, ring, look, books)
        time.sleep(PAUSE)
    return _around(reader, ring)


class _Look(NamedTuple):
    """The counters, the end of the pages, the ring after it, the abandoned claims, the frontier."""

    counts: Counts
    end: Cursor | None
    contents: _claims.Contents
    abandoned: int
    frontier: int


def _look(reader: Reader, ring: _core.Ring) -> _Look:
    counts, end = _counts(ring), reader.end()
    position = max(ring.released, end.position if end else ring.base)
    contents = _claims.count(ring, position)
    return _Look(counts, end, contents, ring.abandoned, ring.frontier(position))


def _around(reader: Reader, ring: _core.Ring) -> Books:
    """All records counted now must be in pages when the pages reach the frontier that is read after that."""
    before = _counts(ring)
    frontier = ring.frontier(ring.released)
    deadline = time.monotonic() + PATIENCE
    while True:
        end = reader.end()
        caught_up = end is not None and end.position >= frontier
        if caught_up or time.monotonic() > deadline:
            break
        time.sleep(PAUSE)
    time.sleep(PAUSE)  # for producers that have committed and not counted yet
    look = _Look(before, end, _claims.NOTHING, ring.abandoned, frontier)
    return _books(ring, look, _counts(ring), closed=caught_up)


def _books(ring: _core.Ring, look: _Look, later: Counts, *, closed: bool = True) -> Books:
    began = ring.base_records
    return Books(
        logged=look.counts.logged,
        logged_later=later.logged,
        dropped=later.dropped,
        written=max(0, (look.end.number if look.end else began) - began),
        in_ring=look.contents.records,
        claimed=look.contents.claims,
        abandoned=look.abandoned,
        closed=closed,
    )


def _prove(reader: Reader, ring: _core.Ring, look: _Look, books: Books) -> Books:
    """Count the records of each producer and the abandoned frames, since the ring began to count."""
    began, base, end = ring.base_records, ring.base_position, look.end
    first = reader.begin()
    if end is None or first is None or first.number > began:  # pages were removed, or there is none
        return books
    there = Counter(record.pid for record in reader.records(start=began, stop=end.number))
    there.update(look.contents.producers)
    if there.total() != books.written + books.in_ring:  # pages are missing or damaged: reported elsewhere
        return books
    directory = Directory(reader.path)
    abandoned = look.contents.abandoned
    for number in directory.pages():
        abandoned += count_abandoned(directory.page_path(number), base, end.position)
    producers = [ProducerBooks(pid, logged, there[pid]) for pid, logged in look.counts.attached.items()]
    return replace(books, abandoned_there=abandoned, producers=tuple(sorted(producers)))


def _counts(ring: _core.Ring) -> Counts:
    """Sum the counters of all producers, attached now or before."""
    tallies = _slots.tallies(ring)
    total = tallies.total()
    attached: Counter[int] = Counter()
    for slot in tallies.slots:
        attached[slot.pid] += max(0, slot.logged - slot.relogged)
    return Counts(total.logged, total.dropped, attached)
