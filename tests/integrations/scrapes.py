"""Scrapes, and a real Prometheus that makes them."""

import json
import re
import shutil
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from support.machine import wait_until

from integrations.serving import Server, running

OPERATING = Path(__file__).parents[2] / "examples" / "operating"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
Samples = dict[tuple[str, str], float]


def tool(name: str) -> str:
    """A program of Debian's package prometheus or systemd; without it the test is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name}: apt-get install prometheus systemd")
    return found


def get(url: str, accept: str = OPEN_METRICS) -> tuple[str, str]:
    """Return content type and text of a page."""
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def samples(text: str) -> Samples:
    """What a page in OpenMetrics says, by (sample, log); of buckets the last.  Raises for what is none."""
    found, seen = {}, set()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("le", "+Inf") == "+Inf":
                series = (sample.name, *sorted(sample.labels.items()))
                assert series not in seen, f"{series} is there twice"
                seen.add(series)
                found[sample.name, sample.labels.get("log", "")] = sample.value
    return found


def free_port() -> int:
    """A port that nothing listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


@contextmanager
def metrics_of_the_machine(directory: Path, *options: str) -> Iterator[tuple[Server, str]]:
    """`disklog-mp metrics --listen`, and its URL."""
    arguments = ("disklog_mp", "metrics", "--listen", "127.0.0.1:0", *options)
    with running(directory, *arguments) as server:
        yield server, wait_until(lambda: url_in(server.said()))


def url_in(text: str) -> str | None:
    """The URL that a line says."""
    found = re.search(r"http://\S+/metrics", text)
    return found and found[0]


class Prometheus:
    """One that runs, asked through its API."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/api/v1"

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression, now."""
        return self._get(f"/query?query={urllib.parse.quote(expression)}")["result"]

    def value(self, expression: str) -> float | None:
        """The value of an expression with one series."""
        found = self.query(expression)
        return float(found[0]["value"][1]) if found else None

    def firing(self, log: str) -> set[str]:
        """The alerts on a log that fire."""
        found = self._get("/alerts")["alerts"]
        return {
            each["labels"]["alertname"]
            for each in found
            if each["state"] == "firing" and each["labels"].get("log") == log
        }

    def _get(self, what: str) -> Any:
        with urllib.request.urlopen(self._base + what, timeout=10) as answer:
            return json.load(answer)["data"]


@contextmanager
def prometheus(directory: Path, target: str) -> Iterator[Prometheus]:
    """Run a real Prometheus with the configuration and the alerts of examples/operating, but in no time."""
    program = tool("prometheus")
    config = (OPERATING / "prometheus.yml").read_text()
    assert config.count('"127.0.0.1:9464"') == 1
    config = re.sub(r"_interval: 15s", "_interval: 1s", config).replace("127.0.0.1:9464", target)
    (directory / "prometheus.yml").write_text(config)
    alerts = (OPERATING / "alerts.yml").read_text()
    (directory / "alerts.yml").write_text(re.sub(r"(?m)^ +for: \w+\n", "", alerts))
    port = free_port()
    command = [
        program,
        f"--config.file={directory}/prometheus.yml",
        f"--storage.tsdb.path={directory}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    process = subprocess.Popen(command, stdout=sys.stderr, stderr=sys.stderr, stdin=subprocess.DEVNULL)
    found = Prometheus(port)

    def is_up() -> bool:
        assert process.poll() is None
        try:
            return found.value("up") == 1
        except OSError:
            return False

    try:
        wait_until(is_up, 60)
        yield found
    finally:
        process.terminate()
        process.wait(30)
