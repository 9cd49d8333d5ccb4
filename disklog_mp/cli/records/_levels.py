"""Levels as they are written on the command line: `err`, `25`, `warning..critical`, names of one's own."""

from __future__ import annotations

from typing import NamedTuple

import click

from disklog_mp._loggers import lines as _lines
from disklog_mp._loggers import structured as _structured
from disklog_mp._reader.reader import Reader

HIGHEST = 65535  # a level is the record's tag
WITHIN = 128  # bytes from the beginning of a structured record
OTHER_SPELLINGS = {name: _lines.LEVELS[name] for name in ("ERR", "CRIT", "ALERT", "EMERG", "PANIC")}
KNOWN = {**OTHER_SPELLINGS, **_structured.LEVELS}
SYSLOG = (50, 50, 50, 40, 30, 25, 20, 10)  # levels of the priorities 0 to 7, as `journalctl -p` takes them
Level = int | str  # a number is the record's tag; a name: see Levels.for_log()


class Levels(NamedTuple):
    """The least level, and the highest one unless that is None."""

    least: Level = 0
    highest: Level | None = None

    def for_log(self, reader: Reader, must_exist: bool = True) -> Levels:
        """Return the levels as numbers; a name is looked for in the log.

        Raises UsageError if no record there has a level of that name, but for `must_exist`: then it remains a
        name, and records of that level alone are shown.
        """
        highest = None if self.highest is None else _number_of(self.highest, reader, must_exist)
        return Levels(_number_of(self.least, reader, must_exist), highest)

    def has(self, tag: int) -> bool:
        """True if the tag is one of these levels, which are numbers."""
        return tag >= self.least and (self.highest is None or tag <= self.highest)  # type: ignore[operator]

    def has_name(self, name: str) -> bool:
        """True if that is the name of one of these levels, as far as they are names."""
        return name.upper() in (str(self.least).upper(), str(self.highest).upper())

    def range(self) -> tuple[int, int] | None:
        """Return the least and the greatest tag; None for all, and for levels that are names."""
        if self == ANY or not isinstance(self.least, int) or isinstance(self.highest, str):
            return None
        return self.least, HIGHEST if self.highest is None else self.highest

    @property
    def are_numbers(self) -> bool:
        """True if no level has to be looked for in a log."""
        return isinstance(self.least, int) and not isinstance(self.highest, str)


ANY = Levels()


def _number_of(level: Level, reader: Reader, must_exist: bool) -> Level:
    """The number of a level: as its name stands in the log, or as other programs have it."""
    if isinstance(level, int):
        return level
    begin = f'"level":{_structured.encode_value(level)},'.encode().upper()
    for record in reader.records():
        if begin in record.data[:WITHIN].upper() and record.event is not None:
            return record.tag
    if level.upper() in _lines.OF_OTHERS:
        return _lines.OF_OTHERS[level.upper()]
    if not must_exist:
        return level
    known = ", ".join(_structured.LEVELS)
    raise click.UsageError(f"--level {level!r} is neither a number nor one of {known}, and no record has it")


def to_levels(ctx: click.Context, param: click.Parameter, value: str | None) -> Levels:
    """Take a level or a range of levels from the command line; a callback for click."""
    if value is None:
        return ANY
    first, dots, last = value.partition("..")
    if not dots:
        return Levels(_level(value))
    least, highest = _level(first) if first else 0, _level(last) if last else None
    if isinstance(least, int) and isinstance(highest, int) and least > highest:
        least, highest = highest, least
    return Levels(least, highest)


def _level(text: str) -> Level:
    if not text.isdecimal():
        return KNOWN.get(text.upper(), text)
    return SYSLOG[int(text)] if int(text) < len(SYSLOG) else int(text)
