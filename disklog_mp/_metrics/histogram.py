"""Histograms of how long a writer's writes and syncs took.

They are in the writer's own memory, counted by its main thread: the ring has no place for them, and a
producer never pays for them.  Another process asks the writer for them.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

# Seconds, the last one without end.  A write into the page cache takes microseconds, a disk that is asked to
# sync milliseconds, and one that is in trouble seconds.
BOUNDS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, math.inf)


class Histogram:
    """Counts durations: how many were at most as long as each bound, and their sum."""

    def __init__(self) -> None:
        self.counts = [0] * len(BOUNDS)  # each of one bucket alone
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def cumulative(self) -> list[int]:
        """Return for each bound how many were at most as long."""
        total, found = 0, []
        for count in self.counts:
            total += count
            found.append(total)
        return found

    def quantile(self, part: float) -> float:
        """Return the bound that such a part of all were within (0.99: the 99th percentile); 0.0 if none were.

        Beyond the last bound but one it is math.inf.
        """
        below = self.cumulative()
        if not below[-1]:
            return 0.0
        return BOUNDS[next(index for index, count in enumerate(below) if count >= part * below[-1])]

    def told(self) -> dict[str, Any]:
        """Return it as it travels."""
        return {"counts": list(self.counts), "sum": self.sum}


def from_told(told: object) -> Histogram | None:
    """Return a histogram that travelled; None if it is none with these bounds."""
    if not isinstance(told, Mapping):
        return None
    counts, total = told.get("counts"), told.get("sum")
    if not (isinstance(counts, list) and len(counts) == len(BOUNDS) and isinstance(total, int | float)):
        return None
    if not all(isinstance(count, int) and count >= 0 for count in counts):
        return None
    histogram = Histogram()
    histogram.counts, histogram.sum = counts, float(total)
    return histogram
