"""The stories: who does what in a log's life, and who meets a fault in it.

Each ends with the books (Life.check) and with nothing left behind (Life.end).
"""

import ctypes
import os
import platform
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, NamedTuple

from support.layout import DONE_WANTED, SPACE_WANTED

import disklog_mp
from deaths.faults import fault_core
from deaths.faults.fault_life import RING, WAIT, Fault, Life, Wrong, payload

HELD = ("filled", 1)  # where one holds the head of the ring for the others to pile up behind it


CALLS = "|".join(fault_core.FAILURES)


class Story(NamedTuple):
    """How it is told, and whose steps are walked in it: those that match."""

    tell: Callable[[Life], None]
    role: str
    steps: str = ".*"


def with_producers(life: Life) -> None:
    """A producer meets its fault while a bystander logs."""
    life.start_writer("writer")
    life.stand_by(1)
    producer = life.fork("producer 1", lambda: life.produce(1))
    outcome = life.wait(producer)
    if outcome != "ended":
        life.stand_by(2)
    life.end_of(producer, outcome)
    life.stand_by()
    life.check()
    life.end()


def with_opener(life: Life) -> None:
    """The same, of a producer that opens the log, loses its descriptor, and then the ring."""
    life.inspection = 0.01
    life.start_writer("writer")
    life.stand_by(1)
    producer = life.fork("producer 1", lambda: life.open_and_produce(1))
    outcome = life.wait(producer)
    if outcome == "killed":  # one that is frozen may hold the ring that is to be replaced
        life.stand_by(2)
    life.end_of(producer, outcome)
    life.stand_by()
    life.check()
    life.end()


def with_bells(life: Life) -> None:
    """The same, of a producer that finds the writer asleep each time it logs, and has to make the fence
    between the two that the writer makes where it can.
    """
    life.barrier = False
    life.start_writer("writer")
    life.stand_by(1)
    producer = life.fork("producer 1", lambda: life.log_to_sleepers(1))
    outcome = life.wait(producer)
    life.stand_by(2)
    life.end_of(producer, outcome)
    life.check()
    life.end()


def with_writer(life: Life) -> None:
    """The writer meets its fault while producers log, rolls pages, and syncs each segment."""
    _with_writer(life, sync="always", page_records=9)


def with_retention(life: Life) -> None:
    """The same, with the oldest pages removed."""
    _with_writer(life, page_records=4, keep_pages=2)


def _with_writer(life: Life, **options: object) -> None:
    life.start_writer("writer", **options)
    life.stand_by(1)
    producer = life.fork("producer 1", lambda: life.produce(1))
    life.until(lambda: life.look(producer), "the producer hangs")
    life.stand_by()
    life.check(retired="keep_pages" in options)
    life.end()


def with_successor(life: Life) -> None:
    """A writer dies, and a producer in the middle of a record; the next comes with another capacity: it
    recovers, drains, abandons, closes the ring and makes its successor.
    """
    life.start_writer(page_records=9)
    life.stand_by(1)
    life.armed["producer 1"] = Fault("producer 1", "filled", 8, "freeze")
    producer = life.fork("producer 1", lambda: life.produce(1))
    life.wait(producer)
    for pid in (life.writer, producer):  # in this order, for the next writer to find the claim
        os.kill(pid, signal.SIGKILL)
        life.wait(pid)
    life.stand_by(2)
    life.start_writer("writer", ring_bytes=4 * RING)
    fault, deadline = life.armed.get("writer"), time.monotonic() + WAIT
    while life.ring.capacity != 4 * RING:
        life.stand_by(1)
        life.see_to_writer()
        if fault is not None and fault.fails() and life.faults.acted():
            break  # there may have been no room for another capacity
        if time.monotonic() > deadline:
            raise Wrong("the ring is never replaced")
        time.sleep(0.002)
    life.check()
    life.end()


def with_sleepers(life: Life) -> None:
    """The writer falls asleep; then one sleeps in flush(), and one for room in the ring."""
    life.start_writer("writer")
    life.stand_by(1)
    _until_asleep(life)
    holder = _hold(life)
    waiter = life.fork("waiter", lambda: _flush(life))
    life.until(lambda: life.ring.load32(DONE_WANTED), "nobody sleeps in flush()")
    filler = life.fork("filler", lambda: life.produce(2))
    life.until(lambda: life.ring.load32(SPACE_WANTED), "nobody sleeps for room")
    os.kill(holder, signal.SIGCONT)
    for pid in (holder, filler, waiter):
        life.until(lambda: life.look(pid), "one sleeps for ever")  # noqa: B023
    life.stand_by()
    life.check()
    life.end()


def _hold(life: Life) -> int:
    """A producer that is frozen with a claim: nothing behind it is written."""
    life.armed["holder"] = Fault("holder", *HELD, "freeze")
    holder = life.fork("holder", lambda: life.produce(1))
    life.until(lambda: life.look(holder), "the holder hangs")
    return holder


