"""The records of a log that meet conditions, many at a time, over all its pages."""

from __future__ import annotations

from collections.abc import Iterator

from disklog_mp._core import Filter, Record, RecordIterator
from disklog_mp._reader.conditions import FOREVER, Conditions
from disklog_mp._reader.page import Page
from disklog_mp._reader.page_run import PageRun
from disklog_mp._reader.stepping import CLOCK_SLACK, pages_from

FIRST, MOST = 16, 256  # records in a batch; the first are few, for a caller that wants one


class Search:
    """Conditions on number (start <= number < stop), time (after <= timestamp < before) and content."""

    def __init__(
        self,
        pages: PageRun,
        conditions: Conditions,
        *,
        start: int,
        stop: int | None,
        after: int | None,
        before: int | None,
    ) -> None:
        self._pages = pages
        self._start, self._stop = start, FOREVER if stop is None else stop
        self._after, self._before = after, before
        self._conditions = conditions

    def records(self) -> Iterator[Record]:
        """Iterate the records that meet the conditions, each checked when it is given.

        A page may be cut while the caller has a record of it: those behind would come as zeros from a batch.
        """
        for records in self.batches(1, 1):
            yield from records

    def batches(self, first: int = FIRST, most_of_all: int = MOST) -> Iterator[list[Record]]:
        """Iterate lists of the records that meet the conditions, none of them empty."""
        most = first
        numbers = pages_from(self._pages, self._start, self._after)
        for page in self._pages.each(numbers, log_id=self._pages.log_id(numbers)):
            with page:
                if page.first_number >= self._stop:
                    return
                found = self._filter()
                frames = page.records_from(self._start)
                while True:
                    while records := frames.find(found, most):
                        most = min(2 * most, most_of_all)
                        if not self._conditions.is_exact:
                            records = [each for each in records if self._conditions.meets(each)]
                        if records:
                            yield records
                    if not page.extend(frames) or frames.number >= self._stop:
                        break
                if frames.number >= self._stop or self._is_over(page, frames):
                    return

    def _is_over(self, page: Page, frames: RecordIterator) -> bool:
        """True if no later page can hold a record from before the end of the time."""
        # Records that waited in the ring, while the disk was full, are older than their page.  So a page
        # begun after `before` is the last one only if all its records are from after that.
        if self._before is None or page.header.created < self._before + CLOCK_SLACK:
            return False
        return not frames.early and frames.number > page.first_number

    def _filter(self) -> Filter:
        """Return the conditions for the core: anew for each page, for labels may have come."""
        since = max(0, self._after or 0)
        latest = FOREVER if self._before is None else min(self._before - 1, FOREVER)
        if since > FOREVER or latest < 0:
            since, latest = 1, 0  # no time at all
        start, stop = min(self._start, FOREVER), max(0, min(self._stop, FOREVER))
        return self._conditions.filter(self._pages.labels, start, stop, since, latest)
