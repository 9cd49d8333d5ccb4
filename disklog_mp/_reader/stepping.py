"""Places in a log: so many pages on or back, a record's number, a time."""

from __future__ import annotations

from disklog_mp._reader.cursor import Cursor
from disklog_mp._reader.page import Page
from disklog_mp._reader.page_run import PageRun
from disklog_mp._reader.stream import Stream
from disklog_mp.errors import CursorError, PageRetiredError

CLOCK_SLACK = 60 * 10**9  # ns that the clocks of producers and writer may differ by


def pages_from(pages: PageRun, number: int, since: int | None) -> list[int]:
    """Return the numbers of the pages that can hold records from that number, or from that time (ns), on."""
    numbers = pages.numbers()
    if not number and since is None:
        return numbers

    def begins_before(page: Page) -> bool:
        # A record is in its page before the next page is begun.
        early = since is not None and page.header.created < since - CLOCK_SLACK
        return early or page.first_number <= number

    return pages.from_last(begins_before, pages.log_id(numbers))


def first_of(page: Page) -> Cursor:
    """Return the cursor of a page's first record."""
    return Cursor(page.header.log_id.hex(), page.first_position, page.first_number)


def step(pages: PageRun, cursor: Cursor | str | None, count: int, *, check: bool) -> Cursor | None:
    """Return the cursor of the first record of the page `count` pages behind that of the cursor.

    What is missing between the pages on the way is reported, with `check` also what is damaged in them.
    Raises CursorError for another log's page.
    """
    here = Stream(pages, cursor).locate()
    if here is None:
        return None
    with here:
        number, target, log_id = here.number, here.number + count, here.header.log_id
    first, last = sorted((number, target))
    found: Cursor | None = None
    numbers = [each for each in pages.numbers() if first <= each <= last]
    for page in pages.each(numbers, log_id=log_id):
        with page:
            if check:
                page.check()
            if page.number == target:
                found = first_of(page)
    if found is not None:
        return found
    with pages.get(target) as page:  # raises what is wrong with it
        found = first_of(page)
        if pages.is_of(page, log_id):  # it came since the pages were listed
            return found
    path, detail = pages.directory.path, f"page {target} is of log {found.log_id}"
    raise CursorError(first_of(here), "another log", path, detail)


def at_number(pages: PageRun, number: int) -> Cursor | None:
    """Return the cursor of the first record that can be read, of that number or a later one."""
    if number < 0:
        raise ValueError(f"number={number} must be at least 0")
    numbers = pages_from(pages, number, None)
    end: Cursor | None = None
    for page in pages.each(numbers, log_id=pages.log_id(numbers)):
        with page:
            before = numbers[: numbers.index(page.number)]  # damaged, or gone since they were listed
            if end is None and number < page.first_number and not any(map(pages.exists, before)):
                raise PageRetiredError(page.number - 1, page.number, numbers[-1])
            frames = page.records_from(number)
            time_before = frames.time
            for record in page.rest_of(frames):
                if record.number >= number:
                    return Cursor(page.header.log_id.hex(), record.position, record.number, time_before)
            end = Cursor(page.header.log_id.hex(), frames.position, frames.number, frames.time)
    if end is not None and end.number < number:
        wanted = Cursor(end.log_id, end.position, number)
        detail = f"record {number:,} is asked for, and the log ends before record {end.number:,}"
        raise CursorError(wanted, "beyond the end", pages.directory.path, detail)
    return end


def at_time(pages: PageRun, since: int) -> Cursor | None:
    """Return the cursor of the first record whose time is not before `since`, ns since the epoch."""
    end: Cursor | None = None
    numbers = pages_from(pages, 0, since)
    for page in pages.each(numbers, log_id=pages.log_id(numbers)):
        with page:
            frames = page.records_from()
            before = 0
            for record in page.rest_of(frames):
                if record.timestamp >= since:
                    return Cursor(page.header.log_id.hex(), record.position, record.number, before)
                before = record.timestamp
            end = Cursor(page.header.log_id.hex(), frames.position, frames.number, frames.time)
    return end
