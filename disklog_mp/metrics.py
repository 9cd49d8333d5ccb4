"""Metrics of logs for Prometheus, read from their rings: they cost producers nothing.

import prometheus_client                                  # pip install 'disklog-mp[metrics]'
prometheus_client.REGISTRY.register(disklog_mp.metrics.Collector("web"))

A program that has a registry of its own registers a Collector.  In prometheus-client's multiprocess mode,
which takes no collectors of others, register it beside MultiProcessCollector in the registry of each request.
Every process sees the same: what is collected is the log's, not the process's.

Each family has the labels `log` and `directory`, and one sample for each log.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from disklog_mp._addresses import parse_address
from disklog_mp._metrics import exposition as _exposition
from disklog_mp._metrics import facts as _facts
from disklog_mp._metrics.endpoint import Endpoint
from disklog_mp._metrics.exposition import Source
from disklog_mp._metrics.histogram import from_told
from disklog_mp._os import systemd as _systemd
from disklog_mp._ring import names as _names
from disklog_mp._ring.file import RingFile
from disklog_mp._ring.observing import look, observe
from disklog_mp._session import requests
from disklog_mp._verify import survey as _survey
from disklog_mp.errors import DiskLogError, LogNotFoundError

if TYPE_CHECKING:
    from prometheus_client import Metric

__all__ = ["Collector", "MachineCollector", "serve"]

PATIENCE = 0.3  # seconds for a writer to say how long its writes took; it may be waiting for its disk
LONGEST_ASKING = 3.0  # seconds that all of them may take: a scrape has a deadline, usually of 10 s
MOST_LOGS = 1000  # of one machine: each has its own time series


class Collector:
    """Collects the metrics of one log, by its name, or by its directory and name.

    While there is no such log, or its ring cannot be read, the families have no samples.
    """

    def __init__(
        self,
        name: str,
        path: str | os.PathLike[str] | None = None,
        *,
        ring_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """Raises ModuleNotFoundError if prometheus-client is not installed, ValueError for a bad name."""
        _exposition.check_library()
        self._name = _names.check_name(name)
        self._path = None if path is None else _survey.absolute(os.fsdecode(path))
        self._ring_dir = None if ring_dir is None else os.path.abspath(os.fsdecode(ring_dir))

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples: for registries."""
        return _exposition.families([])

    def collect(self) -> Iterator[Metric]:
        """Return the families, as the log is now; this never raises for a log that cannot be read."""
        return _exposition.families(self._sources())

    def _sources(self) -> list[Source]:
        try:
            file = self._find()
        except (DiskLogError, OSError):
            return []
        return [_source(file)]

    def _find(self) -> RingFile:
        if self._path is None:
            return look(self._name, self._ring_dir)
        ring = _survey.ring_path_of(self._path, self._ring_dir)
        if ring is None or _names.log_of(ring) != self._name:
            raise LogNotFoundError(self._name)
        return observe(ring)


class MachineCollector:
    """Collects the metrics of all logs that are open on this machine, found anew at each scrape.

    `ring_dirs` are directories of rings beside /dev/shm.
    """

    def __init__(self, ring_dirs: Sequence[str | os.PathLike[str]] = ()) -> None:
        """Raises ModuleNotFoundError if prometheus-client is not installed."""
        _exposition.check_library()
        self._places = list(
            dict.fromkeys([_names.SHM, *(os.path.abspath(os.fsdecode(it)) for it in ring_dirs)])
        )

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples: for registries."""
        return self._families({}, 0)

    def collect(self) -> Iterator[Metric]:
        """Return the families, as the logs are now."""
        found: dict[tuple[str, str], Source] = {}
        unread, asks_until = 0, time.monotonic() + LONGEST_ASKING
        rings = [ring for place in self._places for ring in _rings_in(place)]
        for ring in sorted(rings, key=_age)[:MOST_LOGS]:
            try:
                source = _source(observe(ring), asks=time.monotonic() < asks_until)
            except LogNotFoundError:  # it ended meanwhile
                continue
            except (DiskLogError, OSError):
                unread += 1
                continue
            key = (source.facts.log, source.facts.directory)
            former = found.get(key)
            if former is None or not former.facts.is_writer_up:  # the newer ring, unless the old one lives
                found[key] = source
        return self._families(found, unread + max(0, len(rings) - MOST_LOGS))

    def _families(self, found: dict[tuple[str, str], Source], unread: int) -> Iterator[Metric]:
        yield from _exposition.families(found.values())
        yield _exposition.gauge("disklog_logs", "Logs that are open on this machine.", len(found))
        yield _exposition.gauge("disklog_logs_unread", "Logs whose ring cannot be read, or too many.", unread)


def page(collector: Collector | MachineCollector, accept: str = "") -> tuple[str, bytes]:
    """Return content type and bytes of all metrics, for a client that accepts these types."""
    return _exposition.page(accept, collector.collect())


def serve(
    address: str,
    ring_dirs: Sequence[str | os.PathLike[str]] = (),
    *,
    started: Callable[[str], object] | None = None,
) -> None:
    """Serve the metrics of all logs of this machine at `address` ("127.0.0.1:9464") until SIGTERM or SIGINT.

    `started` is called with the URL.  Tells systemd when it is ready (Type=notify).
    Raises OSError if the address cannot be had, ValueError, ModuleNotFoundError.
    """
    collector = MachineCollector(ring_dirs)
    endpoint = Endpoint(parse_address(address, "address"), lambda accept: page(collector, accept))
    former = {
        number: signal.signal(number, lambda *_: endpoint.stop())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        notifier = _systemd.Notifier()
        notifier.notify(f"READY=1\nSTATUS=metrics at {endpoint.url}")
        if started is not None:
            started(endpoint.url)
        endpoint.run()
        notifier.notify("STOPPING=1")
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _rings_in(place: str) -> list[str]:
    try:
        return _names.all_rings(place)
    except OSError:
        return []


def _age(ring: str) -> tuple[int, str]:
    try:
        return os.lstat(ring).st_mtime_ns, ring
    except OSError:
        return 0, ring


def _source(file: RingFile, *, asks: bool = True) -> Source:
    """Return what a ring tells, and its writer if it is asked; closes the ring's descriptor."""
    try:
        path = file.ring.path
        is_ours = _survey.is_log_of(path, file)
        facts = _facts.read(file, path if is_ours else None)
        told = _ask(facts.log, path, file) if asks and facts.is_writer_up and is_ours else {}
    finally:
        os.close(file.fd)
    since = told.get("since_sync")
    facts = _facts.with_sync(facts, since if isinstance(since, float) else None)
    return Source(facts, from_told(told.get("write")), from_told(told.get("sync")))


def _ask(name: str, path: str, file: RingFile) -> dict[str, Any]:
    """Ask the writer for its timings; {} if it is of an earlier version, or does not answer for its disk."""
    log = requests.Log(name, path, wake=file.ring.wake)
    try:
        return requests.ask(log, "timings", timeout=PATIENCE)
    except (DiskLogError, OSError, TypeError, ValueError, RuntimeError):
        return {}
