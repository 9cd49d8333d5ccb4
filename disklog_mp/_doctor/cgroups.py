"""Limits of the cgroups: the memory that the ring is charged to, and how many processes there may be."""

from __future__ import annotations

import os
from collections.abc import Iterator

from disklog_mp._doctor.findings import Finding, Told
from disklog_mp._doctor.subject import Subject
from disklog_mp._options import size_text
from disklog_mp._os import attributes as _attributes
from disklog_mp._ring import room as _room

NEARLY = 0.9  # of a limit
SPARE = 4  # processes and threads, for a writer
MORE_MEMORY = "docker run --memory, Kubernetes resources.limits.memory, systemd MemoryMax="
MORE_PROCESSES = "docker run --pids-limit, systemd TasksMax="
# Version 1 and 2: controller, file of the limit, of the use, of counts; what the kernel may take back of it.
MEMORY = (
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control", "total_inactive_file"),
    ("", "memory.max", "memory.current", "memory.events", "inactive_file"),
)


def look_at_cgroups(subject: Subject) -> Iterator[Told]:
    """Memory and process limits of the cgroups of this process and of the writer."""
    told = set()
    for pid, what in subject.processes().items():
        if pid not in (subject.writer, os.getpid()):
            continue
        for finding in (*_look_at_memory(subject, pid, what), *_look_at_pids(pid, what)):
            if finding.fix not in told:  # both are in one cgroup, mostly
                told.add(finding.fix)
                yield finding


def _look_at_memory(subject: Subject, pid: int, what: str) -> Iterator[Finding]:
    limit, file = _room.memory_limit(pid=pid)
    is_charged = _attributes.kind_of(subject.ring_dir) in _room.IN_MEMORY
    if is_charged and subject.ring_size >= limit:
        yield Finding(
            f"{what} may use {size_text(limit)} of memory: a ring takes {size_text(subject.ring_size)} of it",
            f"raise {file} ({MORE_MEMORY}), or give a smaller ring_bytes",
        )
        return
    for controller, *names in MEMORY:
        for place in _room.groups_of(pid, controller):
            most, used, kills = _memory_of(place, *names)
            if most < _machine() and used > NEARLY * most:
                killed = f"; the kernel has killed {kills:,} processes there for that" if kills else ""
                yield Finding(
                    f"the cgroup of {what} uses {size_text(used)} of {size_text(most)} of memory{killed}",
                    f"raise {os.path.join(place, names[0])} ({MORE_MEMORY})",
                )


def _memory_of(place: str, limit: str, use: str, counts: str, spare: str) -> tuple[int, int, int]:
    """The limit of a cgroup, what it uses and the kernel cannot take back, its processes killed for it."""
    most = _room.number_in(os.path.join(place, limit))
    used = _room.number_in(os.path.join(place, use))
    if 2**63 in (most, used):
        return 2**63, 0, 0
    return most, used - _count(place, "memory.stat", spare), _count(place, counts, "oom_kill")


def _machine() -> int:
    """The memory of the machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _count(place: str, file: str, key: str) -> int:
    """The number behind a word in one of a cgroup's files, 0 if it is not there."""
    try:
        with open(os.path.join(place, file), encoding="ascii") as opened:
            found = dict(line.split(maxsplit=1) for line in opened)
        return int(found.get(key, 0))
    except (OSError, ValueError):
        return 0


def _look_at_pids(pid: int, what: str) -> Iterator[Finding]:
    for place in (*_room.groups_of(pid, "pids"), *_room.groups_of(pid, "")):
        most, there = (_room.number_in(os.path.join(place, f"pids.{name}")) for name in ("max", "current"))
        if most < 2**63 and most - there < SPARE:
            yield Finding(
                f"the cgroup of {what} has {there:,} of {most:,} processes and threads: no writer can start",
                f"raise {place}/pids.max ({MORE_PROCESSES})",
            )
