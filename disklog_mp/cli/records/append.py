"""disklog-mp append: lines of stdin as records."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import click

import disklog_mp
from disklog_mp import _options
from disklog_mp._core import Ring
from disklog_mp._loggers import cutting as _cutting
from disklog_mp._loggers import lines as _lines
from disklog_mp._ring import control as _control
from disklog_mp.cli._complete import complete_logs
from disklog_mp.cli._find import find, ring_dir_option
from disklog_mp.cli._long_line import LongLine

CHUNK = 256 << 10
GROUP = 64  # most records of one group: a damaged byte on disk costs its whole group
GROUP_BYTES = 32 << 10  # most bytes of one group


@click.command()
@click.argument("name", shell_complete=complete_logs)
@click.option("-0", "--null", is_flag=True, help="Records end with a NUL byte, not with a newline.")
@click.option("--tag", type=click.IntRange(0, 65535), default=0, help="Tag of each record.")
@click.option("--tee", is_flag=True, help="Copy the input to stdout as well.")
@click.option("--path", type=click.Path(), help="Directory of the log: open the log there if it is not open.")
@click.option(
    "--timeout",
    default="60s",
    metavar="TIME",
    help="How long to wait for room in a full ring, and for the writer at the end.  [60s]",
)
@click.option("--label", metavar="LABEL", help="Label of this producer, kept with each record.")
@ring_dir_option
def append(
    name: str,
    *,
    null: bool,
    tag: int,
    tee: bool,
    path: str | None,
    timeout: str,
    label: str | None,
    ring_dir: str | None,
) -> int:
    """Log each line of stdin as a record of the log NAME.

    The log must be open, or --path names its directory.  A last line without a newline counts too.  Returns
    when the records are in page files.  Prints nothing unless something is wrong.  A line that is too large
    for a record is cut: its beginning is kept, and full_length says how many bytes it had.

    A line that is a JSON object gives its record its level (level, severity, levelname) as the tag, unless
    --tag is given, and its time (time, timestamp, ts).
    """
    if sys.stdin is None:
        raise click.UsageError("there is no stdin to read records from")
    seconds = _options.parse_duration(timeout, "timeout")
    if path is None:
        log = disklog_mp.attach(name, timeout=seconds, ring_dir=ring_dir, label=label)
    else:
        log = disklog_mp.open(name, path, timeout=seconds, ring_dir=ring_dir, label=label)
    with log:
        with find(name if path is None else path, ring_dir) as found:
            assert found.file is not None
            sink = _Sink(log, tag, found.file.ring)
        for chunk, records in _records(sys.stdin.fileno(), b"\0" if null else b"\n", sink.limit):
            sink.log(records)
            if tee:
                sys.stdout.buffer.write(chunk)
                sys.stdout.buffer.flush()
        log.flush(seconds)
    return 0


def _records(fd: int, end: bytes, limit: int) -> Iterator[tuple[bytes, list[bytes]]]:
    """Iterate what each read of the input brings: its bytes, and the records that they complete.

    A read returns what is there, so a line is never held back while more input is awaited.
    """
    line = LongLine(limit)
    while chunk := os.read(fd, CHUNK):
        yield chunk, line.split(chunk, end)
    if line.length:
        yield b"", [line.take()]


class _Sink:
    """Logs records, several in one group where that changes nothing."""

    def __init__(self, log: disklog_mp.Session, tag: int, ring: Ring) -> None:
        self.limit = ring.record_limit
        self._log = log
        self._tag = tag
        # A group is never split, so groups would change how many records a page has.
        self._singly = _control.options(ring).get("page_records") is not None
        self._group_bytes = min(GROUP_BYTES, self.limit // 2)

    def log(self, records: list[bytes]) -> None:
        others: list[bytes] = []
        for record in records:
            origin = _lines.origin_of(record)
            if origin is None and len(record) <= self.limit:
                others.append(record)
                continue
            self._log_others(others)
            others = []
            self._log_one(record, origin)
        self._log_others(others)

    def _log_one(self, record: bytes, origin: _lines.Origin | None = None) -> None:
        if len(record) > self.limit:
            record = _cutting.cut(record, self.limit)
        try:
            if origin is None:
                self._log.log(record, tag=self._tag)
            else:
                _lines.log_line(self._log, record, origin, self._tag)
        except disklog_mp.RecordTooLargeError as refusal:  # a smaller ring took the place of the first
            self.limit = min(refusal.limit, self.limit - 1)
            self._log_one(record, origin)

    def _log_others(self, records: list[bytes]) -> None:
        if self._singly or len(records) == 1:
            for record in records:
                self._log_one(record)
            return
        group: list[bytes] = []
        room = self._group_bytes
        for record in records:
            room -= len(record) + 32
            if group and (room < 0 or len(group) == GROUP):
                self._give(group)
                group, room = [], self._group_bytes - len(record) - 32
            group.append(record)
        self._give(group)

    def _give(self, group: list[bytes]) -> None:
        if len(group) == 1:
            self._log_one(group[0])
        elif group:
            try:
                self._log.log_many(group, tag=self._tag)
            except disklog_mp.RecordTooLargeError:
                for record in group:
                    self._log_one(record)
