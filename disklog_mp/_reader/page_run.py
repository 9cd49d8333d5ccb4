"""The pages of a log in order, as a reader finds them: some retired, damaged or missing meanwhile."""

from __future__ import annotations

import bisect
import contextlib
import os
from collections.abc import Callable, Container, Iterable, Iterator

from disklog_mp._pages.directory import Directory
from disklog_mp._pages.format import LOG_ID, NUMBER, PageHeader
from disklog_mp._pages.identity import archive_of, is_continued
from disklog_mp._pages.labels import LabelTable
from disklog_mp._reader.damage import (
    ARCHIVED,
    DAMAGED,
    EMPTY,
    FOREIGN,
    NO_FILE,
    RETIRED,
    TWICE,
    UNKNOWN,
    Damage,
    Missing,
)
from disklog_mp._reader.page import Page
from disklog_mp.errors import CorruptPageError, FormatVersionError, PageNotFoundError, PageRetiredError


def foreign(page: Page) -> Missing:
    """Return what is reported of a page that is of another log; its records are none of this one."""
    size = page.header.offset_of(page.end_position())
    return Missing.of(Damage(page.number, 0, size, 0, 0, 0, False), page.first_number, why=FOREIGN)


def _of_another_log(page: Page, log_id: bytes | None) -> CorruptPageError:
    expected = "" if log_id is None else log_id.hex()
    return CorruptPageError(page.path, LOG_ID, f"a page of log {page.header.log_id.hex()}", f"log {expected}")


def overlap(before: Page, after: Page) -> bool:
    """True if a page begins with a number or at a position that the page before it has, too."""
    again = after.first_number < before.first_number + len(before)
    return again or after.first_position < before.end_position()


def _numbered_twice(before: Page, after: Page, end: int) -> Missing:
    """Return what is reported of a page that begins before the page before it ends."""
    damage = Damage(after.number, 0, 0, 0, 0, 0, False)
    twice = Missing.of(damage, after.first_number, before.last_time(), after.first_time(), TWICE)
    twice.last_number = end - 1
    return twice


