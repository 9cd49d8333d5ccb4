"""The log as an exporter of OpenTelemetry's log records.

provider.add_log_record_processor(SimpleLogRecordProcessor(LogRecordExporter("api", "/var/log/api")))

Or by its name, OTEL_LOGS_EXPORTER=disklog, with OTEL_EXPORTER_DISKLOG_NAME and OTEL_EXPORTER_DISKLOG_PATH.
The simple processor is the right one: there is nothing to wait for, and what the batching one holds back is
lost when its process is killed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Unpack

from opentelemetry.sdk._logs import export

from disklog_mp._loggers import structured as _structured
from disklog_mp._loggers.delivery import Delivery
from disklog_mp._options import LogOptions

__all__ = ["LogRecordExporter"]

NAME = "OTEL_EXPORTER_DISKLOG_NAME"
PATH = "OTEL_EXPORTER_DISKLOG_PATH"
LEVELS = (5, 10, 20, 30, 40, 50)  # of logging, for each four of OpenTelemetry's severity numbers


class LogRecordExporter(export.LogRecordExporter):
    """Logs structured records: attributes, trace_id and span_id are fields, the severity is the level.

    `name`, `path` and the options are those of DiskLogHandler.
    """

    def __init__(
        self,
        name: str | None = None,
        path: str | os.PathLike[str] | None = None,
        *,
        on_full: str = "block",
        timeout: float | str = 1.0,
        missing: str = "stderr",
        **options: Unpack[LogOptions],
    ) -> None:
        name = name or os.environ.get(NAME)
        if not name:
            raise ValueError(f"the log has no name: set {NAME}")
        self._delivery = Delivery(
            name,
            path or os.environ.get(PATH) or None,
            on_full=on_full,
            timeout=timeout,
            missing=missing,
            **options,
        )

    def export(self, batch: Sequence[Any]) -> Any:
        """Log a batch; the result says whether all of it was accepted."""
        dropped = self._delivery.dropped
        for readable in batch:
            number = getattr(readable.log_record.severity_number, "value", None) or 9
            self._delivery.enqueue(_encode(readable), LEVELS[min((number - 1) // 4, 5)])
        done = self._delivery.dropped == dropped
        return export.LogRecordExportResult.SUCCESS if done else export.LogRecordExportResult.FAILURE

    def shutdown(self) -> None:
        """Wait until what was logged can be read, and detach."""
        self._delivery.flush()
        self._delivery.close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wait until what was logged can be read; True if it can.  It is safe before that."""
        return self._delivery.flush_within(timeout_millis / 1000)


def _encode(readable: Any) -> bytes:
    record, scope = readable.log_record, readable.instrumentation_scope
    fields = dict(record.attributes or {})
    exception = fields.pop("exception.stacktrace", None)
    if record.trace_id:
        fields["trace_id"] = f"{record.trace_id:032x}"
    if record.span_id:
        fields["span_id"] = f"{record.span_id:016x}"
    if getattr(record, "event_name", None):
        fields["event_name"] = record.event_name
    body = "" if record.body is None else record.body
    return _structured.encode(
        record.timestamp or record.observed_timestamp,
        record.severity_text or getattr(record.severity_number, "name", "INFO"),
        scope.name if scope is not None else "",
        body if isinstance(body, str) else _structured.encode_value(body),
        process=_structured.process_name(),
        task=_structured.task_name(),
        fields=fields,
        exception=None if exception is None else str(exception),
    )
