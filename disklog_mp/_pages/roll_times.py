"""When the page being written is to be sealed because of time: at an age, or at times of the day.

A time of the day is reached when the local clock shows it, or a later one, for the first time.  So an hour
that comes twice rolls once, one that is skipped rolls at its end, and a day that is skipped rolls with the
next one.
"""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from disklog_mp._options import HOURLY, Options
from disklog_mp._os.clocks import boot_time
from disklog_mp._pages.file import PageFile

if TYPE_CHECKING:
    from datetime import tzinfo

HOUR, DAY = 3600, 86400
# Seconds.  No clock of any zone was ever set back by more than a day, or set twice within an hour.
BEFORE, BEHIND = 2 * DAY, 4 * DAY


def rule_of(page_at: str) -> tuple[int, ...]:
    """Return the times of the day of an option that was checked, in seconds since midnight."""
    if page_at == HOURLY:
        return tuple(range(0, DAY, HOUR))
    parts = ([*map(int, word.split(":")), 0] for word in page_at.split(","))
    return tuple(sorted(HOUR * part[0] + 60 * part[1] + part[2] for part in parts))


def zone_of(page_tz: str | None) -> tzinfo | None:
    """Return a time zone by its name; None stands for the machine's."""
    if page_tz is None:
        return None
    from zoneinfo import ZoneInfo  # not at the top: few logs need it

    return ZoneInfo(page_tz)


def next_roll(after: float, rule: Sequence[int], zone: tzinfo | None) -> int:
    """Return the first moment after that one at which a time of the day is reached.

    `rule`: see rule_of().  Moments are in seconds since the epoch.
    """
    return next(moment for moment in _rolls(int(after), rule, zone) if moment > after)


def _rolls(around: int, rule: Sequence[int], zone: tzinfo | None) -> Iterator[int]:
    """Yield the moments of all rolls from a while before a moment until a while behind it."""
    done: float = -math.inf  # times of the local clock below this have been reached
    for begin, end, offset in _stretches(around - BEFORE, around + BEHIND, zone):
        done = max(done, begin + offset) if done == -math.inf else done
        while (due := _at_or_after(int(done), rule)) < end + offset:
            yield max(begin, due - offset)
            done = due + 1
        done = max(done, end + offset)


def _at_or_after(local: int, rule: Sequence[int]) -> int:
    day, second = divmod(local, DAY)
    place = bisect.bisect_left(rule, second)
    return day * DAY + (rule[place] if place < len(rule) else DAY + rule[0])


def _stretches(begin: int, end: int, zone: tzinfo | None) -> Iterator[tuple[int, int, int]]:
    """Yield stretches of time in which the local clock has one offset from UTC: begin, end, offset."""
    since, offset = begin, _offset(begin, zone)
    for at in range(begin + HOUR, end + 1, HOUR):
        if (new := _offset(at, zone)) != offset:
            change = _first_with(new, at - HOUR, at, zone)
            yield since, change, offset
            since, offset = change, new
    yield since, end, offset


def _first_with(offset: int, low: int, high: int, zone: tzinfo | None) -> int:
    """Return the second between two at which the offset changed to this one."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _offset(middle, zone) == offset else (middle, high)
    return high


def _offset(at: int, zone: tzinfo | None) -> int:
    """Return how many seconds the local clock is ahead of UTC at that moment."""
    try:
        if zone is None:
            return time.localtime(at).tm_gmtoff
        from datetime import datetime

        offset = datetime.fromtimestamp(at, zone).utcoffset()
        return int(offset.total_seconds()) if offset else 0
    except (ValueError, OverflowError, OSError):  # a clock that shows no year of the calendar
        return 0


class RollTimes:
    """Tells how long the page being written may still be written."""

    def __init__(self, options: Options) -> None:
        self.configure(options)

    def configure(self, options: Options) -> None:
        """Go by these options from now on."""
        self._age = options.page_age
        self._rule = rule_of(options.page_at) if options.page_at is not None else ()
        self._zone = zone_of(options.page_tz)
        self._of_begin, self._end = -math.inf, math.inf  # of the page looked at last, by the wall clock

    def reason(self, page: PageFile | None) -> str | None:
        """Return the option for which the page is to be sealed now; None if it may be written."""
        if page is None or page.is_empty():
            return None
        if self._age is not None and boot_time() - page.opened >= self._age:
            return "page_age"
        return "page_at" if self._rule and self._until_end(page) <= 0 else None

    def left(self, page: PageFile | None) -> float:
        """Return seconds until the page is to be sealed, below 0 if it should have been; inf: never."""
        if page is None or page.is_empty():
            return math.inf
        left = math.inf if self._age is None else self._age - (boot_time() - page.opened)
        return min(left, self._until_end(page)) if self._rule else left

    def _until_end(self, page: PageFile) -> float:
        begin, now = page.opened_at, time.time()
        if begin != self._of_begin:
            if self._zone is None:
                time.tzset()  # the machine may have moved
            self._of_begin, self._end = begin, next_roll(begin, self._rule, self._zone)
        if now >= begin:
            return self._end - now
        # The clock was set back, to before the page was begun: what that clock shows until then rolled
        # already, but a clock that was years ahead must not keep the page for years.
        return self._end - begin - (boot_time() - page.opened)
