"""Rates and delays, worked out from counters that are looked at now and then.  No I/O, no clock."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

SPAN = 600.0  # seconds that a rate is remembered for
FINENESS = 64  # places remembered of a delay, at the least: so fine is what is said of it
SAMPLES = 2000  # delays that percentiles are taken from


class Meter:
    """A counter that only grows, as a rate: now, and over the last ten minutes."""

    def __init__(self) -> None:
        self._steps: deque[tuple[float, float, float]] = deque()  # end, seconds, amount
        self._time: float | None = None
        self.total = 0.0
        self.now = 0.0  # a second, between the last two looks

    def take(self, time: float, total: float) -> None:
        """Note what the counter was at a time, in seconds; one that went back began anew."""
        if self._time is not None and time > self._time:
            seconds, amount = time - self._time, max(0.0, total - self.total)
            self._steps.append((time, seconds, amount))
            self.now = amount / seconds
        if self._time is None or time > self._time:
            self._time, self.total = time, total
        while self._steps and self._steps[0][0] <= time - SPAN:
            self._steps.popleft()

    def add(self, time: float, amount: float) -> None:
        """Note that the counter grew by so much up to that time."""
        self.take(time, self.total + amount)

    def mean(self) -> float:
        """Return the rate over the last ten minutes, or over the shorter time that was looked at."""
        steps = list(self._steps)  # a copy: another thread may add to them
        seconds = sum(step[1] for step in steps)
        return sum(step[2] for step in steps) / seconds if seconds else 0.0

    def span(self) -> float:
        """Return for how many of the last ten minutes' seconds the counter was looked at."""
        return min(SPAN, sum(step[1] for step in list(self._steps)))

    def points(self, count: int) -> list[float]:
        """Return the rates in so many equal parts of that time, the latest last; fewer after few looks."""
        steps = list(self._steps)
        if len(steps) <= count:
            return [amount / seconds for _, seconds, amount in steps]
        amounts, lengths = [0.0] * count, [0.0] * count
        width = (steps[-1][0] - steps[0][0] + steps[0][1]) / count
        for end, seconds, amount in steps:
            age = steps[-1][0] - end + seconds / 2  # of its middle
            place = count - 1 - min(count - 1, int(age / width))
            amounts[place] += amount
            lengths[place] += seconds
        return [
            amount / seconds if seconds else 0.0 for amount, seconds in zip(amounts, lengths, strict=True)
        ]


class Delay:
    """How long positions take from the moment they are claimed until they are done: written, or durable.

    It is seen from outside, so it is as exact as the looks are frequent.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, int]] = deque()  # (moment first seen, frontier)
        self._samples: deque[float] = deque(maxlen=SAMPLES)
        self.seconds = 0.0  # that the oldest position that is not done has waited

    def take(self, time: float, claimed: int, done: int) -> None:
        """Note the frontier, and up to where all is done, at a time in seconds."""
        while self._waiting and self._waiting[0][1] <= done:
            self._samples.append(time - self._waiting.popleft()[0])
        newest = self._waiting[-1] if self._waiting else (-math.inf, done)
        # Of a long delay only some places are kept, so that a disk that hangs for a day takes no memory.
        oldest = self._waiting[0][0] if self._waiting else time
        if claimed > newest[1] and time - newest[0] >= (time - oldest) / FINENESS:
            self._waiting.append((time, claimed))
        self.seconds = time - self._waiting[0][0] if self._waiting else 0.0

    def percentiles(self, parts: Sequence[float]) -> list[float] | None:
        """Return the delays, in seconds, that these parts of all stay below; None while none was seen."""
        if not self._samples:
            return None
        ordered = sorted(self._samples)
        return [ordered[min(len(ordered) - 1, int(part * len(ordered)))] for part in parts]
