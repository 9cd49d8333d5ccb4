"""Logging the records of a ring again, into another ring, as they were."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from disklog_mp import _core
from disklog_mp._core import Record

Append = Callable[[Sequence[Record]], int]


def append_to(producer: _core.Producer) -> Append:
    """Return what logs the records of a frame again as they were: time, pid and tag, a group as a group."""

    def append(records: Sequence[Record]) -> int:
        first = records[0]
        if len(records) > 1:
            group = tuple(record.data for record in records)
            return producer.try_group(group, first.tag, first.timestamp, first.pid)
        kind = _core.KIND_GAP if first.gap else _core.KIND_RECORD
        return producer.try_record(first.data, first.tag, kind, first.timestamp, first.pid)

    return append
