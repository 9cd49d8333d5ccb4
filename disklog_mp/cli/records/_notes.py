"""What is not among the records, told beside them: drops, damage, missing records, the log's own events.

A note is one line.  No condition about records hides one.  It stands within the output on a terminal, else on
stderr, so that pipes and JSON stay clean.  `--notes` puts it into the output, in JSON as an object;
`--no-notes` hides it.  It never stands in raw output.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from disklog_mp._core import Record
from disklog_mp._reader.damage import Damage, Missing, describe
from disklog_mp.cli import _text
from disklog_mp.cli._times import zone_of
from disklog_mp.cli.records import _formats
from disklog_mp.cli.records import events as _events
from disklog_mp.cli.records._between import Between

FULL = "the ring was full"
CUT = "the page file was cut while it was read"
EVENTS_POLL = 1.0  # seconds between looks for events while no records come
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError, RecursionError)


class Notes:
    """Shows notes where the options say, and remembers whether anything was damaged or missing."""

    def __init__(self, how: dict[str, Any], layout: str, log: str | None = None) -> None:
        wanted: bool | None = how.get("notes")
        self._hidden = wanted is False or how.get("quiet", False)
        self._log = log
        self._zone = zone_of(how)
        self._json = layout in ("json", "flat")
        within = sys.stdout.isatty() and not self._json if wanted is None else wanted
        self._within = within and layout != "raw"
        self._is_wanted = wanted is True and layout != "raw"
        self._times = how.get("since"), how.get("until")
        self._events: Between | None = None
        self._begins_later = False
        self.due: float = math.inf  # events must be told before a record at that position
        self._known: set[tuple[int, int, bool]] = set()
        self._before: Callable[[], object] = _nothing
        self.exit_code = 0  # 1 if anything was damaged or is missing

    @contextmanager
    def behind(self, before: Callable[[], object]) -> Iterator[None]:
        """Print what comes before a note with that call, before each note within, and at the end."""
        self._before = before
        try:
            yield
        finally:
            self._before = _nothing
            before()

    def __call__(self, damage: Damage) -> None:
        """Tell of what cannot be read, each once."""
        self.exit_code = 1
        key = damage.page, damage.offset, isinstance(damage, Missing)  # which says more
        if key in self._known:
            return
        self._known.add(key)
        told: dict[str, Any] = {"page": damage.page, "offset": damage.offset, "length": damage.length}
        told["records"] = damage.records
        if isinstance(damage, Missing):
            told |= {"last_page": damage.last_page, "why": damage.why or None}
            told |= {"first_number": damage.first_number, "last_number": damage.last_number}
            told |= {"from": _iso(damage.before), "to": _iso(damage.after)}
        self.tell("missing" if isinstance(damage, Missing) else "damage", describe(damage), told)

    def gap(self, record: Record) -> None:
        """Tell of records that were dropped: by which process, how many, from when to when, and why."""
        if not record.intact:
            self.cut(record, record)
            return
        told = _formats.identity(record)
        process = f"process {_formats.producer(record)}"
        try:
            dropped, since, until = drops_in(record)
            times = f"from {_text.moment(since, self._zone)} to {_text.moment(until, self._zone)}"
            told |= {"dropped": dropped, "from": _iso(since), "to": _iso(until), "why": FULL}
            text = f"{process} dropped {_text.plural(dropped, 'record')} {times}: {FULL}"
        except UNREADABLE:
            said = record.data.decode("utf-8", "backslashreplace")  # no session wrote that
            told["data"], text = said, f"{process} dropped records: {said}"
        self.tell("gap", text, told)

    def cut(self, first: Record, last: Record) -> None:
        """Tell of records that were read, and whose page file was cut before they were printed."""
        self.exit_code = 1
        numbers = f" {first.number:,}" if first is last else f"s {first.number:,}-{last.number:,}"
        told: dict[str, Any] = {"records": last.number - first.number + 1}
        told |= {"first_number": first.number, "last_number": last.number, "why": CUT}
        self.tell("missing", f"skipped record{numbers}: {CUT}", told)

    # -- the log's own events ----------------------------------------------------------------------------

    def watch(self, path: str, *, begins_later: bool = False) -> None:
        """Tell of the log's events among the records.

        `begins_later`: not of those before the first record that is shown.  Without `--notes` it tells only
        of what is not routine.
        """
        if not self._hidden:
            since, until = self._times
            self._events = Between(path, with_routine=self._is_wanted, since=since, until=until)
            self._begins_later = begins_later
            self.due = -1 if begins_later else self._events.due()

    def go_on(self, path: str, position: int | None) -> None:
        """Tell of the events from a position on, behind those that were told already; None: of all."""
        if self._events is None:
            self.watch(path, begins_later=position is not None)
        self.reach(position or 0)

    def reach(self, position: float) -> None:
        """Tell of the events before the record at that position: call it where `due` is not behind that."""
        if self._events is not None:
            if self._begins_later:
                self._events.skip(position)
                self._begins_later = False
            self._tell_events(self._events, position)

    def finish(self) -> None:
        """Tell of the events behind all that was shown (of all, if nothing was), and of those that came
        meanwhile.  It can be called again.
        """
        if self._events is not None:
            self._begins_later = False
            self._events.look()
            self._tell_events(self._events, math.inf)

    @property
    def patience(self) -> float:
        """How long to wait for records, in seconds, before a look at what happened to the log."""
        return math.inf if self._events is None else EVENTS_POLL

    def _tell_events(self, events: Between, position: float) -> None:
        for event in events.up_to(position):
            self.tell("event", _events.to_line(event, self._zone), _events.to_values(event))
        self.due = events.due()
        if self._within:
            sys.stdout.flush()

    def tell(self, kind: str, text: str, told: dict[str, Any]) -> None:
        """Show a note: as one line of text, or as an object in JSON."""
        if self._hidden:
            return
        self._before()
        if self._log is not None:
            told, text = {"log": self._log, **told}, f"{self._log}: {text}"
        if not self._within:
            sys.stdout.flush()  # so that it stands behind the records before it, where both go to one place
            _text.say(text)
            return
        line = _text.to_json({"note": kind, **told}) if self._json else f"-- {_text.printable(text)} --"
        sys.stdout.buffer.write(f"{line}\n".encode(sys.stdout.encoding or "utf-8", "backslashreplace"))


def _nothing() -> None:
    """For notes that nothing has to be printed before."""


def drops_in(record: Record) -> tuple[int, int, int]:
    """Return what a gap record says: how many records were dropped, from when to when.

    Raises one of UNREADABLE if no session wrote it.
    """
    gap = json.loads(record.data)
    return int(gap["dropped"]), int(gap["since"]), int(gap.get("until", record.timestamp))


def _iso(nanoseconds: int) -> str | None:
    return _text.iso(nanoseconds) if nanoseconds else None
