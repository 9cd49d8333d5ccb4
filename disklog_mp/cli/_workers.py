"""Worker processes of demo and bench: Ctrl-C reaches their parent alone."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from multiprocessing.context import SpawnProcess


def start_all(workers: Iterable[SpawnProcess]) -> None:
    """Start processes that ignore SIGINT from the beginning, so that Ctrl-C does not reach them."""
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for worker in workers:
            worker.start()
    finally:
        signal.signal(signal.SIGINT, former)
