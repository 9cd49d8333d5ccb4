"""The books of a ring: what its producers counted against what can be found in pages and ring.

    logged = written + in the ring                    of all producers that there were
    logged ≤ written + in the ring                    of each that is attached
    claims of the dead that were given up = abandoned frames in pages + in the ring

A producer counts a call after it committed, so one that is killed between the two leaves records that
nobody counted: at most those of one log() or log_many() for each thread of it that was logging.

Each single producer can be balanced while it is attached: then its slot is its own.  The counts of those
that left are in one total, for a ring has room for 4,096 producers and not for all that ever were.  Records
carry pids, which are used again, so there may be more of a pid's records than its present owner counted, but
never fewer.  What was tried is logged + dropped (refused for want of room) by the very way it is counted:
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
from disklog_mp._reader.reader import Cursor, Reader
from disklog_mp._ring import claims as _claims
from disklog_mp._ring import file as _ring
from disklog_mp._ring import slots as _slots
from disklog_mp._verify.pages import DAMAGE, NOTE, count_abandoned

PATIENCE = 2.0  # seconds for a moment in which nothing moves
GRACE = 0.5  # for a producer that committed to count
PAUSE = 0.01


class Counts(NamedTuple):
    """What producers counted."""

    logged: int
    dropped: int
    attached: Counter[int]  # logged by those that have a slot, by pid; without what was others'


class ProducerBooks(NamedTuple):
    """The records of a pid."""

    pid: int
    logged: int  # counted by those of that pid who are attached
    there: int  # in pages and ring, since the ring's counts began


@dataclass(frozen=True)
class Books:
    """Counts of one ring, at one moment; or, if records keep coming in, around one."""

    logged: int  # counted by producers, attached now or before
    logged_later: int  # the same, read when all those were seen to be written; at one moment: the same
    dropped: int
    written: int  # records in pages since the ring's counts began
    in_ring: int  # committed, not written
    claimed: int  # claims in the ring that are not committed
    abandoned: int
    closed: bool  # False: records kept coming in, and the writer did not catch up with them
    # Told of one moment only, and where no page was retired since the counts began.
    abandoned_there: int | None = None  # frames in pages and ring
    producers: tuple[ProducerBooks, ...] = ()

    @property
    def missing(self) -> int:
        """Records that were counted and are not there."""
        return max(0, self.logged - self.written - self.in_ring)

    @property
    def uncounted(self) -> int:
        """Records that are there and that no producer counted."""
        return max(0, self.written + self.in_ring - self.logged_later)

    @property
    def balance(self) -> bool | None:
        """True if all that was counted is there; None if that cannot be told."""
        if not self.closed:
            return None
        return not (self.missing or self.short or self.abandoned_there not in (None, self.abandoned))

    @property
    def short(self) -> list[ProducerBooks]:
        """Producers of which something is missing."""
        return [each for each in self.producers if each.there < each.logged]

    def findings(self) -> Iterator[tuple[str, str]]:
        """What is to be said about them."""
        if not self.closed:
            yield NOTE, "the books cannot be closed: records come in faster than they are written"
            return
        for each in self.short:
            text = f"of {each.logged:,} records that process {each.pid} counted {each.there:,} are there"
            yield DAMAGE, text
        if self.abandoned_there not in (None, self.abandoned):
            yield (
                DAMAGE,
                f"{self.abandoned:,} claims of the dead were abandoned, {self.abandoned_there:,} are there",
            )
        if self.missing:
            yield (
                DAMAGE,
                f"{self.missing:,} records that producers counted are in no page and not in the ring",
            )
        elif self.uncounted:
            yield (
                NOTE,
                f"{self.uncounted:,} records were logged by processes that died before they counted them",
            )


def close_books(path: str, file: _ring.RingFile) -> Books:
    """Read the books of a ring at a moment in which nothing moves, or around one if there is none."""
    reader = Reader(path, on_damage=lambda damage: None)
    ring = file.ring
    began_at = time.monotonic()
    while (waited := time.monotonic() - began_at) < PATIENCE:
        look = _look(reader, ring)
        if look == _look(reader, ring):
            books = _books(ring, look, look.counts)
            # Between its commit and its count a producer may have to wait for a core.
            if not books.uncounted or waited > GRACE:
                return _prove(reader, ring, look, books)
        time.sleep(PAUSE)
    return _around(reader, ring)


class _Look(NamedTuple):
    """The producers' counts, the end of the pages, the ring behind it, what was abandoned, the frontier."""

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
    """All that is counted by now must be in the pages once those reach what is the frontier after it."""
    before = _counts(ring)
    frontier = ring.frontier(ring.released)
    deadline = time.monotonic() + PATIENCE
    while True:
        end = reader.end()
        caught_up = end is not None and end.position >= frontier
        if caught_up or time.monotonic() > deadline:
            break
        time.sleep(PAUSE)
    time.sleep(PAUSE)  # for those who committed and have not counted yet
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
    """Count, in the pages since the ring's counts began, what each producer logged and what was abandoned."""
    began, base, end = ring.base_records, ring.base_position, look.end
    first = reader.begin()
    if end is None or first is None or first.number > began:  # some are retired, or none is there
        return books
    there = Counter(record.pid for record in reader.records(start=began, stop=end.number))
    there.update(look.contents.producers)
    if there.total() != books.written + books.in_ring:  # pages are missing or damaged: told elsewhere
        return books
    directory = Directory(reader.path)
    abandoned = look.contents.abandoned
    for number in directory.pages():
        abandoned += count_abandoned(directory.page_path(number), base, end.position)
    producers = [ProducerBooks(pid, logged, there[pid]) for pid, logged in look.counts.attached.items()]
    return replace(books, abandoned_there=abandoned, producers=tuple(sorted(producers)))


def _counts(ring: _core.Ring) -> Counts:
    """How many records were logged and dropped, by all who are or were attached."""
    tallies = _slots.tallies(ring)
    total = tallies.total()
    attached: Counter[int] = Counter()
    for slot in tallies.slots:
        attached[slot.pid] += max(0, slot.logged - slot.relogged)
    return Counts(total.logged, total.dropped, attached)
