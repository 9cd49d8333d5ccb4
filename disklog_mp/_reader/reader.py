"""READER ALGORITHM: reading a log over its pages, from any place, once or on and on.

A reader needs no writer and no ring.  It opens the page files, maps them read-only and changes nothing, so
any number of readers cost the writer nothing, and no reader can damage a log.

What a reader may see.  A page has a watermark, which the writer stores after the bytes below it.  Frames
below the watermark are there; bytes behind it are not there yet.  A frame below it is checked by its
checksum over position and salt: it is given out whole, or it is reported.  A sealed page never changes
again.

Not there yet, torn, corrupt.  These are three answers.  Behind the watermark there is nothing yet: a reader
ends, a follower waits.  A bad frame with nothing valid behind it, in an unsealed page, is the torn end of
what a crash left.  Any other bad frame is corrupt: the reader goes on at the next valid frame, and one
damaged byte costs one record.  Damage is reported once, with its extent and the records it cost as far as
that is known.

Retired while reading.  Retention removes a page's name; the mapping stays valid, so a page that was begun
is read to its end.  Pages that were retired before are skipped when a log is iterated: they are no longer
part of it.  A reader with a cursor has been promised all records behind it, so there PageRetiredError says
what is gone.

What is guaranteed.  Records come in the order of their positions, each once.  A record that is neither
given out nor retired is reported.  A cursor stays valid over restarts of reader, writer and machine.  A
follower notices a record by the page's bell, at once; if its writer was killed before it rang, within half
a second.

Nothing is missing without a word.  At each step, from frame to frame by position, from page to page by
number, the next record must be the next: else Missing says which are not there, between which times, and
why, as far as that is known.  A follower at rest, or about to leave a page, looks where the page's path
leads: to the file that it reads, to a copy of it that is written now, or to what a backup put there.

The table.  The log has three pages: records 0-3 and 4-7 in sealed pages, 8-9 in an unsealed one.  Each row is
a test; records 10-12 come while it reads.

    case                                 | what the reader does            | records  | reported
    -------------------------------------+---------------------------------+----------+-------------------
    nothing is wrong                     | gives all records               | 0-9      | -
    a frame is behind the watermark      | leaves it: not there yet        | 0-9      | -
    the frame of record 5 is corrupt     | goes on at the next valid frame | 0-4, 6-9 | Missing
    the last frame of page 2 is corrupt  | goes on in page 3               | 0-6, 8-9 | Missing
    the last frame of page 3 is bad      | ends before it                  | 0-8      | torn Damage
    the line of page 2 is damaged        | finds its last valid frame      | 0-9      | Damage
    page 2 is cut behind record 5        | goes on in page 3               | 0-5, 8-9 | Missing
    page 2 has no header                 | goes on in page 3               | 0-3, 8-9 | Missing
    page 2 is an empty file              | goes on in page 3               | 0-3, 8-9 | Missing
    page 3 is an empty file              | ends before it                  | 0-7      | torn Damage
    page 2 is missing                    | goes on in page 3               | 0-3, 8-9 | Missing
    page 2 is removed meanwhile          | goes on in page 3               | 0-3, 8-9 | Missing
    page 1 is an older copy              | goes on in page 2               | 0-1, 4-9 | Missing
    the end of page 2 was set aside      | goes on in page 3               | 0-6, 8-9 | Missing
    page 2 is of another log, no cursor  | passes it over                  | 0-3, 8-9 | Missing
    page 3 begins again with record 6    | gives the records of both       | 0-7, 6-9 | Missing
    page 2 is of another version         | raises behind page 1            | 0-3      | FormatVersionError
    page 1 is retired                    | begins with page 2              | 4-9      | -
    page 1 is retired while it is read   | reads it to its end             | 0-9      | -
    page 1 is retired, a cursor is there | raises                          | -        | PageRetiredError
    a follower of page 1 is overtaken    | raises behind page 1            | 0-3      | PageRetiredError
    a follower meets another log's page  | raises behind page 2            | 0-7      | CursorError
    page 3 becomes an older copy         | a follower raises at its end    | 0-9      | CursorError
    page 3 is overwritten by an older one| a follower raises at its end    | 0-9      | CursorError
    page 3 becomes another page          | a follower raises at its end    | 0-9      | CursorError
    page 3 becomes one of other records  | a follower raises at its end    | 0-9      | CursorError
    page 3 is gone, page 2 is open       | a follower raises at its end    | 0-9      | CursorError
    an older page 3, then page 4         | a follower raises behind page 3 | 0-9      | CursorError
    page 4 begins again with record 9    | a follower raises behind page 3 | 0-9      | CursorError
    page 3 is copied, and is written     | a follower goes on in the copy  | 0-11     | -
    page 3 is copied, then comes page 4  | a follower reads the copy first | 0-12     | -
    the log's directory is gone          | a follower waits                | 0-9      | -
    a cursor is of another log           | raises                          | -        | CursorError
    a cursor is beyond the end           | raises                          | -        | CursorError
    a cursor's record is another one     | raises                          | -        | CursorError
"""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable, Iterator

