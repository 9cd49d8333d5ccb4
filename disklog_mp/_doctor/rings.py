"""Rings that a crash left behind, and names of rings that were never whole."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Iterator

from disklog_mp._doctor.findings import Finding, Told, Unseen
from disklog_mp._doctor.subject import Subject
from disklog_mp._options import size_text
from disklog_mp._os import processes as _processes
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring import names as _names
from disklog_mp._ring.observing import observe
from disklog_mp._verify import survey as _survey
from disklog_mp.errors import FormatVersionError, LogNotFoundError

UNFINISHED = re.compile(r"\.disklog-.+\.[0-9a-f]{16}\.([0-9]+)")
OLD = 60.0  # seconds after which an unfinished ring is certainly left


def look_at_rings(subject: Subject) -> Iterator[Told]:
    """Rings without a process, of the log or else all of this machine."""
    if subject.problem:
        yield Unseen(subject.problem)
    if subject.is_log:
        yield from () if subject.file is None else _look_at(subject.file, subject.ring_dir)
        return
    try:
        paths = _names.all_rings(subject.ring_dir)
    except OSError as problem:
        yield Unseen(f"{subject.ring_dir}: {problem.strerror}")
        return
    for path in paths:
        yield from _look_at_path(path, subject.ring_dir)
    yield from _look_at_unfinished(subject.ring_dir)


def _look_at_path(path: str, ring_dir: str) -> Iterator[Told]:
    try:
        file = observe(path)
    except LogNotFoundError:  # removed meanwhile
        return
    except FormatVersionError as problem:
        name = _names.log_of(path)
        yield Finding(
            str(problem), f"end the processes that use it, then {_removing(name, ring_dir)} --force"
        )
        return
    except OSError as problem:
        yield Unseen(f"{path}: {problem.strerror}")
        return
    try:
        yield from _look_at(file, ring_dir)
    finally:
        os.close(file.fd)


def _look_at(file: _ring.RingFile, ring_dir: str) -> Iterator[Told]:
    ring = file.ring
    is_there = _survey.is_log_of(ring.path, file)
    # A writer that replaces a ring holds the lock of the directory meanwhile.
    if _liveness.writer_alive(file) or (is_there and _survey.is_written(ring.path)):
        return
    if _liveness.living_producers(file):
        return
    waiting = ring.frontier(ring.released) - ring.released
    name, where = _names.log_of(file.path), ring.path
    if waiting and is_there:
        serve = f"disklog-mp serve {name} {shlex.quote(where)}{_in(ring_dir)}"
        yield Finding(
            f"the ring of {name!r} has {size_text(waiting)} of records that are in no page, and no process "
            "is attached",
            f"`{serve}` writes them (end it with Ctrl-C)",
        )
    elif waiting:
        yield Finding(
            f"the ring of {name!r} has {size_text(waiting)} of records that are in no page, and its log is "
            f"gone from {where}",
            f"mount or restore {where} and open the log; or delete them: {_removing(name, ring_dir)} --force",
        )
    else:
        yield Finding(
            f"the ring of {name!r} takes {size_text(os.fstat(file.fd).st_size)}, and no process is attached",
            _removing(name, ring_dir),
        )


def _removing(name: str, ring_dir: str) -> str:
    return f"disklog-mp rm {name}{_in(ring_dir)}"


def _in(ring_dir: str) -> str:
    return "" if ring_dir == _names.SHM else f" --ring-dir {shlex.quote(ring_dir)}"


def _look_at_unfinished(where: str) -> Iterator[Told]:
    """Memory for rings that a process was killed over, see _ring.file.reserve()."""
    for entry in sorted(os.listdir(where)) if os.path.isdir(where) else ():
        match = UNFINISHED.fullmatch(entry)
        if match is None or _processes.is_there(int(match[1])):
            continue
        path = os.path.join(where, entry)
        try:
            status = os.lstat(path)
        except OSError:  # gone meanwhile
            continue
        if time.time() - status.st_mtime > OLD:
            size = size_text(status.st_blocks * 512)
            text = f"{path} takes {size}: process {match[1]} was killed while it made a ring"
            yield Finding(text, f"rm {shlex.quote(path)}")
