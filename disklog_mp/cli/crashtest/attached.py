"""The shape most programs have: a parent opens the log and waits, its workers attach by name, the writer is
killed again and again.  No supervisor is there: the sessions that are attached start the next writer.

How long the longest call of a worker took around each kill is what a restart costs: noticing the death,
starting a process, recounting the last page.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import struct
import time
from typing import NamedTuple

import disklog_mp
from disklog_mp._ring import file as _ring
from disklog_mp._ring import finding as _finding
from disklog_mp._ring import liveness as _liveness
from disklog_mp.cli.crashtest.children import Forked
from disklog_mp.cli.crashtest.notes import ACCEPTED, BLOB, READY, STOP, Notes, Order, RunDelay, go_apart
from disklog_mp.errors import DiskLogError

WORKERS = 4
BETWEEN = 0.25  # seconds from a writer that is ready to its end
BATCH = 500  # calls between two looks at the notes
SLOW = 10_000_000  # ns: calls that took less are not noted
LONGEST = 1_000_000_000  # ns that a call may take
PATIENCE = 30.0  # seconds for a writer, and for the processes to end
STAMP = struct.Struct("<IQ")  # worker, sequence
OPTIONS = {"page_bytes": "64M", "keep_bytes": "256M", "linger": 0.2}


class Restarts(NamedTuple):
    """What killing the writer came to.  Times are in ns."""

    records: int = 0  # accepted
    calls: tuple[int, ...] = ()  # the longest call around each kill, sorted
    findings: tuple[str, ...] = ()

    def percentile(self, share: float) -> int:
        """Return the time that this share of the kills did not exceed."""
        return self.calls[min(int(len(self.calls) * share), len(self.calls) - 1)] if self.calls else 0


# -- the parent and its workers --------------------------------------------------------------------------


def open_and_wait(order: Order) -> None:
    """Open the log, start the workers, wait for them; then everything must be readable."""
    go_apart(order)
    with disklog_mp.open(order.name, order.log, **OPTIONS) as log:  # type: ignore[arg-type]
        context = multiprocessing.get_context("fork")
        workers = [
            context.Process(target=log_at_full_speed, args=(order._replace(line=line),))
            for line in range(1, WORKERS + 1)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        log.flush()
        codes = [worker.exitcode for worker in workers]
        told = {"records": log.stats().records, "codes": codes}
    with open(order.balance, "w", encoding="utf-8") as file:
        json.dump(told, file)


def log_at_full_speed(order: Order) -> None:
    """Attach by name and log until told to stop; note the calls that took long."""
    go_apart(order)
    notes, delay = Notes(order.notes), RunDelay()
    clock, stamp, filler = time.monotonic_ns, STAMP.pack, BLOB[: order.length]
    slow: list[tuple[int, int]] = []  # when a call began, how long it took but for a lack of cores
    sequence = 0
    with disklog_mp.attach(order.name, timeout=PATIENCE) as log:
        notes.set(order.line, READY, 1)
        while not notes.get(0, STOP) and not order.is_abandoned():
            delay.grown()
            for _ in range(BATCH):
                data = stamp(order.line, sequence) + filler
                began = clock()
                log.log(data)
                took = clock() - began
                sequence += 1
                if took > SLOW:
                    slow.append((began, took - min(took, delay.grown())))
        notes.set(order.line, ACCEPTED, sequence)
    with open(_slow_calls(order), "w", encoding="utf-8") as file:
        json.dump(slow, file)


def _slow_calls(order: Order) -> str:
    return os.path.join(order.place, f"slow-{order.line}")


# -- the test --------------------------------------------------------------------------------------------


def run(order: Order, seconds: float) -> Restarts:
    """Let the parent and its workers run for so long, and kill the writer whenever it is ready."""
    place = os.path.join(order.place, "attached")
    order = order._replace(name=f"{order.name}-attached", place=place)
    os.mkdir(place)
    notes = Notes(order.notes, WORKERS + 1)
    parent = Forked("fork", open_and_wait, order)
    findings: list[str] = []
    kills: list[tuple[int, int]] = []
    try:
        kills = _kill_writers(order, notes, seconds, findings)
    finally:
        notes.set(0, STOP, 1)
        deadline = time.monotonic() + PATIENCE
        while parent.ended() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        parent.signal(signal.SIGKILL)
        _wait_for_the_end(order.name)
    if parent.ended():
        findings.append(f"the parent of the attached workers ended with exit code {parent.ended()}")
    return _sum_up(order, notes, kills, findings)


def _kill_writers(order: Order, notes: Notes, seconds: float, findings: list[str]) -> list[tuple[int, int]]:
    """Return when each writer was killed, and how long the next one lacked a core until it was ready."""
    deadline = time.monotonic() + PATIENCE
    while not all(notes.get(line, READY) for line in range(1, WORKERS + 1)):
        if time.monotonic() > deadline:
            findings.append("the attached workers did not start")
            return []
        time.sleep(0.01)
    kills: list[tuple[int, int]] = []
    file = _finding.find(order.name)
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(BETWEEN)
            killed_at, pid = time.monotonic_ns(), file.ring.writer_pid
            _kill(file)
            if not _has_writer(file, pid):
                findings.append(f"no session replaced the writer that was killed, process {pid}")
                return kills
            kills.append((killed_at, _lacked(file.ring.writer_pid)))
    finally:
        os.close(file.fd)
    return kills


def _lacked(pid: int) -> int:
    """Return for how many ns a process has been ready to run without a core since its start."""
    delay = RunDelay(pid)
    try:
        return delay.grown()
    finally:
        delay.close()


def _kill(file: _ring.RingFile) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(file.ring.writer_pid, signal.SIGKILL)


def _has_writer(file: _ring.RingFile, former: int) -> bool:
    """Wait until another process is the ring's writer."""
    deadline = time.monotonic() + PATIENCE
    while file.ring.writer_pid == former or not _liveness.writer_alive(file):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def _wait_for_the_end(name: str) -> None:
    """Wait until the last writer has lingered and removed the ring."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            os.close(_finding.find(name).fd)
        except DiskLogError:
            return
        time.sleep(0.02)


def _sum_up(order: Order, notes: Notes, kills: list[tuple[int, int]], findings: list[str]) -> Restarts:
    accepted = sum(notes.get(line, ACCEPTED) for line in range(1, WORKERS + 1))
    slow: list[tuple[int, int]] = []
    try:
        with open(order.balance, encoding="utf-8") as file:
            told = json.load(file)
        for line in range(1, WORKERS + 1):
            with open(_slow_calls(order._replace(line=line)), encoding="utf-8") as file:
                slow += json.load(file)
    except FileNotFoundError:
        findings.append("the parent of the attached workers, or a worker, did not reach its end")
        return Restarts(accepted, (), tuple(findings))
    if any(told["codes"]):
        findings.append(f"the attached workers ended with exit codes {told['codes']}")
    if told["records"] != accepted:
        findings.append(f"the log holds {told['records']:,} records, attached workers logged {accepted:,}")
    findings += _check_order(order)
    calls = _longest_calls(kills, slow)
    if calls and calls[-1] > LONGEST:
        findings.append(f"a call took {calls[-1] / 1e6:.0f} ms while the writer was replaced")
    return Restarts(accepted, calls, tuple(findings))


def _longest_calls(kills: list[tuple[int, int]], slow: list[tuple[int, int]]) -> tuple[int, ...]:
    """Return the longest call after each kill, without the time in which the new writer lacked a core."""
    longest = []
    ends = [moment for moment, _ in kills[1:]] + [1 << 63]
    for (moment, lacked), end in zip(kills, ends, strict=True):
        took = [took for began, took in slow if began < end and began + took > moment]
        longest.append(max(0, max(took, default=0) - lacked))
    return tuple(sorted(longest))


def _check_order(order: Order) -> list[str]:
    """Return what is wrong with the records that are kept: each worker's follow one another."""
    following: dict[int, int] = {}
    for record in disklog_mp.Reader(order.log, on_damage=lambda damage: None):
        worker, sequence = STAMP.unpack_from(record.view)
        if sequence != following.get(worker, sequence):
            return [f"attached worker {worker}: sequence {sequence} where {following[worker]} was next"]
        following[worker] = sequence + 1
    return []
