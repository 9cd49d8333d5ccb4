"""Following the pages of a log from their end on, and counting the levels of the records that come.

No producer and no writer notices it.  A look does a bounded amount of work: where more records came than that
allows, the rest is passed over, and it is said how many.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice
from operator import attrgetter
from typing import NamedTuple

from disklog_mp._core import Filter, Record, RecordIterator
from disklog_mp._reader.page import Page
from disklog_mp._reader.reader import Reader

BATCH = 4096  # records between two looks at the clock
FOUND = 256  # records that the core finds at once, at the most
END = 2**62  # behind any record's number
TAG = attrgetter("tag")


class Follower:
    """A place in the pages of a log: at first at the end, or `back` records before it."""

    def __init__(self, reader: Reader, back: int = 0) -> None:
        self._reader = reader
        self._page: Page | None = None
        self._frames: RecordIterator | None = None
        self._begin(back)

    def _begin(self, back: int) -> None:
        """Go to the end of the newest page, or so many records back, in that page."""
        numbers = self._reader.page_numbers()
        if numbers and self._enter(numbers[-1]) and self._page is not None:
            place = self._page.place()[1] - back if back else END
            self._frames = self._page.records_from(max(self._page.first_number, place))

    def _enter(self, number: int) -> bool:
        """Go on with the beginning of a page; False if it cannot be read, or is not there."""
        page = self._reader.find_page(number)
        if page is None:
            return False
        self.close()
        self._page, self._frames = page, page.records_from()
        return True

    def runs(self) -> Iterator[RecordIterator]:
        """Yield the core's iterator, each time that there is more for it: over all pages, up to the end."""
        if self._page is None or self._frames is None:
            numbers = self._reader.page_numbers()
            if not numbers or not self._enter(numbers[0]):
                return
        while self._page is not None and self._frames is not None:
            following = self._following(self._page.number)  # first: a page that has one does not grow
            yield self._frames
            while self._page.extend(self._frames):
                yield self._frames
            if following is None or not self._enter(following):
                return

    def _following(self, number: int) -> int | None:
        """Return the number of the next page; it is a later one if retention was faster."""
        later = [found for found in self._reader.page_numbers() if found > number]
        return later[0] if later else None

    def skip(self) -> int:
        """Go to the end; return how many records were passed over."""
        if self._frames is None:
            return 0
        before = self._frames.number
        numbers = self._reader.page_numbers()
        if self._page is not None and numbers and numbers[-1] > self._page.number:
            self._enter(numbers[-1])
        if self._page is not None:
            self._page.extend(self._frames)
        self._frames.seek(END)
        return max(0, self._frames.number - before)

    def close(self) -> None:
        """Close the page."""
        if self._page is not None:
            self._page.close()
        self._page = self._frames = None


class Counted(NamedTuple):
    """The records that came since the last look."""

    tags: Counter[int]  # of those that were looked at
    seen: int
    passed: int  # over, because there were too many

    def share(self) -> float:
        """Return the part of the records that was looked at, from 0 to 1."""
        whole = self.seen + self.passed
        return self.seen / whole if whole else 1.0


def count_levels(follower: Follower, seconds: float) -> Counted:
    """Count the tags of the records that came, for so long at the most."""
    deadline = time.monotonic() + seconds
    tags: Counter[int] = Counter()
    for frames in follower.runs():
        while batch := tags_of(frames):
            tags.update(batch)
            if time.monotonic() > deadline:
                return Counted(tags, tags.total(), follower.skip())
    return Counted(tags, tags.total(), 0)


def tags_of(frames: RecordIterator) -> list[int]:
    """Return the tags of the next records, of not too many."""
    return list(map(TAG, islice(frames, BATCH)))


def records_of(follower: Follower, pid: int, most: int, seconds: float) -> tuple[list[Record], int]:
    """Return the records of a process that came, the last ones, and how many records were passed over.

    The core looks for them.  Gap records are among them, of any process.
    """
    deadline = time.monotonic() + seconds
    wanted = Filter((), b"", pids=(pid,))
    found: deque[Record] = deque(maxlen=most)
    count = 0
    for frames in follower.runs():
        while some := frames.find(wanted, FOUND):
            found.extend(some)
            count += len(some)
            if time.monotonic() > deadline:
                return list(found), follower.skip() + count - len(found)
    return list(found), count - len(found)
