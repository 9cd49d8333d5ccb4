"""Writers that are children of this process all the same, and are collected when they have ended.

A writer is started as no child of this process (see csrc/os/spawn.c): the kernel gives it to process 1 of
the pid namespace, or to a subreaper.  In a container that may be this process.  A writer that it does not
wait for stays a zombie.  No other process is waited for here.
"""

from __future__ import annotations

import os

from disklog_mp._os.processes import parent_of

_children: list[int] = []  # pids of writers


def note(pid: int) -> None:
    """Note a writer that was started, if the kernel made it a child of this process."""
    if parent_of(pid) == os.getpid():
        _children.append(pid)


def collect() -> None:
    """Collect the writers that have ended.  Does not wait."""
    for pid in list(_children):
        try:
            ended = os.waitpid(pid, os.WNOHANG)[0]
        except OSError:  # the program has collected it, or this is a forked child
            ended = pid
        if ended and pid in _children:
            _children.remove(pid)
