"""Reading a log: over its pages, from any place, once or for ever.  Needs no writer and disturbs none."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable, Iterator

from disklog_mp._core import Record
from disklog_mp._pages.directory import Directory
from disklog_mp._reader.cursor import Cursor
from disklog_mp._reader.damage import Damage, report
from disklog_mp._reader.page import Page
from disklog_mp._reader.page_run import PageRun
from disklog_mp._reader.stream import Stream

CLOCK_SLACK = 60 * 10**9  # ns that the clocks of producers and writer may differ by


def _nanoseconds(moment: object, what: str) -> int:
    """A point in time as ns since the epoch: an int is that, a float is seconds, a datetime is itself."""
    if isinstance(moment, bool):
        raise TypeError(f"{what} is a point in time, not {moment!r}")
    if isinstance(moment, int):
        return moment
    if isinstance(moment, float):
        if not math.isfinite(moment):
            raise ValueError(f"{what} is a point in time, not {moment!r}")
        return int(moment * 1e9)
    timestamp = getattr(moment, "timestamp", None)
    if timestamp is None:
        raise TypeError(f"{what} is ns since the epoch, seconds as a float, or a datetime, not {moment!r}")
    microseconds: int = round(timestamp() * 1e6)
    return microseconds * 1000


class Reader:
    """Reads the log in a directory, live or dead; iterating it gives all records there are.

    Damage is passed over and reported to `on_damage` (by default on the logging channel "disklog_mp").
    Raises FileNotFoundError or NotADirectoryError for a path that is no directory, or is a link to one,
    PermissionError if it is not for this user.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, on_damage: Callable[[Damage], object] = report
    ) -> None:
        directory = Directory(path)
        self._pages = PageRun(directory, on_damage)
        self._streams: list[Stream] = []  # where read() stopped, for it to go on there
        if not directory.exists():
            raise FileNotFoundError(errno.ENOENT, "no such log directory", self.path)

    @property
    def path(self) -> str:
        """The directory, absolute."""
        return self._pages.directory.path

    def __repr__(self) -> str:
        return f"<Reader of {self.path}>"

    # -- pages -------------------------------------------------------------------------------------------

    def page_numbers(self) -> list[int]:
        """Return the numbers of the pages there are now, in order."""
        return self._pages.numbers()

    def pages(self) -> Iterator[Page]:
        """Iterate the pages there are, oldest first.

        Pages that retention removes meanwhile are passed over.  So are pages without a valid header, and
        pages that are missing between others: these are reported.
        """
        return self._pages.each(self.page_numbers())

    def get_page(self, number: int) -> Page:
        """Return a page by its number, from 1.

        Raises PageNotFoundError, PageRetiredError if it is gone, CorruptPageError if its header is damaged.
        """
        return self._pages.get(number)

    def find_page(self, number: int) -> Page | None:
        """Return a page by its number; None if it is gone, or has no valid header, which is reported."""
        return self._pages.find(number)

    # -- records -----------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Record]:
        return self.records()

    def records(
        self,
        start: int | None = None,
        stop: int | None = None,
        since: object = None,
        until: object = None,
    ) -> Iterator[Record]:
        """Iterate records by number (start <= number < stop) and time (since <= timestamp < until).

        A time is ns since the epoch, seconds as a float, or a datetime.  Times are the producers' clocks:
        neighbours may be out of order, and each record is judged by its own time.  A page is skipped for the
        time it was begun, so a clock that was set back by more than a minute can hide records from `since`.
        """
        after = None if since is None else _nanoseconds(since, "since")
        before = None if until is None else _nanoseconds(until, "until")
        return self._records(max(0, start or 0), stop, after, before)

    def _records(
        self, start: int, stop: int | None, after: int | None, before: int | None
    ) -> Iterator[Record]:
        def begins_before(page: Page) -> bool:
            # A record is in its page before the next page is begun.
            early = after is not None and page.header.created < after - CLOCK_SLACK
            return early or page.first_number <= start

        numbers = (
            self.page_numbers() if start == 0 and after is None else self._pages.from_last(begins_before)
        )
        for page in self._pages.each(numbers):
            with page:
                if stop is not None and page.first_number >= stop:
                    return
                # Records that waited in the ring, while the disk was full, are older than their page.  So
                # a page begun after `before` is the last one only if all its records are from after that.
                over = before is not None and page.header.created >= before + CLOCK_SLACK
                frames = page.records_from(start)
                while True:
                    for record in frames:
                        if stop is not None and record.number >= stop:
                            return
                        if before is not None and record.timestamp >= before:
                            continue
                        over = False
                        if after is None or record.timestamp >= after:
                            yield record
                    if not page.extend(frames):
                        break
                if over and frames.number > page.first_number:
                    return

    # -- cursors -----------------------------------------------------------------------------------------

    def begin(self) -> Cursor | None:
        """Return the cursor of the oldest record kept; None while the log has no page."""
        for page in self.pages():
            with page:
                return Cursor(page.header.log_id.hex(), page.first_position, page.first_number)
        return None

    def end(self) -> Cursor | None:
        """Return the cursor behind the newest record; None while the log has no page."""
        for number in reversed(self.page_numbers()):
            page = self._pages.find(number)
            if page is not None:
                with page:
                    return Cursor(page.header.log_id.hex(), *page.place())
        return None

    def read(
        self, cursor: Cursor | str | None = None, max_records: int = 1000, max_bytes: int | None = None
    ) -> tuple[list[Record], Cursor | None]:
        """Return up to so many records from the cursor on (None: the oldest), and the cursor behind them.

        `max_bytes` bounds the sum of their lengths, but for the first one.  No records: nothing there yet.
        Raises PageRetiredError if retention removed what the cursor points at, ValueError if it is no
        cursor of this log.
        """
        if max_records < 1:
            raise ValueError(f"max_records={max_records} must be at least 1")
        stream = self._resume(cursor)
        records: list[Record] = []
        total = 0
        for record in stream:
            total += len(record.view)
            if records and max_bytes is not None and total > max_bytes:
                stream.give_back(record)
                break
            records.append(record)
            if len(records) >= max_records:
                break
        self._streams[:] = [stream]
        return records, stream.cursor()

    def _resume(self, cursor: Cursor | str | None) -> Stream:
        """Return the stream with which read() came to that cursor, or a new one."""
        wanted = Cursor.parse(cursor) if isinstance(cursor, str) else cursor
        try:
            stream = self._streams.pop()  # so that no other thread finds it meanwhile
        except IndexError:
            return self.stream(wanted)
        return stream if wanted is not None and stream.cursor() == wanted else self.stream(wanted)

    def stream(self, cursor: Cursor | str | None = None) -> Stream:
        """Return a stream from the cursor on (None: the oldest record), for callers that wait themselves."""
        return Stream(self._pages, cursor)

    def follow(self, cursor: Cursor | str | None = None, *, timeout: float | None = None) -> Iterator[Record]:
        """Iterate records from the cursor on (None: the oldest) and then wait for more, for ever.

        With `timeout`, ends after so many seconds in which none came.  Raises what read() raises, also on
        the way: retention may be faster than the follower.
        """
        stream = self.stream(cursor)
        last = time.monotonic()
        while True:
            for record in stream:
                yield record
                last = time.monotonic()
            patience = math.inf if timeout is None else last + timeout - time.monotonic()
            if patience <= 0:
                return
            stream.rest(patience)
