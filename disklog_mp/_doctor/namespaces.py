"""Pid namespaces: process 1 of a container, an init that does not reap, processes of other containers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from disklog_mp._doctor.findings import Finding, Told, Unseen
from disklog_mp._doctor.subject import Subject
from disklog_mp._os import processes as _processes
from disklog_mp._ring.names import SHM
from disklog_mp._verify.words import plural

AN_INIT = "`docker run --init`, compose `init: true`, or tini as the entry point"
REAPED_WITHIN = 2.0  # seconds; an init that reaps does it in milliseconds, some look once a second


def look_at_namespaces(subject: Subject) -> Iterator[Told]:
    """Process 1 of this pid namespace, and attached processes of others."""
    if os.getpid() == 1:
        text = (
            "this process is process 1 of its pid namespace: when it ends the kernel kills all others, the "
            "writer as well, and it has to wait for every orphan"
        )
        yield Finding(text, f"{AN_INIT}, so that the program is not process 1")
    elif not _processes.shows_our_pids():
        yield Unseen("/proc shows another pid namespace: processes cannot be seen")
    else:
        yield from _look_at_init()
    yield from _look_at_producers(subject)


def _look_at_init() -> Iterator[Told]:
    zombies = zombies_of_init()
    if not zombies:
        return
    deadline = time.monotonic() + REAPED_WITHIN
    while zombies and time.monotonic() < deadline:
        time.sleep(0.02)
        zombies &= zombies_of_init()
    if zombies:
        init = _processes.name_of(1) or "?"
        text = (
            f"process 1 ({init}) does not wait for its children: {plural(len(zombies), 'zombie')}, each "
            "with a pid of its own"
        )
        yield Finding(text, AN_INIT)


def zombies_of_init() -> set[int]:
    """Return the children of process 1 that it has not waited for."""
    found = set()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        pid = int(entry)
        if _processes.is_zombie(pid) and _processes.parent_of(pid) == 1:
            found.add(pid)
    return found


def _look_at_producers(subject: Subject) -> Iterator[Told]:
    first = [slot for slot in subject.producers if slot.pid == 1]
    if first and subject.ring_dir == SHM:
        text = "a container's process 1 is attached: its /dev/shm, and the ring in it, end with the container"
        yield Finding(
            text, "ring_dir= on a volume keeps the ring; or `docker run --ipc=host` for all of them"
        )
    if subject.options.kill_stalled is None or subject.file is None:
        return
    writers = subject.file.ring.writer_namespace
    others = [slot for slot in subject.producers if slot.namespace != writers]
    if others:
        text = (
            f"kill_stalled= has no effect on {plural(len(others), 'attached process')} of other pid "
            "namespaces than the writer's"
        )
        fix = (
            "share the pid namespace: docker run --pid=container:NAME, Kubernetes shareProcessNamespace: true"
        )
        yield Finding(text, fix)
