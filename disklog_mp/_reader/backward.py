"""Reading a log towards its oldest record."""

from __future__ import annotations

import bisect

from disklog_mp._core import Record
from disklog_mp._reader.cursor import Cursor
from disklog_mp._reader.damage import Damage
from disklog_mp._reader.page import Page
from disklog_mp._reader.page_run import PageRun
from disklog_mp._reader.stream import Stream


class BackwardStream:
    """A place in the log from which records are read newest first.

    It holds one page and one run of its records, about 512, however many are asked for.
    """

    def __init__(self, pages: PageRun, cursor: Cursor) -> None:
        """Raises what a Stream raises for a cursor that does not fit the log."""
        self._pages = pages
        self._wanted = cursor
        self._position, self._number = cursor.position, cursor.number
        self._below = cursor.position  # the next record is before it; of another copy a page may end behind
        self._run: list[Record] = []  # the records right before this place
        self._told: set[Damage] = set()  # pages without a valid header before the oldest one that has one
        self._page = Stream(pages, cursor).locate()
        if self._page is not None and cursor.position > self._page.end_position():
            self._report_what_is_missing_before(self._page)

    def _report_what_is_missing_before(self, page: Page) -> None:
        """Report records between the end of `page` and this place: it is in a page that cannot be read."""
        unreadable: list[Damage] = []
        following = self._pages.first_behind(page, page.number + 1, unreadable)
        if following is not None:
            with following:
                self._pages.report_step(page, following, unreadable)

    def read(self, max_records: int, max_bytes: int | None) -> list[Record]:
        """Return the records before this place, newest first, and go back there.  [] at the oldest."""
        records: list[Record] = []
        total = 0
        while len(records) < max_records and self._fill():
            total += len(self._run[-1].view)
            if records and max_bytes is not None and total > max_bytes:
                break
            records.append(self._run.pop())
            self._position, self._number = records[-1].position, records[-1].number
            self._below = self._position
        return records

    def _fill(self) -> bool:
        """Have the records before this place in `_run`; False if there are none."""
        while not self._run and self._page is not None:
            self._run = self._page.run_before(self._below)
            if not self._run and not self._go_back(self._page):
                return False
        return bool(self._run)

    def _go_back(self, page: Page) -> bool:
        """Go to the page before this one; False if there is none that can be read."""
        numbers = self._pages.numbers()
        unreadable: list[Damage] = []
        for number in reversed(numbers[: bisect.bisect_left(numbers, page.number)]):
            former = self._pages.find_of(page.header.log_id, number, unreadable)
            if former is not None:
                self._pages.report_step(former, page, unreadable[::-1])
                page.close()
                self._page, self._below = former, max(self._position, former.end_position())
                return True
        self._pages.report(damage for damage in unreadable if damage not in self._told)
        self._told |= set(unreadable)
        return False

    def cursor(self) -> Cursor:
        """The cursor of the record that was read last."""
        if self._page is None or self._position == self._wanted.position:
            return self._wanted
        before = 0
        if not self._run:
            self._run = self._page.run_before(self._position)
        if self._run and self._run[-1].number + 1 == self._number:
            before = self._run[-1].timestamp
        return Cursor(self._page.header.log_id.hex(), self._position, self._number, before)
