"""A walk over all fault points: a log's life is told again and again, and each time one process, or two at
once, are killed, frozen or failed at another step; each time the books must balance.

Run by test_fault_points.py as a process of its own, which forks writers and producers from what it has
loaded: a life takes some milliseconds.  `python tests/fault_walk.py --help`.
"""

import argparse
import contextlib
import ctypes
import itertools
import json
import mmap
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fault_core

RING = 4096
RECORDS = ((40,), (300,), (10,), (0, 30, 60), (700,), (300,), (5,), (700,), (200, 200), (300,), (40,), (700,))
ROUNDS = 2
WAIT = 20.0  # seconds for what takes milliseconds
REFUSED = 3  # the exit status of a writer that could not start
FAILURES = {
    "pwrite": ("ENOSPC", "EIO", "EINTR", "short"),
    "posix_fallocate": ("ENOSPC", "EOPNOTSUPP"),
    "ftruncate": ("EIO",),
    "fdatasync": ("EIO", "ENOSPC"),
    "fsync": ("EIO",),
    "rename": ("EIO", "ENOSPC"),
    "unlink": ("EIO", "EACCES"),
    "open": ("EMFILE", "ENOSPC"),
}


class Fault(NamedTuple):
    """What is to happen to one process."""

    role: str
    label: str
    nth: int
    action: str

    def fails(self) -> bool:
        return self.action not in ("kill", "freeze")

    def __str__(self) -> str:
        return f"{self.role}: {self.action} at {self.label} #{self.nth}"


class Wrong(Exception):
    """What the walk is looking for."""


def payload(who: int, sequence: int, length: int) -> bytes:
    head = b"%d %d " % (who, sequence)
    return head + bytes((who + sequence + i) % 251 for i in range(length))


def steps() -> Iterator[tuple[int, ...]]:
    """What a producer logs: lengths, several at once in one group."""
    return itertools.chain.from_iterable(itertools.repeat(RECORDS, ROUNDS))


