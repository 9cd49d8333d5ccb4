"""The log's metrics over HTTP, served by its writer: the option `metrics`.

A thread serves them.  It maps the ring for itself, and of the writer it reads only numbers, so the writer
never waits for it.  Where the address cannot be had, or no thread, the log goes on without metrics: one line
on stderr and one event say so, and another attempt follows.
"""

from __future__ import annotations

import errno
import os

from disklog_mp._addresses import Address, parse_address
from disklog_mp._metrics import exposition as _exposition
from disklog_mp._metrics import facts as _facts
from disklog_mp._metrics import sharing as _sharing
from disklog_mp._metrics.exposition import Source
from disklog_mp._pages.writer import PageWriter
from disklog_mp._ring.observing import observe
from disklog_mp._writer.ring_maker import RingMaker
from disklog_mp._writer.timings import Timings
from disklog_mp._writer.troubles import Troubles
from disklog_mp.errors import DiskLogError

TRY_AGAIN = 10.0  # seconds between two attempts to listen


class Exporter:
    """Listens where the option says, from the first inspection on."""

    def __init__(self, pages: PageWriter, maker: RingMaker, timings: Timings, troubles: Troubles) -> None:
        self._pages = pages
        self._maker = maker
        self.timings = timings
        self._troubles = troubles
        self._wanted: str | None = None
        self._listens_at: Address | None = None
        self._try_at = 0.0
        self._said = ""

    def inspect(self, now: float) -> None:
        """Follow the option."""
        wanted = self._pages.options.metrics
        if wanted != self._wanted:
            self.close()
            self._wanted, self._try_at = wanted, 0.0
            self._no_longer_refused()
        if wanted is not None and self._listens_at is None and now >= self._try_at:
            self._try_at = now + TRY_AGAIN
            self._listen(parse_address(wanted, "metrics"))

    def _listen(self, address: Address) -> None:
        try:
            _exposition.check_library()
            url = _sharing.join(address, self._read)
        except (ModuleNotFoundError, OSError) as problem:
            self._refused(problem)
            return
        self._listens_at = address
        self._troubles.say(f"metrics at {url}")
        self._no_longer_refused()

    def _refused(self, problem: ModuleNotFoundError | OSError) -> None:
        number = (problem.errno or 0) if isinstance(problem, OSError) else 0
        why = (problem.strerror or str(problem)) if isinstance(problem, OSError) else str(problem)
        said = f"no metrics: {why}"
        if number == errno.EADDRINUSE:
            said += "; give each log a port of its own, or serve all with `disklog-mp metrics --listen`"
        if said != self._said:
            self._said = said
            self._troubles.say(f"{said}; the log goes on, trying again")
            self._troubles.tell("error", what="metrics", errno=number, error=why)

    def _no_longer_refused(self) -> None:
        if self._said:
            self._said = ""
            self._troubles.tell("recovered", what="metrics")

    def _read(self) -> Source | None:
        """In the endpoint's thread: read the ring as any process may."""
        try:
            file = observe(self._maker.ring_path)
        except (DiskLogError, OSError):
            return None
        try:
            facts = _facts.read(file, self._pages.folder.directory.path)
        finally:
            os.close(file.fd)
        facts = _facts.with_sync(facts, self.timings.since_sync())
        return Source(facts, self.timings.write, self.timings.sync)

    def close(self) -> None:
        """Serve no more."""
        if self._listens_at is not None:
            _sharing.leave(self._listens_at, self._read)
            self._listens_at = None
