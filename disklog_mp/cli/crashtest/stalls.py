"""How long the calls of a crash test's workers stall, seen from outside."""

from __future__ import annotations

from collections.abc import Iterable

from disklog_mp import _core
from disklog_mp._ring import claims as _claims
from disklog_mp._ring import file as _ring
from disklog_mp.cli.crashtest.notes import BEGAN, STALL, Notes, RunDelay

TICK = 0.005  # seconds between two checks


class Watched:
    """A process that is watched: how long its call under way stalls, and how long it had no core."""

    def __init__(self, pid: int, line: int) -> None:
        self.pid = pid
        self.line = line
        self.lacked = 0  # ns without a core since the last check
        self._delay = RunDelay(pid)
        self._delay.grown()
        self._began = 0
        self._stood = 0
        self.told = False

    def look(self) -> None:
        """Update how long it had no core since the last check."""
        self.lacked = self._delay.grown()

    def stand(self, began: int, passed: int, *, excused: bool) -> int:
        """Add to the stall of its call under way, and return the sum in ns."""
        if excused or not began or began != self._began:
            self._stood, self.told = 0, False
        else:
            self._stood += passed
        self._began = began
        return self._stood

    def close(self) -> None:
        """Stop watching it."""
        self._delay.close()


class Watch:
    """Checks the calls under way, every few milliseconds.

    A call stalls while it does not return although it could.  It could not while the ring is full and being
    emptied, while there is no writer, or while the crash test has stopped a process.  Neither is time counted
    in which its own process, the writer, or the live worker whose record is written next had no core, nor
    time in which the writer waits for its disk.  Time is that between checks: if the machine did not even run
    those, nothing is counted.
    """

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._released = -1
        self._before = 0.0
        self.longest = 0  # ns
        self.stalls: list[str] = []

    def look(
        self,
        now: float,
        file: _ring.RingFile,
        writer: Watched | None,
        workers: Iterable[Watched],
        *,
        frozen: bool,
    ) -> None:
        """Check the ring and all calls; `writer` is None while no writer is ready."""
        ring = file.ring
        passed = int(min(now - self._before, 2 * TICK) * 1e9)
        self._before = now
        released = ring.released
        moved, self._released = released != self._released, released
        used = ring.frontier(released) - released
        # A record and the padding before it take up to half the ring.
        backpressure = moved and used > ring.capacity // 2
        excused = writer is None or frozen or backpressure
        by_pid = {worker.pid: worker for worker in workers}
        for watched in [*by_pid.values(), *([writer] if writer else ())]:
            watched.look()
        common = 0
        if writer is not None:
            common = passed if _waits_for_disk(writer.pid) else writer.lacked
        holder = by_pid.get(_holder(file, released))
        for worker in by_pid.values():
            lacked = common + worker.lacked
            if holder is not None and holder is not worker:
                lacked += holder.lacked
            began = self._notes.get(worker.line, BEGAN)
            stood = worker.stand(began, max(0, passed - lacked), excused=excused)
            self.longest = max(self.longest, stood)
            if stood > STALL and not worker.told:
                worker.told = True
                self.stalls.append(
                    f"at {now:.3f} a call of process {worker.pid} (worker {worker.line}), begun at "
                    f"{began / 1e9:.3f}, has stalled for {stood / 1e6:.0f} ms: {used} of {ring.capacity} "
                    f"bytes of the ring in use after position {released}"
                )


def _holder(file: _ring.RingFile, position: int) -> int:
    """The process whose incomplete record is the next to be written; 0 if there is none."""
    for claim in _claims.walk(file.ring, position):
        if claim.state == _core.CLAIMED:
            return file.ring.slot(claim.owner).pid
        break
    return 0


def _waits_for_disk(pid: int) -> bool:
    """True if the process sleeps uninterruptibly."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"D"
    except OSError:
        return False
