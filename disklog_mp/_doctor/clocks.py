"""Times of a log against the clock of now, and steps of that clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

from disklog_mp._doctor.findings import Finding, Told, Unseen
from disklog_mp._doctor.subject import Subject
from disklog_mp._pages.directory import Directory
from disklog_mp._reader.events import events_in
from disklog_mp._verify import survey as _survey
from disklog_mp._verify.words import plural
from disklog_mp.errors import DiskLogError

SECOND = 10**9
AHEAD = 2 * SECOND  # ns that a record may be from the future
RECENT = 86400 * SECOND  # ns in which a step counts
SLEW = "let chrony or systemd-timesyncd slew the clock, and step it at the start of the machine only"


def look_at_clocks(subject: Subject) -> Iterator[Told]:
    """Pages and records from the future, pages that begin before the last one ends, steps of the clock."""
    if not subject.is_log:
        return
    now = time.time_ns()
    yield from _look_at_pages(subject.path, now)
    try:
        events = events_in(subject.path, lambda damage: None)
        steps = [each for each in events if each.name == "clock-stepped" and each.time > now - RECENT]
    except (DiskLogError, OSError) as problem:
        yield Unseen(f"the log's events: {problem}")
        return
    if steps:
        last = steps[-1]
        seconds = last.fields.get("seconds", 0)
        text = (
            f"the clock of the machine was set {plural(len(steps), 'time')} in a day, last at "
            f"{_moment(last.time)} by {seconds:+g} s: times of records are not in their order"
        )
        yield Finding(text, f"{SLEW}; `disklog-mp events {subject.path}` shows each step")


def _look_at_pages(path: str, now: int) -> Iterator[Told]:
    directory, before = Directory(path), 0
    ahead: list[tuple[int, int]] = []
    back: list[tuple[int, int]] = []
    for number in directory.pages():
        try:
            found = _survey.header_of(directory.page_path(number))
        except OSError:  # retired meanwhile
            continue
        if found is None:
            continue
        header, line = found
        latest = max(header.created, line.last_time)
        if latest > now + AHEAD:
            ahead.append((number, latest))
        if before and header.created < before - AHEAD:
            back.append((number, before - header.created))
        before = latest
    if ahead:
        number, latest = max(ahead, key=lambda each: each[1])
        text = (
            f"page {number} has times up to {_moment(latest)}, {_span(latest - now)} from now: the clock was "
            "ahead, or is behind, or a time that `append` or `run` read was wrong"
        )
        if len(ahead) > 1:
            text += f"; so have {plural(len(ahead) - 1, 'other page')}"
        fix = (
            "`timedatectl set-ntp true`, or `chronyc makestep`, if the clock is behind now; if it was ahead, "
            "`cat` and `tail` without --since and --until show all records"
        )
        yield Finding(text, fix)
    elif back:
        number, nanoseconds = back[-1]
        text = (
            f"page {number} begins {_span(nanoseconds)} before the end of the page before it: the clock was "
            "set back"
        )
        yield Finding(text, SLEW)


def _moment(nanoseconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(nanoseconds // SECOND):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return f"@{nanoseconds // SECOND}"


def _span(nanoseconds: int) -> str:
    seconds = nanoseconds // SECOND
    for length, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 2 * length:
            return plural(seconds // length, name)
    return plural(seconds, "second")
