"""OpenTelemetry's log record exporter."""

import os
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber, get_logger, set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExportResult, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

import disklog_mp
from disklog_mp._loggers import structured as _structured
from disklog_mp.otel import LogRecordExporter
from integrations.killing import SMALL, Lanes, account, balance, kill_pool
from integrations.work import DIRECTORY

pytestmark = pytest.mark.usefixtures("writer_ends")


def provider_of(exporter: LogRecordExporter) -> LoggerProvider:
    """A provider that hands its records to the exporter at once."""
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    return provider


def start(lanes: str, name: str, path: Path) -> None:
    """Start a worker."""
    os.environ[DIRECTORY] = lanes
    set_logger_provider(provider_of(LogRecordExporter(name, path, **SMALL)))


def emit(line: str) -> None:
    """Log a line with OpenTelemetry."""
    record = LogRecord(timestamp=time.time_ns(), severity_number=SeverityNumber.INFO, body=line)
    get_logger("shop").emit(record)


def test_workers_killed_each_second_lose_nothing(name: str, path: Path, lanes: Lanes) -> None:
    """In a pool of four."""
    kill_pool("forkserver", start, name, path, lanes, emit)
    account("OpenTelemetry", name, path, lanes, ended=set(lanes.pids()))
    balance(name, path)


def test_what_becomes_of_a_log_record(name: str, path: Path) -> None:
    """Severity, body, attributes, and the ids of the span it was logged in."""
    exporter = LogRecordExporter(name, path, **SMALL)
    logger = provider_of(exporter).get_logger("shop")
    with TracerProvider(shutdown_on_exit=False).get_tracer("shop").start_as_current_span("sale") as span:
        logger.emit(
            LogRecord(
                timestamp=123_000,
                severity_text="WARN",
                severity_number=SeverityNumber.WARN,
                body="sold",
                attributes={"apples": 3, "exception.stacktrace": "Traceback ..."},
            )
        )
    logger.emit(LogRecord(body={"apples": [1, 2]}, event_name="stock", severity_number=SeverityNumber.FATAL4))
    assert exporter.force_flush()
    exporter.shutdown()

    records = list(disklog_mp.Reader(path))
    assert [record.tag for record in records] == [30, 50]
    sold, stock = (_structured.parse(record.data) for record in records)
    assert sold is not None
    assert stock is not None
    assert (sold.time, sold.level, sold.logger, sold.message) == (123_000, "WARN", "shop", "sold")
    assert sold.exception == "Traceback ..."
    context = span.get_span_context()
    ids = {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
    assert sold.fields == {"apples": 3, **ids}
    assert (stock.message, stock.fields) == ('{"apples":[1,2]}', {"event_name": "stock"})


def test_it_is_found_by_its_name(
    name: str, path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """OTEL_LOGS_EXPORTER=disklog; which log, the environment says; without one the result is a failure."""
    (entry,) = entry_points(group="opentelemetry_logs_exporter", name="disklog")
    kind: Any = entry.load()
    assert kind is LogRecordExporter
    with pytest.raises(ValueError, match="OTEL_EXPORTER_DISKLOG_NAME"):
        kind()
    monkeypatch.setenv("OTEL_EXPORTER_DISKLOG_NAME", name)
    exporter = kind()
    provider_of(exporter).get_logger("shop").emit(LogRecord(body="unheard"))
    assert exporter._delivery.dropped == 1
    assert exporter.export([]) is LogRecordExportResult.SUCCESS
    assert f"no log {name!r} is open" in capfd.readouterr().err
    monkeypatch.setenv("OTEL_EXPORTER_DISKLOG_PATH", str(path))
    assert kind()._delivery.path == str(path)
