"""The processes of a crash test: workers that log, readers, and the writer."""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import disklog_mp
from disklog_mp._core import Mapping
from disklog_mp._ring import finding as _finding
from disklog_mp.cli.crashtest.notes import (
    ACCEPTED,
    BEGAN,
    CALLS,
    CHECKED,
    FROZEN,
    HEAD,
    LINE,
    LONGEST,
    PID,
    READY,
    STALL,
    STALLED,
    STALLS,
    STOP,
    TRIED,
    WAITED,
    Notes,
    Order,
    RunDelay,
    complain,
    go_apart,
    record_of,
    say,
)
from disklog_mp.errors import PageRetiredError, RingFullError

if TYPE_CHECKING:
    from typing_extensions import Buffer

PATIENCE = 60.0  # seconds that a call may wait for room; a longer wait is an error
GROUP = 16  # most records of one log_many()
COLD = 1 << 16  # bytes between records in memory that is not there yet: the kernel brings it in portions
BATCH = 64  # most calls whose records are made beforehand
RUSH = (0.2, 0.015)  # seconds between two rushes, in which all workers log at once, and length of a rush
LOOK = 1.0  # seconds between checks whether the crash test is still alive


def work(order: Order) -> None:
    """Run a worker: it logs numbered records until it is told to stop, or killed."""
    go_apart(order)
    Worker(order).run()


