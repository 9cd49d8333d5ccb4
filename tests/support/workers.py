"""What child processes of the tests do; importable, so that spawn and forkserver find it."""

import os
import resource
import signal
import time
from multiprocessing.synchronize import Barrier

import disklog_mp
from disklog_mp._options import Options
from disklog_mp._os import processes as _processes
from disklog_mp._ring import file as _ring
from disklog_mp._ring import slots as _slots
from disklog_mp._writer import pace as _pace
from disklog_mp._writer.signals import stop_on_signals
from disklog_mp._writer.terms import Terms
from disklog_mp._writer.writer import Writer
from support.layout import word_offset
from support.rings import ring_path
from support.sessions import ring_of


def log_numbers(name: str, worker: int, count: int) -> None:
    """Attach and log "worker sequence" that many times."""
    with disklog_mp.attach(name, timeout=30) as log:
        for sequence in range(count):
            log.log(b"%d %d" % (worker, sequence))


def log_with(session: disklog_mp.Session, worker: int, count: int) -> None:
    """Log with a session that was handed over."""
    for sequence in range(count):
        session.log(b"%d %d" % (worker, sequence))


def log_for_ever(name: str, worker: int, acknowledged: memoryview) -> None:
    """Log until killed, telling in shared memory how many records log() has returned for."""
    log = disklog_mp.attach(name, timeout=30)
    sequence = 0
    while True:
        log.log(b"%d %d" % (worker, sequence))
        acknowledged[worker] = sequence + 1
        sequence += 1


def claim_and(name: str, number: int, length: int = 3, label: bytes = b"") -> None:
    """Claim granules at the frontier as log() does, then get that signal before committing."""
    held = _ring.hold(ring_path(name))
    ring = held.ring
    slot = _slots.take_slot(held, _processes.identity(), time.time_ns(), label)
    position = ring.frontier(ring.released)
    tag = (position // ring.capacity + 1) % 2**28
    word = tag << 36 | 1 << 33 | slot << 20 | length
    ring.store64(word_offset(ring, position), word)
    os.kill(os.getpid(), number)
    time.sleep(600)


all_open: Barrier  # of the processes that open_and_log() together


def meet_at(barrier: Barrier) -> None:
    """Let this process wait there when it opens a log: where its pool begins it."""
    global all_open
    all_open = barrier


def open_and_log(name: str, path: str, worker: int, count: int) -> int:
    """Open the log (starting its writer if need be), log, flush; return the writer's pid.

    No process leaves before all have opened.  Else the writer may rightly end in between: on a machine with
    much to do, one process can be at its imports for longer than the writer lingers after all others.
    """
    with disklog_mp.open(name, path, linger=0.5, ring_bytes=1 << 20) as log:
        all_open.wait(60)
        for sequence in range(count):
            log.log(b"%d %d" % (worker, sequence))
        log.flush()
        return log.stats().writer_pid


def faults_of_logging(name: str, count: int, data: bytes) -> int:
    """Log so many; return how many page faults this process had meanwhile."""
    with disklog_mp.attach(name, timeout=30) as log:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(count):
            log.log(data)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def sync_together(name: str, times: int, start: Barrier) -> None:
    """Log and sync so often, each time when all others do."""
    with disklog_mp.attach(name, timeout=30) as log:
        for _ in range(times):
            position = log.log(b"to be kept")
            start.wait(60)
            log.sync(60)
            assert ring_of(log).durable > position


def log_five_and_wait(name: str, logged: Barrier, leave: Barrier) -> None:
    """Log five records, and stay attached until told to leave."""
    with disklog_mp.attach(name, timeout=30) as log:
        log.log_many([b"theirs"] * 3)
        log.log(b"theirs")
        log.log(b"theirs")
        logged.wait(60)
        leave.wait(60)


def write_log_asleep(name: str, path: str, options: Options, look: float = 0.05) -> None:
    """Be a writer that soon does its chores only when it is woken, by a bell or by what it watches."""
    _pace.NAPS, _pace.PARKS = 0, (_pace.Park(3, 3600.0, look), _pace.Park(0, 0.1, 0.1))
    write_log(name, path, options)


def write_log(name: str, path: str, options: Options, terms: Terms | None = None) -> None:
    """Be the writer of a log until SIGTERM.  One that never leaves is served: no session starts it again."""
    if terms is None and options.linger is None:
        terms = Terms(options._asdict(), "serve", is_served=True)
    with stop_on_signals() as stopping:
        Writer(name, path, options, terms=terms).run(stopping)


def die_after_logging(name: str, path: str, count: int) -> None:
    """Open the log, kill its writer, log into the ring, die."""
    log = disklog_mp.open(name, path, ring_bytes=1 << 20)
    log.log(b"0 0")
    log.flush()
    os.kill(log.stats().writer_pid, signal.SIGKILL)
    for sequence in range(1, count):
        log.log(b"0 %d" % sequence)
    os.kill(os.getpid(), signal.SIGKILL)