def _flush(life: Life) -> None:
    with disklog_mp.attach(life.name, timeout=2 * WAIT) as session:
        session.log(payload(3, 0, 10))
        life.acknowledged[3] = 1
        session.flush(2 * WAIT)


def with_reuse(life: Life) -> None:
    """A producer dies with a claim behind one that is held; another comes, and stays until all is written:
    had it been given the slot of the dead one, the claim would look alive for as long.
    """
    life.start_writer("writer")
    life.stand_by(1)
    holder = _hold(life)
    life.armed["dead"] = Fault("dead", *HELD, "kill")
    life.wait(life.fork("dead", lambda: life.produce(2)))
    _after_chores(life, 6)
    life.armed["late"] = Fault("late", "detaching", 1, "freeze")
    late = life.fork("late", lambda: _flush(life))
    life.until(lambda: life.acknowledged[3], "the late one does not log")
    os.kill(holder, signal.SIGCONT)
    life.until(lambda: life.look(late) == "frozen", "a dead one's claim is taken for the late one's")
    os.kill(late, signal.SIGCONT)
    for pid in (late, holder):
        life.until(lambda: life.look(pid), "one never ends")  # noqa: B023
    life.stand_by()
    life.check()
    life.end()


def _until_asleep(life: Life) -> None:
    """Return when the writer sleeps, to be woken by who logs first; or has met its fault on the way."""
    life.until(lambda: life.ring.parked or life.met, "the writer never sleeps")


def _after_chores(life: Life, times: int) -> None:
    """Return when the writer has looked so many times at who is alive, or nearly."""
    for _ in range(times):
        before = life.ring.heartbeat
        life.until(lambda: life.ring.heartbeat != before, "the writer does no chores")  # noqa: B023


def with_leaving(life: Life) -> None:
    """A producer attaches when the writer, about to leave, has seen that nobody is there: it must find that
    out after it closed the ring, and make another for whoever came.
    """
    life.armed.setdefault("writer", Fault("writer", "close:A", 1, "freeze"))
    life.start_writer("writer")
    life.stand_by(1)
    life.flush()
    life.leave()
    os.kill(life.writer, signal.SIGTERM)
    if life.wait(life.writer) == "frozen":
        closing = life.armed["writer"].label == "close:A"
        if closing:
            life.stand_by(0)
        os.kill(life.writer, signal.SIGCONT)
        life.wait(life.writer)
        if closing:
            life.log_once()  # without anybody's help
    life.start_writer()
    life.stand_by()
    life.check()
    life.end()


# -- pairs --------------------------------------------------------------------------------------------------


def with_two_producers(life: Life) -> None:
    """The second comes when the first has met its fault, and meets its own while that one is dead, or
    frozen: until it sleeps for room that the first holds.
    """
    life.start_writer()
    life.stand_by(1)
    _until_asleep(life)
    first = life.fork("producer 1", lambda: life.produce(1))
    outcome = life.wait(first)
    second = life.fork("producer 2", lambda: life.produce(2))
    looks = 0
    while (end := life.look(second)) is None and looks < 5:
        looks += bool(life.ring.load32(SPACE_WANTED))
        time.sleep(0.002)
    life.end_of(first, outcome)
    if end is None:
        life.wait(second)
    life.stand_by()
    life.check()
    life.end()


def with_producer_and_writer(life: Life) -> None:
    """The writer meets its fault after the producer, which is dead, or frozen for as long as it keeps the
    writer from that.
    """
    options = {"sync": "always", "page_records": 5, "keep_pages": 4}
    life.start_writer("writer", **options)
    _pair(life)


def with_producer_and_successor(life: Life) -> None:
    """The same, of a writer that takes over from one killed."""
    life.start_writer(sync="always", page_records=5, keep_pages=4)
    _pair(life, takes_over=True)


def _pair(life: Life, *, takes_over: bool = False) -> None:
    life.stand_by(1)
    life.mark("running")
    _until_asleep(life)
    producer = life.fork("producer 1", lambda: life.produce(1))
    outcome = life.until(lambda: life.look(producer), "the producer hangs")
    if takes_over:
        os.kill(life.writer, signal.SIGKILL)
        life.wait(life.writer)
        life.mark("taking over")
        life.start_writer("writer")
        life.mark("taken over")
    life.stand_by(3)
    _after_chores(life, 2)
    life.end_of(producer, outcome)
    life.stand_by(12)
    life.check(retired=True)
    life.mark("leaving")
    life.end()


# -- one traced ---------------------------------------------------------------------------------------------


