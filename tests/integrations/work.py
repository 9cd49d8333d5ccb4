"""What the workers of every server and pool do in these tests: log numbered lines, note what was accepted.

A lane is one thread of one process.  Its file, named after it, holds how many of its lines were accepted, how
long the first log call took, and the longest of the others: written when the call has returned, with one
pwrite, so that no death can take it back.
"""

import logging
import os
import struct
import threading
import time
from collections.abc import Callable

DIRECTORY = "INTEGRATION_LANES"  # the environment variable that says where the lanes' files are
NOTE = struct.Struct("<QQQ")  # lines, ns of the first call, of the longest other one


class _Lane:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self.name = f"{self.pid}-{threading.get_native_id()}-{os.urandom(4).hex()}"
        self.number = self.first = self.longest = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.fd = os.open(os.path.join(os.environ[DIRECTORY], self.name), flags, 0o666)


_local = threading.local()


def work(log: Callable[[str], object]) -> str:
    """Log one line; return its lane and number."""
    lane: _Lane | None = getattr(_local, "lane", None)
    if lane is None or lane.pid != os.getpid():
        lane = _local.lane = _Lane()
    number = lane.number
    lane.number += 1
    began = time.perf_counter_ns()
    log(f"work {lane.name} {number}")
    taken = time.perf_counter_ns() - began
    if number == 0:
        lane.first = taken  # the handler attaches, and starts the writer if there is none
    else:
        lane.longest = max(lane.longest, taken)
    os.pwrite(lane.fd, NOTE.pack(number + 1, lane.first, lane.longest), 0)
    return f"{lane.name} {number}"


def task(seconds: float, log: Callable[[str], object] | None = None) -> int:
    """Log lines for so long, with logging if not told otherwise: a pool's task."""
    log = log or logging.getLogger("shop").info
    deadline = time.monotonic() + seconds
    done = 0
    while time.monotonic() < deadline:
        work(log)
        done += 1
        if done % 8 == 0:
            time.sleep(0.001)  # the records are read again and again: no more than it takes
    return done