class Worker:
    """One worker, with its two sessions and its line of the notes."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._notes = Notes(order.notes)
        self._line = order.line * LINE
        self._dice = random.Random(order.seed)
        self._delay = RunDelay()
        self._sequence = self._calls = self._waited = self._stalled = 0
        self._position = 0
        self._prepared = 0  # sequence after the last record that was made
        self._scratch = tempfile.TemporaryFile(dir=order.place)
        self._notes.set(order.line, PID, os.getpid())
        # Two sessions share the one slot of this process.  Calls of the first may not wait for room and are
        # timed here; calls of the second may, and the crash test times them: it knows what they wait for.
        self._fast = disklog_mp.attach(order.name, on_full="raise")
        self._patient = disklog_mp.attach(order.name, timeout=PATIENCE)
        ring, fd, _ = _finding.find(order.name)
        os.close(fd)
        self._limit = ring.record_limit
        self._group = min(GROUP, self._limit // (4 * HEAD.size))
        self._notes.set(order.line, READY, 1)

    def run(self) -> None:
        """Log as fast as possible: in rushes together with all other workers, and at times between them."""
        period, length = RUSH
        next_look = time.monotonic() + LOOK
        while not self._notes.load(STOP):
            now = time.monotonic()
            if now > next_look:
                next_look = now + LOOK
                if self._order.is_abandoned():
                    break
            batch: Sequence[Sequence[Buffer]] = [
                self._prepare() for _ in range(self._dice.randrange(1, BATCH))
            ]
            if self._dice.random() < 0.5:
                batch = self._cold(batch)
            for records in batch:
                if self._notes.load(STOP):
                    break
                self.log(records)
            if now % period > length:
                time.sleep(min(self._dice.random() * period, period - now % period))
        self.close()

    def close(self) -> None:
        """Detach, and close what the worker has open."""
        self._patient.close()
        self._fast.close()
        self._scratch.close()
        self._delay.close()

    def _prepare(self) -> list[bytes]:
        """Make the records of one call: about as long as asked for, some much longer."""
        dice = self._dice
        group = dice.randrange(2, self._group) if dice.random() < 0.1 else 1
        frame = 0 if group == 1 else 40  # bytes that a record of a group takes beside its own
        limit = min(LONGEST, self._limit // group - HEAD.size - frame)
        lengths = [dice.randrange(2 * self._order.length) for _ in range(group)]
        kind = dice.random()
        if kind < 0.05:
            lengths[0] = dice.randrange(20 * self._order.length)
        elif kind < 0.07:
            lengths[0] = limit
        first = self._prepared
        self._prepared += group
        return [
            record_of(self._order.line, first + place, min(length, limit), place, group)
            for place, length in enumerate(lengths)
        ]

    def _cold(self, batch: Sequence[Sequence[Buffer]]) -> list[list[Buffer]]:
        """Put the records into a mapped file whose pages this process has not touched yet.

        While log() copies such a record, in the middle of its claim, the kernel has to load the memory: so
        this is where many workers are killed.
        """
        os.lseek(self._scratch.fileno(), 0, os.SEEK_SET)
        for record in itertools.chain.from_iterable(batch):
            os.write(self._scratch.fileno(), record)
            os.lseek(self._scratch.fileno(), COLD - memoryview(record).nbytes, os.SEEK_CUR)
        end = os.lseek(self._scratch.fileno(), 0, os.SEEK_CUR)
        os.ftruncate(self._scratch.fileno(), end)
        memory = memoryview(Mapping(self._scratch.fileno(), end))
        places = iter(range(0, end, COLD))
        return [
            [memory[(place := next(places)) : place + memoryview(record).nbytes] for record in records]
            for records in batch
        ]

    def log(self, records: Sequence[Buffer]) -> None:
        """Log them with one call, time it, and note what was accepted."""
        notes, line = self._notes, self._line
        self._wait_for_the_follower()
        following = self._sequence + len(records)
        notes.store(line + TRIED, following)
        frozen = notes.load(line + FROZEN)
        delay = self._delay.look()
        began = time.monotonic_ns()
        notes.store(line + BEGAN, began)
        try:
            self._put(self._fast, records)
            full = False
        except RingFullError:
            full = True
        took = time.monotonic_ns() - began
        if full:
            self._waited += 1
            notes.store(line + WAITED, self._waited)
            self._put(self._patient, records)
        notes.store(line + ACCEPTED, following)
        notes.store(line + BEGAN, 0)
        self._sequence = following
        self._calls += 1
        notes.store(line + CALLS, self._calls)
        if took > min(self._stalled, STALL) and not frozen % 2 and notes.load(line + FROZEN) == frozen:
            self._note_long(took - (self._delay.parse(self._delay.look()) - self._delay.parse(delay)))

    def _put(self, session: disklog_mp.Session, records: Sequence[Buffer]) -> None:
        if len(records) == 1:
            self._position = session.log(records[0])
        else:
            self._position = session.log_many(records)

    def _note_long(self, took: int) -> None:
        notes, line = self._notes, self._line
        if took > self._stalled:
            self._stalled = took
            notes.store(line + STALLED, took)
        if took > STALL:
            notes.store(line + STALLS, notes.load(line + STALLS) + 1)
            say(self._order, f"worker {os.getpid()}: record {self._sequence - 1} took {took / 1e6:.1f} ms")

    def _wait_for_the_follower(self) -> None:
        """Wait until few records are unchecked: retention keeps the log short and must not remove those."""
        while self._position > self._notes.load(CHECKED) + self._order.lag:
            if self._notes.load(STOP) or self._order.is_abandoned():
                break
            time.sleep(0.005)


def read(order: Order) -> None:
    """Run a reader: it reads until it is killed, and checks that no record is missing or out of order."""
    go_apart(order)
    notes = Notes(order.notes)
    notes.set(order.line, PID, os.getpid())
    dice = random.Random(order.seed)
    reader = disklog_mp.Reader(order.log, on_damage=lambda damage: complain(order, f"found {damage}"))
    place = reader.begin() if dice.random() < 0.5 else reader.end()
    notes.set(order.line, READY, 1)
    while not order.is_abandoned():
        try:
            if dice.random() < 0.5:
                place = _read_on(reader, place, order)
            else:
                _check_order(reader.follow(place, timeout=LOOK), place, order)
                place = reader.end()
        except PageRetiredError:  # retention overtook this slow reader, as it may
            place = reader.end()


def _read_on(
    reader: disklog_mp.Reader, place: disklog_mp.Cursor | None, order: Order
) -> disklog_mp.Cursor | None:
    """Read for LOOK seconds, up to 500 records at a time."""
    end = time.monotonic() + LOOK
    while time.monotonic() < end:
        records, following = reader.read(place, 500)
        _check_order(records, place, order)
        if not records:
            time.sleep(0.005)
        place = following
    return place


def _check_order(records: Iterable[disklog_mp.Record], place: disklog_mp.Cursor | None, order: Order) -> None:
    """Complain unless the records follow `place` and each other without a gap."""
    number = None if place is None else place.number
    position = -1 if place is None else place.position - 1
    for record in records:
        if (number is not None and record.number != number) or record.position <= position:
            found = f"record {record.number} at position {record.position}"
            complain(order, f"read {found} where number {number} after position {position} was next")
        number, position = record.number + 1, record.position


def serve(order: Order, options: dict[str, Any]) -> None:
    """Run the writer as a supervisor starts it."""
    go_apart(order)
    disklog_mp.serve(order.name, order.log, **options)


def main(arguments: list[str]) -> None:
    """Run a worker in a new interpreter."""
    work(Order(*json.loads(arguments[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
