"""What is read from a ring, here one in anonymous memory."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.memory_ring import make_producer, make_ring

from disklog_mp import _core
from disklog_mp._metrics import facts as _facts
from disklog_mp._ring.file import RingFile


@pytest.fixture
def file() -> Iterator[RingFile]:
    """A ring without a writer; its locks are on another file."""
    ring = make_ring(path=b"/log\xff")
    fd = os.memfd_create("locks")
    yield RingFile(ring, fd, "")
    os.close(fd)


def test_a_new_ring(file: RingFile) -> None:
    """Nothing is in it, and nothing is behind; a path that is no UTF-8 can be a label."""
    facts = _facts.read(file, None)

    assert (facts.log, facts.directory) == ("name", "/log\\udcff")
    assert (facts.appended, facts.ring_used, facts.ring_size, facts.attached) == (0, 0, 4096, 0)
    assert (facts.oldest, facts.not_durable, facts.pages) == (0.0, 0.0, 0)
    assert not facts.is_writer_up
    assert (facts.disk_free, facts.disk_size, facts.sync_interval) == (None, None, None)


def test_what_was_logged(file: RingFile, tmp_path: Path) -> None:
    """Records, bytes, and the age of the oldest that is not written, or not durable."""
    ring = file.ring
    producer = make_producer(ring)
    begun = time.time_ns()
    ends = [producer.log(b"record") + 32 for _ in range(4)]
    ring.options = b'{"sync": "0.5s"}'
    ring.written, ring.durable = ends[1], ends[0]
    ring.error_number, ring.error_time, ring.halted = 28, 1, _core.LOG_FULL
    facts = _facts.read(file, str(tmp_path))

    assert (facts.appended, facts.claimed, facts.ring_used, facts.attached) == (4, ends[3], ends[3], 1)
    assert 0.0 <= facts.oldest <= (facts.not_durable or -1.0) <= (time.time_ns() - begun) / 1e9
    assert (facts.errno, facts.has_error, facts.is_full, facts.sync_interval) == (28, True, True, 0.5)
    assert facts.directory == str(tmp_path)
    assert facts.disk_size
    assert facts.disk_free is not None


def test_the_age_of_what_is_not_durable(file: RingFile) -> None:
    """The ring tells while it has the record; the writer says when its last sync began."""
    ring = file.ring
    producer = make_producer(ring)
    first = producer.log(b"x" * 900)
    ring.written = ring.released = producer.log(b"x" * 900) + 928
    there = _facts.read(file, None)
    for _ in range(3):
        ring.written = ring.released = producer.log(b"x" * 900) + 928
    gone = _facts.read(file, None)

    assert (first, ring.durable, gone.not_durable) == (0, 0, None)
    assert there.not_durable is not None
    assert _facts.with_sync(there, 1e9).not_durable == there.not_durable  # nothing was logged for long
    assert _facts.with_sync(there, 0.0).not_durable == 0.0
    assert _facts.with_sync(gone, 3.0).not_durable == 3.0
    assert _facts.with_sync(gone, None).not_durable is None
    ring.durable = ring.written
    assert _facts.with_sync(_facts.read(file, None), 3.0).not_durable == 0.0


def test_numbers_that_cannot_be(file: RingFile) -> None:
    """Any process that is attached may have scribbled: it is numbers that come of it."""
    ring = file.ring
    make_producer(ring).log(b"record")
    ring.first_page, ring.page = 2**64 - 1, 1
    ring.written = ring.durable = 2**64 - 32
    ring.options = b"[[[["
    facts = _facts.read(file, None)

    assert facts.pages == 0
    assert facts.oldest >= 0.0


@pytest.mark.parametrize(
    ("option", "seconds"),
    [("always", 0.0), ("1s", 1.0), ("0.25s", 0.25), ("page", None), ("never", None), (None, None), (7, None)],
)
def test_the_interval_of_syncs(file: RingFile, option: object, seconds: float | None) -> None:
    """As the option has it, in seconds."""
    import json

    file.ring.options = json.dumps({"sync": option}).encode()
    assert _facts.read(file, None).sync_interval == seconds
