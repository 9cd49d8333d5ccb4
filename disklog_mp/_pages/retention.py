"""Which sealed pages the retention options no longer keep.  It only says so: the page writer removes them."""

import math
import time
from collections import deque
from collections.abc import Container
from typing import NamedTuple

from disklog_mp._options import Options


class KeptPage(NamedTuple):
    """What retention has to know of a sealed page."""

    number: int
    bytes: int
    last_time: int  # of its last record, ns since the epoch


class Retention:
    """The sealed pages of the log, oldest first.

    `current` is everywhere the bytes of the page being written, None if no page is.  The newest page always
    stays: it says which log this is, and where positions, numbers and page numbers go on.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self.pages: deque[KeptPage] = deque()
        self._bytes = 0

    def keep(self, page: KeptPage) -> None:
        """Note the newest sealed page."""
        self.pages.append(page)
        self._bytes += page.bytes

    def keep_only(self, numbers: Container[int]) -> None:
        """Forget all pages but these: the others are no longer in the directory."""
        self.pages = deque(page for page in self.pages if page.number in numbers)
        self._bytes = sum(page.bytes for page in self.pages)

    def forget_oldest(self) -> None:
        """Note that the oldest page was removed."""
        self._bytes -= self.pages.popleft().bytes

    def first_page(self) -> int:
        """Return the number of the oldest sealed page, 0 if there is none."""
        return self.pages[0].number if self.pages else 0

    def total_bytes(self, current: int | None) -> int:
        """Return the bytes of all pages."""
        return self._bytes + (current or 0)

    def surplus(self, current: int | None) -> int | None:
        """Return the number of the page to remove next; None if all are to be kept."""
        options, count = self._options, self._count(current)
        if count <= 1:
            return None
        oldest = self.pages[0]
        is_surplus = (
            (options.keep_pages is not None and count > options.keep_pages)
            or (options.keep_bytes is not None and self.total_bytes(current) > options.keep_bytes)
            or (
                options.keep_age is not None
                and oldest.last_time < time.time_ns() - int(options.keep_age * 1e9)
            )
        )
        return oldest.number if is_surplus else None

    def oldest_since(self, current: int | None) -> float:
        """Return when the last record of the oldest removable page was logged, in seconds since the epoch;
        infinite if no page may be removed.
        """
        return self.pages[0].last_time / 1e9 if self._count(current) > 1 else math.inf

    def _count(self, current: int | None) -> int:
        return len(self.pages) + (current is not None)
