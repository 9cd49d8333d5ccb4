"""The log's own events as a reader finds them: what happened to the log, in the order it happened.

The names and what they carry stand in the README.  The oldest events go when there is no more room for them;
then the first one is `totals`, which says what all before it came to.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from disklog_mp._core import Record
from disklog_mp._pages.directory import EventsDirectory
from disklog_mp._reader.damage import Damage
from disklog_mp._reader.page_run import PageRun
from disklog_mp._reader.stream import Stream
from disklog_mp.errors import PageRetiredError

TOTALS = "totals"


class LogEvent(NamedTuple):
    """Something that happened to the log."""

    name: str
    time: int  # ns since the epoch
    position: int  # of the log, when it happened
    fields: dict[str, Any]


def events_in(
    path: str, on_damage: Callable[[Damage], object], *, follow: bool = False, timeout: float | None = None
) -> Iterator[LogEvent]:
    """Iterate the events of the log in a directory, oldest first.

    With `follow`, wait for more; `timeout` ends that after so many seconds in which none came.
    """
    pages = PageRun(EventsDirectory(path), on_damage)
    stream, is_first = Stream(pages, None), True
    last = time.monotonic()
    while True:
        try:
            for record in stream:
                event = _event_of(record)
                if event is not None and (event.name != TOTALS or (is_first and event.fields["events"])):
                    yield event
                    last = time.monotonic()
                is_first = False
        except PageRetiredError:  # this reader was too slow: the totals say what it missed
            stream, is_first = Stream(pages, None), True
            continue
        if not follow:
            return
        patience = math.inf if timeout is None else last + timeout - time.monotonic()
        if patience <= 0:
            return
        stream.rest(patience)


def _event_of(record: Record) -> LogEvent | None:
    """Return the event in a record, None if it is none of ours."""
    try:
        fields = json.loads(record.data)
        return LogEvent(fields.pop("event"), fields.pop("time"), fields.pop("position"), fields)
    except (ValueError, KeyError, AttributeError):
        return None
