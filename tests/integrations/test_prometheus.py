"""A real Prometheus scrapes, evaluates the alerts of examples/operating, and sees what happens to a log."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.machine import wait_until
from support.mounts import fill

import disklog_mp
from disklog_mp import metrics as _metrics
from disklog_mp._addresses import Address
from disklog_mp._metrics.endpoint import Endpoint
from disklog_mp._session import interpreter
from disklog_mp.metrics import Collector
from integrations.scrapes import prometheus

pytestmark = pytest.mark.usefixtures("writer_ends")
OPTIONS: dict[str, Any] = {
    "ring_bytes": 1 << 16,
    "page_bytes": 1 << 16,
    "keep_bytes": 1 << 18,
    "event_bytes": 1 << 16,
    "on_full": "drop",
    "linger": 0.1,
}
PATIENCE = 60.0  # seconds; a scrape that fails on a busy machine is followed by another


@pytest.fixture
def target(name: str) -> Iterator[str]:
    """Where this test's log alone is scraped: other tests stop the writers of theirs."""
    collector = Collector(name)
    endpoint = Endpoint(Address("127.0.0.1", 0), lambda accept: _metrics.page(collector, accept))
    assert endpoint.start()
    yield str(endpoint.address)
    endpoint.close()


def test_a_full_disk_drops_and_a_dead_writer(
    name: str, small_disk: Path, tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is an alert while it lasts, and no other alert fires."""
    log = disklog_mp.open(name, small_disk / "log", **OPTIONS)
    monkeypatch.setenv(interpreter.MARK, "1")  # this session starts no other writer
    ballast = small_disk / "ballast"
    with log, prometheus(tmp_path, target) as seen:

        def see(*alerts: str, **values: float) -> None:
            """Wait until these alerts fire, no others, and these metrics have these values."""
            wait_until(
                lambda: (
                    seen.firing(name) == set(alerts)
                    and all(seen.value(f"disklog_{each}") == value for each, value in values.items())
                ),
                PATIENCE,
                0.1,
            )

        log.log(b"a record")
        see(appends_total=1, writer_up=1, error=0, drops_total=0)

        fill(ballast)
        while log.stats().dropped < 100:
            log.log(b"x" * 1000)
        see("DisklogCannotWrite", "DisklogDiskNearlyFull", "DisklogDrops", "DisklogRingHalfFull", errno=28)
        see(*seen.firing(name), drops_total=log.stats().dropped, writer_up=1)

        ballast.unlink()
        see("DisklogDrops", error=0, ring_used_bytes=0)

        os.kill(log.stats().writer_pid, signal.SIGKILL)
        see("DisklogDrops", "DisklogWriterDown", writer_up=0, writers_total=1)

        monkeypatch.delenv(interpreter.MARK)
        log.log(b"another")
        log.flush()  # and there is the next writer
        see("DisklogDrops", writer_up=1, writers_total=2)
