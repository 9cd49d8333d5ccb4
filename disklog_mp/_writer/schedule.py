"""How long the writer may sleep on its bell: facts in, seconds out."""

from __future__ import annotations

import math
from typing import NamedTuple

from disklog_mp._writer import intervals


class Facts(NamedTuple):
    """What limits the writer's sleep."""

    sign_of_life: float  # seconds between two signs of life that a supervisor expects; infinite: none
    until_roll: float  # seconds until the page being written is to be sealed; infinite: never
    keep_age: float | None  # the option
    oldest_since: float  # when the oldest page that may be removed was sealed, see boot_time()
    now: float  # likewise
    all_watched: bool  # the kernel reports the death of every attached producer


def sleep_for(facts: Facts) -> float:
    """Return after how many seconds, at the latest, something is due that rings no bell."""
    due = min(facts.sign_of_life, until_roll(facts), until_retirement(facts), until_check(facts))
    return max(intervals.HOUSEKEEPING, due)


def until_roll(facts: Facts) -> float:
    """Return seconds until the page being written is to be sealed."""
    return _or_retry(facts.until_roll)


def until_retirement(facts: Facts) -> float:
    """Return seconds until the oldest page is too old to be kept."""
    if facts.keep_age is None:
        return math.inf
    return _or_retry(facts.oldest_since + facts.keep_age - facts.now)


def until_check(facts: Facts) -> float:
    """Return seconds until the next check of producers that cannot be watched."""
    return math.inf if facts.all_watched else intervals.UNWATCHED_CHECK


def _or_retry(left: float) -> float:
    """What is long overdue was tried and failed: it is tried again after a while."""
    return left if left > -intervals.RETRY else intervals.RETRY
