"""How the writer is asked to end: SIGTERM and SIGINT set a flag and ring the bell."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StopSignals:
    """Called, says whether the writer was asked to end."""

    def __init__(self) -> None:
        self.asked = False
        self.ring_bell: Callable[[], None] = lambda: None  # set by the writer, which may be asleep

    def __call__(self) -> bool:
        return self.asked

    def ask(self, *_: object) -> None:
        """Handle a signal."""
        self.asked = True
        self.ring_bell()


@contextmanager
def stop_on_signals() -> Iterator[StopSignals]:
    """SIGTERM and SIGINT ask the writer to end in good order."""
    signals = StopSignals()
    before = {number: signal.signal(number, signals.ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
