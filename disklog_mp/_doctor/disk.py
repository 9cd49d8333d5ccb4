"""What the log may grow to, against the free disk."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

from disklog_mp._doctor.findings import Finding, Told
from disklog_mp._doctor.subject import Subject
from disklog_mp._options import size_text
from disklog_mp._os import attributes as _attributes
from disklog_mp._pages.format import HEADER_LENGTH
from disklog_mp._verify import survey as _survey

FEW_PAGES = 8  # that still fit
FEW_INODES = 16
SOON = 7 * 86400.0  # seconds until an unlimited log fills its disk
LONG_ENOUGH = 3600.0  # seconds of a log that say how fast it grows
MIB = 1 << 20


def look_at_disk(subject: Subject) -> Iterator[Told]:
    """Retention against free disk."""
    if not subject.is_log:
        return
    space = os.statvfs(subject.path)
    if not space.f_blocks:  # it counts no blocks, so it has no limit
        return
    free, options = space.f_bavail * space.f_frsize, subject.options
    found = _survey.survey(subject.path)
    there, page = found.page_bytes, options.page_bytes + HEADER_LENGTH
    room = f"{_attributes_of(subject.path)} has {size_text(free)} free"
    larger = f"free disk, or a larger one, or {_setting(subject, there + free)}"
    if free < page:
        yield Finding(f"{room}: the next page takes {size_text(page)}", larger)
    elif (limit := _most(subject)) is not None:
        if limit[0] - there > free:
            text = f"{room}, and {limit[1]} lets the log grow by {size_text(limit[0] - there)}"
            yield Finding(text, larger)
    else:
        seconds = (found.last_time - found.first_time) / 1e9
        rate = there / seconds if seconds >= LONG_ENOUGH else 0.0
        until = free / rate if rate else float("inf")
        if until < SOON:
            text = f"{room}, and nothing limits the log: at its pace it is full in {until / 3600:.0f} hours"
            yield Finding(text, larger)
        elif free < FEW_PAGES * page:
            text = f"{room}, less than {FEW_PAGES} pages of {size_text(page)}, and nothing limits the log"
            yield Finding(text, larger)
    if space.f_files and space.f_favail < FEW_INODES:
        yield Finding(
            f"the file system of the log has {space.f_favail:,} inodes left: each page takes one",
            "remove files there, or give a larger page_bytes",
        )


def _most(subject: Subject) -> tuple[int, str] | None:
    """The bytes that the pages may have, by the option that allows least; None without a limit."""
    options = subject.options
    page = options.page_bytes + HEADER_LENGTH
    limits = []
    if options.keep_bytes is not None:
        limits.append((options.keep_bytes, f"keep_bytes={size_text(options.keep_bytes)}"))
    if options.keep_pages is not None:
        limits.append((options.keep_pages * page, f"keep_pages={options.keep_pages:,}"))
    if options.max_bytes is not None:
        limits.append((options.max_bytes, f"max_bytes={size_text(options.max_bytes)}"))
    return min(limits, default=None)


def _setting(subject: Subject, most: int) -> str:
    """The command that keeps nine tenths of what would fit."""
    return f"`disklog-mp set {shlex.quote(subject.path)} keep_bytes={max(1, most * 9 // 10 // MIB)}M`"


def _attributes_of(path: str) -> str:
    mount = _attributes.mount_of(path)
    return mount.point if mount is not None else path
