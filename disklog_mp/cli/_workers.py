"""Worker processes of demo and bench: started apart from Ctrl-C, which is their parent's affair."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from multiprocessing.context import SpawnProcess


def start_all(workers: Iterable[SpawnProcess]) -> None:
    """Start processes that are born with SIGINT ignored, so that the terminal's does not reach them."""
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for worker in workers:
            worker.start()
    finally:
        signal.signal(signal.SIGINT, former)
