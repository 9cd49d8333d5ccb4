"""Saving the whole frames of a damaged ring into pages, without its claim map.

It knows no reason for the damage, and not what becomes of the ring.
"""

from __future__ import annotations

from collections.abc import Iterator

from disklog_mp import _core
from disklog_mp._pages.writer import NO_LIMIT, PageWriter
from disklog_mp._ring import contents as _contents
from disklog_mp._ring.contents import Run

LONGEST_RUN = 4 << 20  # bytes written with one call


def whole_runs(ring: _core.Ring, pages: PageWriter, position: int, end: int) -> Iterator[Run]:
    """Yield the runs of whole frames that a ring holds between two positions."""
    limit = pages.options.page_records or NO_LIMIT
    return _contents.runs(ring, position, end, pages.salt, records=limit, length=LONGEST_RUN)


def save(pages: PageWriter, run: Run) -> None:
    """Append a run; the positions before it that could not be read are left out.  Raises OSError."""
    pages.leap(run.position)
    room, records_room = pages.room()
    if run.records > records_room or len(run.data) > room:
        pages.seal()
    pages.append(run.data, run.end, run.records, run.last_time)