class Life:
    """One log, its processes, and what they acknowledged."""

    def __init__(self, faults: fault_core.Faults, name: str, path: Path, armed: Iterable[Fault]) -> None:
        self.faults, self.name, self.path = faults, name, path
        self.armed = {fault.role: fault for fault in armed}
        self.acknowledged = memoryview(mmap.mmap(-1, 4096)).cast("Q")
        self.trouble = mmap.mmap(-1, 4096)
        self.pids: dict[int, str] = {}
        self.options: dict[str, Any] = {}
        self.bystander: disklog_mp.Session | None = None
        self.by = 0
        self.met: set[Fault] = set()
        self.writer = 0

    # -- processes ---------------------------------------------------------------------------------------

    def fork(self, role: str, work: Callable[[], None]) -> int:
        """Run work in a child that ends with it; armed if there is a fault for that role."""
        pid = os.fork()
        if pid:
            self.pids[pid] = role
            return pid
        status = 1
        try:
            fault = self.armed.get(role)
            if fault is not None:
                times = 3 if fault.fails() else 1
                self.faults.arm(fault.label, fault.nth, fault_core.errno_of(fault.action), times)
            work()
            status = 0
        except BaseException:
            text = f"{role}: {traceback.format_exc()[-3000:]}".encode()
            self.trouble[: len(text)] = text
        os._exit(status)

    def wait(self, pid: int) -> str:
        """Wait for a child: "ended", "killed", "frozen"."""
        deadline = time.monotonic() + WAIT
        while (outcome := self.look(pid)) is None:
            if time.monotonic() > deadline:
                raise Wrong(f"{self.pids[pid]} hangs")
            time.sleep(0.0005)
        return outcome

    def look(self, pid: int) -> str | None:
        """What has become of a child; None if nothing has."""
        got, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if not got:
            return None
        role = self.pids[pid]
        if os.WIFSTOPPED(status):
            self.note(role)
            return "frozen"
        del self.pids[pid]
        if os.WIFSIGNALED(status):
            if os.WTERMSIG(status) != signal.SIGKILL:
                raise Wrong(f"{role} died of signal {os.WTERMSIG(status)}")
            self.note(role)
            return "killed"
        if os.WEXITSTATUS(status):
            raise Wrong(self.trouble[:].rstrip(b"\0").decode())
        return "ended"

    def note(self, role: str) -> None:
        if role in self.armed:
            self.met.add(self.armed[role])

    def kill_all(self) -> None:
        for pid in list(self.pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)

    # -- roles -------------------------------------------------------------------------------------------

    def start_writer(self, role: str = "another writer", **options: Any) -> None:
        """Start a writer and wait until it is ready; one that dies at its start is followed by another."""
        self.options = {**self.options, **options}
        self.writer = self.fork(role, self._write)
        deadline = time.monotonic() + WAIT
        while not self._writer_is_ready():
            if time.monotonic() > deadline:
                raise Wrong("the writer does not come")
            self.see_to_writer()
            time.sleep(0.0005)

    def _writer_is_ready(self) -> bool:
        with contextlib.suppress(disklog_mp.LogNotFoundError, disklog_mp.FormatVersionError):
            file = _ring.attach(self.name, None)
            ready = file.ring.writer_pid == self.writer
            os.close(file.fd)
            return ready
        return False

    def see_to_writer(self) -> bool:
        """Let the writer go on if it is frozen (or kill it, by turns), have another follow if it is dead;
        True if it was either.
        """
        got, status = os.waitpid(self.writer, os.WNOHANG | os.WUNTRACED)
        if not got:
            return False
        role = self.pids[self.writer]
        self.note(role)
        if os.WIFSTOPPED(status):
            os.kill(self.writer, signal.SIGKILL if self.armed[role].nth % 2 else signal.SIGCONT)
            return True
        del self.pids[self.writer]
        refused = role in self.armed and os.WIFEXITED(status) and os.WEXITSTATUS(status) == REFUSED
        if os.WIFEXITED(status) and not refused:
            raise Wrong(self.trouble[:].rstrip(b"\0").decode() or "the writer left")
        self.start_writer()
        return True

    def _write(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)  # it says what it meets
        with writer.stop_on_signals() as stopping:
            options = Options(**{"linger": None, "ring_bytes": RING, "sync": "never", **self.options})
            try:
                work = writer.Writer(self.name, self.path, options)
            except OSError:
                os._exit(REFUSED)
            work.run(stopping)

    def produce(self, who: int) -> None:
        session = disklog_mp.attach(self.name, timeout=WAIT)
        sequence = 0
        for lengths in steps():
            records = [payload(who, sequence + i, length) for i, length in enumerate(lengths)]
            if len(records) == 1:
                session.log(records[0])
            else:
                session.log_many(records)
            sequence += len(records)
            self.acknowledged[who] = sequence
        session.close()

    def stand_by(self, count: int = 4) -> None:
        """The bystander logs: what happens to other producers does not stop it, a writer that is dead or
        frozen does when the ring is full, until somebody sees to it.
        """
        if self.bystander is None:
            self.bystander = disklog_mp.attach(self.name, timeout=0.2)
        deadline = time.monotonic() + WAIT
        while count:
            try:
                self.bystander.log(payload(0, self.by, 10))
            except (disklog_mp.RingFullError, disklog_mp.LogNotFoundError):
                if time.monotonic() > deadline or not self.see_to_writer():
                    raise
                continue
            self.by += 1
            self.acknowledged[0] = self.by
            count -= 1

    # -- the end -----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Wait for the writer, whatever becomes of it."""
        assert self.bystander is not None
        deadline = time.monotonic() + WAIT
        while True:
            try:
                self.bystander.flush(0.2)
            except disklog_mp.DiskLogError:
                if time.monotonic() > deadline:
                    raise
                self.see_to_writer()
            else:
                return

    def check(self, *, retired: bool = False) -> None:
        """All that was acknowledged is there once and in order, nobody holds a slot, the books balance."""
        while True:
            try:
                return self._check(retired)
            except (Wrong, disklog_mp.DiskLogError):
                if not self.see_to_writer():  # its fault may have come in the middle
                    raise

    def _check(self, retired: bool) -> None:
        self.flush()
        assert self.bystander is not None
        deadline = time.monotonic() + WAIT
        while True:
            attachment = self.bystander._whole_attachment()
            ring = attachment.file.ring
            if not _ring.is_current(attachment.file, self.name, None):
                self.stand_by(1)  # the ring was replaced, which it has not met yet
            elif ring.slots(_core.SLOT_ATTACHED) == [attachment.slot] and not ring.slots(_core.SLOT_DETACHED):
                break
            if time.monotonic() > deadline:
                raise Wrong(f"slots that nobody frees: {_ring.slots(ring, _core.SLOT_ATTACHED)}")
            ring.wake()
            self.see_to_writer()
            time.sleep(0.001)
        self.flush()
        found: dict[int, list[int]] = {}
        number = None
        for record in disklog_mp.Reader(self.path, on_damage=_refuse):
            if number is not None and record.number != number + 1:
                raise Wrong(f"record {record.number} after {number}")
            number = record.number
            who, sequence, rest = record.data.split(b" ", 2)
            if record.data != payload(int(who), int(sequence), len(rest)):
                raise Wrong(f"not what was logged: {record.data[:60]!r}")
            found.setdefault(int(who), []).append(int(sequence))
        for who, acknowledged in enumerate(self.acknowledged):
            sequences = found.get(who, [])
            first = sequences[0] if retired and sequences else 0
            if sequences != list(range(first, first + len(sequences))):
                raise Wrong(f"producer {who}: {sequences}")
            more = first + len(sequences) - acknowledged
            if not (retired and not sequences) and not 0 <= more <= 3:
                raise Wrong(f"producer {who}: {first + len(sequences)} of {acknowledged} acknowledged")
        checked = verify(str(self.path), self.name, attachment.file)
        books = checked.books
        damage = [finding for finding in checked.findings if finding.kind == DAMAGE]
        if damage or books is None or not books.balance or books.claimed or books.uncounted > 3:
            raise Wrong(f"{checked.findings} {books}")

    def end(self) -> None:
        """The bystander leaves, then the writer, and nothing of the log is left but its pages."""
        assert self.bystander is not None
        self.see_to_writer()
        self.bystander.close()
        self.bystander = None
        while self.writer in self.pids:
            os.kill(self.writer, signal.SIGTERM)
            outcome = self.wait(self.writer)
            if outcome == "frozen":
                os.kill(self.writer, signal.SIGCONT)
            elif outcome == "killed":
                self.start_writer()
        fault = self.armed.get("writer")
        if fault is not None and fault.fails():
            self.start_writer()  # the ring may have stayed, for the next
            os.kill(self.writer, signal.SIGTERM)
            self.wait(self.writer)
        left = [entry for entry in os.listdir(_ring.SHM) if self.name in entry]
        if left:
            raise Wrong(f"left in shared memory: {left}")

    def close(self) -> None:
        self.kill_all()
        if self.bystander is not None:
            self.bystander.close()
        _ring.unlink(self.name, None)
        for entry in os.listdir(_ring.SHM):
            if self.name in entry:
                os.unlink(os.path.join(_ring.SHM, entry))
        shutil.rmtree(self.path, ignore_errors=True)