from disklog_mp._core import Record
from disklog_mp._pages.directory import Directory
from disklog_mp._reader.backward import BackwardStream
from disklog_mp._reader.cursor import Cursor
from disklog_mp._reader.damage import Damage, report
from disklog_mp._reader.events import LogEvent, events_in
from disklog_mp._reader.page import Page
from disklog_mp._reader.page_run import PageRun
from disklog_mp._reader.searching import Searching, nanoseconds
from disklog_mp._reader.stepping import at_number, at_time, step
from disklog_mp._reader.stream import Stream
from disklog_mp.errors import DiskLogError


class Reader(Searching):
    """Reads the log in a directory, live or dead; iterating it gives all records there are.

    Damage is passed over and reported to `on_damage` (by default on the logging channel "disklog_mp").
    Raises FileNotFoundError or NotADirectoryError for a path that is no directory, or is a link to one,
    PermissionError if it is not for this user.
    """

    __module__ = "disklog_mp"  # where users find it, before they have looked

    def __init__(
        self, path: str | os.PathLike[str], *, on_damage: Callable[[Damage], object] = report
    ) -> None:
        directory = Directory(path)
        self._pages = PageRun(directory, on_damage)
        self._on_damage = on_damage
        self._streams: list[Stream] = []  # where read() stopped, for it to go on there
        self._backward: list[BackwardStream] = []  # the same for reading backward
        if not directory.exists():
            raise FileNotFoundError(errno.ENOENT, "no such log directory", self.path)

    @property
    def path(self) -> str:
        """The directory, absolute."""
        return self._pages.directory.path

    def label(self, index: int) -> str:
        """Return the label of that index in the log's table; `?7` if the table does not have number 7."""
        return self._pages.labels.text(index)

    def __repr__(self) -> str:
        return f"<Reader of {self.path}>"

    # -- pages -------------------------------------------------------------------------------------------

    def page_numbers(self) -> list[int]:
        """Return the numbers of the pages there are now, in order."""
        return self._pages.numbers()

    def pages(self) -> Iterator[Page]:
        """Iterate the pages there are, oldest first.

        Pages that retention removes meanwhile are passed over.  So are pages without a valid header, pages of
        another log, and pages that are missing between others: these are reported.
        """
        numbers = self.page_numbers()
        return self._pages.each(numbers, log_id=self._pages.log_id(numbers))

    def get_page(self, number: int) -> Page:
        """Return a page by its number, from 1.

        Raises PageNotFoundError, PageRetiredError if it is gone, CorruptPageError if its header is damaged,
        or is that of another log's page.
        """
        return self._pages.get_own(number)

    def find_page(self, number: int) -> Page | None:
        """Return a page by its number; None if it is gone, or has no valid header, which is reported."""
        return self._pages.find(number)

    # -- records -----------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Record]:
        # One at a time, each checked when it is given: a page may be cut meanwhile.
        numbers = self._pages.numbers()
        for page in self._pages.each(numbers, log_id=self._pages.log_id(numbers)):
            with page:
                yield from page.rest_of(page.records_from())

    def events(self, follow: bool = False, *, timeout: float | None = None) -> Iterator[LogEvent]:
        """Iterate what happened to the log itself, oldest first: see README for the events.

        With `follow`, waits for more, for ever, or until none came for `timeout` seconds.
        """
        return events_in(self.path, self._on_damage, follow=follow, timeout=timeout)

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
        self,
        cursor: Cursor | str | None = None,
        max_records: int = 1000,
        max_bytes: int | None = None,
        *,
        backward: bool = False,
    ) -> tuple[list[Record], Cursor | None]:
        """Return up to so many records from the cursor on (None: the oldest), and the cursor behind them.

        `max_bytes` bounds the sum of their lengths, but for the first one.  No records: nothing there yet.

        With `backward`, the records before the cursor (None: the end), newest first, and the cursor of the
        last one returned.  No records: the cursor is that of the oldest record kept.  The first such call in
        a page costs a pass over it up to the cursor, the next ones only what they return, and about 512
        records are held in memory.

        Raises PageRetiredError if retention removed what the cursor points at, CursorError if the cursor does
        not fit the log, ValueError for what is no cursor.
        """
        if max_records < 1:
            raise ValueError(f"max_records={max_records} must be at least 1")
        if backward:
            return self._read_backward(cursor, max_records, max_bytes)
        stream = self._resume(cursor)
        records: list[Record] = []
        total = 0
        try:
            for record in stream:
                total += len(record.view)
                if records and max_bytes is not None and total > max_bytes:
                    stream.give_back(record, records[-1].timestamp)
                    break
                records.append(record)
                if len(records) >= max_records:
                    break
        except DiskLogError:
            if not records:
                raise  # else the next call does
        self._streams[:] = [stream]
        return records, stream.cursor()

    def _read_backward(
        self, cursor: Cursor | str | None, max_records: int, max_bytes: int | None
    ) -> tuple[list[Record], Cursor | None]:
        wanted = Cursor.parse(cursor) if isinstance(cursor, str) else cursor or self.end()
        if wanted is None:
            return [], None
        try:
            stream = self._backward.pop()  # so that no other thread finds it meanwhile
        except IndexError:
            stream = BackwardStream(self._pages, wanted)
        if stream.cursor() != wanted:
            stream = BackwardStream(self._pages, wanted)
        records = stream.read(max_records, max_bytes)
        self._backward[:] = [stream]
        return records, stream.cursor()

    def step(self, cursor: Cursor | str | None, pages: int = 1, *, check: bool = True) -> Cursor | None:
        """Return the cursor of the first record of the page that is `pages` on (negative: back).

        It is counted from the page of the record at the cursor (None: the oldest); 0 is that page itself.
        None while the log has no page.

        Raises PageNotFoundError if there is no such page, PageRetiredError if it is gone, CorruptPageError if
        its header is damaged, and what read() raises.  What is missing between the pages on the way is
        reported, and what is damaged in them and in that page: it costs reading them.  Without `check` they
        are only opened.
        """
        return step(self._pages, cursor, pages, check=check)

    def cursor_at(self, number: int | None = None, *, since: object = None) -> Cursor | None:
        """Return the cursor of the first record of at least that number, or of a time not before `since`.

        A time is ns since the epoch, seconds as a float, or a datetime.  Times are the producers' clocks: of
        records out of order it is the first.  The end is returned for the number of the next record, and if
        no record is that late yet.  None while the log has no page.

        Raises PageRetiredError if retention removed the record, CursorError if the log ends before it.
        """
        if (number is None) == (since is None):
            raise TypeError("cursor_at() takes a number or since=, one of them")
        if number is None:
            return at_time(self._pages, nanoseconds(since, "since"))
        return at_number(self._pages, number)

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
