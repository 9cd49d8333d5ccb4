"""The pages of a log in order, as a reader finds them: some retired, damaged or missing meanwhile."""

from __future__ import annotations

import bisect
import contextlib
import os
from collections.abc import Callable, Container, Iterable, Iterator

from disklog_mp._pages.directory import Directory
from disklog_mp._pages.format import NUMBER
from disklog_mp._pages.labels import LabelTable
from disklog_mp._reader.damage import DAMAGED, NO_FILE, RETIRED, UNKNOWN, Damage, Missing
from disklog_mp._reader.page import Page
from disklog_mp.errors import CorruptPageError, PageNotFoundError, PageRetiredError


class PageRun:
    """Opens the pages of one directory; reports those that cannot be read."""

    def __init__(self, directory: Directory, on_damage: Callable[[Damage], object]) -> None:
        self.directory = directory
        self.labels = LabelTable(directory.path)
        self._on_damage = on_damage

    def numbers(self) -> list[int]:
        """Return the numbers of the pages there are now, in order."""
        return self.directory.pages()

    def exists(self, number: int) -> bool:
        """True if there is a page file of that number."""
        return os.path.exists(self.directory.page_path(number))

    def get(self, number: int) -> Page:
        """Return a page by its number.

        Raises PageNotFoundError, PageRetiredError if it is gone, CorruptPageError if its header is damaged.
        """
        path = self.directory.page_path(number)
        try:
            page = Page(path, on_damage=self._on_damage, labels=self.labels)
        except FileNotFoundError:
            numbers = self.numbers() or [0]
            kind = PageRetiredError if 0 < number < numbers[0] else PageNotFoundError
            raise kind(number, numbers[0], numbers[-1]) from None
        if page.number != number:
            page.close()
            raise CorruptPageError(path, NUMBER, f"page number {page.number}", number)
        return page

    def find(self, number: int, *, on_damage: Callable[[Damage], object] | None = None) -> Page | None:
        """Return a page; None if it is gone, or has no valid header, which is reported."""
        try:
            return self.get(number)
        except PageNotFoundError:
            return None
        except CorruptPageError as problem:
            size = 0
            with contextlib.suppress(OSError):
                size = os.path.getsize(self.directory.page_path(number))
            if size:  # an empty file never was a page
                cut = problem.offset == size
                (on_damage or self._on_damage)(Damage(number, 0, size, 0, 0, 0, cut))
            return None

    def each(self, numbers: list[int]) -> Iterator[Page]:
        """Iterate those of the pages that can be read; report records that are missing between them."""
        before: Page | None = None
        unreadable: list[Damage] = []
        for number in numbers:
            page = self.find(number, on_damage=unreadable.append)
            if page is not None:
                self.report_step(before, page, unreadable, numbers)
                before, unreadable = page, []
                yield page
        self.report(unreadable)

    def report(self, damage: Iterable[Damage]) -> None:
        """Report damage."""
        for each in damage:
            self._on_damage(each)

    def report_step(
        self, before: Page | None, after: Page, unreadable: list[Damage], listed: Container[int] = ()
    ) -> None:
        """Report the records missing between two pages that are read one after the other.

        `unreadable`: the pages between them that have no valid header; reported, too.  `listed`: pages that
        were there a while ago.
        """
        first = 0 if before is None else before.first_number + len(before)
        lost = after.first_number - first
        if before is None or lost <= 0:
            self.report(unreadable)
            return
        # From the first page that is missing; if none is, the records are missing before `after`.
        gone = [
            number
            for number in (before.number + 1, after.number - 1)
            if before.number < number < after.number and not os.path.lexists(self.directory.page_path(number))
        ]
        page, last_page, length, why = after.number, after.number, 0, UNKNOWN
        if gone:
            page, last_page = before.number + 1, after.number - 1
            why = RETIRED if gone[0] in listed else NO_FILE
        elif unreadable:
            page, _, length, *_ = unreadable.pop(0)
            last_page, why = page, DAMAGED
        numbers = range(before.number, after.number)
        if why in (UNKNOWN, NO_FILE) and any(each in numbers for each, _ in self.directory.set_aside()):
            why = DAMAGED  # recovery found it
        damage = Damage(page, 0, length, lost, 0, 0, False)
        self.report([Missing.of(damage, first, before.last_time(), after.first_time(), why, last_page)])
        self.report(unreadable)

    def from_last(self, begins_before: Callable[[Page], bool]) -> list[int]:
        """Return the page numbers from the last page on for which `begins_before` is true; all, if none is.

        If it is true of a page, it must be true of all earlier ones.
        """
        numbers = self.numbers()
        readable = numbers[:]
        low, high = 0, len(readable)
        while high - low > 1:
            middle = (low + high) // 2
            page = self.find(readable[middle], on_damage=lambda damage: None)
            if page is None:
                del readable[middle]
                high -= 1
                continue
            with page:
                low, high = (middle, high) if begins_before(page) else (low, middle)
        return numbers[numbers.index(readable[low]) :] if readable else []

    def first_behind(self, page: Page, number: int, unreadable: list[Damage]) -> Page | None:
        """Return the first readable page from that number on; it is behind `page`.

        Pages before it that cannot be read are added to `unreadable`.  Raises PageRetiredError if retention
        has removed `page` and all up to it.
        """
        numbers = self.numbers()
        # Pages get their names in order: if the next one is not there now, it did not come before others.
        if self.exists(page.number + 1):
            numbers = sorted({page.number + 1, *numbers})
        elif numbers and numbers[0] > page.number:
            raise PageRetiredError(page.number + 1, numbers[0], numbers[-1])
        for found in numbers[bisect.bisect_left(numbers, number) :]:
            following = self.find(found, on_damage=unreadable.append)
            if following is not None:
                return following
        return None