def _refuse(damage: object) -> None:
    raise Wrong(f"damage: {damage}")


# -- lives --------------------------------------------------------------------------------------------------


def with_producers(life: Life) -> None:
    """One or two producers meet their faults while a bystander logs; frozen ones are waited for or killed."""
    life.start_writer("writer")
    life.stand_by(1)
    several = 1 + ("producer 2" in life.armed)
    producers = [life.fork(f"producer {i + 1}", lambda who=i + 1: life.produce(who)) for i in range(several)]  # type: ignore[misc]
    for i, pid in enumerate(producers):
        outcome = life.wait(pid)
        if outcome != "ended" and several == 1:  # the other may have filled the ring
            life.stand_by(2)
        if outcome == "frozen":
            os.kill(pid, signal.SIGKILL if life.armed[f"producer {i + 1}"].nth % 2 else signal.SIGCONT)
            life.wait(pid)
    life.stand_by()
    life.check()
    life.end()


def with_writer(life: Life) -> None:
    """The writer meets its fault while producers log, rolls pages, and syncs each segment."""
    _with_writer(life, sync="always", page_records=9)


def with_retention(life: Life) -> None:
    """The same, with the oldest pages removed."""
    _with_writer(life, page_records=4, keep_pages=2)


def _with_writer(life: Life, **options: Any) -> None:
    life.start_writer("writer", **options)
    life.stand_by(1)
    producer = life.fork("producer 1", lambda: life.produce(1))
    while (outcome := life.look(producer)) is None:
        life.see_to_writer()
        time.sleep(0.0005)
    if outcome == "frozen":
        life.stand_by(2)
        os.kill(producer, signal.SIGKILL if life.armed["producer 1"].nth % 2 else signal.SIGCONT)
        while life.look(producer) is None:
            life.see_to_writer()
            time.sleep(0.0005)
    life.stand_by()
    life.check(retired="keep_pages" in options)
    life.end()


