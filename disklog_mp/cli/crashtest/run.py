"""What the processes of a crash test do, and the notes they keep of it where no death can take them."""

from __future__ import annotations

import itertools
import json
import os
import random
import struct
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import disklog_mp
from disklog_mp._core import Mapping
from disklog_mp._os import processes as _processes
from disklog_mp.errors import PageRetiredError, RingFullError

if TYPE_CHECKING:
    from typing_extensions import Buffer

STALL = 100_000_000  # ns a call may take at the most, whoever dies
PATIENCE = 60.0  # seconds a call may wait for room; longer is told as an error
LONGEST = 1 << 14  # bytes of a record
GROUP = 16  # records of a log_many() at the most
COLD = 1 << 16  # bytes from one record to the next where memory is not there yet: it comes in portions
BATCH = 64  # calls of which the records are made beforehand, at the most
RUSH = (0.2, 0.015)  # seconds between two rushes, in which all workers log at once, and how long one is
LOOK = 1.0  # seconds between two looks whether the crash test is still there

# A record is a head and as many bytes as it says, of BLOB, from a place that only this record has them from.
HEAD = struct.Struct("<IHHQI")  # incarnation, place in its group, records in the group, sequence, length
BLOB = random.Random(7).randbytes(LONGEST + (1 << 15))

# Notes: one line per process, line 0 is the crash test's own.  Words of a line, and who writes them.
LINE = 128
PID = 0  # the process
READY = 8  # it is attached, or follows
ACCEPTED = 16  # sequence behind the last record that was accepted
TRIED = 24  # sequence behind the last record of the call under way
CALLS = 32
BEGAN = 40  # when the call under way began, ns; 0: none
STALLED = 48  # the longest call that waited neither for room nor for a core, ns
STALLS = 56  # such calls over STALL
WAITED = 64  # calls that met a full ring
FROZEN = 72  # the crash test: odd from before the process is stopped until after it goes on
# Words of line 0.
STOP = 0  # workers: come to your end
CHECKED = 8  # the follower: position behind the last record it checked
WRONG = 16  # whoever found something wrong
STARTED = 24  # the crash test: lines in use


class Notes:
    """Words in a file that every process of a crash test has mapped."""

    def __init__(self, path: str, lines: int = 0) -> None:
        """Map the notes; with `lines`, make them."""
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if lines else 0)
        fd = os.open(path, flags, 0o600)
        try:
            if lines:
                os.ftruncate(fd, lines * LINE)
            self._memory = Mapping(fd, os.fstat(fd).st_size, writable=True)
        finally:
            os.close(fd)
        self.load = self._memory.load64
        self.store = self._memory.store64

    def get(self, line: int, word: int) -> int:
        """Return a word of a line."""
        return self.load(line * LINE + word)

    def set(self, line: int, word: int, value: int) -> None:
        """Store a word of a line."""
        self.store(line * LINE + word, value)


class Order(NamedTuple):
    """What a process of a crash test is told at its start."""

    name: str
    place: str  # the crash test's directory: log, notes and what is said on stderr are in it
    line: int  # of the notes: the number of this incarnation
    seed: str  # of what it does
    length: int
    lag: int  # bytes of the log that may be unchecked
    parent: int
    parent_start: int

    @property
    def log(self) -> str:
        """The log's directory."""
        return os.path.join(self.place, "log")

    @property
    def notes(self) -> str:
        """The notes' file."""
        return os.path.join(self.place, "notes")

    @property
    def balance(self) -> str:
        """Where the follower writes down what it found."""
        return os.path.join(self.place, "balance")

    @property
    def said(self) -> str:
        """What the processes had to say, and their stderr."""
        return os.path.join(self.place, "said")

    def is_abandoned(self) -> bool:
        """True if the crash test itself was killed."""
        return _processes.start_ticks(self.parent) != self.parent_start


def record_of(line: int, sequence: int, length: int, place: int = 0, group: int = 1) -> bytes:
    """Return the record that a worker logs with that sequence number."""
    start = (line * 7919 + sequence * 31) % (len(BLOB) - LONGEST)
    return HEAD.pack(line, place, group, sequence, length) + BLOB[start : start + length]


