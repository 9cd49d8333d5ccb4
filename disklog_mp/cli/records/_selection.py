"""Selecting records: by number, time, tag, producer, label, level, logger, field, pattern, or the last N."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

import click

from disklog_mp._core import Record
from disklog_mp._reader.conditions import Conditions
from disklog_mp._reader.cursor import Cursor
from disklog_mp._reader.fields import FieldCondition
from disklog_mp._reader.page import CHECKPOINT, Page
from disklog_mp._reader.page_run import overlap
from disklog_mp._reader.reader import Reader
from disklog_mp.cli.records._levels import ANY, Levels
from disklog_mp.cli.records._patterns import Patterns

LEAST_PART = 4096  # records of a page that are looked through at once, when it is read from its end


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
    fields: tuple[FieldCondition, ...] = ()  # all names; of = and ~ with one name one
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
        return chain.from_iterable(self.batches(reader, stop=stop))

    def batches(
        self, reader: Reader, *, start: int | None = None, stop: int | None = None
    ) -> Iterator[list[Record]]:
        """Iterate the same records in lists, from number `start` on."""
        begins = [number for number in (self.start, start) if number is not None]
        ends = [number for number in (self.stop, stop) if number is not None]
        first, end = max(begins, default=None), min(ends, default=None)
        parts = reader.batches(self._for_core, first, end, self.since, self.until)
        if self.levels.are_numbers and self.patterns is None:
            return parts
        return filter(None, ([*filter(self._by_rest, records)] for records in parts))

    def by_marks(self, record: Record) -> bool:
        """True if tag, pid, label, level, logger and fields meet the conditions."""
        return self._for_core.meets(record) and self._by_rest(record)

    @cached_property
    def _for_core(self) -> Conditions:
        """The conditions that a search of the core looks at first; all but names of levels and patterns."""
        return Conditions(
            levels=self.levels.range(),
            loggers=self.loggers,
            pids=self.pids,
            labels=self.labels,
            tags=self.tags,
            fields=self.fields,
            hints=() if self.patterns is None else self.patterns.hints(),
        )

    def _by_rest(self, record: Record) -> bool:
        return record.gap or (
            self._by_level(record) and (self.patterns is None or self.patterns.match(record))
        )

    def _by_level(self, record: Record) -> bool:
        if self.levels.are_numbers:
            return self.levels.has(record.tag)
        return record.event is not None and self.levels.has_name(record.event.level)

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
        for part in self._parts(reader, stop, count):
            if counted >= count:
                break
            found[:0] = _last(part, count - counted)
            counted = sum(not each.gap for each in found)
        return found

    def newest_first(self, reader: Reader, stop: int | None = None) -> Iterator[Record]:
        """Iterate the records that meet the conditions, newest first; it holds a part of a page."""
        for part in self._parts(reader, stop):
            yield from reversed([*part])

    def _parts(self, reader: Reader, stop: int | None, least: int = LEAST_PART) -> Iterator[Iterator[Record]]:
        """Iterate the records of parts of each page, the last part first; it has at least so many records."""
        above = stop
        later: Page | None = None  # the page that was read before this one
        for number in reversed(reader.page_numbers()):
            if self.start is not None and above is not None and above <= self.start:
                break
            page = reader.find_page(number)
            if page is None:
                continue
            with page:
                first = page.first_number
                if later is not None and overlap(page, later):  # copies that went on apart
                    place = Cursor(page.header.log_id.hex(), page.first_position, first)
                    reader.step(place, later.number - number, check=False)  # tells of it
                later = page
                places = reader.places_in(page)
            yield from self._parts_of_page(reader, places, above, least)
            above = first

    def _parts_of_page(
        self, reader: Reader, places: list[int], above: int | None, least: int
    ) -> Iterator[Iterator[Record]]:
        at, step = len(places), 3 + least // CHECKPOINT
        while at > 0 and (above is None or self.start is None or above > self.start):
            at, step = max(0, at - step), 4 * step
            if above is None or places[at] < above:
                yield replace(self, start=max(places[at], self.start or 0)).records(reader, above)
                above = places[at]


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


def to_fields(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[FieldCondition, ...]:
    """Take conditions on fields from the command line; a callback for click."""
    try:
        return tuple(map(FieldCondition.parse, values))
    except ValueError as problem:
        raise click.BadParameter(str(problem)) from None