def with_successor(life: Life) -> None:
    """A writer dies, and a producer in the middle of a record; the next comes with another capacity: it
    recovers, drains, abandons, closes the ring and makes its successor.
    """
    life.start_writer(page_records=9)
    life.stand_by(1)
    life.armed.setdefault("producer 1", Fault("producer 1", "filled", 8, "kill"))
    life.wait(life.fork("producer 1", lambda: life.produce(1)))
    os.kill(life.writer, signal.SIGKILL)
    life.wait(life.writer)
    life.stand_by(2)
    life.start_writer("writer", ring_bytes=4 * RING)
    assert life.bystander is not None
    fault, deadline = life.armed.get("writer"), time.monotonic() + WAIT
    while life.bystander._ready_ring().capacity != 4 * RING:
        life.stand_by(1)
        life.see_to_writer()
        if fault is not None and fault.fails() and fault.label in ("open", "posix_fallocate", "rename"):
            break  # there was no room for another capacity
        if time.monotonic() > deadline:
            raise Wrong("the ring is never replaced")
        time.sleep(0.002)
    life.check()
    life.end()


class Traced:
    """A producer that is stopped again and again: at every system call, or at every instruction."""

    INSTRUCTION, SYSCALL = 9, 24  # of ptrace's requests

    def __init__(self, life: Life, label: str | None) -> None:
        """It stands where it attaches, or at that fault point."""
        self._trace = ctypes.CDLL(None, use_errno=True).ptrace
        self._trace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

        def work() -> None:
            if self._trace(0, 0, None, None):  # PTRACE_TRACEME
                raise Wrong("this machine lets no process be traced")
            if label is None:
                os.kill(os.getpid(), signal.SIGSTOP)
            else:
                life.faults.arm(label, 1, fault_core.FREEZE)
            session = disklog_mp.attach(life.name, timeout=WAIT)
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


def with_traced(life: Life, label: str | None, request: int, count: int) -> bool:
    """A producer dies between two instructions, or two system calls, of attaching or leaving; False if it
    had done all it does before.
    """
    life.start_writer()
    life.stand_by(1)
    traced = Traced(life, label)
    alive = traced.step(request, count)
    if alive:
        traced.kill()
    life.stand_by(2)
    life.check()
    life.end()
    return alive


LIVES: dict[str, tuple[Callable[[Life], None], tuple[str, ...]]] = {
    "producers": (with_producers, ("producer 1",)),
    "writer": (with_writer, ("writer",)),
    "retention": (with_retention, ("writer",)),
    "successor": (with_successor, ("writer",)),
}


# -- the walk -----------------------------------------------------------------------------------------------