class RunDelay:
    """How long a process was ready to run and had no core, as the kernel counts it; 0 if it does not."""

    def __init__(self, pid: int | str = "self") -> None:
        self._seen = 0
        try:
            self._fd = os.open(f"/proc/{pid}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1

    def look(self) -> bytes:
        """Read the kernel's numbers; parse() makes sense of them, if it is worth it."""
        try:
            return os.pread(self._fd, 64, 0)
        except OSError:  # none, or the process is gone
            return b""

    @staticmethod
    def parse(numbers: bytes) -> int:
        """Return nanoseconds."""
        return int(numbers.split()[1]) if numbers else 0

    def grown(self) -> int:
        """Return by how much it has grown since the last time."""
        now = max(self._seen, self.parse(self.look()))
        before, self._seen = self._seen, now
        return now - before

    def close(self) -> None:
        """Close the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def work(order: Order) -> None:
    """Be a worker: log numbered records until told to stop, or killed."""
    go_apart(order)
    _Worker(order).run()


class _Worker:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._notes = Notes(order.notes)
        self._line = order.line * LINE
        self._dice = random.Random(order.seed)
        self._delay = RunDelay()
        self._sequence = self._calls = self._waited = self._stalled = 0
        self._position = 0
        self._prepared = 0  # sequence behind the last record that was made
        self._scratch = tempfile.TemporaryFile(dir=order.place)
        self._notes.set(order.line, PID, os.getpid())
        # Two sessions on the one slot of this process: a call that may not wait for room is timed here,
        # and one that does is timed by the crash test, which knows what it waits for.
        self._fast = disklog_mp.attach(order.name, on_full="raise")
        self._patient = disklog_mp.attach(order.name, timeout=PATIENCE)
        self._limit = self._fast._ready_ring().record_limit
        self._group = min(GROUP, self._limit // (4 * HEAD.size))
        self._notes.set(order.line, READY, 1)

    def run(self) -> None:
        """Log as fast as it goes together with all others, and now and then between two rushes."""
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
                self._log(records)
            if now % period > length:
                time.sleep(min(self._dice.random() * period, period - now % period))
        self._patient.close()
        self._fast.close()
        self._scratch.close()

    def _prepare(self) -> list[bytes]:
        """Make the record of a call, or several; about as long as asked for, some much longer."""
        dice = self._dice
        group = dice.randrange(2, self._group) if dice.random() < 0.1 else 1
        frame = 0 if group == 1 else 40  # what a record takes beside its bytes
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
        """Put the records where this process has not been yet: in a mapped file.  While log() copies one,
        in the middle of its claim, the kernel has to bring its memory; so that is where many die.
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

    def _log(self, records: Sequence[Buffer]) -> None:
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
        """What was not checked yet must not be removed: the log is kept short, so its producers wait."""
        while self._position > self._notes.load(CHECKED) + self._order.lag:
            if self._notes.load(STOP) or self._order.is_abandoned():
                break
            time.sleep(0.005)


def read(order: Order) -> None:
    """Be a reader: go along the log until killed, and see that nothing is missing or out of order."""
    go_apart(order)
    notes = Notes(order.notes)
    notes.set(order.line, PID, os.getpid())
    dice = random.Random(order.seed)
    reader = disklog_mp.Reader(order.log, on_damage=lambda damage: _complain(order, f"found {damage}"))
    place = reader.begin() if dice.random() < 0.5 else reader.end()
    notes.set(order.line, READY, 1)
    while not order.is_abandoned():
        try:
            if dice.random() < 0.5:
                place = _read_on(reader, place, order)
            else:
                _check_order(reader.follow(place, timeout=LOOK), place, order)
                place = reader.end()
        except PageRetiredError:  # slow readers are overtaken by retention: that is what it does
            place = reader.end()


def _read_on(
    reader: disklog_mp.Reader, place: disklog_mp.Cursor | None, order: Order
) -> disklog_mp.Cursor | None:
    """Read for a while, a portion at a time."""
    end = time.monotonic() + LOOK
    while time.monotonic() < end:
        records, following = reader.read(place, 500)
        _check_order(records, place, order)
        if not records:
            time.sleep(0.005)
        place = following
    return place


def _check_order(records: Iterable[disklog_mp.Record], place: disklog_mp.Cursor | None, order: Order) -> None:
    """Complain unless records go on from there, one after the other."""
    number = None if place is None else place.number
    position = -1 if place is None else place.position - 1
    for record in records:
        if (number is not None and record.number != number) or record.position <= position:
            found = f"record {record.number} at position {record.position}"
            _complain(order, f"read {found} where number {number} behind {position} was next")
        number, position = record.number + 1, record.position


def serve(order: Order, options: dict[str, Any]) -> None:
    """Be the writer, as a supervisor starts it."""
    go_apart(order)
    disklog_mp.serve(order.name, order.log, **options)


def open_once(order: Order, options: dict[str, Any]) -> None:
    """Have a writer started as programs have it, and leave it alone."""
    go_apart(order)
    disklog_mp.open(order.name, order.log, **options).close()


def say(order: Order, text: str) -> None:
    """Add a line to what the processes of this crash test said."""
    line = f"{time.monotonic():.6f} {os.getpid()} {text}\n".encode()
    fd = os.open(order.said, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, line)
    finally:
        os.close(fd)


def go_apart(order: Order) -> None:
    """Take this process out of the reach of the terminal: Ctrl-C is the crash test's affair, and what is
    said on stderr is kept for it.
    """
    if os.getsid(0) != os.getpid():
        os.setsid()
    said = os.open(order.said, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(said, 2)
    os.close(said)


def _complain(order: Order, text: str) -> None:
    say(order, text)
    Notes(order.notes).set(0, WRONG, 1)


def main(arguments: list[str]) -> None:
    """Be a worker in a fresh interpreter."""
    work(Order(*json.loads(arguments[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
