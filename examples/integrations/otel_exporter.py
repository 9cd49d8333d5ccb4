"""OpenTelemetry's log records go into the log, with the ids of the span they were logged in.
In a temporary directory, or in the one that is given.
"""

import os
import sys
import tempfile
import time

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

import disklog_mp
from disklog_mp.otel import LogRecordExporter

with tempfile.TemporaryDirectory() as temporary:
    directory = sys.argv[1] if len(sys.argv) > 1 else temporary
    exporter = LogRecordExporter(f"otel-{os.getpid()}", directory, linger=0, sync="never")
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    with TracerProvider().get_tracer("shop").start_as_current_span("sale"):
        provider.get_logger("shop").emit(
            LogRecord(timestamp=time.time_ns(), severity_number=SeverityNumber.INFO, body="3 apples sold")
        )
    provider.shutdown()
    for record in disklog_mp.Reader(directory):
        print(record.pid, record.tag, record.data.decode())
