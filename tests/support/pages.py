"""What the tests of the page side stand on: frames out of a real ring, frames made by hand, damages."""

import gc
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c

from disklog_mp import _core
from disklog_mp._core import GRANULE, Mapping, Producer, Ring
from disklog_mp._options import Options
from disklog_mp._os.files import REAL, Files
from disklog_mp._pages import format as _page_format
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.format import HEADER_LENGTH
from disklog_mp._pages.recovery import RingHints
from disklog_mp._pages.writer import NO_LIMIT, PageWriter
from disklog_mp._reader.damage import Damage
from disklog_mp._reader.page import Page

LOG_ID = bytes(range(16))
SALT = 0x1122334455667788
PID = 4711
GROUP, PADDING, ABANDONED, GAP, RECORD = 5, 2, 3, 4, 1


def closes_what_it_opens() -> Iterator[None]:
    """For tests without processes and shared memory, instead of the search for those: only descriptors."""
    before = len(os.listdir("/proc/self/fd"))
    yield
    if len(os.listdir("/proc/self/fd")) > before:
        gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before, "left behind: open descriptors"


# -- frames by hand ------------------------------------------------------------------------------------------


def crc32c(data: bytes) -> int:
    """The checksum, by somebody else's code."""
    return int(google_crc32c.value(data))


def frame(
    position: int,
    data: bytes = b"",
    *,
    kind: int = RECORD,
    tag: int = 0,
    time: int = 0,
    pid: int = PID,
    salt: int = SALT,
) -> bytes:
    """A frame, from the words of layout.h alone."""
    label = pid | kind << 32 | tag << 48
    covered = struct.pack("<QQQQQ", salt, position, time, label, len(data)) + data
    header = struct.pack("<IIQIHH", len(data), crc32c(covered), time, pid, kind, tag)
    return (header + data).ljust(-(-(24 + len(data)) // GRANULE) * GRANULE, b"\0")


def group(position: int, records: Iterable[bytes], *, tag: int = 0, time: int = 0) -> bytes:
    """The frame of a group."""
    records = list(records)
    inner = struct.pack("<II", len(records), 0)
    for data in records:
        inner += struct.pack("<IIQIHH", len(data), 0, time, PID, RECORD, tag) + data
        inner = inner.ljust(-(-len(inner) // 8) * 8, b"\0")
    return frame(position, inner, kind=GROUP, tag=tag, time=time)


# -- frames out of a ring ------------------------------------------------------------------------------------


class Run(NamedTuple):
    """What a writer hands to its page writer."""

    data: memoryview
    end: int
    records: int
    last_time: int


class Source:
    """A ring in memory of its own, with one producer and no writer but the test."""

    def __init__(self, *, base: int = 0, salt: int = SALT, log_id: bytes = LOG_ID, capacity: int = 1 << 20):
        size = _core.ring_size(capacity)
        fd = os.memfd_create("ring")
        os.ftruncate(fd, size)
        memory = Mapping(fd, size, writable=True)
        _core.format_ring(memory, capacity, base, 1, salt, b"b" * 16, log_id, b"log", b"/nowhere")
        self.ring = Ring(fd, size, writable=True)
        os.close(fd)
        self.ring.attach(0, PID, 0, 0, 0)
        self.producer = Producer()
        self.producer.bind(self.ring, 0, PID)
        self.position = base

    def log(self, data: bytes, tag: int = 0, kind: int = RECORD) -> int:
        position = self.producer.try_record(data, tag, kind)
        assert position >= 0, f"status {position}"
        return position

    def log_many(self, records: Iterable[bytes], tag: int = 0) -> int:
        position = self.producer.try_group(tuple(records), tag)
        assert position >= 0, f"status {position}"
        return position

    def drain(self, max_bytes: int = NO_LIMIT, max_records: int = NO_LIMIT) -> Run:
        """The next run of frames; it stands in the ring until release()."""
        end, length, records, last_time, _, _ = self.ring.drain(self.position, max_bytes, max_records)
        at = self.ring.data_offset + self.position % self.ring.capacity
        return Run(memoryview(self.ring)[at : at + length], end, records, last_time)

    def release(self, end: int) -> None:
        self.ring.release(self.position, end)
        self.position = end

    def move(self, pages: PageWriter) -> int:
        """Write all that is committed, as the writer does; return how many records that were."""
        moved = 0
        while True:
            room, records_room = pages.room()
            run = self.drain(room, records_room)
            if run.end == self.position:
                if self.drain().end == self.position:
                    return moved
                if pages.seal():
                    continue
                run = self.drain(NO_LIMIT, 1)  # a frame longer than a page
            pages.append(*run)
            self.release(run.end)
            moved += run.records


# -- page writers --------------------------------------------------------------------------------------------


def options(**given: Any) -> Options:
    return Options(**{"page_bytes": 1 << 20, "ring_bytes": 1 << 20, **given})


def page_writer(path: Path, files: Files = REAL, **given: Any) -> PageWriter:
    """A page writer on a directory that is made if it is not there, recovered without a ring."""
    directory = Directory(path, files)
    directory.create(0o600, -1)
    pages = PageWriter(directory, "log", options(**given))
    pages.recover(RingHints(LOG_ID, SALT))
    return pages


def write_log(path: Path, records: Iterable[bytes], **given: Any) -> None:
    """Make a log of these records, as a writer leaves it that ends in good order."""
    pages = page_writer(path, **given)
    source = Source(base=pages.position)
    for data in records:
        source.log(data)
        source.move(pages)
    pages.close()


def write_page(
    path: Path,
    frames: Iterable[bytes],
    *,
    number: int = 1,
    records: int | None = None,
    first_position: int = 0,
    first_number: int = 0,
    created: int = 1_000,
    last_time: int = 0,
    sealed: bool = True,
    **header: Any,
) -> bytes:
    """Put a page file there, by hand; return its bytes."""
    data = b"".join(frames)
    fields = {
        "log_id": LOG_ID,
        "number": number,
        "first_position": first_position,
        "first_number": first_number,
        "salt": SALT,
        "created": created,
        "page_bytes": 1 << 20,
        "page_records": 0,
        "page_age": 0,
        "data_offset": HEADER_LENGTH,
        "head_length": 0,
        "name": "log",
        **header,
    }
    page = bytearray(_page_format.pack(_page_format.PageHeader(**fields)))
    count = len(list(frames)) if records is None else records
    struct.pack_into("<QQQ", page, 256, fields["data_offset"] + len(data), count, last_time)
    page += data
    if sealed:
        seal(page)
    path.mkdir(exist_ok=True)
    page_path(path, number).unlink(missing_ok=True)  # somebody may have the one before mapped
    page_path(path, number).write_bytes(page)
    return bytes(page)


def seal(page: bytearray) -> None:
    """Make the line that of a sealed page, whatever it says."""
    struct.pack_into("<I", page, 288, crc32c(bytes(page[HEADER_LENGTH:])))
    struct.pack_into("<I", page, 280, 2)
    struct.pack_into("<I", page, 292, crc32c(bytes(page[256:284] + page[288:292])))


def page_path(path: Path, number: int = 1) -> Path:
    return path / f"page-{number:010d}.dlog"


def read_page(path: Path, number: int = 1) -> tuple[list[bytes], list[Damage]]:
    """The records of a page, and the damage met on the way."""
    with Page(str(page_path(path, number)), on_damage=lambda damage: None) as page:
        return list(page.payloads()), page.damage
