"""How the file systems are mounted, and of which kind they are."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

from disklog_mp._doctor.findings import Finding, Told
from disklog_mp._doctor.subject import Subject
from disklog_mp._os import attributes as _attributes
from disklog_mp._os import processes as _processes
from disklog_mp._ring.room import COPIES, IN_MEMORY

WAITS = {"sync", "dirsync"}  # each write waits for the disk
NO_BARRIERS = {"nobarrier", "barrier=0"}


def look_at_mounts(subject: Subject) -> Iterator[Told]:
    """Mount options of the log's directory, of the place of the rings, and of /proc."""
    places = {subject.ring_dir: "where the rings are", subject.path: "where the log is"}
    for place, what in places.items():
        mount = _attributes.mount_of(place) if place and os.path.isdir(place) else None
        if mount is not None and os.statvfs(place).f_flag & os.ST_RDONLY:
            text = f"{mount.point}, {what}, is mounted read-only: nothing can be written there"
            yield Finding(text, f"mount -o remount,rw {mount.point}")
    if subject.is_log and (log := _attributes.mount_of(subject.path)):
        yield from _look_at_log(subject.path, log)
    try:
        _processes.boot_id()
    except OSError:
        text = "/proc has no sys: no writer can know whether the machine was started again, and none starts"
        fix = "ProcSubset=all in the unit, or `mount -t proc proc /proc` without subset=pid"
        yield Finding(text, fix)


def _look_at_log(path: str, mount: _attributes.Mount) -> Iterator[Told]:
    if mount.kind in IN_MEMORY:
        yield Finding(
            f"the log is in memory ({mount.kind} on {mount.point}): its pages go with the machine, or sooner",
            "open it in a directory on a disk",
        )
    if mount.kind == "overlay":
        yield Finding(
            "the log is in the layer of a container (overlay): its pages go with the container",
            f"mount a volume there: docker run -v /srv/log:{path}, Kubernetes volumeMounts",
        )
    for option in sorted(mount.options & WAITS):
        yield Finding(
            f"{mount.point}, where the log is, is mounted with `{option}`: each write waits for the disk",
            f"`mount -o remount,{'async' if option == 'sync' else 'defaults'} {mount.point}`, and sync= for "
            "the log",
        )
    for option in sorted(mount.options & NO_BARRIERS):
        yield Finding(
            f"{mount.point}, where the log is, is mounted with `{option}`: what was synced may be lost when "
            "the machine loses power",
            f"mount -o remount,barrier=1 {mount.point}",
        )


def look_at_copies(subject: Subject) -> Iterator[Told]:
    """File systems that write each change to a new place, and blocks that a copy shares."""
    if subject.is_log and (kind := _attributes.kind_of(subject.path)) in COPIES:
        fd = os.open(subject.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            is_plain = bool(_attributes.attributes(fd) & _attributes.NO_COPY_ON_WRITE)
        finally:
            os.close(fd)
        if not is_plain:
            yield Finding(
                f"the log is on {kind}, which writes each change to a new place: a page that has its room "
                "still needs more on a full disk",
                f"`chattr +C {shlex.quote(subject.path)}` (btrfs, for pages to come), or ext4 or XFS",
            )
    if subject.file is not None and _attributes.has_shared_blocks(subject.file.fd):
        path = subject.file.path
        yield Finding(
            f"the ring {path} shares blocks with a copy of it: on a full disk a producer's store would fail, "
            "and end it",
            "remove the copy (a reflink, a snapshot); copy rings with `cp --reflink=never`",
        )