class Traced:
    """A producer that is stopped again and again: at every system call, or at every instruction."""

    INSTRUCTION, SYSCALL, GETREGSET = 9, 24, 0x4204  # of ptrace's requests
    PROGRAM_COUNTER: ClassVar = {"x86_64": 16, "aarch64": 32}  # among the general registers

    def __init__(self, life: Life, label: str | None) -> None:
        """It stands where it attaches, or at that fault point."""
        self._trace = ctypes.CDLL(None, use_errno=True).ptrace
        self._trace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self._registers = (ctypes.c_uint64 * 64)()

        def work() -> None:
            if self._trace(0, 0, None, None):  # PTRACE_TRACEME
                raise Wrong("this machine lets no process be traced")
            if label is None:
                os.kill(os.getpid(), signal.SIGSTOP)
            else:
                life.faults.arm(label, 1, fault_core.FREEZE)
            session = disklog_mp.attach(life.name, timeout=2 * WAIT)
            session.log(payload(1, 0, 20))
            life.acknowledged[1] = 1
            session.close()

        self._life, self.pid = life, life.fork("producer 1", work)
        self._wait()

    def step(self, request: int, count: int) -> bool:
        """Let it come to its so-many-eth stop from here; False if it ended before."""
        for _ in range(count):
            self._trace(request, self.pid, None, None)
            if not self._wait():
                return False
        return True

    def step_in(self, first: int, last: int, count: int) -> bool:
        """Let it come to its so-many-eth instruction between these addresses; False if it ended before."""
        while True:
            if first <= self._counter() < last:
                if count == 0:
                    return True
                count -= 1
            if not self.step(self.INSTRUCTION, 1):
                return False

    def _counter(self) -> int:
        where = (ctypes.c_uint64 * 2)(ctypes.addressof(self._registers), ctypes.sizeof(self._registers))
        if self._trace(self.GETREGSET, self.pid, 1, ctypes.addressof(where)):
            raise Wrong("its registers cannot be read")
        return self._registers[self.PROGRAM_COUNTER[platform.machine()]]

    def _wait(self) -> bool:
        _, status = os.waitpid(self.pid, 0)
        if not os.WIFSTOPPED(status):
            del self._life.pids[self.pid]
            if status:
                raise Wrong(self._life.trouble[:].rstrip(b"\0").decode())
            return False
        return True

    def kill(self) -> None:
        """Here."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        del self._life.pids[self.pid]


def with_traced(life: Life, at: Callable[[Life], tuple[Traced, bool]]) -> bool:
    """A producer dies between two system calls, or two instructions, of attaching or leaving; False if it
    had done all it does before.
    """
    life.start_writer()
    life.stand_by(1)
    traced, alive = at(life)
    if alive:
        traced.kill()
    life.stand_by(2)
    life.check()
    life.end()
    return alive


def at_system_call(count: int) -> Callable[[Life], tuple[Traced, bool]]:
    """Stop one at its so-many-eth entry into the kernel, or return from it."""

    def at(life: Life) -> tuple[Traced, bool]:
        traced = Traced(life, None)
        return traced, traced.step(Traced.SYSCALL, count)

    return at


def at_instruction(label: str, span: tuple[int, int], count: int) -> Callable[[Life], tuple[Traced, bool]]:
    """Stop one at the so-many-eth instruction of a function, which it enters after that point."""

    def at(life: Life) -> tuple[Traced, bool]:
        traced = Traced(life, label)
        return traced, traced.step_in(*span, count)

    return at


def span_of(function: str, symbols: str) -> tuple[int, int]:
    """Return where a function of the core stands in memory, by what `nm -S` says of the file."""
    found = re.search(rf"^([0-9a-f]+) ([0-9a-f]+) t {function}$", symbols, re.M)
    base = re.search(
        r"^([0-9a-f]+)-\S+ \S+ 0+ .*/_core\.abi3\.so$", Path("/proc/self/maps").read_text(), re.M
    )
    assert found is not None
    assert base is not None
    first = int(base[1], 16) + int(found[1], 16)
    return first, first + int(found[2], 16)


STORIES = {
    "producers": Story(with_producers, "producer 1"),
    "opener": Story(with_opener, "producer 1", CALLS),
    "bells": Story(with_bells, "producer 1", "commit:.|bell taken|futex wake"),
    "writer": Story(with_writer, "writer"),
    "retention": Story(with_retention, "writer", CALLS),
    "successor": Story(with_successor, "writer"),
    "sleepers": Story(with_sleepers, "writer", "park.*|futex.*|space|done"),
    "reuse": Story(with_reuse, "writer", "abandon:.|retire:[A-D]"),
    "leaving": Story(with_leaving, "writer", "close:A"),
    # told two at a time
    "two producers": Story(with_two_producers, "producer 1"),
    "producer and writer": Story(with_producer_and_writer, "writer"),
    "producer and successor": Story(with_producer_and_successor, "writer"),
}
