"""The schedule of a crash test: who is started how, frozen when, killed when.  A seed is a schedule."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

START_METHODS = {"fork": 0.7, "forkserver": 0.2, "spawn": 0.05, "exec": 0.05}
WRITERS = {"forked": 0.6, "serve": 0.25, "open": 0.15}  # by a supervisor's fork, the command, a program


class Life(NamedTuple):
    """What will befall one process.  Times in seconds."""

    method: str
    seed: str  # of what it does itself
    aimed: bool  # death and freezing come when it is in the middle of its work, if that is soon
    early: bool  # times count from its start, not from when it is ready for its work
    death_at: float
    freeze_at: float
    freeze_for: float  # 0: never frozen
    pause: float  # before its successor is started
    everybody: bool  # dies together with all other workers and the writer


def worker_lives(seed: int, place: int) -> Iterator[Life]:
    """The workers that follow each other in one place."""
    return _lives(f"{seed} worker {place}", START_METHODS, mean=0.9, freezes=0.15, pause=0.02)


def writer_lives(seed: int) -> Iterator[Life]:
    """The writers that follow each other."""
    return _lives(f"{seed} writer", WRITERS, mean=0.3, freezes=0.15, pause=0.15, everybody=0.05)


def reader_lives(seed: int, place: int) -> Iterator[Life]:
    """The readers that follow each other in one place."""
    return _lives(f"{seed} reader {place}", {"fork": 1.0}, mean=1.5, freezes=0.15, pause=0.05)


def _lives(
    seed: str, methods: dict[str, float], *, mean: float, freezes: float, pause: float, everybody: float = 0
) -> Iterator[Life]:
    dice = random.Random(seed)
    names, weights = list(methods), list(methods.values())
    number = 0
    while True:
        # All dice are thrown for each, so that what one becomes says nothing about the next.
        method = dice.choices(names, weights)[0]
        aimed = dice.random() < 0.75
        early = dice.random() < 0.15 and method != "open"  # that one starts its writer and ends
        death_at = min(dice.expovariate(1 / mean), 5 * mean) * (0.2 if early else 1)
        freeze_at, freeze_for = dice.random() * mean, 0.005 + 0.3 * dice.random() ** 3
        frozen = dice.random() < freezes
        wait, together = dice.random() * pause, dice.random() < everybody
        yield Life(
            method,
            f"{seed} {number}",
            aimed,
            early,
            death_at,
            freeze_at,
            freeze_for * frozen,
            wait,
            together,
        )
        number += 1
