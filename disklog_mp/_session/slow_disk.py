"""A slow disk is no error for a wait without a timeout; a dead end is.

Positions of the ring stand still while the writer waits for its disk: a single fdatasync can take longer than
a session's timeout.  Two facts show that the writer is at work all the same:

1. All that is waited for is written, and the writer's heartbeat is young.  So its main thread gets round,
   and what is missing is the sync in its other thread.
2. The kernel says that a thread of the writer waits uninterruptibly, as it does for a disk.  That is seen in
   this process's own pid namespace alone.

A disk that hangs shows the same, so neither counts for longer than LONGEST.
"""

from __future__ import annotations

import os
import time
from typing import Literal

from disklog_mp import _core
from disklog_mp._os import processes as _processes

LONGEST = 60.0  # seconds in which the log does not move on
YOUNG = 2.0  # seconds: a writer renews its heartbeat ten times a second while a sync is to come


def waits_for_disk(ring: _core.Ring, goal: Literal["written", "durable"], position: int) -> bool:
    """True if the writer of the ring, which lives, seems to wait for its disk."""
    if goal == "durable" and ring.written >= position and _is_awake(ring):
        return True
    own = os.stat("/proc/self/ns/pid").st_ino
    return ring.writer_namespace == own and _processes.waits_for_disk(ring.writer_pid)


def _is_awake(ring: _core.Ring) -> bool:
    return abs(time.time_ns() - ring.heartbeat) < YOUNG * 1e9
