"""The conditions of a search, and what of them the core can look at first.

The core walks the frames and decides by header and bytes, without a Python object for a record that is not
wanted.  Where a condition is on JSON, its look is only a first one: JSON has several spellings for one value,
so what it lets pass is parsed, and meets() decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypedDict

from disklog_mp._core import LABEL_MAX, TERM_BELOW, TERM_BYTES, Filter, Record
from disklog_mp._pages.labels import LabelTable
from disklog_mp._reader.fields import FieldCondition, Term
from disklog_mp._reader.literals import literal_of

LEVELS = {"DEBUG": 10, "INFO": 20, "WARN": 30, "WARNING": 30, "ERROR": 40, "CRITICAL": 50, "FATAL": 50}
TAGS = 65536
FOREVER = 2**64 - 1
NO_PID = 2**32 - 1  # of no process

Needle = bytes | str | re.Pattern[bytes]


class Wanted(TypedDict, total=False):
    """The conditions as keywords.  Each may be one value, or several of which one is met."""

    level: int | str  # the least one; by name, "ERROR"; a range, "WARNING..ERROR"
    logger: str | Iterable[str]  # that logger, or one below it
    pid: int | Iterable[int]
    label: str | Iterable[str]
    tag: int | Iterable[int]
    field: str | Iterable[str]  # "user=42", "ms>100"; see fields.py


@dataclass(frozen=True)
class Conditions:
    """What a record must meet: all of it.  () and None allow all.  A gap record meets everything."""

    needles: tuple[bytes | re.Pattern[bytes], ...] = ()  # one of them
    levels: tuple[int, int] | None = None  # the least and the greatest; a level is the record's tag
    level_name: str | None = None  # in place of that: a level of one's own
    loggers: tuple[str, ...] = ()  # one of them, or a logger below it
    pids: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    tags: tuple[int, ...] = ()
    fields: tuple[FieldCondition, ...] = ()
    hints: tuple[bytes, ...] = ()  # for the core: of one, what JSON may spell with \u; meets() does not look

    @classmethod
    def of(
        cls,
        needle: Needle | Iterable[Needle] | None = None,
        *,
        level: int | str | None = None,
        logger: str | Iterable[str] = (),
        pid: int | Iterable[int] = (),
        label: str | Iterable[str] = (),
        tag: int | Iterable[int] = (),
        field: str | Iterable[str] = (),
    ) -> Conditions:
        """Take conditions as a caller gives them.  Raises ValueError, TypeError."""
        levels, name = _levels(level)
        return cls(
            () if needle is None else _needles(needle),
            levels,
            name,
            _several(str, logger, "logger"),
            _several(int, pid, "pid"),
            _several(str, label, "label"),
            _several(int, tag, "tag"),
            tuple(FieldCondition.parse(each) for each in _several(str, field, "field")),
        )

    @property
    def is_exact(self) -> bool:
        """True if the core's look decides."""
        patterns = any(isinstance(needle, re.Pattern) for needle in self.needles)
        return not (patterns or self.level_name or self.loggers or self.labels or self.fields)

    def meets(self, record: Record) -> bool:
        """True if the record meets all conditions."""
        return record.gap or (
            (self.levels is None or self.levels[0] <= record.tag <= self.levels[1])
            and (not self.tags or record.tag in self.tags)
            and (not self.pids or record.pid in self.pids)
            and (not self.labels or record.label in self.labels)
            and (not self.needles or self._has_needle(record.data))
            and (not (self.level_name or self.loggers or self.fields) or self._by_content(record.event))
        )

    def _has_needle(self, data: bytes) -> bool:
        return any(
            each in data if isinstance(each, bytes) else each.search(data) is not None
            for each in self.needles
        )

    def _by_content(self, event: Any) -> bool:
        if event is None or (self.level_name and event.level.upper() != self.level_name.upper()):
            return False
        logger = f"{event.logger}."
        if self.loggers and not any(logger.startswith(f"{name}.") for name in self.loggers):
            return False
        met = {field.name for field in self.fields if field.is_alternative and field.holds(event)}
        return all(field.name in met if field.is_alternative else field.holds(event) for field in self.fields)

    # -- for the core ------------------------------------------------------------------------------------

    def filter(
        self, table: LabelTable, start: int = 0, stop: int = FOREVER, since: int = 0, latest: int = FOREVER
    ) -> Filter:
        """Return what the core looks at, with numbers and times; `table` knows the labels."""
        clauses = [
            clause
            for clause in (self._needle_clause(), *self._field_clauses(), self._logger_clause())
            if clause
        ]
        escapes = [clause[0][0] != TERM_BYTES for clause in clauses]
        if self.hints:
            clauses.append([(TERM_BYTES, each, b"") for each in self.hints])
            escapes.append(True)
        pids = tuple(pid for pid in self.pids if 0 <= pid <= NO_PID)
        if self.pids and not pids:
            pids = (NO_PID,)
        terms = tuple((number, *term) for number, clause in enumerate(clauses) for term in clause)
        return Filter(
            terms,
            bytes(escapes),
            self._tag_bits(),
            self._label_bits(table),
            pids,
            since,
            latest,
            start,
            stop,
        )

    def _needle_clause(self) -> list[Term]:
        literals = [each if isinstance(each, bytes) else literal_of(each) for each in self.needles]
        return [(TERM_BYTES, each, b"") for each in literals] if all(literals) else []

    def _field_clauses(self) -> list[list[Term]]:
        clauses = []
        alternatives: dict[str, list[Term] | None] = {}
        for field in self.fields:
            terms = field.terms()
            if not field.is_alternative:
                clauses.append(terms or [])
                continue
            former = alternatives.get(field.name, [])
            alternatives[field.name] = None if former is None or terms is None else former + terms
        return clauses + [terms or [] for terms in alternatives.values()]

    def _logger_clause(self) -> list[Term]:
        try:
            names = [name.encode() for name in self.loggers]
        except UnicodeEncodeError:
            return []
        return [(TERM_BELOW, b'"logger"', name) for name in names]

    def _tag_bits(self) -> bytes | None:
        if self.levels is None and not self.tags:
            return None
        low, high = self.levels or (0, TAGS - 1)
        bits = 0
        if self.tags:
            for tag in self.tags:
                bits |= (low <= tag <= high and 0 <= tag < TAGS) << max(0, tag)
        elif low <= high:
            bits = (1 << min(high, TAGS - 1) + 1) - (1 << min(max(0, low), TAGS))
        return max(0, bits).to_bytes(TAGS // 8, "little")

    def _label_bits(self, table: LabelTable) -> bytes | None:
        if not self.labels:
            return None
        bits = (1 << LABEL_MAX + 1) - 2  # 0 is no label; an index that is not known yet may be any
        for index, text in table.known().items():
            if text not in self.labels:
                bits &= ~(1 << index)
        return bits.to_bytes((LABEL_MAX + 1) // 8, "little")


def _several(kind: type, given: Any, what: str) -> tuple[Any, ...]:
    values = (given,) if isinstance(given, (str, int)) else tuple(given)
    for value in values:
        if not isinstance(value, kind) or isinstance(value, bool):
            raise TypeError(f"{what}={value!r} is no {kind.__name__}")
    return values


def _needles(given: Any) -> tuple[bytes | re.Pattern[bytes], ...]:
    values = (given,) if isinstance(given, (str, bytes, re.Pattern)) else tuple(given)
    needles: list[bytes | re.Pattern[bytes]] = []
    for value in values:
        needle = value.encode() if isinstance(value, str) else value
        if isinstance(needle, re.Pattern) and isinstance(needle.pattern, str):
            raise TypeError(f"{needle!r} is a pattern of text: records are bytes, write re.compile(b'...')")
        if not isinstance(needle, (bytes, re.Pattern)):
            raise TypeError(f"needle={needle!r} is neither bytes, nor text, nor a pattern of bytes")
        needles.append(needle)
    return () if b"" in needles else tuple(needles)


def _levels(level: int | str | None) -> tuple[tuple[int, int] | None, str | None]:
    """Return the least and the greatest level, or the name of one that has no number here."""
    if level is None or isinstance(level, int):
        return None if not level else (int(level), TAGS - 1), None
    low, dots, high = level.partition("..")
    numbers = [_level(low, 0), _level(high, TAGS - 1) if dots else TAGS - 1]
    if None not in numbers:
        return (numbers[0] or 0, numbers[1] or 0), None
    if dots:
        raise ValueError(f"level={level!r} is no range of {', '.join(LEVELS)} or numbers")
    return None, level


def _level(text: str, otherwise: int) -> int | None:
    return otherwise if not text else int(text) if text.isdecimal() else LEVELS.get(text.upper())
