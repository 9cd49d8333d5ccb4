"""Following a log: over all its pages, from any place, and on as it grows."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator

from disklog_mp._core import Record, RecordIterator
from disklog_mp._pages.identity import is_continued
from disklog_mp._reader.cursor import Cursor
from disklog_mp._reader.damage import Damage
from disklog_mp._reader.page import Page
from disklog_mp._reader.page_run import PageRun
from disklog_mp.errors import CursorError, FormatVersionError, PageRetiredError

# A writer rings the bell of its page.  These looks are for what rings none: a writer that was killed first.
# untuned but for a follower at rest (bench: rest): they bound how late a rare event is seen.
LOOK, LONGEST_LOOK = 0.1, 12.8  # seconds between looks at everything: at first, and when it is quiet
GLANCE = 0.5  # seconds between looks at watermark and next page, which cost little
FIRST_PAGE_POLL = 0.02  # seconds between looks for the first page of a log
LIST_POLL = (0.1, 3.2)  # seconds between looks for a page other than the next: at first, and when it is quiet
PATH_POLL = (0.1, 3.2)  # the same for looks where the path of the page leads


def _identity(page: Page) -> tuple[bytes, int, int, int, int]:
    header = page.header
    return header.log_id, header.number, header.first_position, header.first_number, header.salt


class Stream:
    """A follower's place in the log: iterate it for what is there now, wait(), iterate it again."""

    def __init__(self, pages: PageRun, cursor: Cursor | str | None, *, passes_foreign: bool = False) -> None:
        """With `passes_foreign`, pages of another log or copy are reported, as iterating does, not raised."""
        self._pages = pages
        self._passes_foreign = passes_foreign
        self._log_id: bytes | None = None  # pages of other logs are passed over; None: of none
        self._wanted = Cursor.parse(cursor) if isinstance(cursor, str) else cursor
        if self._wanted is not None:
            self._wanted.checked()
        self._page: Page | None = None
        self._frames: RecordIterator | None = None
        self._before = self._wanted.before if self._wanted else 0  # time of the record before this page
        self._given_back: Record | None = None
        self._given_back_after = 0  # time of the record before that
        self._unreadable: list[Damage] = []  # pages without a valid header behind this one
        self._told: set[Damage] = set()  # those of them that were reported
        self._bell = self._watermark = 0
        self._look = LOOK
        self._next_list, self._list_poll = 0.0, LIST_POLL[0]
        self._next_path, self._path_poll = 0.0, PATH_POLL[0]

    def __iter__(self) -> Iterator[Record]:
        if self._given_back is not None:
            record, self._given_back = self._given_back, None
            yield record
        if self._page is None and not self._begin():
            return
        while True:
            assert self._page is not None
            assert self._frames is not None
            # In this order: the bell, whether this page is the last, its end.  So no change is missed.
            self._bell, self._watermark = self._page.bell(), self._page.watermark()
            problem = following = None
            try:
                following = self._following(self._page)
            except (PageRetiredError, FormatVersionError, ValueError) as error:  # raised behind this page
                problem = error
            yield from self._frames
            if self._page.extend(self._frames):
                self._look = LOOK
                continue
            if problem is None and self._renew(self._page, self._frames, following):
                continue
            if problem is not None:
                try:
                    raise problem
                finally:
                    problem = None  # it and this frame hold each other, and the frame the page's mapping
            if following is None:
                self._tell_unreadable()
                return
            self._pages.report_step(self._page, following, self._unreadable)
            self._unreadable = []
            self._before = self._frames.time
            self._enter(following)

    def locate(self) -> Page | None:
        """Return the page of this place, None while the log has none.  Raises what iterating raises."""
        if self._page is None:
            self._begin()
        return self._page

    def _begin(self) -> bool:
        wanted = self._wanted
        if wanted is None:
            numbers = self._pages.numbers()
        else:
            log_id = bytes.fromhex(wanted.log_id)
            numbers = self._pages.from_last(lambda page: page.first_position <= wanted.position, log_id)
        if self._passes_foreign:
            self._log_id = self._pages.log_id(numbers)
        page = next(self._pages.each(numbers, log_id=self._log_id), None)
        if page is None:
            if wanted is not None and wanted.number and not numbers:
                raise self._beyond(wanted)
            return False
        if wanted is not None:
            self._check_log(page, wanted.log_id)
            # Recovery may have left positions unused behind a page that is gone: then the numbers decide.
            behind = wanted.position < page.first_position and wanted.number < page.first_number
            before = numbers[: numbers.index(page.number)]  # damaged, or gone since they were listed
            if behind and not any(map(self._pages.exists, before)):
                raise PageRetiredError(page.number - 1, page.number, numbers[-1])
        self._enter(page)
        if wanted is not None:
            self._check_place(wanted, page)
        return True

    def _check_log(self, page: Page, log_id: str) -> None:
        found = page.header.log_id.hex()
        former = bytes.fromhex(log_id)
        if found != log_id and not is_continued(os.path.dirname(page.path), former, page.header.log_id):
            raise CursorError(self.cursor(), "another log", page.path, f"the page is of log {found}")

    def _check_place(self, wanted: Cursor, page: Page) -> None:
        """Raise CursorError if the log cannot be the one that the cursor came from."""
        frames = self._frames
        assert frames is not None
        if wanted.position > page.end_position() and not frames.damage:
            following = self._pages.find(page.number + 1, on_damage=lambda damage: None)
            is_lost = following is None and not self._pages.exists(page.number + 1)
            # A log that went on behind what it lost did so at fresh positions: none of them is skipped.
            if is_lost and self._pages.numbers()[-1:] == [page.number]:
                raise self._beyond(wanted)
            return
        if not wanted.before or wanted.position < page.first_position or frames.damage:
            return
        found = frames.time
        if wanted.number == page.first_number == frames.number:
            former = self._pages.find(page.number - 1, on_damage=lambda damage: None)
            found = 0 if former is None else former.time_before(wanted.number, wanted.before)
        if frames.number != wanted.number or (found and found != wanted.before):
            path = self._pages.directory.path
            detail = "the record before it is another one: the log was restored from a backup and went on"
            raise CursorError(wanted, "rewound", path, detail)

    def _beyond(self, wanted: Cursor) -> CursorError:
        detail = "the log ends before it: its last records were lost, or it was restored from a backup"
        return CursorError(wanted, "beyond the end", self._pages.directory.path, detail)

    def _enter(self, page: Page) -> None:
        if self._page is not None:
            self._page.close()
        self._page, self._look = page, LOOK
        self._next_path, self._path_poll = 0.0, PATH_POLL[0]
        # The cursor may be at the end of the page before this one.
        self._frames = page.records_from(page.first_number, self._wanted.position if self._wanted else 0)

    def _following(self, page: Page) -> Page | None:
        """The next page, if there is one: then this one is complete."""
        following = None
        now = time.monotonic()
        unreadable: list[Damage] = []
        if self._pages.exists(page.number + 1):
            following = self._pages.find_of(self._log_id, page.number + 1, unreadable)
            if following is None:  # a page that is still empty is false, so no `or` here
                following = self._pages.first_behind(page, page.number + 2, unreadable, self._log_id)
        elif now >= self._next_list or self._pages.exists(page.number + 2):
            following = self._pages.first_behind(page, page.number + 1, unreadable, self._log_id)
            self._next_list, self._list_poll = now + self._list_poll, min(2 * self._list_poll, LIST_POLL[1])
        self._unreadable = [damage for damage in unreadable if damage not in self._told]
        if following is not None:
            if not self._pages.is_of(page, following.header.log_id):
                self._check_log(following, page.header.log_id.hex())
            self._next_list, self._list_poll = 0.0, LIST_POLL[0]
        return following

    def _renew(self, page: Page, frames: RecordIterator, following: Page | None) -> bool:
        """Look where the path of `page`, read to its end, leads; True if there is more of it to read.

        Number and first position make the page, not the file: an overlay copies a file that is written to.
        Raises CursorError if the path leads to another page, or to an earlier state of this one.
        """
        if following is None:
            now = time.monotonic()
            if now < self._next_path:
                return False
            self._next_path, self._path_poll = now + self._path_poll, min(2 * self._path_poll, PATH_POLL[1])
        elif following.first_number == frames.number:
            return False
        anew = self._pages.anew(page)
        if anew is None:
            if following is None:
                self._check_pages_before(page)
            return False
        if self._is_ahead(anew, page, frames):
            page.close()
            self._page, self._frames = anew, anew.records_from(frames.number, frames.position)
            self._next_path, self._path_poll = 0.0, PATH_POLL[0]
            return True
        anew.close()
        if following is None or frames.damage or self._passes_foreign:
            return False
        if following.first_number < frames.number:
            raise self._rewound(f"page {following.number} begins with record {following.first_number:,}")
        return False

    def _is_ahead(self, anew: Page, page: Page, frames: RecordIterator) -> bool:
        """True if there is more in the page than was read.  Raises CursorError if it is not the same page."""
        if _identity(anew) != _identity(page):
            raise self._rewound(f"another page {page.number} is in the place of the one that was read")
        if frames.damage:  # recovery may have taken back what cannot be read
            return anew.end_position() > frames.position
        if anew.is_plausible() and anew.header.position_of(anew.watermark()) < frames.position:
            raise self._rewound(f"page {page.number} ends before what was read of it")
        if anew.end_position() <= frames.position:
            return False
        again = anew.records_from(frames.number, frames.position)
        # The position may differ: a record inside a group that came since begins behind the group's frame.
        if (again.number, again.time) != (frames.number, frames.time):
            raise self._rewound(f"page {page.number} has other records")
        return True

    def _check_pages_before(self, page: Page) -> None:
        """Raise CursorError if `page` is gone, and the log is written where it was before that page."""
        numbers = self._pages.numbers()
        if not numbers or numbers[-1] >= page.number:
            return
        last = self._pages.find(numbers[-1], on_damage=lambda damage: None)
        if last is not None and not last.sealed:
            raise self._rewound(f"the log ends in page {last.number}, and page {page.number} is gone")

    def _rewound(self, detail: str) -> CursorError:
        path = self._pages.directory.path
        return CursorError(self.cursor(), "rewound", path, f"{detail}: the log was restored from a backup")

    def _tell_unreadable(self) -> None:
        """Report pages without a valid header behind the last one that has one, each once."""
        self._told |= set(self._unreadable)
        self._pages.report(self._unreadable)
        self._unreadable = []

    def cursor(self) -> Cursor | None:
        """The cursor of the next record.  A reader that goes on from there is not told what is before it."""
        if self._page is None or self._frames is None:
            return self._wanted
        self._page.report_damage(self._frames)
        log_id = self._page.header.log_id.hex()
        if self._given_back is not None:
            back = self._given_back
            return Cursor(log_id, back.position, back.number, self._given_back_after)
        before = self._frames.time
        if not before and self._frames.number == self._page.first_number:
            before = self._before
        return Cursor(log_id, self._frames.position, self._frames.number, before)

    def give_back(self, record: Record, before: int) -> None:
        """Make the record that came last come again; `before` is the time of the one before it."""
        self._given_back, self._given_back_after = record, before

    def rest(self, at_most: float = math.inf) -> None:
        """Sleep until there may be more; longer each time there was no more."""
        self.wait(min(self._look, at_most))
        self._look = min(2 * self._look, LONGEST_LOOK)

    def wait(self, seconds: float) -> None:
        """Sleep until there may be more, at most so long."""
        if self._page is None:
            time.sleep(min(seconds, FIRST_PAGE_POLL))
        else:
            following = self._pages.directory.page_path(self._page.number + 1)
            self._page.wait_watching(self._bell, self._watermark, following, seconds, GLANCE)

    def is_quiet(self) -> bool:
        """True if the page being read has not changed since: this looks at memory, not at a disk."""
        return self._page is not None and self._page.bell() == self._bell
