"""Counting records by what they have in common: producer, level, logger, field, time.  No I/O.

The core counts those in our encoder's spelling, and asks for the key of each of the others.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from disklog_mp._core import Groups, Record
from disklog_mp._loggers import structured as _structured
from disklog_mp.cli.records._notes import UNREADABLE, drops_in
from disklog_mp.cli.records._tokens import value_of

KINDS = ("pid", "level", "logger", "label", "log", "tag")
MOST = 100_000  # groups that are kept apart: what comes later is counted as OTHERS
OTHERS = "(others)"
NONE = "-"  # of a record that has no such thing
LOGGER = re.compile(rb'\{"time":\d+,"level":"[^"\\]*","logger":"([^"\\]*)"')  # as our loggers write it
BY_CORE = (
    "pid",
    "level",
    "logger",
    "label",
    "tag",
)  # in the order of its numbers; then a field, then nothing
BATCH = 512  # records
LEVEL_NAMES = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}

KeyOf = Callable[[Record], str]


@dataclass
class Group:
    """Records that have something in common."""

    count: int = 0
    first: int = 0  # ns since the epoch
    last: int = 0
    dropped: int = 0


@dataclass
class Tally:
    """The groups, and with `every` (ns) how many records of each there are in each part of the time."""

    every: int = 0
    offset: int = 0  # ns that the zone is ahead of UTC, so that days begin at midnight
    groups: dict[str, Group] = field(default_factory=dict)
    parts: dict[int, Counter[str]] = field(default_factory=dict)
    total: Group = field(default_factory=Group)

    def add(self, records: Iterator[Record], kind: str, log: str) -> None:
        """Count the records of a log by one of KINDS, or field:NAME; drops are counted by pid alone."""
        key_of = key_by(kind, log)
        cycle, shift = divmod(self.offset, self.every) if self.every else (0, 0)
        found = Groups(*_for_core(kind, log), OTHERS.encode(), MOST, self.every, shift)
        while batch := list(islice(records, BATCH)):
            at = 0
            while (at := found.add(batch, at)) < len(batch):
                record = batch[at]
                at += 1
                if record.gap:
                    self._add_drops(record, key_of(record) if kind == "pid" else None)
                    continue
                key = key_of(record).encode("utf-8", "backslashreplace")
                found.count(key, record, isinstance(key_of, _Level) and key_of.knows(record.tag))
        self._take(found, cycle)

    def _take(self, found: Groups, cycle: int) -> None:
        """Add what the core has counted."""
        names = []
        for key, count, first, last in found.groups():
            name = key.decode("utf-8", "backslashreplace")
            group = self._group(name)
            names.append(name if name in self.groups else OTHERS)
            group.first = min(group.first, first) if group.count else first
            group.last = max(group.last, last)
            group.count += count
        for when, number, count in found.parts():
            self.parts.setdefault(when + cycle, Counter())[names[number]] += count

    def _group(self, key: str) -> Group:
        if len(self.groups) >= MOST:
            key = OTHERS
        return self.groups.setdefault(key, Group())

    def _add_drops(self, record: Record, key: str | None) -> None:
        try:
            dropped, since, until = drops_in(record)
        except UNREADABLE:
            return
        self.total.dropped += dropped
        if key is not None:
            group = self._group(key)
            group.dropped += dropped
            group.first, group.last = group.first or since, max(group.last, until)

    def sum(self) -> Group:
        """Return the sum over all groups."""
        counted = [group for group in self.groups.values() if group.count]
        first = min((group.first for group in counted), default=0)
        last = max((group.last for group in counted), default=0)
        return Group(sum(group.count for group in counted), first, last, self.total.dropped)

    def times(self) -> list[tuple[int, Counter[str]]]:
        """Return the parts of the time in order, each with its beginning in ns since the epoch."""
        return [(begin * self.every - self.offset, self.parts[begin]) for begin in sorted(self.parts)]


def key_by(kind: str, log: str) -> KeyOf:
    """Return what tells the group of a record: one of KINDS, or field:NAME; raises ValueError for another."""
    if kind.startswith("field:") and kind != "field:":
        return _by_field(kind.removeprefix("field:"))
    known: dict[str, KeyOf] = {
        "pid": lambda record: str(record.pid),
        "label": lambda record: record.label or NONE,
        "log": lambda record: log,
        "tag": lambda record: str(record.tag),
        "logger": _logger_of,
        "level": _Level(),
    }
    if kind not in known:
        raise ValueError(f"{kind!r} is neither {', '.join(KINDS)} nor field:NAME")
    return known[kind]


class _Level:
    """The name of a record's level: that of its tag, which is looked for once in a record of that tag."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}

    def knows(self, tag: int) -> bool:
        """True if all records of that tag have the name that was found."""
        return tag in self._names

    def __call__(self, record: Record) -> str:
        tag = record.tag
        name = self._names.get(tag)
        if name is None:
            event = record.event
            name = event.level if event else LEVEL_NAMES.get(tag) or (f"#{tag}" if tag else NONE)
            if tag and (event is not None or tag in LEVEL_NAMES):
                self._names[tag] = name
        return name


def _logger_of(record: Record) -> str:
    if found := LOGGER.match(record.data):
        return found[1].decode("utf-8", "backslashreplace")
    return record.event.logger if record.event else NONE


def _by_field(name: str) -> KeyOf:
    def key(record: Record) -> str:
        value = value_of(record.event, name) if record.event else None
        if value is None:
            return NONE
        return value if isinstance(value, str) else _structured.encode_value(value)

    return key


def _for_core(kind: str, log: str) -> tuple[int, bytes]:
    """Return what the core calls the kind, and the name of the field, or of the log."""
    if kind in BY_CORE:
        return BY_CORE.index(kind), b""
    field = kind.removeprefix("field:")
    named = len(BY_CORE) + (kind == "log")
    return named, (log if kind == "log" else field).encode("utf-8", "backslashreplace")
