"""The notes of a crash test: what its processes write down where no death can take it away.

They are words in a file that all processes of a crash test have mapped, and a text file for what they say.
"""

from __future__ import annotations

import os
import random
import struct
import time
from typing import NamedTuple

from disklog_mp._core import Mapping
from disklog_mp._os import processes as _processes

STALL = 100_000_000  # ns: the longest that a call may take, also when a process is killed
LONGEST = 1 << 14  # bytes: the longest record

# A record is a head and as many bytes of BLOB as the head says, from an offset that no other record uses.
HEAD = struct.Struct("<IHHQI")  # incarnation, place in its group, records in the group, sequence, length
BLOB = random.Random(7).randbytes(LONGEST + (1 << 15))

# Notes: one line of words per process.  Line 0 belongs to the crash test itself.
# Offsets of the words in a line; the process of that line writes them.
LINE = 128
PID = 0
READY = 8  # 1: the process is attached, or follows the log
ACCEPTED = 16  # sequence after the last record that was accepted
TRIED = 24  # sequence after the last record of the call under way
CALLS = 32
BEGAN = 40  # ns: start of the call under way; 0: no call is under way
STALLED = 48  # ns: the longest call that waited neither for room nor for a core
STALLS = 56  # such calls longer than STALL
WAITED = 64  # calls that met a full ring
FROZEN = 72  # written by the crash test: odd from before it stops the process until after it continues it
# Offsets of the words in line 0.
STOP = 0  # 1: all workers end
CHECKED = 8  # written by the follower: position after the last record that it checked
WRONG = 16  # 1: a process found a fault
STARTED = 24  # written by the crash test: lines in use


class Notes:
    """The words in the file that every process of a crash test has mapped."""

    def __init__(self, path: str, lines: int = 0) -> None:
        """Map the notes; with `lines`, create a file of so many lines."""
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
    """The instructions that a process of a crash test gets at its start."""

    name: str
    place: str  # the crash test's directory: it holds the log, the notes and all that processes say
    line: int  # of the notes: the number of this incarnation
    seed: str  # of its random choices
    length: int  # bytes: approximate length of a record
    lag: int  # bytes of the log that the follower may not have checked yet
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
        """The file in which the follower stores what it found."""
        return os.path.join(self.place, "balance")

    @property
    def said(self) -> str:
        """The file for what the processes say, and for their stderr."""
        return os.path.join(self.place, "said")

    def is_abandoned(self) -> bool:
        """True if the crash test itself was killed."""
        return _processes.start_ticks(self.parent) != self.parent_start


def record_of(line: int, sequence: int, length: int, place: int = 0, group: int = 1) -> bytes:
    """Return the record that a worker logs with that sequence number."""
    start = (line * 7919 + sequence * 31) % (len(BLOB) - LONGEST)
    return HEAD.pack(line, place, group, sequence, length) + BLOB[start : start + length]


class RunDelay:
    """The time that a process was ready to run and had no core, as the kernel counts it; 0 if it does not."""

    def __init__(self, pid: int | str = "self") -> None:
        self._seen = 0
        try:
            self._fd = os.open(f"/proc/{pid}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1

    def look(self) -> bytes:
        """Return the kernel's numbers unparsed: only those of slow calls are worth parsing."""
        try:
            return os.pread(self._fd, 64, 0)
        except OSError:  # there are none, or the process is gone
            return b""

    @staticmethod
    def parse(numbers: bytes) -> int:
        """Return nanoseconds."""
        return int(numbers.split()[1]) if numbers else 0

    def grown(self) -> int:
        """Return how much it has grown since the last call, in ns."""
        now = max(self._seen, self.parse(self.look()))
        before, self._seen = self._seen, now
        return now - before

    def close(self) -> None:
        """Close the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def say(order: Order, text: str) -> None:
    """Add a line to what the processes of this crash test say."""
    line = f"{time.monotonic():.6f} {os.getpid()} {text}\n".encode()
    fd = os.open(order.said, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, line)
    finally:
        os.close(fd)


def go_apart(order: Order) -> None:
    """Detach this process from the terminal: Ctrl-C reaches the crash test alone, stderr goes to its file."""
    if os.getsid(0) != os.getpid():
        os.setsid()
    said = os.open(order.said, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(said, 2)
    os.close(said)


def complain(order: Order, text: str) -> None:
    """Report a fault that this process found: in words, and in the notes."""
    say(order, text)
    Notes(order.notes).set(0, WRONG, 1)
