"""How long the writer rests.

The ring is mostly a double that keeps what it was asked for: a clock would tell of the machine's load.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest

from disklog_mp import _core
from disklog_mp._options import Options
from disklog_mp._writer import pace as _pace
from disklog_mp._writer.pace import (
    CLAIM_CHECKS,
    LONGEST_NAP,
    MUCH,
    NAP,
    NAPS,
    PARKS,
    RING_PART,
    Pace,
    Park,
    Watched,
)
from disklog_mp._writer.signals import StopSignals
from disklog_mp._writer.writer import Writer

CAPACITY = 1 << 20


class Asked:
    """In place of a ring."""

    def __init__(self) -> None:
        self.naps: list[float] = []
        self.parks: list[tuple[float, float]] = []
        self.rung = False

    def doze(self, seconds: float, bell: int) -> None:
        self.naps.append(seconds)

    def park(self, position: int, seconds: float, look: float, bell: int, *watched: object) -> bool:
        self.parks.append((seconds, look))
        return not self.rung


@pytest.fixture
def asked() -> Asked:
    return Asked()


def rest(pace: Pace, asked: Asked, *, at_most: float = 1e9, is_due: bool = False) -> None:
    ring = cast("_core.Ring", asked)
    pace.rest(ring, 0, 7, at_most=at_most, is_due=is_due, watched=lambda: Watched((), b""))


def naps(pace: Pace, asked: Asked, length: int, times: int) -> list[float]:
    """The naps of a writer that finds so many bytes after each."""
    del asked.naps[:]
    for _ in range(times):
        rest(pace, asked)
        pace.wrote(length, CAPACITY)
    return asked.naps


def test_naps_grow_while_much_is_logged_and_shrink_when_it_is_little(asked: Asked) -> None:
    """The more bytes a nap yields, the longer the next one, up to LONGEST_NAP."""
    pace = Pace()
    growing = naps(pace, asked, MUCH, 20)

    assert NAP == growing[0]
    assert LONGEST_NAP == max(growing) == growing[-1]
    assert all(before <= after for before, after in pairwise(growing))
    assert NAP == naps(pace, asked, MUCH - 1, 20)[-1]


def test_naps_stay_short_where_the_ring_would_fill_up(asked: Asked) -> None:
    """A nap that yields more than a part of the ring (RING_PART) is not made longer."""
    pace = Pace()
    naps(pace, asked, MUCH, 20)

    assert NAP == naps(pace, asked, CAPACITY // RING_PART + 1, 20)[-1]


def test_what_is_written_without_a_nap_before_does_not_make_naps_longer(asked: Asked) -> None:
    """Only bytes found after a nap count."""
    pace = Pace()
    for _ in range(20):
        pace.wrote(MUCH, CAPACITY)

    assert [NAP] == naps(pace, asked, MUCH, 1)


def test_the_longer_nothing_happens_the_longer_it_sleeps(asked: Asked) -> None:
    """First naps, then longer and longer parks."""
    pace = Pace()
    for _ in range(100):
        rest(pace, asked)

    assert NAPS == len(asked.naps)
    assert sorted(asked.parks) == asked.parks
    assert [(park.seconds, park.check) for park in reversed(PARKS)] == sorted(set(asked.parks))


def test_a_bell_has_it_look_around_more_often_again(asked: Asked) -> None:
    """After a bell the parks are short again."""
    pace = Pace()
    for _ in range(100):
        rest(pace, asked)
    asked.rung = True
    rest(pace, asked)
    rest(pace, asked)

    assert PARKS[-1].seconds == asked.parks[-1][0]


def test_what_is_due_or_limited_is_not_slept_through(asked: Asked) -> None:
    """A due chore or a limit bounds the sleep."""
    pace = Pace()
    for _ in range(100):
        rest(pace, asked, is_due=True)
    assert {PARKS[-1].seconds} == {seconds for seconds, _ in asked.parks}

    for _ in range(100):
        rest(pace, asked, at_most=0.5)
    assert 0.5 == asked.parks[-1][0]


def test_a_claim_that_is_not_committed_is_looked_at_less_and_less_often(asked: Asked) -> None:
    """Pauses between looks at an open claim grow, and end when it is committed."""
    pace: Any = Pace()
    for _ in range(1000):
        pace.held()
        rest(pace, asked)

    slept = list(asked.naps)
    assert [seconds for seconds, _ in CLAIM_CHECKS] == sorted(set(slept)) == list(dict.fromkeys(slept))
    asked.naps.clear()
    pace.empty()
    rest(pace, asked)
    assert [NAP] == asked.naps
    assert [] == asked.parks


@pytest.mark.parametrize("naps", [0, 1])
def test_a_signal_between_the_last_look_and_the_sleep_is_not_slept_through(
    name: str, path: Path, monkeypatch: pytest.MonkeyPatch, naps: int
) -> None:
    """It comes right after the writer has seen that it is not to end, and would park, or nap."""
    monkeypatch.setattr(_pace, "NAPS", naps)
    monkeypatch.setattr(_pace, "NAP", 3600.0)
    monkeypatch.setattr(_pace, "PARKS", (Park(0, 3600.0, 3600.0),))

    class Late(StopSignals):
        def __call__(self) -> bool:
            asked = self.asked
            self.ask()
            return asked

    Writer(name, path, Options(ring_bytes=1 << 14, linger=None)).run(Late())
