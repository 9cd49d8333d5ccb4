"""The logs that cat and tail show: each with what is asked of it, all merged by time."""

from __future__ import annotations

import heapq
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import click

from disklog_mp._core import Record
from disklog_mp._reader.reader import Reader
from disklog_mp._ring import claims as _claims
from disklog_mp.cli import _find, _text
from disklog_mp.cli.records._context import Context, Shown
from disklog_mp.cli.records._lines import Lines
from disklog_mp.cli.records._notes import Notes
from disklog_mp.cli.records._output import check, context_of, exit_code, format_of, selection_of, write
from disklog_mp.cli.records._selection import Selection
from disklog_mp.cli.records._terminal import paged


@dataclass
class Log:
    """A log and the records of it that are wanted."""

    reader: Reader
    wanted: Selection
    show: Lines
    notes: Notes
    context: Context | None = None
    column: str | None = None  # its name, where several logs are shown
    stop: int | None = None  # number of the first record that is in the ring only
    unwritten: Callable[[], Iterator[Record]] = lambda: iter(())  # the records from that one on

    def records(self) -> Iterator[Shown]:
        """Iterate what is to be shown, the oldest first."""
        if self.context is None:
            return self._each(self.wanted)
        return self.context.around(self._each(self.wanted.limits()))

    def _each(self, wanted: Selection) -> Iterator[Record]:
        return chain(wanted.records(self.reader, self.stop), filter(wanted.matches, self.unwritten()))

    def newest(self, count: int) -> list[Record]:
        """Return the last `count` records that are wanted."""
        unwritten = list(filter(self.wanted.matches, self.unwritten()))[-count:] if count else []
        return self.wanted.last(self.reader, count - len(unwritten), self.stop) + unwritten

    def with_context(self, newest: list[Record]) -> Iterator[Shown]:
        """Iterate these records, and those around each if that is asked for."""
        if self.context is None or not newest:
            return iter(newest)
        numbers = {record.number for record in newest}
        context = self.context.of(lambda record: record.number in numbers)
        start = max(0, min(numbers) - context.before)
        return context.around(self._each(replace(self.wanted.limits(), start=start)))

    def newest_first(self) -> Iterator[Record]:
        """Iterate the records that are wanted, the newest first."""
        unwritten = reversed([*filter(self.wanted.matches, self.unwritten())])
        return chain(unwritten, self.wanted.newest_first(self.reader, self.stop))


def names_of(logs: Sequence[str]) -> list[str | None]:
    """Return what the column shows for each log; None if there is but one."""
    if len(logs) == 1:
        return [None]
    short = [os.path.basename(log.rstrip("/")) or log for log in logs]
    count = Counter(short)
    return [name if count[name] == 1 else log for name, log in zip(short, logs, strict=True)]


def show_logs(
    logs: Sequence[str],
    lines: int | None,
    ring_dir: str | None,
    how: dict[str, Any],
    *,
    ring: bool = False,
) -> int:
    """Print the records that are wanted of some logs, or the last of them; return the exit code.

    Raises what find() raises, UsageError if the options exclude each other.
    """
    check(how)
    names = zip(logs, names_of(logs), strict=True)
    shown = [_open(log, ring_dir, how, column, ring=ring) for log, column in names]
    limit = None if lines is None or lines < 0 else lines
    if how["count"]:
        printed = _count(shown, limit)
    else:
        printed = 1  # unless the pager is left before the end
        with paged(not how["no_pager"]):
            printed = _print(shown, limit, reverse=how["reverse"])
    return exit_code(printed, shown[0].wanted, max(log.notes.exit_code for log in shown))


def _print(shown: Sequence[Log], limit: int | None, *, reverse: bool) -> int:
    if reverse:
        newest = [_first(log.newest_first(), limit) for log in shown]
        return print_merged(shown, newest, limit, reverse=True)
    for log in shown:
        wanted = log.wanted
        later = limit is not None or wanted.start is not None or wanted.since is not None
        log.notes.watch(log.reader.path, begins_later=later)
    if limit is None:
        printed = print_merged(shown, [log.records() for log in shown])
    else:
        printed = print_newest(shown, limit)
    for log in shown:
        if log.wanted.stop is None and (printed or log.wanted.start is None) and limit != 0:
            log.notes.finish()
    return printed


def _open(log: str, ring_dir: str | None, how: dict[str, Any], column: str | None, *, ring: bool) -> Log:
    with _find.find(log, ring_dir) as found:
        shown = log_at(found.path, how, column)
        if ring:
            end = shown.reader.end()
            shown.stop = end.number if end else None
            if found.file is not None:
                memory = found.file.ring
                position, number = (end.position, end.number) if end else (memory.base, 0)
                label = shown.reader.label
                shown.unwritten = lambda: _claims.records(memory, position, number, label)
    return shown


def log_at(path: str, how: dict[str, Any], column: str | None, *, must_exist: bool = True) -> Log:
    """Return the log in a directory; `must_exist` False: what is wanted may come later."""
    show, notes = format_of(how, column)
    reader = Reader(path, on_damage=notes)
    wanted = selection_of(how).for_log(reader, must_exist)
    return Log(reader, wanted, show, notes, context_of(how, wanted), column)


def print_newest(shown: Sequence[Log], count: int) -> int:
    """Print the last `count` records of all, those that are wanted; return how many were printed."""
    newest = [log.newest(count) for log in shown]
    if len(shown) > 1:
        last = deque(_merged(shown, newest), count)
        newest = [[record for each, record in last if each is log and record] for log in shown]
    return print_merged(
        shown, [log.with_context(records) for log, records in zip(shown, newest, strict=True)]
    )


def print_merged(
    shown: Sequence[Log],
    records: Sequence[Iterable[Shown]],
    limit: int | None = None,
    *,
    reverse: bool = False,
) -> int:
    """Print the records of each log, by time, at most `limit`; return how many were printed."""
    if len(shown) == 1:
        return write(records[0], shown[0].show, shown[0].notes)
    printed = 0
    for log, record in _merged(shown, records, reverse=reverse):
        printed += write((record,), log.show, log.notes, flush=False)
        if printed == limit:
            break
    sys.stdout.buffer.flush()
    return printed


def _merged(
    shown: Sequence[Log], records: Sequence[Iterable[Shown]], *, reverse: bool = False
) -> Iterator[tuple[Log, Record]]:
    """Iterate the records of all logs by time, with the log of each; it holds one record of each."""

    def of_log(log: Log, records: Iterable[Shown]) -> Iterator[tuple[Log, Record]]:
        return ((log, record) for record in records if record is not None)

    each = [of_log(log, some) for log, some in zip(shown, records, strict=True)]
    return heapq.merge(*each, key=lambda pair: pair[1].timestamp, reverse=reverse)


def _first(records: Iterator[Record], count: int | None) -> Iterator[Record]:
    """Iterate the first `count` records, and the gap records before the next, which do not count."""
    left = count
    for record in records:
        if left is not None and not record.gap:
            if left == 0:
                return
            left -= 1
        yield record


def _count(shown: Sequence[Log], limit: int | None) -> int:
    """Print how many records each log has, of those that are wanted; return the sum."""
    total = 0
    for log in shown:
        log.context = None
        records = log.records() if limit is None else log.newest(limit)
        count = sum(record is not None and not record.gap for record in records)
        total += count
        click.echo(count if log.column is None else f"{_text.printable(log.column)}:{count}")
    return total
