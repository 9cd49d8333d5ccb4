"""One log's life among fault points: its processes, what is to happen to them, what they acknowledged, and
the books at the end.

Imported when fault_core has loaded the test build; fault_stories.py says who does what when.
"""

import contextlib
import itertools
import mmap
import os
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from support.rings import attach_ring, has_ring, remove_ring
from support.sessions import connection_of, ring_of

import disklog_mp
from deaths.faults import fault_core
from disklog_mp import _core
from disklog_mp._options import Options
from disklog_mp._ring import file as _ring
from disklog_mp._ring import names as _names
from disklog_mp._ring import slots as _slots
from disklog_mp._session.attachments import attachments
from disklog_mp._verify import books as _books
from disklog_mp._verify.log import verify
from disklog_mp._verify.pages import DAMAGE
from disklog_mp._writer import intervals
from disklog_mp._writer import pace as _pace
from disklog_mp._writer.signals import stop_on_signals
from disklog_mp._writer.terms import SERVED, Terms
from disklog_mp._writer.writer import Writer

RING = 4096
RECORDS = ((40,), (300,), (10,), (0, 30, 60), (700,), (300,), (5,), (700,), (200, 200), (300,), (40,), (700,))
ROUNDS = 2
WAIT = 60.0  # seconds for what takes milliseconds; see --wait.  Children wait longer: the story says it
FAILING = 3  # calls in a row that fail
REFUSED = 3  # the exit status of a writer that could not start

# Nothing here is about how long it takes.
_books.GRACE, intervals.HOUSEKEEPING, intervals.PRODUCERS_CHECK = 0.05, 0.005, 0.01
_pace.PARKS = (_pace.Park(_pace.NAPS, 0.01, 0.002),)  # a look, or no test would live to see it
intervals.BACK_OFF, intervals.RETRY = (0.005, 0.02), 0.02


