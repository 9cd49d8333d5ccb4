"""What a benchmark is: who takes part, in rounds A B A B, and what the figures have to be.

A ratio is taken within one round, says how many times better ours is, and its median over the rounds is
what counts: absolute times wander with the machine.
"""

from __future__ import annotations

import statistics
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

OURS = "disklog-mp"


class NotMeasured(Exception):
    """A contestant cannot take part here; the text says why."""


@dataclass(frozen=True)
class Setting:
    """What a contestant is told."""

    seconds: float  # to measure for
    directory: Path  # on the disk that is meant
    quick: bool = False
    minutes: float = 0.0  # for what takes long
    producers: int = 4
    length: int = 100

    @property
    def data(self) -> bytes:
        """A record."""
        return (b"0123456789abcdef" * (self.length // 16 + 1))[: self.length]


class Value(NamedTuple):
    """What a contestant reached in a round, and what else is worth knowing of it."""

    number: float
    details: dict[str, Any] = {}  # noqa: RUF012 (nobody changes it)


Contestant = Callable[[Setting], "Value | float"]


class Limit(NamedTuple):
    """What must hold, or is aimed at: of our value, or of the ratio to a peer's."""

    number: float
    text: str
    of_ratio: bool = False


class Row(NamedTuple):
    """A line of the table: ours beside a peer (None: alone)."""

    peer: str | None = None
    must: Limit | None = None
    aim: Limit | None = None


@dataclass(frozen=True)
class Benchmark:
    """A measure: its contestants, ours first, and the lines it gives in the table."""

    name: str
    title: str
    unit: str
    contestants: Mapping[str, Contestant]
    rows: Sequence[Row]
    less_is_better: bool = False


@dataclass
class Measured:
    """The values of each contestant, round by round."""

    benchmark: Benchmark
    values: dict[str, list[Value]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)  # who, and why

    def numbers(self, who: str) -> list[float]:
        return [value.number for value in self.values.get(who, [])]

    def ratios(self, peer: str) -> list[float]:
        """How many times better ours is, round by round."""
        pairs = zip(self.numbers(OURS), self.numbers(peer), strict=False)
        if self.benchmark.less_is_better:
            return [theirs / ours for ours, theirs in pairs if ours]
        return [ours / theirs for ours, theirs in pairs if theirs]

    def holds(self, row: Row, limit: Limit | None) -> bool | None:
        """True if the limit does, by the medians; None if there is none, or nothing to judge by."""
        if limit is None:
            return None
        numbers = self.ratios(row.peer) if limit.of_ratio and row.peer else self.numbers(OURS)
        if not numbers:
            return None
        median = statistics.median(numbers)
        if self.benchmark.less_is_better and not limit.of_ratio:
            return median <= limit.number
        return median >= limit.number

    def verdict(self, row: Row) -> str:
        """One word or three for the last column."""
        if row.peer in self.missing or OURS in self.missing:
            return "not measured"
        must, aim = self.holds(row, row.must), self.holds(row, row.aim)
        if must is False:
            return "MUST MISSED"
        if aim is not None:
            return "aim reached" if aim else "aim missed" if must is None else "must holds, aim missed"
        return "" if must is None else "must holds"


def run(
    benchmark: Benchmark, setting: Setting, rounds: int, *, ours_only: bool, say: Callable[[str], None]
) -> Measured:
    """Measure all contestants in turn, so many times."""
    measured = Measured(benchmark)
    for number in range(rounds):
        for who, contestant in benchmark.contestants.items():
            if who in measured.missing or (ours_only and who != OURS):
                continue
            say(f"{benchmark.name}, round {number + 1} of {rounds}: {who}")
            try:
                value = contestant(setting)
            except NotMeasured as reason:
                measured.missing[who] = str(reason)
                continue
            except Exception as trouble:  # one contestant's, of hours of measuring
                traceback.print_exc()
                measured.missing[who] = f"failed: {trouble or type(trouble).__name__}"
                continue
            measured.values.setdefault(who, []).append(value if isinstance(value, Value) else Value(value))
    if ours_only:
        measured.missing |= dict.fromkeys(set(benchmark.contestants) - {OURS}, "left out")
    return measured


def spread(numbers: Sequence[float]) -> dict[str, Any]:
    """Return how values are spread: of few, all of them."""
    if len(numbers) > 1:
        low, _, high = statistics.quantiles(numbers, n=4, method="inclusive")
    else:
        low = high = numbers[0]
    return {
        "median": statistics.median(numbers),
        "min": min(numbers),
        "quartiles": [low, high],
        "max": max(numbers),
        "rounds": list(numbers),
    }
