"""Reading a log: over its pages, from any place, once or for ever.  Needs no writer and disturbs none."""

from __future__ import annotations

import bisect
import contextlib
import errno
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from disklog_mp._core import Frames, Record
from disklog_mp._pages.directory import Directory
from disklog_mp._reader.page import Damage, Page, report
from disklog_mp.errors import CorruptPageError, PageNotFoundError, PageRetiredError

CLOCK_SLACK = 60 * 10**9  # ns that the clocks of producers and writer may differ by
LOOK, LONGEST_LOOK = 0.1, 12.8  # seconds to another look at everything: at first, and when it is quiet
GLANCE = 0.5  # seconds to one at what there most likely is, which costs little
FIRST_PAGE_POLL = 0.02
LIST_POLL = (0.1, 3.2)  # looks for a page other than the next one: at first, and when it is quiet


CURSOR = re.compile(r"([0-9a-f]{32}):([0-9]{1,20}):([0-9]{1,20})")


class Cursor(NamedTuple):
    """A reader's place: the log, the position of the next record and its number.

    Prints as one word, `str(cursor)`, and Cursor.parse() reads it back; valid over restarts of anything.
    """

    log_id: str
    position: int
    number: int

    def __str__(self) -> str:
        return f"{self.log_id}:{self.position}:{self.number}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read a printed cursor.  Raises ValueError for anything else."""
        match = CURSOR.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a cursor")
        return cls(match[1], int(match[2]), int(match[3])).checked()

    def checked(self) -> Cursor:
        """Return it if its numbers can be a place.  Raises ValueError."""
        if not (0 <= self.position < 2**64 and 0 <= self.number < 2**64):
            raise ValueError(f"{str(self)!r} is not a cursor")
        return self


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
        self._directory = Directory(path)
        self._on_damage = on_damage
        self._streams: list[Stream] = []  # where read() stopped, for it to go on there
        if not self._directory.exists():
            raise FileNotFoundError(errno.ENOENT, "no such log directory", self.path)

    @property
    def path(self) -> str:
        """The directory, absolute."""
        return self._directory.path

    def __repr__(self) -> str:
        return f"<Reader of {self.path}>"

    # -- pages -------------------------------------------------------------------------------------------

    def page_numbers(self) -> list[int]:
        """Return the numbers of the pages there are now, in order."""
        return self._directory.pages()

    def pages(self) -> Iterator[Page]:
        """Iterate the pages there are, oldest first.

        Those retired meanwhile are passed over; so are those without a header, and those missing between
        others, but these are reported.
        """
        return self._pages(self.page_numbers())

    def _pages(self, numbers: list[int]) -> Iterator[Page]:
        before: Page | None = None
        listed = 0
        for number in numbers:
            page = self._open(number)
            if page is not None:
                if before is not None and number > listed + 1:
                    self._note_missing(before, page)
                before = page
                yield page
            listed = number

    def _note_missing(self, before: Page, after: Page) -> None:
        """Report records between two pages whose page file is not there."""
        missing = before.number + 1
        lost = after.first_number - before.first_number - len(before)
        if lost > 0 and not os.path.lexists(self._directory.page_path(missing)):
            self._on_damage(Damage(missing, 0, 0, lost, 0, 0, False))

    def get_page(self, number: int) -> Page:
        """Return a page by its number, from 1.

        Raises PageNotFoundError, PageRetiredError if it is gone, CorruptPageError if its header is damaged.
        """
        path = self._directory.page_path(number)
        try:
            page = Page(path, on_damage=self._on_damage)
        except FileNotFoundError:
            numbers = self.page_numbers() or [0]
            kind = PageRetiredError if 0 < number < numbers[0] else PageNotFoundError
            raise kind(number, numbers[0], numbers[-1]) from None
        if page.number != number:
            page.close()
            raise CorruptPageError(path, 32, f"page number {page.number}", number)
        return page

    def _open(self, number: int, *, on_damage: Callable[[Damage], object] | None = None) -> Page | None:
        try:
            return self.get_page(number)
        except PageNotFoundError:
            return None
        except CorruptPageError as problem:
            size = 0
            with contextlib.suppress(OSError):
                size = os.path.getsize(self._directory.page_path(number))
            if size:  # an empty file never was a page
                cut = problem.offset == size
                (on_damage or self._on_damage)(Damage(number, 0, size, 0, 0, 0, cut))
            return None

    def _from_last(self, begins_before: Callable[[Page], bool]) -> list[int]:
        """Return the numbers of the pages from the last one on of which that is true (all, if of none); it
        is true of a page only if it is of those before.
        """
        numbers = self.page_numbers()
        readable = numbers[:]
        low, high = 0, len(readable)
        while high - low > 1:
            middle = (low + high) // 2
            page = self._open(readable[middle], on_damage=lambda damage: None)
            if page is None:
                del readable[middle]
                high -= 1
                continue
            with page:
                low, high = (middle, high) if begins_before(page) else (low, middle)
        return numbers[numbers.index(readable[low]) :] if readable else []

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
        neighbours may be out of order, and each record is judged by its own.  Which pages are looked at is
        told by when they were begun: a clock set back by more than a minute can hide some from `since`.
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

        numbers = self.page_numbers() if start == 0 and after is None else self._from_last(begins_before)
        for page in self._pages(numbers):
            with page:
                if stop is not None and page.first_number >= stop:
                    return
                # What lay in the ring for long, its disk being full, is older than its page: so a page
                # begun after `before` is the last one only if all in it is from after that, too.
                over = before is not None and page.header.created >= before + CLOCK_SLACK
                frames = page.frames(start)
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
            page = self._open(number)
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
        stream = self._stream(cursor)
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
        del stream._reader  # or they would hold each other, and a descriptor
        self._streams[:] = [stream]
        return records, stream.cursor()

    def _stream(self, cursor: Cursor | str | None) -> Stream:
        """The stream with which read() came to that cursor, or a new one."""
        wanted = Cursor.parse(cursor) if isinstance(cursor, str) else cursor
        try:
            stream = self._streams.pop()  # not to be found by another thread meanwhile
        except IndexError:
            return Stream(self, wanted)
        stream._reader = self
        return stream if wanted is not None and stream.cursor() == wanted else Stream(self, wanted)

    def follow(self, cursor: Cursor | str | None = None, *, timeout: float | None = None) -> Iterator[Record]:
        """Iterate records from the cursor on (None: the oldest) and then wait for more, for ever.

        With `timeout`, ends after so many seconds in which none came.  Raises what read() raises, also on
        the way: retention may be faster than the one who follows.
        """
        stream = Stream(self, cursor)
        last = time.monotonic()
        while True:
            for record in stream:
                yield record
                last = time.monotonic()
            patience = math.inf if timeout is None else last + timeout - time.monotonic()
            if patience <= 0:
                return
            stream.rest(patience)


