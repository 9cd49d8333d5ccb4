"""The facts of logs as metric families, and these as text.  prometheus-client, loaded late, does both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from disklog_mp._metrics.facts import Facts
from disklog_mp._metrics.histogram import BOUNDS, Histogram

if TYPE_CHECKING:
    from prometheus_client import Metric

MISSING = "metrics need prometheus-client: pip install 'disklog-mp[metrics]'"
LABELS = ("log", "directory")


class Source(NamedTuple):
    """One log: its facts, and how long writes and syncs took, if its writer said so."""

    facts: Facts
    write: Histogram | None
    sync: Histogram | None


# Kind of the family, its name, what it is, and its value; a value of None has no sample.
Row = tuple[str, str, str, Callable[[Facts], float | None]]
COUNTER, GAUGE = "counter", "gauge"
ROWS: tuple[Row, ...] = (
    (COUNTER, "disklog_appends", "Records committed, since the ring was made.", lambda it: it.appended),
    (COUNTER, "disklog_append_bytes", "Bytes of all frames since the log began.", lambda it: it.claimed),
    (COUNTER, "disklog_drops", "Records refused because the ring was full.", lambda it: it.dropped),
    (COUNTER, "disklog_waits", "Times that a log() found the ring full.", lambda it: it.waited),
    (COUNTER, "disklog_abandoned", "Claims of processes killed inside log().", lambda it: it.abandoned),
    (COUNTER, "disklog_records", "Records in page files since the log began.", lambda it: it.records),
    (COUNTER, "disklog_written_bytes", "Bytes put into page files.", lambda it: it.written),
    (COUNTER, "disklog_durable_bytes", "Bytes that survive a power loss.", lambda it: it.durable),
    (COUNTER, "disklog_sync_failures", "Syncs that the disk refused.", lambda it: it.sync_failures),
    (COUNTER, "disklog_writers", "Writers that the ring has had.", lambda it: it.writers),
    (GAUGE, "disklog_writer_up", "1 if a writer is alive.", lambda it: it.is_writer_up),
    (
        GAUGE,
        "disklog_writer_heartbeat_timestamp_seconds",
        "When the writer last showed that it works.",
        lambda it: it.heartbeat,
    ),
    (GAUGE, "disklog_error", "1 while trouble keeps the writer from its work.", lambda it: it.has_error),
    (GAUGE, "disklog_errno", "errno of that trouble (28: disk full), else 0.", lambda it: it.errno),
    (GAUGE, "disklog_full", "1 while the log is at max_bytes and refuses records.", lambda it: it.is_full),
    (GAUGE, "disklog_ring_used_bytes", "Bytes in the ring.", lambda it: it.ring_used),
    (GAUGE, "disklog_ring_size_bytes", "Bytes that the ring takes.", lambda it: it.ring_size),
    (
        GAUGE,
        "disklog_oldest_unflushed_seconds",
        "Age of the oldest record that is in no page file yet.",
        lambda it: it.oldest,
    ),
    (
        GAUGE,
        "disklog_oldest_not_durable_seconds",
        "Age of the oldest record that a power loss would take.",
        lambda it: it.not_durable,
    ),
    (GAUGE, "disklog_attached", "Processes attached as producers.", lambda it: it.attached),
    (GAUGE, "disklog_pages", "Page files kept.", lambda it: it.pages),
    (GAUGE, "disklog_pages_bytes", "Bytes of all page files.", lambda it: it.page_bytes),
    (
        GAUGE,
        "disklog_sync_interval_seconds",
        "Time between two syncs, 0: after each write; absent: not by time.",
        lambda it: it.sync_interval,
    ),
    (GAUGE, "disklog_disk_free_bytes", "Free space where the pages are.", lambda it: it.disk_free),
    (GAUGE, "disklog_disk_size_bytes", "Size of that file system.", lambda it: it.disk_size),
)
HISTOGRAMS: tuple[tuple[str, str, Callable[[Source], Histogram | None]], ...] = (
    ("disklog_flush_seconds", "Time to put one segment into a page file.", lambda it: it.write),
    ("disklog_fsync_seconds", "Time to sync.", lambda it: it.sync),
)


def is_there() -> bool:
    """True if prometheus-client is installed; this loads nothing."""
    return find_spec("prometheus_client") is not None


def check_library() -> None:
    """Raise ModuleNotFoundError, with the command that helps, if prometheus-client is not installed."""
    if not is_there():
        raise ModuleNotFoundError(MISSING, name="prometheus_client")


def families(sources: Iterable[Source]) -> Iterator[Metric]:
    """Iterate the metric families of these logs; each family is there, also without logs."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    found = list(sources)
    kinds = {COUNTER: CounterMetricFamily, GAUGE: GaugeMetricFamily}
    for kind, name, text, value_of in ROWS:
        family = kinds[kind](name, text, labels=LABELS)
        for source in found:
            value = value_of(source.facts)
            if value is not None:
                family.add_metric(_labels(source), float(value))
        yield family
    for name, text, histogram_of in HISTOGRAMS:
        histograms = HistogramMetricFamily(name, text, labels=LABELS)
        for source in found:
            histogram = histogram_of(source)
            if histogram is not None:
                histograms.add_metric(_labels(source), _buckets(histogram), histogram.sum)
        yield histograms


def gauge(name: str, text: str, value: float) -> Metric:
    """Return a family of one number, of no log."""
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(name, text, value=value)


def _labels(source: Source) -> tuple[str, str]:
    return source.facts.log, source.facts.directory


def _buckets(histogram: Histogram) -> list[tuple[str, int]]:
    names = [*(f"{bound:g}" for bound in BOUNDS[:-1]), "+Inf"]
    return list(zip(names, histogram.cumulative(), strict=True))


class _Registry(NamedTuple):
    """As much of a registry as the library needs to write one."""

    families: list[Metric]

    def collect(self) -> list[Metric]:
        return self.families


def page(accept: str, metrics: Iterable[Metric]) -> tuple[str, bytes]:
    """Return content type and bytes for a client that takes these types: OpenMetrics, or Prometheus' text."""
    from prometheus_client import exposition

    encode, content_type = exposition.choose_encoder(accept)
    registry: Any = _Registry(list(metrics))
    return content_type, encode(registry)
