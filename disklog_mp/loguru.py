"""The log as a sink of loguru.

logger.add(disklog_mp.loguru.Sink("api", "/var/log/api"), format="{message}")

Without enqueue=True, whose queue and lock this makes needless: every process logs by itself.
"""

from __future__ import annotations

import os
import traceback
from typing import Any, Unpack

from disklog_mp._loggers import structured as _structured
from disklog_mp._loggers.delivery import Delivery
from disklog_mp._options import LogOptions
from disklog_mp.logging import ENCODINGS

__all__ = ["Sink"]


class Sink:
    """Logs loguru's messages with their level as the tag.

    `name`, `path` and the options are those of DiskLogHandler.  encoding="structured" keeps what is bound and
    given as fields, exceptions, and where a message comes from, with any `format`; "text" logs what
    loguru's format makes of it.
    """

    def __init__(
        self,
        name: str,
        path: str | os.PathLike[str] | None = None,
        *,
        encoding: str = "structured",
        on_full: str = "block",
        timeout: float | str = 1.0,
        missing: str = "stderr",
        **options: Unpack[LogOptions],
    ) -> None:
        if encoding not in ENCODINGS:
            raise ValueError(f"encoding={encoding!r} is not one of {', '.join(ENCODINGS)}")
        self.encoding = encoding
        self._delivery = Delivery(name, path, on_full=on_full, timeout=timeout, missing=missing, **options)

    def write(self, message: Any) -> None:
        """Log a message: loguru calls this."""
        record = message.record
        if self.encoding == "structured":
            data = _encode(record)
        else:
            data = message.removesuffix("\n").encode("utf-8", "backslashreplace")
        self._delivery.enqueue(data, record["level"].no)

    def stop(self) -> None:
        """Wait until what was logged can be read, and detach: loguru calls this when the sink is removed."""
        self._delivery.flush()  # not under that name: loguru would call it for each message
        self._delivery.close()


def _encode(record: dict[str, Any]) -> bytes:
    exception = record["exception"]
    if exception is not None:
        exception = "".join(traceback.format_exception(*exception)).rstrip("\n")
    return _structured.encode(
        round(record["time"].timestamp() * 1e6) * 1000,
        record["level"].name,
        record["name"] or "",
        record["message"],
        process=record["process"].name,
        thread=record["thread"].name,
        task=_structured.task_name(),
        caller=f"{record['file'].name}:{record['line']} {record['function']}",
        fields=record["extra"],
        exception=exception,
    )
