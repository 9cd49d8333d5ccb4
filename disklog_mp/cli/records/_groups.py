"""Counting records by what they have in common: producer, level, logger, field, time.  No I/O."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from disklog_mp._core import Record
from disklog_mp._loggers import structured as _structured
from disklog_mp.cli.records._notes import UNREADABLE, drops_in
from disklog_mp.cli.records._tokens import value_of

KINDS = ("pid", "level", "logger", "label", "log", "tag")
MOST = 100_000  # groups that are kept apart: what comes later is counted as OTHERS
OTHERS = "(others)"
NONE = "-"  # of a record that has no such thing
LOGGER = re.compile(rb'\{"time":\d+,"level":"[^"\\]*","logger":"([^"\\]*)"')  # as our loggers write it
# A field as our loggers write it, where it and those before it hold nothing that has to be parsed.
TEXT = rb'"[^"\\]*"'
BEFORE = (
    rb'\{"time":\d+,"level":' + TEXT + rb',"logger":' + TEXT + rb',"message":' + TEXT
    + rb'(?:,"(?:process|thread|task|caller)":' + TEXT + rb')*,"fields":\{'
    + rb"(?:" + TEXT + rb":(?:" + TEXT + rb'|[^"\\\[\]{},]*),)*?'
)  # fmt: skip
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

    def add(self, records: Iterable[Record], key_of: KeyOf, *, by_producer: bool) -> None:
        """Count records; drops are counted for their producer if that is what the groups are."""
        groups, parts, every, offset = self.groups, self.parts, self.every, self.offset
        for record in records:
            if record.gap:
                self._add_drops(record, key_of(record) if by_producer else None)
                continue
            key, when = key_of(record), record.timestamp
            group = groups.get(key) or self._group(key)
            if group.count == 0 or when < group.first:
                group.first = when
            if when > group.last:  # noqa: PLR1730 - max() takes twice as long
                group.last = when
            group.count += 1
            if every:
                begin = (when + offset) // every
                part = parts.get(begin)
                if part is None:
                    part = parts[begin] = Counter()
                part[key if key in groups else OTHERS] += 1

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
    data = record.data
    if found := LOGGER.match(data):
        return found[1].decode("utf-8", "backslashreplace")
    event = record.event
    return event.logger if event else NONE


def _by_field(name: str) -> KeyOf:
    needle = name.split(".", maxsplit=1)[0].encode()
    simple = rb'(?:"([^"\\]*)"|(-?\d+|true|false))[,}]'
    plain = re.compile(BEFORE + re.escape(b'"' + name.encode() + b'":') + simple)

    def key(record: Record) -> str:
        data = record.data
        if needle not in data and b"\\" not in data:  # only then it can be spelled otherwise
            return NONE
        if found := plain.match(data):
            return (found[2] if found[1] is None else found[1]).decode("utf-8", "backslashreplace")
        event = record.event
        value = value_of(event, name) if event else None
        if value is None:
            return NONE
        return value if isinstance(value, str) else _structured.encode_value(value)

    return key
