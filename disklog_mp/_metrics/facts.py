"""What a log's ring tells a metrics system, read at one moment.  Reading changes nothing.

Nothing in a ring is trusted: it becomes numbers, and two labels of which each ring has one pair.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from disklog_mp import _core
from disklog_mp._core import COMMITTED, COMMITTED_GROUP, Ring
from disklog_mp._ring import claims as _claims
from disklog_mp._ring import control as _control
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring import slots as _slots
from disklog_mp._ring.file import RingFile

FRAME_TIME = slice(8, 16)  # in a frame's header
MOST_CLAIMS = 1000  # untuned: looked at for the oldest record; only unfinished ones are passed over


class Facts(NamedTuple):
    """One log.  Sizes are in bytes, times in seconds; counts are of this ring, positions of the log."""

    log: str
    directory: str
    appended: int  # records
    dropped: int
    waited: int  # times that a log() found the ring full
    abandoned: int
    claimed: int  # positions
    written: int
    durable: int
    records: int  # in page files since the log began
    ring_used: int
    ring_size: int
    oldest: float  # age of the oldest record that no writer has written; 0.0: there is none
    not_durable: float | None  # likewise of the oldest that is not durable; None: the ring does not tell
    attached: int
    pages: int
    page_bytes: int
    is_writer_up: bool
    writers: int  # that the ring has had
    heartbeat: float  # since the epoch
    errno: int  # of the trouble that lasts
    has_error: bool
    is_full: bool  # max_bytes is reached
    sync_failures: int
    sync_interval: float | None  # 0.0: after each write; None: not by time
    disk_free: int | None  # None: not known
    disk_size: int | None


def read(file: RingFile, path: str | None) -> Facts:
    """Return the facts of an attached ring.  `path`: the log's directory, None if the ring alone names it."""
    ring = file.ring
    released = ring.released
    claimed, written, durable = ring.frontier(released), ring.written, ring.durable
    tallies = _slots.tallies(ring)
    total = tallies.total()
    first, last = ring.first_page, ring.page
    has_error = bool(ring.error_time and ring.error_number)  # without a number it is a note
    free, size = (None, None) if path is None else _disk(path)
    return Facts(
        log=_text(ring.name),
        directory=_text(ring.path if path is None else path),
        appended=total.logged,
        dropped=total.dropped,
        waited=total.waited,
        abandoned=ring.abandoned,
        claimed=claimed,
        written=written,
        durable=durable,
        records=ring.records,
        ring_used=claimed - released,
        ring_size=ring.capacity,
        oldest=_age_at(ring, max(written, released)) or 0.0,
        not_durable=_age_at(ring, durable) if durable < written else 0.0,
        attached=len(tallies.attached),
        pages=max(0, last - first + 1) if first else 0,
        page_bytes=ring.page_bytes,
        is_writer_up=_liveness.writer_alive(file),
        writers=ring.writer_count,
        heartbeat=ring.heartbeat / 1e9,
        errno=ring.error_number if has_error else 0,
        has_error=has_error,
        is_full=ring.halted == _core.LOG_FULL,
        sync_failures=ring.sync_failures,
        sync_interval=_sync_interval(_control.options(ring).get("sync")),
        disk_free=free,
        disk_size=size,
    )


def with_sync(facts: Facts, since: float | None) -> Facts:
    """Return the facts with what the writer says: the last sync began so many seconds ago.

    All that was written before is durable.  A quiet log may have nothing to sync for hours: then the ring
    still has the record.
    """
    if since is None or not facts.written > facts.durable:
        return facts
    oldest = since if facts.not_durable is None else min(since, facts.not_durable)
    return facts._replace(not_durable=oldest)


def _text(text: str) -> str:
    """Return a label's value: a path may have bytes that are no UTF-8, which no exposition can have."""
    return text.encode("utf-8", "backslashreplace").decode()


def _age_at(ring: Ring, position: int) -> float | None:
    """Return the age of the first record from a position on; None if there is none, or it was overwritten."""
    memory = memoryview(ring)
    for number, claim in enumerate(_claims.walk(ring, position)):
        if number >= MOST_CLAIMS:
            break
        if claim.state in (COMMITTED, COMMITTED_GROUP):
            header = memory[claim.offset : claim.offset + FRAME_TIME.stop]
            logged = int.from_bytes(header[FRAME_TIME], "little")
            return max(0.0, (time.time_ns() - logged) / 1e9)
    return None


def _sync_interval(option: object) -> float | None:
    if option == "always":
        return 0.0
    try:
        return float(option.removesuffix("s")) if isinstance(option, str) else None
    except ValueError:  # "page", "never"
        return None


def _disk(path: str) -> tuple[int | None, int | None]:
    try:
        space = os.statvfs(path)
    except OSError:
        return None, None
    return space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize
