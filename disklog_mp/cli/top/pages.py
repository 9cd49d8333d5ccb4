"""Following the pages of a log from their end on, and counting the levels of the records that come.

No producer and no writer notices it.  A look does a bounded amount of work: where more records came than that
allows, the rest is passed over, and it is said how many.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from typing import NamedTuple

from disklog_mp._core import Filter, Record, RecordIterator
from disklog_mp._reader.page import Page
from disklog_mp._reader.reader import Reader

BATCH = 1 << 16  # records that the core counts between two looks at the clock
FOUND = 256  # records that the core finds at once, at the most
END = 2**62  # behind any record's number


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
            is_complete = bool(self._later())  # first: a page that has a next one does not grow
            yield self._frames
            while self._page.extend(self._frames):
                yield self._frames
            # The next page that can be read: retention may be faster.
            if not is_complete or not any(self._enter(number) for number in self._later()):
                return

    def _later(self) -> list[int]:
        """Return the numbers of the pages behind this one."""
        here = 0 if self._page is None else self._page.number
        return [number for number in self._reader.page_numbers() if number > here]

    @property
    def number(self) -> int:
        """Of the next record, 0 before there is a page."""
        return 0 if self._frames is None else self._frames.number

    def skip(self) -> int:
        """Go to the end; return how many records were passed over."""
        if self._frames is None:
            return 0
        before = self._frames.number
        later = self._later()
        if later:
            self._enter(later[-1])
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
    before = follower.number
    tags = _tags(follower, time.monotonic() + seconds)
    # Records that retention removed, or that are damaged, are passed over, too.
    return Counted(tags, tags.total(), max(0, follower.number - before - tags.total()))


def _tags(follower: Follower, deadline: float) -> Counter[int]:
    tags: Counter[int] = Counter()
    for frames in follower.runs():
        while batch := frames.count_tags(BATCH):
            tags.update(batch)
            if time.monotonic() > deadline:
                follower.skip()
                return tags
    return tags


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
