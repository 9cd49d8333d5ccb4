"""How long the writer's writes and syncs took, for other processes that ask: the request `timings`."""

from __future__ import annotations

import os
import time
from typing import Any

from disklog_mp._metrics.histogram import Histogram
from disklog_mp._writer.requests import Kind, Request
from disklog_mp._writer.syncer import Syncer


class Timings:
    """The histograms of one writer, since it began."""

    def __init__(self, syncer: Syncer) -> None:
        self.write = Histogram()  # putting one segment into its page file
        self.sync = syncer.timing
        self._syncer = syncer

    def since_sync(self) -> float:
        """Return how many seconds ago the last sync began."""
        return time.monotonic() - self._syncer.last_synced

    def kinds(self) -> dict[str, Kind]:
        """Return the requests that are answered here."""
        return {"timings": Kind(self._tell)}

    def _tell(self, request: Request) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "write": self.write.told(),
            "sync": self.sync.told(),
            "since_sync": self.since_sync(),
        }
