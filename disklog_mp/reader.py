"""Reading a log: over its pages, from any place, once or for ever.  Needs no writer and disturbs none."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from disklog_mp._core import Frames, Record
from disklog_mp._directory import Directory
from disklog_mp.errors import CorruptPageError, PageNotFoundError, PageRetiredError
from disklog_mp.page import Damage, Page, report

CLOCK_SLACK = 60 * 10**9  # ns a producer's clock reading may be older than the page it ended up in
NEXT_PAGE_POLL = 0.002
LIST_POLL = 0.5


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
        parts = text.split(":")
        try:
            log_id, position, number = bytes.fromhex(parts[0]), int(parts[1]), int(parts[2])
        except (ValueError, IndexError):
            raise ValueError(f"{text!r} is not a cursor") from None
        if len(parts) != 3 or len(log_id) != 16 or not (0 <= position < 2**64 and 0 <= number < 2**64):
            raise ValueError(f"{text!r} is not a cursor")
        return cls(log_id.hex(), position, number)


def _nanoseconds(moment: object, what: str) -> int:
    """A point in time as ns since the epoch: an int is that, a float is seconds, a datetime is itself."""
    if isinstance(moment, bool):
        raise TypeError(f"{what} is a point in time, not {moment!r}")
    if isinstance(moment, int):
        return moment
    if isinstance(moment, float):
        return int(moment * 1e9)
    timestamp = getattr(moment, "timestamp", None)
    if timestamp is None:
        raise TypeError(f"{what} is ns since the epoch, seconds as a float, or a datetime, not {moment!r}")
    return int(timestamp() * 1e6) * 1000


class Reader:
    """Reads the log in a directory, live or dead; iterating it gives all records there are.

    Damage is passed over and reported to `on_damage` (by default on the logging channel "disklog_mp").
    Raises FileNotFoundError or NotADirectoryError for a path that is no directory.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, on_damage: Callable[[Damage], object] = report
    ) -> None:
        self._directory = Directory(path)
        self._on_damage = on_damage
        if not os.path.isdir(self.path):
            if os.path.lexists(self.path):
                raise NotADirectoryError(errno.ENOTDIR, "a log is a directory", self.path)
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
        """Iterate the pages there are, oldest first; those retired meanwhile, or without a header, are
        passed over (the latter are reported)."""
        for number in self.page_numbers():
            page = self._open(number)
            if page is not None:
                yield page

    def get_page(self, number: int) -> Page:
        """Return a page by its number, from 1.

        Raises PageNotFoundError, PageRetiredError if it is gone, CorruptPageError if its header is damaged.
        """
        try:
            return Page(self._directory.page_path(number), on_damage=self._on_damage)
        except FileNotFoundError:
            numbers = self.page_numbers() or [0]
            kind = PageRetiredError if 0 < number < numbers[0] else PageNotFoundError
            raise kind(number, numbers[0], numbers[-1]) from None

    def _open(self, number: int) -> Page | None:
        try:
            return self.get_page(number)
        except PageNotFoundError:
            return None
        except CorruptPageError as problem:
            size = 0
            with contextlib.suppress(OSError):
                size = os.path.getsize(self._directory.page_path(number))
            if size:  # an empty file never was a page
                self._on_damage(Damage(number, 0, size, 0, 0, 0, int(str(problem.offset)) == size))
            return None

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
        neighbours may be out of order, and each record is judged by its own.
        """
        after = None if since is None else _nanoseconds(since, "since")
        before = None if until is None else _nanoseconds(until, "until")
        first = 0 if start is None else start
        for page in self._pages_from(first, after):
            if stop is not None and page.first_number >= stop:
                return
            if before is not None and page.header.created >= before + CLOCK_SLACK:
                return
            frames = page.frames(first)
            while True:
                for record in frames:
                    if stop is not None and record.number >= stop:
                        return
                    if after is not None and record.timestamp < after:
                        continue
                    if before is not None and record.timestamp >= before:
                        continue
                    yield record
                if not page.extend(frames):
                    break

    def _pages_from(self, number: int, after: int | None) -> Iterator[Page]:
        """The pages from the one that holds a record of that number on, without those that ended before
        `after`: a record is in its page before the next page is made."""
        numbers = self.page_numbers()
        low, high = 0, len(numbers)
        while high - low > 1:
            middle = (low + high) // 2
            page = self._open(numbers[middle])
            if page is None:
                break
            begins_before = page.first_number <= number
            if after is not None and page.header.created < after - CLOCK_SLACK:
                begins_before = True
            page.close()
            low, high = (middle, high) if begins_before else (low, middle)
        for candidate in numbers[low:]:
            page = self._open(candidate)
            if page is not None:
                yield page

    # -- cursors -----------------------------------------------------------------------------------------

    def begin(self) -> Cursor | None:
        """Return the cursor of the oldest record kept; None while the log has no page."""
        for page in self.pages():
            return Cursor(page.header.log_id.hex(), page.first_position, page.first_number)
        return None

    def end(self) -> Cursor | None:
        """Return the cursor behind the newest record; None while the log has no page."""
        for number in reversed(self.page_numbers()):
            page = self._open(number)
            if page is not None:
                count = len(page)
                return Cursor(page.header.log_id.hex(), page.end_position(), page.first_number + count)
        return None

    def read(
        self, cursor: Cursor | str | None = None, max_records: int = 1000, max_bytes: int | None = None
    ) -> tuple[list[Record], Cursor | None]:
        """Return up to so many records from the cursor on (None: the oldest), and the cursor behind them.

        `max_bytes` bounds the sum of their lengths, but for the first one.  No records: nothing there yet.
        Raises PageRetiredError if retention removed what the cursor points at, ValueError if it is no
        cursor of this log.
        """
        stream = Stream(self, cursor)
        records: list[Record] = []
        total = 0
        for record in stream:
            total += len(record.view)
            if records and max_bytes is not None and total > max_bytes:
                return records, stream.before(record)
            records.append(record)
            if len(records) >= max_records:
                break
        return records, stream.cursor()

    def follow(
        self, cursor: Cursor | str | None = None, *, timeout: float | None = None
    ) -> Iterator[Record]:
        """Iterate records from the cursor on (None: the oldest) and then wait for more, for ever.

        With `timeout`, ends after so many seconds in which none came.  Raises what read() raises.
        """
        stream = Stream(self, cursor)
        last = time.monotonic()
        while True:
            for record in stream:
                yield record
                last = time.monotonic()
            patience = 0.1 if timeout is None else min(0.1, last + timeout - time.monotonic())
            if patience <= 0:
                return
            stream.wait(patience)


class Stream:
    """Where a follower is: iterate it for what is there now, wait(), iterate it again."""

    def __init__(self, reader: Reader, cursor: Cursor | str | None) -> None:
        self._reader = reader
        self._wanted = Cursor.parse(cursor) if isinstance(cursor, str) else cursor
        self._page: Page | None = None
        self._frames: Frames | None = None
        self._bell = 0
        self._listed = 0.0

    def __iter__(self) -> Iterator[Record]:
        if self._page is None and not self._begin():
            return
        while True:
            assert self._page is not None and self._frames is not None
            # The bell first, then whether this page is the last, then its end: what comes in between shows.
            self._bell = self._page.bell()
            following = self._following()
            yield from self._frames
            if self._page.extend(self._frames):
                continue
            if following is None:
                return
            self._enter(following, following.first_number, 0)

    def _begin(self) -> bool:
        pages = self._reader.pages()
        page = next(pages, None)
        if page is None:
            return False
        wanted = self._wanted
        if wanted is None:
            self._enter(page, page.first_number, 0)
            return True
        if page.header.log_id.hex() != wanted.log_id:
            raise ValueError(f"{wanted} is a cursor of another log than the one in {self._reader.path}")
        if wanted.position < page.first_position:
            numbers = self._reader.page_numbers()
            raise PageRetiredError(numbers[0] - 1, numbers[0], numbers[-1])
        page = self._find(page, wanted.position)
        self._enter(page, page.first_number, wanted.position)
        return True

    def _find(self, first: Page, position: int) -> Page:
        """The last page that begins at or before the position."""
        numbers = self._reader.page_numbers()
        low, high, best = 0, len(numbers), first
        while low < high:
            middle = (low + high) // 2
            page = self._reader._open(numbers[middle])
            if page is not None and page.first_position <= position:
                low, best = middle + 1, page
            else:
                high = middle
        return best

    def _enter(self, page: Page, number: int, position: int) -> None:
        if self._page is not None:
            self._page.close()
        self._page = page
        self._frames = page.frames(number, position)

    def _following(self) -> Page | None:
        """The next page, if there is one: then this one is complete."""
        assert self._page is not None
        number = self._page.number
        if os.path.exists(self._reader._directory.page_path(number + 1)):
            return self._reader._open(number + 1) or self._beyond(number)
        if self._page.sealed and time.monotonic() - self._listed > LIST_POLL:
            self._listed = time.monotonic()
            return self._beyond(number)
        return None

    def _beyond(self, number: int) -> Page | None:
        for candidate in self._reader.page_numbers():
            if candidate > number:
                page = self._reader._open(candidate)
                if page is not None:
                    return page
        return None

    def cursor(self) -> Cursor | None:
        """The cursor of the next record."""
        if self._page is None or self._frames is None:
            return self._wanted
        return Cursor(self._page.header.log_id.hex(), self._frames.position, self._frames.number)

    def before(self, record: Record) -> Cursor:
        """The cursor of a record of the page it is at."""
        assert self._page is not None
        return Cursor(self._page.header.log_id.hex(), record.position, record.number)

    def wait(self, seconds: float) -> None:
        """Sleep until there may be more, at most so long."""
        if self._page is None:
            time.sleep(min(seconds, 0.02))
        elif self._page.sealed:
            time.sleep(min(seconds, NEXT_PAGE_POLL))
        else:
            self._page.wait(self._bell, seconds)
