"""Following logs: the last records of each, then those to come, over rolls, restarts and retention."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import click

from disklog_mp._core import Record
from disklog_mp._reader.cursor import Cursor
from disklog_mp._reader.cursor_file import load_cursor, save_cursor
from disklog_mp._reader.damage import RETIRED
from disklog_mp._reader.stream import Stream
from disklog_mp.cli import _find, _text
from disklog_mp.cli.records._context import Shown
from disklog_mp.cli.records._output import check, exit_code
from disklog_mp.cli.records._shown import Log, log_at, names_of, print_merged, print_newest
from disklog_mp.errors import CursorError, LogNotFoundError, PageRetiredError

ALL = -1  # lines
ABSENT = (_find.NoSuchLogError, LogNotFoundError)
WAITING = "no log {!r} yet: waiting for it"
ABSENT_POLL = 0.2  # seconds between looks for a log that is not there yet
SHORTEST_REST, LONGEST_REST = 0.002, 0.1  # seconds between looks at several logs


class Followed:
    """A log that is followed: how far it was shown, and what is to be told about what was not."""

    def __init__(self, log: Log, place: Cursor | None, if_lost: str | None = None) -> None:
        self.log = log
        self.missed = 0  # 1 if records were skipped
        self._if_lost = if_lost
        self._place = place
        self.stream = log.reader.stream(place)
        log.notes.go_on(log.reader.path, None if place is None else place.position)

    def records(self) -> Iterator[Shown]:
        """Iterate what is to be shown of the records that are there now and were not shown."""
        context = self.log.context
        if context is None:
            return filter(self.log.wanted.matches, self._new())
        return context.around(filter(self.log.wanted.limits().matches, self._new()))

    def _new(self) -> Iterator[Record]:
        """Iterate the records that are there now and were not read."""
        removed = False
        expected = self._place.number if self._place else None
        while True:
            try:
                for record in self.stream:
                    if removed and expected is not None and record.number > expected:
                        self._tell_removed(expected, record.number - 1)
                    expected, removed = record.number + 1, False
                    yield record
            except PageRetiredError:  # continue with the oldest record on disk
                self.stream, removed = self.log.reader.stream(), True
                continue
            except CursorError as problem:
                self.stream = self._after(problem)
                continue
            self._place = self.stream.cursor()
            return

    def _after(self, problem: CursorError) -> Stream:
        """A stream from where the caller wants to resume; raises the problem if that is nowhere."""
        if self._if_lost is None:
            raise problem
        _text.say(f"{problem}; resumed with the {self._if_lost} record")
        place = self.log.reader.end() if self._if_lost == "newest" else None
        self._if_lost = None  # no second time: it would read the same again and again
        self.missed = 1
        return self.log.reader.stream(place)

    def _tell_removed(self, first: int, last: int) -> None:
        """Tell of records that retention removed before they were shown."""
        self.missed = 1
        numbers = f" {first:,}" if first == last else f"s {first:,}-{last:,}"
        told = {"records": last - first + 1, "first_number": first, "last_number": last, "why": RETIRED}
        self.log.notes.tell("missing", f"skipped record{numbers}: removed by retention", told)


def resume_log(
    log: str,
    lines: int,
    ring_dir: str | None,
    how: dict[str, Any],
    *,
    follow: bool,
    cursor_file: str,
    if_lost: str | None,
) -> int:
    """Print the records behind the place in a cursor file, or the last ones, and keep the place in the file.

    Raises what find() raises, CursorError for a place that does not fit the log, UsageError if options
    exclude each other.
    """
    _check(how, "--cursor-file")
    path = _wait_for(log, ring_dir, how["quiet"]) if follow else _find.directory_of(log, ring_dir)
    shown = log_at(path, how, None, must_exist=not follow)
    place, trouble = load_cursor(cursor_file)
    printed = 0
    if trouble:
        _text.say(trouble)
    elif place is None and lines >= 0:
        place = shown.reader.end()
        shown.stop = 0 if place is None else place.number
        shown.notes.watch(path, begins_later=True)
        printed = print_newest([shown], lines)
        _save(cursor_file, place)
        if not follow:
            shown.notes.finish()
            return exit_code(printed, shown.wanted, shown.notes.exit_code)
    followed = Followed(shown, place, if_lost)
    while True:
        printed += print_merged([shown], [followed.records()])
        shown.notes.finish()
        if followed.stream.cursor() != place:
            place = followed.stream.cursor()
            _save(cursor_file, place)
        if not follow:
            return exit_code(printed, shown.wanted, followed.missed or shown.notes.exit_code)
        followed.stream.rest(shown.notes.patience)


def _save(path: str, place: Cursor | None) -> None:
    if place is not None:  # without a record there is no place, and so no file
        save_cursor(path, place)


def _wait_for(log: str, ring_dir: str | None, quiet: bool) -> str:
    """Return the directory of a log as soon as there is one."""
    told = quiet
    while True:
        try:
            return _find.directory_of(log, ring_dir)
        except ABSENT:
            if not told:
                _text.say(WAITING.format(log))
            told = True
            time.sleep(ABSENT_POLL)


def follow_logs(logs: Sequence[str], lines: int, ring_dir: str | None, how: dict[str, Any]) -> int:
    """Print the last records of some logs and then those to come, for ever; a log may come later, too.

    Raises what find() raises for what can be no log, UsageError if the options exclude each other.
    """
    _check(how, "--follow")
    names = dict(zip(logs, names_of(logs), strict=True))
    followed, absent = _begin([*names], names, ring_dir, how, lines)
    for log in absent if not how["quiet"] else ():
        _text.say(WAITING.format(log))
    rest, next_look = SHORTEST_REST, time.monotonic() + ABSENT_POLL
    while True:
        if absent and time.monotonic() >= next_look:
            came, absent = _begin(absent, names, ring_dir, how, ALL)
            followed += came
            next_look = time.monotonic() + ABSENT_POLL
        if not followed:
            time.sleep(ABSENT_POLL)
            continue
        if print_merged([each.log for each in followed], [each.records() for each in followed]):
            rest = SHORTEST_REST
        for each in followed:
            each.log.notes.finish()
        if len(followed) == len(names) == 1:
            followed[0].stream.rest(followed[0].log.notes.patience)
        else:
            followed[0].stream.wait(rest)
            rest = min(2 * rest, LONGEST_REST)


def _begin(
    logs: Sequence[str], names: dict[str, str | None], ring_dir: str | None, how: dict[str, Any], lines: int
) -> tuple[list[Followed], list[str]]:
    """Print the last records of those logs that are there; return these, and the names of the others."""
    found: list[Log] = []
    absent = []
    for log in logs:
        try:
            path = _find.directory_of(log, ring_dir)
        except ABSENT:
            absent.append(log)
        else:
            found.append(log_at(path, how, names[log], must_exist=False))
    if lines < 0 or not found:
        return [Followed(each, None) for each in found], absent
    places = [each.reader.end() for each in found]
    for each, place in zip(found, places, strict=True):
        each.stop = 0 if place is None else place.number
        each.notes.watch(each.reader.path, begins_later=True)
    print_newest(found, lines)
    return [Followed(each, place) for each, place in zip(found, places, strict=True)], absent


def _check(how: dict[str, Any], option: str) -> None:
    """Raise UsageError for options that need an end of the log, and what check() raises."""
    check(how)
    for other, name in (("--count", "count"), ("--reverse", "reverse")):
        if how[name]:
            raise click.UsageError(f"{option} and {other} exclude each other")
