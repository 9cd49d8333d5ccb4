"""The limits of processes (ulimit): of this one, of the writer, and of those that are attached."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterator

from disklog_mp._doctor.findings import Finding, Told, Unseen
from disklog_mp._doctor.subject import Subject
from disklog_mp._options import size_text
from disklog_mp._pages.format import HEADER_LENGTH
from disklog_mp._ring.liveness import SPARE_DESCRIPTORS
from disklog_mp._verify.words import plural

FEW = 8  # descriptors that a process needs to attach once more
SPARE = 4  # processes and threads that a writer takes


def look_at_limits(subject: Subject) -> Iterator[Told]:
    """Limits on files, descriptors, locked memory, addresses and processes."""
    unseen = []
    for pid, what in subject.processes().items():
        is_writer = pid == subject.writer
        try:
            if is_writer or pid == os.getpid():
                yield from _look_at_file_size(subject, pid, what)
            yield from _look_at_memory(subject, pid, what)
            yield from _look_at_descriptors(subject, pid, what, is_writer=is_writer)
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            unseen.append(pid)
    if unseen:
        pids = ", ".join(map(str, unseen))
        yield Unseen(f"the descriptors of {plural(len(unseen), 'process')} of another user, or gone: {pids}")
    yield from _look_at_processes()


def _look_at_file_size(subject: Subject, pid: int, what: str) -> Iterator[Finding]:
    """A writer raises its limit as far as it may, so the hard limit counts."""
    limit = _limit_of(pid, "Max file size")[1]
    page, ring = subject.options.page_bytes + HEADER_LENGTH, subject.ring_size
    for size, thing, option in ((page, "a page", "page_bytes"), (ring, "a ring", "ring_bytes")):
        if limit < size:
            yield Finding(
                f"{what} may make files of {size_text(limit)} (`ulimit -Hf`): {thing} has {size_text(size)}",
                f"raise it (`ulimit -f unlimited` as root, LimitFSIZE=infinity), or {_set(subject)}"
                f"{option}={size_text(int(limit) // 2).replace(' ', '')}",
            )


def _set(subject: Subject) -> str:
    return f"disklog-mp set {shlex.quote(subject.path)} " if subject.is_log else ""


def _look_at_descriptors(subject: Subject, pid: int, what: str, *, is_writer: bool) -> Iterator[Finding]:
    soft, hard = _limit_of(pid, "Max open files")
    raising = "raise `ulimit -n`, LimitNOFILE= in the unit, docker run --ulimit nofile="
    there = len(os.listdir(f"/proc/{pid}/fd"))
    if there > soft - FEW:
        yield Finding(
            f"{what} has {there:,} of {soft:,.0f} descriptors open (`ulimit -n`): it could not attach again",
            f"close what it does not need (`ls -l /proc/{pid}/fd`), or {raising}",
        )
    most = (soft if is_writer else hard) - SPARE_DESCRIPTORS
    if (is_writer or pid == os.getpid()) and most < max(1, len(subject.producers)):
        yield Finding(
            f"{what} may have {most + SPARE_DESCRIPTORS:,.0f} descriptors (`ulimit -Hn`): too few for a "
            f"writer to watch {plural(max(1, len(subject.producers)), 'process')}",
            f"{raising}, to {SPARE_DESCRIPTORS + max(64, 2 * len(subject.producers)):,} or more",
        )


def _look_at_memory(subject: Subject, pid: int, what: str) -> Iterator[Finding]:
    addresses = _limit_of(pid, "Max address space")[0]
    sizes = _sizes_of(pid)
    if addresses - sizes.get("VmSize", 0) < subject.ring_size:
        yield Finding(
            f"{what} has {size_text(sizes.get('VmSize', 0))} of {size_text(addresses)} of addresses (`ulimit "
            f"-v`): a ring of {size_text(subject.ring_size)} cannot be mapped",
            "`ulimit -v unlimited`, LimitAS=infinity in the unit, or a smaller ring_bytes",
        )
    locked, may_lock = sizes.get("VmLck", 0), _limit_of(pid, "Max locked memory")[0]
    if locked and may_lock - locked < subject.ring_size and _uid_of(pid) != 0:
        yield Finding(
            f"{what} locks its memory (mlockall), {size_text(locked)} of {size_text(may_lock)} (`ulimit -l`)"
            f": a ring of {size_text(subject.ring_size)} cannot be mapped and locked",
            "`ulimit -l unlimited`, LimitMEMLOCK=infinity in the unit, or a smaller ring_bytes",
        )


def _sizes_of(pid: int) -> dict[str, int]:
    """The sizes in /proc/<pid>/status, in bytes."""
    sizes = {}
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        for line in file:
            name, _, value = line.partition(":")
            if value.endswith("kB\n"):
                sizes[name] = int(value.split()[0]) << 10
    return sizes


def _limit_of(pid: int, name: str) -> tuple[float, float]:
    """The soft and the hard limit of that name, infinite for none; every process shows its own."""
    with open(f"/proc/{pid}/limits", encoding="ascii") as file:
        for line in file:
            if line.startswith(name):
                soft, hard = (
                    math.inf if word == "unlimited" else int(word) for word in line[26:].split()[:2]
                )
                return soft, hard
    return math.inf, math.inf


def _uid_of(pid: int | str) -> int:
    """The effective user id of a process; the owner of its directory in /proc is root after setuid()."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        return next((int(line.split()[2]) for line in file if line.startswith("Uid:")), -1)


def _look_at_processes() -> Iterator[Finding]:
    """Count the threads of this user; root has no such limit."""
    most, uid = _limit_of(os.getpid(), "Max processes")[0], os.geteuid()
    if most == math.inf or uid == 0:
        return
    count = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if _uid_of(pid) == uid:
                count += len(os.listdir(f"/proc/{pid}/task"))
        except OSError:  # gone meanwhile
            continue
    if most - count < SPARE:
        yield Finding(
            f"uid {uid} has {count:,} of {most:,.0f} processes and threads (`ulimit -u`): no writer starts",
            "raise `ulimit -u`, LimitNPROC= in the unit, nproc in /etc/security/limits.conf",
        )
