"""Counting durations."""

import json
import math
from typing import Any

import pytest

from disklog_mp._metrics.histogram import BOUNDS, Histogram, from_told


def histogram_of(*seconds: float) -> Histogram:
    histogram = Histogram()
    for each in seconds:
        histogram.add(each)
    return histogram


def test_a_duration_is_in_the_first_bucket_that_holds_it() -> None:
    """A bound belongs to its bucket; what is longer than all has the last one."""
    histogram = histogram_of(0.0, 1e-5, 1.1e-5, 1.0, 1e9)
    below = dict(zip(BOUNDS, histogram.cumulative(), strict=True))

    assert (below[1e-5], below[3e-5], below[0.3], below[1.0], below[10.0]) == (2, 3, 3, 4, 4)
    assert below[math.inf] == 5
    assert histogram.sum == pytest.approx(1e9 + 1 + 2.1e-5)


def test_quantiles() -> None:
    """The bound that so many were within."""
    histogram = histogram_of(*[0.002] * 98, 0.5, 60.0)

    assert [histogram.quantile(part) for part in (0.5, 0.98, 0.99, 1.0)] == [3e-3, 3e-3, 1.0, math.inf]
    assert Histogram().quantile(0.5) == 0.0


def test_it_travels_as_json() -> None:
    """And arrives as it was."""
    sent = histogram_of(0.1, 0.2)
    came = from_told(json.loads(json.dumps(sent.told())))

    assert came is not None
    assert (came.counts, came.sum) == (sent.counts, sent.sum)


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {},
        {"counts": [1, 2], "sum": 1.0},
        {"counts": [0] * len(BOUNDS), "sum": "x"},
        {"counts": [-1] * len(BOUNDS), "sum": 1.0},
        {"counts": ["0"] * len(BOUNDS), "sum": 1.0},
    ],
)
def test_what_is_no_histogram_is_none(told: Any) -> None:
    """A writer of another version may count otherwise."""
    assert from_told(told) is None
