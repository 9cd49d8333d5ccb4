"""The schedule of a crash test: how each process is started, when it is frozen, when it is killed.

A seed fixes a schedule.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

START_METHODS = {"fork": 0.7, "forkserver": 0.2, "spawn": 0.05, "exec": 0.05}
WRITERS = {"forked": 0.7, "serve": 0.3}  # a supervisor's fork, the command; for open() see attached.py


class Fate(NamedTuple):
    """What happens to one process.  Times are in seconds."""

    method: str
    seed: str  # of its own random choices
    aimed: bool  # kill and freeze it in the middle of its work, if that comes soon
    early: bool  # times count from its start, not from when it is ready
    death_at: float
    freeze_at: float
    freeze_for: float  # 0: it is never frozen
    pause: float  # before its successor is started
    together: bool  # all workers are killed together with this writer


def worker_fates(seed: int, place: int) -> Iterator[Fate]:
    """The fates of the workers that follow each other in one place."""
    return _fates(f"{seed} worker {place}", START_METHODS, mean=0.9, freezes=0.15, pause=0.02)


def writer_fates(seed: int) -> Iterator[Fate]:
    """The fates of the writers that follow each other."""
    return _fates(f"{seed} writer", WRITERS, mean=0.3, freezes=0.15, pause=0.15, together=0.05)


def reader_fates(seed: int, place: int) -> Iterator[Fate]:
    """The fates of the readers that follow each other in one place."""
    return _fates(f"{seed} reader {place}", {"fork": 1.0}, mean=1.5, freezes=0.15, pause=0.05)


def _fates(
    seed: str, methods: dict[str, float], *, mean: float, freezes: float, pause: float, together: float = 0
) -> Iterator[Fate]:
    dice = random.Random(seed)
    names, weights = list(methods), list(methods.values())
    number = 0
    while True:
        # Every fate takes the same number of random choices, so that one does not change the next.
        method = dice.choices(names, weights)[0]
        aimed = dice.random() < 0.75
        early = dice.random() < 0.15
        death_at = min(dice.expovariate(1 / mean), 5 * mean) * (0.2 if early else 1)
        freeze_at, freeze_for = dice.random() * mean, 0.005 + 0.3 * dice.random() ** 3
        frozen = dice.random() < freezes
        wait, takes_all = dice.random() * pause, dice.random() < together
        yield Fate(
            method,
            f"{seed} {number}",
            aimed,
            early,
            death_at,
            freeze_at,
            freeze_for * frozen,
            wait,
            takes_all,
        )
        number += 1
