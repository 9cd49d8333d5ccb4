"""Selecting records: by number, time, tag, producer, label, level, logger, field, pattern, or the last N."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import click

from disklog_mp._core import Record
from disklog_mp._loggers import structured as _structured
from disklog_mp._loggers.structured import Event
from disklog_mp._reader.reader import Reader
from disklog_mp.cli.records._levels import ANY, Levels
from disklog_mp.cli.records._patterns import Patterns


@dataclass(frozen=True)
class Selection:
    """Conditions that a record must meet; None and () allow all.

    A gap record tells of drops: it meets all of them but number and time.
    """

    start: int | None = None
    stop: int | None = None
    since: int | None = None
    until: int | None = None
    tags: tuple[int, ...] = ()
    pids: tuple[int, ...] = ()
    levels: Levels = ANY
    loggers: tuple[str, ...] = ()  # one of them, or a logger below it
    fields: tuple[tuple[str, str], ...] = ()  # all of them
    labels: tuple[str, ...] = ()  # of producers
    patterns: Patterns | None = None

    @property
    def is_filter(self) -> bool:
        """True if there is a condition beside numbers and times."""
        marks = (self.tags, self.pids, self.loggers, self.fields, self.labels, self.patterns)
        return any(marks) or self.levels != ANY

    def for_log(self, reader: Reader, must_exist: bool = True) -> Selection:
        """Return these conditions with the levels as numbers; raises what Levels.for_log() raises."""
        if self.levels.are_numbers:
            return self
        return replace(self, levels=self.levels.for_log(reader, must_exist))

    def limits(self) -> Selection:
        """Return the conditions on numbers and times alone."""
        return Selection(self.start, self.stop, self.since, self.until)

    def records(self, reader: Reader, stop: int | None = None) -> Iterator[Record]:
        """Iterate the records that meet the conditions and are before number `stop`."""
        ends = [number for number in (self.stop, stop) if number is not None]
        found = reader.records(self.start, min(ends, default=None), self.since, self.until)
        return filter(self.by_marks, found) if self.is_filter else found

    def by_marks(self, record: Record) -> bool:
        """True if tag, pid, label, level, logger and fields meet the conditions."""
        return record.gap or (
            (not self.tags or record.tag in self.tags)
            and (not self.pids or record.pid in self.pids)
            and (not self.labels or record.label in self.labels)
            and self._by_level(record)
            and (not (self.loggers or self.fields) or self._by_content(record))
            and (self.patterns is None or self.patterns.match(record))
        )

    def _by_level(self, record: Record) -> bool:
        if self.levels.are_numbers:
            return self.levels.has(record.tag)
        return record.event is not None and self.levels.has_name(record.event.level)

    def _by_content(self, record: Record) -> bool:
        event = record.event
        if event is None:
            return False
        logger = f"{event.logger}."
        return (not self.loggers or any(logger.startswith(f"{name}.") for name in self.loggers)) and all(
            value in _texts_of(event, key) for key, value in self.fields
        )

    def matches(self, record: Record) -> bool:
        """True if the record meets all conditions."""
        return (
            (self.start is None or record.number >= self.start)
            and (self.stop is None or record.number < self.stop)
            and (self.since is None or record.timestamp >= self.since)
            and (self.until is None or record.timestamp < self.until)
            and self.by_marks(record)
        )

    def last(self, reader: Reader, count: int, stop: int | None = None) -> list[Record]:
        """Return the last `count` records that meet the conditions, walking back page by page."""
        found: list[Record] = []
        counted = 0
        for part in self._parts(reader, stop):
            if counted >= count:
                break
            found[:0] = _last(part, count - counted)
            counted = sum(not each.gap for each in found)
        return found

    def newest_first(self, reader: Reader, stop: int | None = None) -> Iterator[Record]:
        """Iterate the records that meet the conditions, the newest first; it holds those of one page."""
        for part in self._parts(reader, stop):
            yield from reversed([*part])

    def _parts(self, reader: Reader, stop: int | None) -> Iterator[Iterator[Record]]:
        """Iterate the records of each page, the last page first."""
        above = stop
        for number in reversed(reader.page_numbers()):
            if self.start is not None and above is not None and above <= self.start:
                break
            page = reader.find_page(number)
            if page is None:
                continue
            with page:
                first = page.first_number
            part = replace(self, start=max(first, self.start or 0))
            yield part.records(reader, above)
            above = first


def _last(records: Iterator[Record], count: int) -> list[Record]:
    """Return the last `count` records, and the gap records around them, which do not count."""
    kept: deque[Record] = deque()
    counted = 0
    for record in records:
        kept.append(record)
        counted += not record.gap
        while counted > count:
            counted -= not kept.popleft().gap
    return list(kept)


def _texts_of(event: Event, key: str) -> tuple[str, ...]:
    """Return the texts of a field's value; process, thread, task and caller are fields, too."""
    value: Any = event.fields.get(key, event)
    if value is event:
        value = getattr(event, key) if key in ("process", "thread", "task", "caller") else None
        if value is None:
            return ()
    return (value,) if isinstance(value, str) else (_structured.encode_value(value),)


def to_fields(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """Take fields and their values from the command line; a callback for click."""
    for value in values:
        if not value.partition("=")[1]:
            raise click.BadParameter(f"{value!r} is not KEY=VALUE")
    return tuple((key, text) for key, _, text in (value.partition("=") for value in values))
