"""What is used of the kernel, each tried once: an old kernel or a seccomp profile may refuse it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from disklog_mp import _core
from disklog_mp._doctor.findings import Finding, Told
from disklog_mp._doctor.subject import Subject
from disklog_mp._os import locks as _locks

PROFILE = "allow it in the seccomp profile (Docker 20.10 and later does; systemd SystemCallFilter=)"


def look_at_kernel(subject: Subject) -> Iterator[Told]:
    """System calls that a log uses."""
    for call, since, attempt, effect in CALLS:
        try:
            is_there = attempt()
        except OSError:
            is_there = False
        if not is_there:
            release = os.uname().release
            text = f"the kernel ({release}) refuses {call} to this process: {effect}"
            yield Finding(text, f"{PROFILE}, or a kernel from Linux {since} on")


def _opens_pidfds() -> bool:
    os.close(os.pidfd_open(os.getpid()))
    return True


def _locks_bytes() -> bool:
    fd = os.memfd_create("disklog-doctor")
    try:
        return _locks.lock_byte(fd, 0)
    finally:
        os.close(fd)


# Each row: a system call, the first Linux that has it, a try of it, the loss without it.
CALLS: tuple[tuple[str, str, Callable[[], bool], str], ...] = (
    (
        "open-file-description locks",
        "3.15",
        _locks_bytes,
        "no log can be opened, because nothing says which process is alive",
    ),
    (
        "pidfd_open()",
        "5.3",
        _opens_pidfds,
        "the death of a producer is seen seconds later, its signal is not known, kill_stalled= has no effect",
    ),
    (
        "membarrier()",
        "4.16",
        _core.has_barrier,
        "each record costs a full memory fence, some 10 ns",
    ),
)