class Fault(NamedTuple):
    """What is to happen to one process."""

    role: str
    label: str
    nth: int
    action: str
    after: bool = False  # counted from when the other fault has acted

    def fails(self) -> bool:
        return self.action not in ("kill", "freeze")

    def __str__(self) -> str:
        then = " then" if self.after else ""
        return f"{self.role}:{then} {self.action} at {self.label} #{self.nth}"


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
        self.inspection = intervals.INSPECTION
        self.barrier = True  # the writer runs one for all before it sleeps, where the kernel has it
        self.mark: Callable[[str], None] = lambda where: None  # told where the story has come to
        faults.forget()

    # -- processes ---------------------------------------------------------------------------------------

    def fork(self, role: str, work: Callable[[], None]) -> int:
        """Run work in a child that ends with it; armed if there is a fault for that role."""
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self.pids[pid] = role
            return pid
        fault_core.die_with(parent)
        status = 1
        try:
            fault = self.armed.get(role)
            if fault is not None:
                times = FAILING if fault.fails() else 1
                action = fault_core.errno_of(fault.action)
                self.faults.arm(fault.label, fault.nth, action, times, after=fault.after)
            work()
            status = 0
        except BaseException:
            text = f"{role}: {traceback.format_exc()[-3000:]}".encode()
            self.trouble[: len(text)] = text
        os._exit(status)

    def wait(self, pid: int) -> str:
        """Wait for a child: "ended", "killed", "frozen"."""
        outcome = self.until(lambda: self.look(pid), f"{self.pids[pid]} hangs", see_to_writer=False)
        return str(outcome)

    def until(self, condition: Callable[[], Any], wrong: str, *, see_to_writer: bool = True) -> Any:
        """Return the condition's value when it is true; meanwhile, see to a writer that met its fault."""
        deadline = time.monotonic() + WAIT
        while not (value := condition()):
            if see_to_writer:
                self.see_to_writer()
            if time.monotonic() > deadline:
                raise Wrong(wrong)
            time.sleep(0.0005)
        return value

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

    def end_of(self, pid: int, outcome: str) -> None:
        """Have one that is frozen go on, or kill it, by turns; wait for its end."""
        if outcome == "frozen":
            os.kill(pid, signal.SIGKILL if self.armed[self.pids[pid]].nth % 2 else signal.SIGCONT)
            self.until(lambda: self.look(pid), f"{self.pids[pid]} hangs")

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
        self.until(self._writer_is_ready, "the writer does not come")

    def _writer_is_ready(self) -> bool:
        with contextlib.suppress(disklog_mp.LogNotFoundError, disklog_mp.FormatVersionError):
            file = attach_ring(self.name)
            ready = file.ring.writer_pid == self.writer
            os.close(file.fd)
            return ready
        return False

    def see_to_writer(self) -> bool:
        """Let the writer go on if it is frozen (or kill it, by turns), have another follow if it is dead;
        True if it was either.
        """
        if self.writer not in self.pids:
            return False
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
        intervals.INSPECTION = self.inspection
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # end() may send a second one when it is over
        with stop_on_signals() as stopping:
            if not self.barrier:
                _core.has_barrier = lambda: False  # type: ignore[assignment]
            options = Options(**{"linger": None, "ring_bytes": RING, "sync": "never", **self.options})
            try:
                # As a server's, its options apply though the bystander is attached.
                terms = Terms(options._asdict(), SERVED, is_served=True)
                work = Writer(self.name, self.path, options, terms=terms)
            except OSError:
                os._exit(REFUSED)
            work.run(stopping)

    def insist(self, call: Callable[[], Any]) -> Any:
        """Call until it does not fail; its fault does so some times, and then no more."""
        for _ in range(2 * FAILING):
            with contextlib.suppress(OSError):
                return call()
        return call()

    def produce(self, who: int) -> None:
        """Attach, log, leave."""
        with _no_descriptor_left():
            session = self.insist(lambda: disklog_mp.attach(self.name, timeout=2 * WAIT, label="pod"))
            self.log_all(session, who)
            self.insist(session.close)

    def open_and_produce(self, who: int) -> None:
        """Open the log that has a writer; lose the descriptor, as daemons do, then the ring."""
        with _no_descriptor_left():
            session = self.insist(lambda: disklog_mp.open(self.name, self.path, timeout=2 * WAIT))
            self.log_all(session, who)
            os.close(connection_of(session).attachment.file.fd)
            self.insist(session.flush)
            self.insist(lambda: remove_ring(self.name))
            self.insist(lambda: self._log_until_replaced(session, who))
            self.insist(session.flush)
            self.insist(session.close)

    def log_all(self, session: disklog_mp.Session, who: int) -> None:
        for lengths in steps():
            sequence = self.acknowledged[who]
            records = [payload(who, sequence + i, length) for i, length in enumerate(lengths)]
            if len(records) == 1:
                self.insist(lambda: session.log(records[0]))  # noqa: B023
            else:
                self.insist(lambda: session.log_many(records))  # noqa: B023
            self.acknowledged[who] = sequence + len(records)

    def _log_until_replaced(self, session: disklog_mp.Session, who: int) -> None:
        ring = ring_of(session)
        while ring_of(session) is ring:
            session.log(payload(who, self.acknowledged[who], 10))
            self.acknowledged[who] += 1
            time.sleep(0.002)

    def log_to_sleepers(self, who: int) -> None:
        """Attach, and log only when the writer is asleep."""
        session = disklog_mp.attach(self.name, timeout=2 * WAIT)
        for _ in range(8):
            deadline = time.monotonic() + WAIT
            while not ring_of(session).parked and time.monotonic() < deadline:
                time.sleep(0.0002)
            session.log(payload(who, self.acknowledged[who], 10))
            self.acknowledged[who] += 1
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
                self.log_once()
            except (disklog_mp.RingFullError, disklog_mp.LogNotFoundError):
                if not self.see_to_writer() and time.monotonic() > deadline:
                    raise
            else:
                count -= 1

    def log_once(self) -> None:
        """The bystander logs, and must not be hindered."""
        assert self.bystander is not None
        self.bystander.log(payload(0, self.by, 10))
        self.by += 1
        self.acknowledged[0] = self.by

    @property
    def ring(self) -> _core.Ring:
        """As the bystander sees it."""
        assert self.bystander is not None
        return ring_of(self.bystander)

    def leave(self) -> None:
        """The bystander leaves for a while."""
        assert self.bystander is not None
        self.bystander.close()
        self.bystander = None
        self.until(self._is_unused, "its slot is never freed")

    def _is_unused(self) -> bool:
        file = attach_ring(self.name)
        used = file.ring.slots(_core.SLOT_ATTACHED) or file.ring.slots(_core.SLOT_DETACHED)
        os.close(file.fd)
        return not used

    # -- the end -----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Wait for the writer, whatever becomes of it."""
        assert self.bystander is not None
        deadline = time.monotonic() + WAIT
        while True:
            try:
                return self.bystander.flush(0.2)
            except disklog_mp.DiskLogError:  # it may only be slow
                if not self.see_to_writer() and time.monotonic() > deadline:
                    raise

    def check(self, *, retired: bool = False) -> None:
        """All that was acknowledged is there once and in order, nobody holds a slot, the books balance."""
        while True:
            try:
                return self._check(retired)
            except (Wrong, disklog_mp.DiskLogError):
                if not self._writer_met_its_fault():
                    raise

    def _writer_met_its_fault(self) -> bool:
        """Whether it did in the middle; the kernel may still be at taking it down."""
        deadline = time.monotonic() + 1
        while not self.see_to_writer():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def _check(self, retired: bool) -> None:
        self.flush()
        assert self.bystander is not None
        deadline = time.monotonic() + WAIT
        while True:
            attachment = connection_of(self.bystander).whole_attachment()
            ring = attachment.file.ring
            if not _ring.is_current(attachment.file):
                self.stand_by(1)  # the ring was replaced, which it has not met yet
            elif ring.slots(_core.SLOT_ATTACHED) == [attachment.slot] and not ring.slots(_core.SLOT_DETACHED):
                break
            if time.monotonic() > deadline:
                raise Wrong(f"slots that nobody frees: {_slots.read_slots(ring, _core.SLOT_ATTACHED)}")
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
        left = [entry for entry in os.listdir(_names.SHM) if self.name in entry]
        if left:
            raise Wrong(f"left in shared memory: {left}")

    def close(self) -> None:
        self.kill_all()
        if self.bystander is not None:
            self.bystander.close()
        if has_ring(self.name):
            remove_ring(self.name)
        for entry in os.listdir(_names.SHM):
            if self.name in entry:
                os.unlink(os.path.join(_names.SHM, entry))
        shutil.rmtree(self.path, ignore_errors=True)


@contextlib.contextmanager
def _no_descriptor_left() -> Iterator[None]:
    """A process that met failures keeps nothing open for them, and attaches without its parent's."""
    attachments.after_fork_in_child()
    before = len(os.listdir("/proc/self/fd"))
    yield
    left = len(os.listdir("/proc/self/fd")) - before
    if left:
        raise Wrong(f"{left} descriptors are left open")


def _refuse(damage: object) -> None:
    raise Wrong(f"damage: {damage}")