class Walk:
    """Tells lives, keeps count of what was met and what went wrong."""

    def __init__(self, faults: fault_core.Faults, name: str, path: Path) -> None:
        self.faults, self.name, self.path = faults, name, path
        self.lives = 0
        self.met: Counter[str] = Counter()
        self.missed: set[str] = set()
        self.wrong: list[str] = []

    def tell(self, story: str, *armed: Fault) -> bool:
        """Tell one life; True if all its faults were met, or could fail without a trace."""
        self.lives += 1
        name = f"{self.name}-{self.lives}"
        life = Life(self.faults, name, self.path / name, armed)
        try:
            LIVES[story][0](life)
        except Exception as error:
            what = str(error) if isinstance(error, Wrong) else traceback.format_exc()
            self.wrong.append(f"{story}, {' and '.join(map(str, armed))}: {what}")
            print(self.wrong[-1], file=sys.stderr)
        finally:
            life.close()
        for fault in life.met:
            self.met[fault.label] += 1
        return len(life.met) == len(armed)

    def labels(self, story: str) -> dict[str, int]:
        """What the armed role meets in that life when nothing happens, and how often."""
        role = LIVES[story][1][0]
        labels: Counter[str] = Counter()
        for _ in range(3):  # not all is met in every life
            self.lives += 1
            name = f"{self.name}-{self.lives}"
            life = Life(self.faults, name, self.path / name, ())
            fork = life.fork

            def recording(forked: str, work: Callable[[], None], fork: Any = fork) -> int:
                if forked != role:
                    return int(fork(forked, work))

                def recorded() -> None:
                    self.faults.record()
                    work()

                return int(fork(forked, recorded))

            life.fork = recording  # type: ignore[method-assign]
            try:
                LIVES[story][0](life)
            finally:
                life.close()
            labels |= Counter(self.faults.recorded())
        return dict(labels)

    def singles(self, story: str, every: bool) -> None:
        """Every label of a life, at its first time and its last but few, or at every time."""
        role = LIVES[story][1][0]
        for label, count in self.labels(story).items():
            times = range(1, count + 1) if every else sorted({1, count // 2 + 1})
            for nth in times:
                for action in ("kill", "freeze"):
                    for _ in range(3 if nth == 1 else 1):
                        if self.tell(story, Fault(role, label, nth, action)):
                            break
                    else:
                        self.missed.add(label)
                for action in FAILURES.get(label, ()) if role == "writer" else ():
                    self.tell(story, Fault(role, label, nth, action))

    def traced(self, every: bool) -> None:
        """All system calls from attaching to the end; the instructions of taking a slot and leaving it."""
        for count in itertools.count():
            if not self._tell_traced(None, Traced.SYSCALL, count):
                break
            self.met["system call"] += 1
        for label, most in (("slot locked", 300), ("detaching", 100)):
            for count in range(0, most, 1 if every else 3):
                self._tell_traced(label, Traced.INSTRUCTION, count)
                self.met["instruction"] += 1

    def _tell_traced(self, label: str | None, request: int, count: int) -> bool:
        self.lives += 1
        name = f"{self.name}-{self.lives}"
        life = Life(self.faults, name, self.path / name, ())
        try:
            return with_traced(life, label, request, count)
        except Exception as error:
            what = str(error) if isinstance(error, Wrong) else traceback.format_exc()
            self.wrong.append(f"traced, {label} + {count}: {what}")
            print(self.wrong[-1], file=sys.stderr)
            return count < 1000
        finally:
            life.close()

    def pairs(self, dice: random.Random, most: int) -> None:
        """Two at once: producer and producer, producer and writer."""
        producer, by = self.labels("producers"), self.labels("writer")
        two = [
            *(("producers", ("producer 1", a), ("producer 2", b)) for a in producer for b in producer),
            *(("writer", ("producer 1", a), ("writer", b)) for a in producer for b in by),
        ]
        for story, (first, a), (second, b) in dice.sample(two, min(most, len(two))):
            counts = {"producers": producer, "writer": by}[story]
            self.tell(
                story,
                Fault(first, a, dice.randint(1, producer[a]), dice.choice(["kill", "freeze"])),
                Fault(second, b, dice.randint(1, counts[b]), "kill"),
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "stories", nargs="*", default=[*LIVES, "traced", "pairs"], help=", ".join([*LIVES, "traced", "pairs"])
    )
    parser.add_argument("--core", type=Path, required=True, help="the test build of the core")
    parser.add_argument("--name", default=f"test-{os.getpid()}-faults")
    parser.add_argument("--path", type=Path, required=True, help="an empty directory")
    parser.add_argument("--every", action="store_true", help="every label at every time it is met")
    parser.add_argument("--pairs", type=int, default=150, help="how many pairs")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    walk = Walk(faults, given.name, given.path)
    began = time.monotonic()
    for story in given.stories:
        if story == "pairs":
            walk.pairs(random.Random(given.seed), given.pairs)
        elif story == "traced":
            walk.traced(given.every)
        else:
            walk.singles(story, given.every)
    told = {
        "lives": walk.lives,
        "seconds": round(time.monotonic() - began, 1),
        "met": dict(sorted(walk.met.items())),
        "missed": sorted(walk.missed - set(walk.met)),
        "wrong": walk.wrong,
    }
    print(json.dumps(told))
    sys.exit(1 if walk.wrong else 0)


if __name__ == "__main__":
    faults = fault_core.Faults(Path(sys.argv[sys.argv.index("--core") + 1]))
    import disklog_mp
    from disklog_mp import _core, _ring, writer
    from disklog_mp._options import Options
    from disklog_mp.cli import _books
    from disklog_mp.cli._page_check import DAMAGE
    from disklog_mp.cli._verification import verify

    # Nothing here is about how long it takes.
    _books.GRACE, writer.CHORES, writer.REAP, writer.BACK_OFF = 0.05, 0.005, 0.01, (0.005, 0.02)
    main()