class Stream:
    """Where a follower is: iterate it for what is there now, wait(), iterate it again."""

    def __init__(self, reader: Reader, cursor: Cursor | str | None) -> None:
        self._reader = reader
        self._wanted = Cursor.parse(cursor) if isinstance(cursor, str) else cursor
        if self._wanted is not None:
            self._wanted.checked()
        self._page: Page | None = None
        self._frames: Frames | None = None
        self._given_back: Record | None = None
        self._bell = self._watermark = 0
        self._look = LOOK
        self._next_list, self._list_poll = 0.0, LIST_POLL[0]

    def __iter__(self) -> Iterator[Record]:
        if self._given_back is not None:
            record, self._given_back = self._given_back, None
            yield record
        if self._page is None and not self._begin():
            return
        while True:
            assert self._page is not None
            assert self._frames is not None
            # The bell first, then whether this page is the last, then its end: what comes in between shows.
            self._bell, self._watermark = self._page.bell(), self._page._watermark()
            problem = following = None
            try:
                following = self._following(self._page)
            except (PageRetiredError, ValueError) as error:
                problem = error
            yield from self._frames
            if self._page.extend(self._frames):
                self._look = LOOK
                continue
            if problem is not None:
                try:
                    raise problem
                finally:
                    problem = None  # or it and this frame, and with it the page's mapping, hold each other
            if following is None:
                return
            self._enter(following)

    def _begin(self) -> bool:
        wanted = self._wanted
        if wanted is None:
            numbers = self._reader.page_numbers()
        else:
            numbers = self._reader._from_last(lambda page: page.first_position <= wanted.position)
        page = next(self._reader._pages(numbers), None)
        if page is None:
            return False
        if wanted is not None:
            self._check_log(page, wanted.log_id)
            # Behind a page that is gone a repair may have left positions nobody had: then the numbers tell.
            behind = wanted.position < page.first_position and wanted.number < page.first_number
            before = numbers[: numbers.index(page.number)]  # damaged, or gone since they were listed
            if behind and not any(map(self._is_there, before)):
                raise PageRetiredError(page.number - 1, page.number, numbers[-1])
        self._enter(page)
        return True

    def _check_log(self, page: Page, log_id: str) -> None:
        found = page.header.log_id.hex()
        if found != log_id:
            raise ValueError(f"a cursor of log {log_id}, but page {page.number} of {page.path} is of {found}")

    def _enter(self, page: Page) -> None:
        if self._page is not None:
            self._page.close()
        self._page, self._look = page, LOOK
        # The page before may be one whose end the cursor was behind.
        self._frames = page.frames(page.first_number, self._wanted.position if self._wanted else 0)

    def _following(self, page: Page) -> Page | None:
        """The next page, if there is one: then this one is complete."""
        following = None
        now = time.monotonic()
        if self._is_there(page.number + 1):
            following = self._reader._open(page.number + 1)
            if following is None:  # a page that is still empty is false, so no `or` here
                following = self._beyond(page, page.number + 2)
        elif now >= self._next_list or self._is_there(page.number + 2):
            following = self._beyond(page, page.number + 1)
            self._next_list, self._list_poll = now + self._list_poll, min(2 * self._list_poll, LIST_POLL[1])
        if following is not None:
            self._check_log(following, page.header.log_id.hex())
            self._next_list, self._list_poll = 0.0, LIST_POLL[0]
        return following

    def _is_there(self, number: int) -> bool:
        return os.path.exists(self._reader._directory.page_path(number))

    def _beyond(self, page: Page, first: int) -> Page | None:
        """The first page that can be read from that number on.

        Raises PageRetiredError if it was retention that came from behind.
        """
        numbers = self._reader.page_numbers()
        # Pages get their names in order: if the next one is not there now, it did not come before others.
        if self._is_there(page.number + 1):
            numbers = sorted({page.number + 1, *numbers})
        elif numbers and numbers[0] > page.number:
            raise PageRetiredError(page.number + 1, numbers[0], numbers[-1])
        for number in numbers[bisect.bisect_left(numbers, first) :]:
            following = self._reader._open(number)
            if following is not None:
                if number > page.number + 1:
                    self._reader._note_missing(page, following)
                return following
        return None

    def cursor(self) -> Cursor | None:
        """The cursor of the next record."""
        if self._page is None or self._frames is None:
            return self._wanted
        log_id = self._page.header.log_id.hex()
        if self._given_back is not None:
            return Cursor(log_id, self._given_back.position, self._given_back.number)
        return Cursor(log_id, self._frames.position, self._frames.number)

    def give_back(self, record: Record) -> None:
        """Make the record that came last the next one again."""
        self._given_back = record

    def rest(self, at_most: float = math.inf) -> None:
        """Sleep until there may be more; longer each time there was not."""
        self.wait(min(self._look, at_most))
        self._look = min(2 * self._look, LONGEST_LOOK)

    def wait(self, seconds: float) -> None:
        """Sleep until there may be more, at most so long."""
        if self._page is None:
            time.sleep(min(seconds, FIRST_PAGE_POLL))
        else:
            following = self._reader._directory.page_path(self._page.number + 1)
            self._page._wait_watching(self._bell, self._watermark, following, seconds, GLANCE)
