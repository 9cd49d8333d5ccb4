"""How a writer begins, as events: whether another one ran before, and how that ended.

Beside it, the watch on the clock, because all other events are told by their time.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

from disklog_mp._os.clocks import wall_at_boot
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.format import HeaderError
from disklog_mp._pages.recovery import Recovered
from disklog_mp._pages.survey import FoundPage
from disklog_mp._pages.writer import PageWriter
from disklog_mp._writer.event_book import EventBook, Totals
from disklog_mp._writer.log_file import LogFile
from disklog_mp._writer.notices import CONFIGURED, MISSED, Notices
from disklog_mp._writer.takeover import Former, Taken
from disklog_mp._writer.terms import DEFAULT, options_in
from disklog_mp.errors import FormatVersionError

Tell = Callable[..., None]
STEP = 1.0  # seconds by which the clock must jump to be told


def begin_book(
    directory: Directory, pages: PageWriter, notices: Notices, taken: Taken, log_file: LogFile
) -> EventBook:
    """Return the log's events, those of this start told: the directory is in use now."""
    book = EventBook(notices, directory, pages)
    totals = book.totals
    _tell_start(notices.tell, taken.former, totals, is_first=pages.position == 0)
    if totals.events and totals.last != "stopped":
        _tell_untold_pages(notices.tell, pages, totals, taken.recovered, log_file.identity.archive_of)
    _tell_changes(notices.tell, totals, log_file)
    untold = dict.fromkeys(totals.may_be_untold(), 0)
    if untold:
        notices.tell(MISSED, events=0, names=untold, why="the writer was killed: how many is not known")
    for what, since in totals.lasting.items():  # it may begin again
        after = round(max(0.0, (time.time_ns() - since) / 1e9), 3)
        notices.tell("recovered", what=what, after=after, why="another writer")
    book.write()
    return book


def _tell_start(tell: Tell, former: Former, totals: Totals, *, is_first: bool) -> None:
    if is_first and not totals.events:
        tell("opened")
    has_vanished = not former.is_ring_kept and totals.last not in ("", "stopped")
    if former.pid or has_vanished:
        last_seen = former.heartbeat if former.pid else totals.last_time
        why = "machine down" if former.was_rebooted else "died" if former.pid else "ring gone"
        seconds = max(0.0, (time.time_ns() - last_seen) / 1e9)
        tell("writer-replaced", why=why, seconds=round(seconds, 3), pid=former.pid or None)
    tell("writer-started", pid=os.getpid(), ring="kept" if former.is_ring_kept else "new")


def _tell_changes(tell: Tell, totals: Totals, log_file: LogFile) -> None:
    """Tell the options that the last writer changed and did not live to tell of, and those of this start."""
    for identity in (log_file.found, log_file.identity):
        if identity is None:
            continue
        options = json.loads(json.dumps(options_in(identity)))  # as an event has them
        for name, value in options.items() if totals.options else ():
            if name in totals.options and totals.options[name] != value:
                by = identity.sources.get(name, DEFAULT)
                tell(CONFIGURED, option=name, **{"from": totals.options[name], "to": value, "by": by})
        totals.options = options


def _tell_untold_pages(
    tell: Tell,
    pages: PageWriter,
    totals: Totals,
    recovered: Recovered,
    archive_of: Callable[[int], str],
) -> None:
    """Tell of the pages that the last writer sealed or removed, but did not live to tell of.

    `archive_of` returns where a page was moved to, "" if it was not.
    """
    first, retention = pages.retention.first_page(), pages.retention
    why = "not known"
    before = first - 1 - totals.rolled_to
    if before > 0:
        tell("rolled", page=totals.rolled_to + 1, last_page=first - 1, events=before, reason=why)
    told_yet = {page.number for page in recovered.sealed}
    for page in retention.pages:
        if page.number > totals.rolled_to and page.number not in told_yet:
            tell("rolled", page=page.number, reason=why, records=page.records, bytes=page.bytes)
    gone = first - 1 - totals.retired_to
    if gone > 0:
        number = _first_number(pages, first) if totals.events["opened"] else None
        told = totals.sums["retired records"] + totals.sums["archived records"]
        records = None if number is None else max(0, number - told)
        to = archive_of(first - 1)  # nothing else is removed while pages are moved
        name, how = ("archived", {"to": to}) if to else ("retired", {"why": why})
        tell(name, page=totals.retired_to + 1, last_page=first - 1, events=gone, records=records, **how)


def _first_number(pages: PageWriter, page: int) -> int | None:
    """Return the number of the first record of a page, None if that cannot be read."""
    path = pages.folder.directory.page_path(page)
    try:
        file = pages.folder.files.open(path, writable=False)
    except OSError:
        return None
    try:
        return FoundPage(file, path, page).header.first_number
    except (HeaderError, FormatVersionError, OSError):
        return None
    finally:
        file.close()


class ClockWatch:
    """Tells when the clock of the machine was set."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._offset = wall_at_boot()

    def inspect(self, now: float) -> None:
        """Compare the clock with one that is never set, and goes on while the machine sleeps."""
        before, self._offset = self._offset, wall_at_boot()
        seconds = self._offset - before
        if abs(seconds) >= STEP:
            self._tell("clock-stepped", seconds=round(seconds, 3))
