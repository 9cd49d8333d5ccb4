"""Which sealed pages the retention options no longer keep.  It only says so: the page writer removes them.

A page's age is the time since it was sealed, by a clock that no step of the wall clock changes: neither the
clocks of producers nor the writer's own can make a page older than it is.
"""

import math
from collections import deque
from collections.abc import Callable, Container
from typing import NamedTuple

from disklog_mp._options import Options
from disklog_mp._os.clocks import boot_time
from disklog_mp._pages.file import PageFile

BY_HAND = "removed by hand"  # by another process


class KeptPage(NamedTuple):
    """What retention has to know of a sealed page."""

    number: int
    bytes: int
    sealed_at: float  # seconds since the machine was started, see boot_time()
    records: int = 0


Tell = Callable[[KeptPage, str], None]


def _tell_nothing(page: KeptPage, why: str) -> None:
    """Nothing wants to know."""


class Retention:
    """The sealed pages of the log, oldest first.

    The newest page always stays: it says which log this is, and where positions, numbers and page numbers
    go on.
    """

    def __init__(self, options: Options) -> None:
        self.pages: deque[KeptPage] = deque()
        self.current: PageFile | None = None  # the page being written: it counts, and is never removed
        self.is_held = False  # pages are being moved elsewhere: none is removed meanwhile
        self.gone_to, self.gone_why = 0, ""  # pages up to that number are not kept, and why
        self._options = options
        self._bytes = 0
        # Told of each page that is sealed, with the reason, or retired, with the option that retired it (or
        # BY_HAND).
        self.on_sealed: Tell = _tell_nothing
        self.on_retired: Tell = _tell_nothing

    def configure(self, options: Options) -> None:
        """Keep pages as these options say from now on."""
        self._options = options

    def keep(self, *pages: KeptPage) -> None:
        """Note sealed pages, each newer than those before."""
        self.pages.extend(pages)
        self._bytes += sum(page.bytes for page in pages)

    def keep_only(self, numbers: Container[int]) -> None:
        """Forget all pages but these: the others are no longer in the directory."""
        self.pages = deque(page for page in self.pages if page.number in numbers)
        self._bytes = sum(page.bytes for page in self.pages)

    def forget_removed(self, numbers: Container[int] | None) -> list[int]:
        """Forget all pages but these, because another process removed the others; return their numbers.

        None: it is not known which pages there are.
        """
        gone = [] if numbers is None else [page for page in self.pages if page.number not in numbers]
        if numbers is not None and gone:
            self.keep_only(numbers)
        for page in gone:
            self.on_retired(page, BY_HAND)
        return [page.number for page in gone]

    def sealed(self, page: KeptPage, why: str) -> None:
        """Note a page that was sealed just now."""
        self.keep(page)
        self.on_sealed(page, why)

    def take_oldest(self) -> KeptPage:
        """Forget the oldest page, and return it."""
        page = self.pages.popleft()
        self._bytes -= page.bytes
        return page

    def forget_oldest(self, why: str) -> None:
        """Note that the oldest page was removed, because that option does not keep it."""
        self.on_retired(self.take_oldest(), why)

    def first_page(self) -> int:
        """Return the number of the oldest page, 0 if there is none."""
        if self.pages:
            return self.pages[0].number
        return self.current.header.number if self.current else 0

    def total_bytes(self) -> int:
        """Return the bytes of all page files, up to their watermarks."""
        return self._bytes + (self.current.watermark if self.current else 0)

    def exceeded(self) -> str | None:
        """Return the option that does not keep the oldest page any more; None if all are to be kept."""
        options, count = self._options, self._count()
        if count <= 1 or self.is_held:
            return None
        oldest = self.pages[0]
        if oldest.number <= self.gone_to:
            return self.gone_why
        if options.keep_pages is not None and count > options.keep_pages:
            return "keep_pages"
        if options.keep_bytes is not None and self.total_bytes() > options.keep_bytes:
            return "keep_bytes"
        if options.keep_age is not None and boot_time() - oldest.sealed_at >= options.keep_age:
            return "keep_age"
        return None

    def surplus(self, pages: float | None, size: float | None, age: float | None) -> list[KeptPage]:
        """Return the oldest pages, as many as have to go for these limits; None: no limit."""
        count, total, gone = self._count(), self.total_bytes(), []
        for page in self.pages:
            is_over = (
                (pages is not None and count > pages)
                or (size is not None and total > size)
                or (age is not None and boot_time() - page.sealed_at >= age)
            )
            if count <= 1 or not is_over:
                break
            gone.append(page)
            count, total = count - 1, total - page.bytes
        return gone

    def oldest_since(self) -> float:
        """Return when the oldest removable page was sealed, see boot_time(); infinite if none is."""
        return self.pages[0].sealed_at if self._count() > 1 else math.inf

    def _count(self) -> int:
        return len(self.pages) + (self.current is not None)