class PageRun:
    """Opens the pages of one directory; reports those that cannot be read."""

    def __init__(self, directory: Directory, on_damage: Callable[[Damage], object]) -> None:
        self.directory = directory
        self.labels = LabelTable(directory.path)
        self._on_damage = on_damage
        self._own_id: bytes | None = None  # of the log, as its newest page said when it was asked last
        self._known: tuple[PageHeader, list[tuple[int, int]]] | None = None  # places in one of the pages

    def places_in(self, page: Page) -> list[int]:
        """Return record numbers of a page at which reading begins without a walk, from now on."""
        self._known = page.header, page.places()
        return [number for number, _ in self._known[1]]

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
        if self._known is not None and self._known[0] == page.header:
            page.checkpoints = self._known[1][:]
        return page

    def find(self, number: int, *, on_damage: Callable[[Damage], object] | None = None) -> Page | None:
        """Return a page; None if it is gone, or has no valid header, which is reported."""
        try:
            return self.get(number)
        except PageNotFoundError:
            return None
        except CorruptPageError as problem:
            with contextlib.suppress(FileNotFoundError):
                size = os.path.getsize(self.directory.page_path(number))
                cut = problem.offset == size
                (on_damage or self._on_damage)(Damage(number, 0, size, 0, 0, 0, cut))
            return None

    def find_of(self, log_id: bytes | None, number: int, unreadable: list[Damage]) -> Page | None:
        """Return a page of that log (None: of any log); None if there is none.

        What is wrong with it is added to `unreadable`: it has no valid header, or is of another log.
        """
        page = self.find(number, on_damage=unreadable.append)
        if page is None or self.is_of(page, log_id):
            return page
        page.close()
        unreadable.append(foreign(page))
        return None

    def get_own(self, number: int) -> Page:
        """Return a page by its number.

        Raises what get() raises, and CorruptPageError if it is not of this log, as its newest page says.
        """
        page = self.get(number)
        if page.header.log_id != self._own_id:
            self._own_id = self.log_id(self.numbers())
            if not self.is_of(page, self._own_id):
                page.close()
                raise _of_another_log(page, self._own_id)
        return page

    def anew(self, page: Page) -> Page | None:
        """Return the page that the path of `page` leads to now, opened again; None if none can be read.

        It is another file where a backup was put in place, or an overlay copied the file to write to it.
        """
        try:
            return Page(page.path, on_damage=self._on_damage, labels=self.labels)
        except (OSError, CorruptPageError, FormatVersionError):
            return None

    def each(self, numbers: list[int], *, log_id: bytes | None = None) -> Iterator[Page]:
        """Iterate those of the pages that can be read; report records that are missing between them.

        With `log_id`, pages of another log are passed over and reported.
        """
        before: Page | None = None
        unreadable: list[Damage] = []
        for number in numbers:
            page = self.find_of(log_id, number, unreadable)
            if page is not None:
                self.report_step(before, page, unreadable, numbers)
                before, unreadable = page, []
                yield page
        if before is not None and before.number < numbers[-1] and not self.exists(numbers[-1]):
            self._report_gone(before, numbers, unreadable)
        else:
            self.report(unreadable)

    def _report_gone(self, before: Page, numbers: list[int], unreadable: list[Damage]) -> None:
        """Report the records behind a page of which all further pages went since they were listed."""
        later = (
            self.find(number, on_damage=unreadable.append)
            for number in self.numbers()
            if number > numbers[-1]
        )
        after = next(filter(None, later), None)
        if after is None:
            self.report(unreadable)
        else:
            self.report_step(before, after, unreadable, numbers)
            after.close()

    def log_id(self, numbers: list[int]) -> bytes | None:
        """Return the id of the log: the newest page says it; None if none of these pages can be read."""
        for number in reversed(numbers):
            with contextlib.suppress(OSError, FormatVersionError):
                page = self.find(number, on_damage=lambda damage: None)
                if page is not None:
                    page.close()
                    return page.header.log_id
        return None

    def is_of(self, page: Page, log_id: bytes | None) -> bool:
        """True if the page is of the log of that id, or of one that it is a copy of, or that is a copy of it.

        None: of any log.
        """
        found, path = page.header.log_id, self.directory.path
        if log_id is None or found == log_id:
            return True
        return is_continued(path, found, log_id) or is_continued(path, log_id, found)

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
            if before is not None and not before.damage and overlap(before, after):
                self.report([_numbered_twice(before, after, first)])
            self.report(unreadable)
            return
        # From the first page that is missing; if none is, the records are missing before `after`.
        gone = [
            number
            for number in (before.number + 1, after.number - 1)
            if before.number < number < after.number and not os.path.lexists(self.directory.page_path(number))
        ]
        page, last_page, length, why, moved_to = after.number, after.number, 0, UNKNOWN, ""
        if gone:
            page, last_page = before.number + 1, after.number - 1
            why = RETIRED if gone[0] in listed else NO_FILE
            moved_to = archive_of(self.directory.path, gone[0])
            why = ARCHIVED if moved_to else why
        elif unreadable:
            damage = unreadable.pop(0)
            page, length = damage.page, damage.length
            last_page, why = page, DAMAGED if length else EMPTY
            why = damage.why if isinstance(damage, Missing) else why
        numbers = range(before.number, after.number)
        if why in (UNKNOWN, NO_FILE) and any(each in numbers for each, _ in self.directory.set_aside()):
            why = DAMAGED  # recovery found it
        damage = Damage(page, 0, length, lost, 0, 0, False)
        missing = Missing.of(damage, first, before.last_time(), after.first_time(), why, last_page)
        missing.moved_to = moved_to
        self.report([missing])
        self.report(unreadable)

    def from_last(self, begins_before: Callable[[Page], bool], log_id: bytes | None = None) -> list[int]:
        """Return the page numbers from the last page on for which `begins_before` is true; all, if none is.

        If it is true of a page, it must be true of all earlier ones.  With `log_id`, pages of another log are
        not asked.
        """
        numbers = self.numbers()
        readable = numbers[:]
        low, high = 0, len(readable)
        while high - low > 1:
            middle = (low + high) // 2
            page = self.find(readable[middle], on_damage=lambda damage: None)
            if page is None or not self.is_of(page, log_id):
                del readable[middle]
                high -= 1
                continue
            with page:
                low, high = (middle, high) if begins_before(page) else (low, middle)
        return numbers[numbers.index(readable[low]) :] if readable else []

    def first_behind(
        self, page: Page, number: int, unreadable: list[Damage], log_id: bytes | None = None
    ) -> Page | None:
        """Return the first readable page from that number on; it is behind `page`.

        Pages before it that cannot be read are added to `unreadable`, with `log_id` also those of another
        log.  Raises PageRetiredError if retention has removed `page` and all up to it.
        """
        numbers = self.numbers()
        # Pages get their names in order: if the next one is not there now, it did not come before others.
        if self.exists(page.number + 1):
            numbers = sorted({page.number + 1, *numbers})
        elif numbers and numbers[0] > page.number:
            raise PageRetiredError(page.number + 1, numbers[0], numbers[-1])
        for found in numbers[bisect.bisect_left(numbers, number) :]:
            following = self.find_of(log_id, found, unreadable)
            if following is not None:
                return following
        return None
