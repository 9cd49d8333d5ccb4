"""What a benchmark is: its contestants, measured in rounds A B A B, and the limits of its figures.

A ratio is taken within one round and says how many times better ours is.  Its median over the rounds counts,
because absolute times change with the load of the machine.
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
    """The parameters of a contestant."""

    seconds: float  # to measure
    directory: Path  # on the disk to measure
    quick: bool = False
    minutes: float = 0.0  # for measures that take long
    producers: int = 4
    length: int = 100

    @property
    def data(self) -> bytes:
        """A record."""
        return (b"0123456789abcdef" * (self.length // 16 + 1))[: self.length]


class Value(NamedTuple):
    """The figure of a contestant in one round, with details."""

    number: float
    details: dict[str, Any] = {}  # noqa: RUF012 (never changed)


Contestant = Callable[[Setting], "Value | float"]


class Limit(NamedTuple):
    """A limit that must hold or is aimed at, for our figure or for the ratio to a peer's."""

    number: float
    text: str
    of_ratio: bool = False


class Row(NamedTuple):
    """A line of the table: ours and a peer's figure (None: ours alone)."""

    peer: str | None = None
    must: Limit | None = None
    aim: Limit | None = None


@dataclass(frozen=True)
class Benchmark:
    """A measure: its contestants, ours first, and its lines in the table."""

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
    missing: dict[str, str] = field(default_factory=dict)  # contestant: the reason

    def numbers(self, who: str) -> list[float]:
        return [value.number for value in self.values.get(who, [])]

    def ratios(self, peer: str) -> list[float]:
        """How many times better ours is, round by round."""
        pairs = zip(self.numbers(OURS), self.numbers(peer), strict=False)
        if self.benchmark.less_is_better:
            return [theirs / ours for ours, theirs in pairs if ours]
        return [ours / theirs for ours, theirs in pairs if theirs]

    def holds(self, row: Row, limit: Limit | None) -> bool | None:
        """True if the medians keep the limit; None if there is no limit or no figure."""
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
        """Return the last column."""
        if row.peer in self.missing or OURS in self.missing:
            return "not measured"
        must, aim = self.holds(row, row.must), self.holds(row, row.aim)
        if must is False:
            return "MUST MISSED"
        if aim is not None:
            return "aim reached" if aim else "aim missed" if must is None else "must holds, aim missed"
        return "" if must is None else "must holds"


def run(
    benchmark: Benchmark,
    setting: Setting,
    rounds: int,
    *,
    ours_only: bool,
    say: Callable[[str], None],
    strict: bool = False,
) -> Measured:
    """Measure all contestants in turn, `rounds` times; `strict`: raise the error of one that fails."""
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
            except Exception as trouble:  # one contestant must not end hours of measuring
                if strict:
                    raise
                traceback.print_exc()
                measured.missing[who] = f"failed: {trouble or type(trouble).__name__}"
                continue
            measured.values.setdefault(who, []).append(value if isinstance(value, Value) else Value(value))
    if ours_only:
        measured.missing |= dict.fromkeys(set(benchmark.contestants) - {OURS}, "left out")
    return measured


def spread(numbers: Sequence[float]) -> dict[str, Any]:
    """Return median, extremes, quartiles and all figures."""
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
