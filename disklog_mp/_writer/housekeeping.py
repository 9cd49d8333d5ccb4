"""What the writer does now and then, beside the draining.  It knows when; what is done is handed in."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Task(NamedTuple):
    """An action, and how many seconds pass between two of it."""

    interval: Callable[[], float]
    action: Callable[[float], object]  # called with the time of the round


class Housekeeping:
    """Runs each task that is due, in the order they are given in."""

    def __init__(self, *tasks: Task) -> None:
        self._tasks = tasks
        self._due = [0.0] * len(tasks)
        self.next_round = 0.0  # when the first task is due

    def run(self, now: float) -> None:
        """Run all tasks that are due; raises the first OSError after all of them have been tried."""
        first_error = None
        for i, task in enumerate(self._tasks):
            if now < self._due[i]:
                continue
            self._due[i] = now + task.interval()
            try:
                task.action(now)
            except OSError as error:
                first_error = first_error or error
        self.next_round = min(self._due)
        if first_error is not None:
            raise first_error
