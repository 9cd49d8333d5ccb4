"""What another process may do to labels: scribble over the text, the answer, the table."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.machine import wait_until
from support.sessions import connection_of, ring_of

import disklog_mp
from disklog_mp import _core

OpenLog = Callable[..., disklog_mp.Session]
LENGTH = 72  # of one slot's label


def label_at(ring: _core.Ring, slot: int) -> int:
    return ring.data_offset + ring.capacity + slot * LENGTH


@pytest.mark.parametrize("length", [0, 3, 64, 65, 2**32 - 1])
@pytest.mark.parametrize("text", [b"ok", b"\0\0\0", b"\xff" * 64, b"a b", b"\x1b[2J", b"?1"])
def test_a_scribbled_text(open_log: OpenLog, name: str, path: Path, length: int, text: bytes) -> None:
    """The writer answers: an index for what is a label, none for what is not; nothing else is disturbed."""
    log = open_log()
    ring = ring_of(log)
    (slot,) = ring.slots(_core.SLOT_ATTACHED)
    at = label_at(ring, slot)
    memory = memoryview(ring)
    memory[at + 8 : at + 8 + 64] = text.ljust(64, b"\0")
    memory[at : at + 4] = length.to_bytes(4, "little")
    ring.labels_wanted = 1
    ring.wake()
    wait_until(lambda: length == 0 or ring.label(slot)[1] != 0)
    log.log(b"still logged")
    log.flush()

    (record,) = disklog_mp.Reader(path)
    assert record.data == b"still logged"
    assert all(producer.label.isprintable() for producer in log.stats().producers)


@pytest.mark.parametrize("index", [0, 2, 4095, 4096, 4097, 2**31, 2**32 - 1])
def test_a_scribbled_answer(open_log: OpenLog, name: str, path: Path, index: int) -> None:
    """A record may then carry an index that means nothing: it is shown as such, and the record is whole."""
    log = open_log()
    ring = ring_of(log)
    with disklog_mp.attach(name, label="pod") as other:
        slot = next(slot for slot in ring.slots(_core.SLOT_ATTACHED) if ring.label(slot)[0])
        ring.answer_label(slot, index)
        connection = connection_of(other)
        assert connection.ring is not None
        connection.bind(connection.ring, slot, os.getpid())
        other.log(b"whole")
        other.flush()

    (record,) = disklog_mp.Reader(path)
    assert record.data == b"whole"
    assert record.label == (f"?{index}" if 0 < index <= 4095 and index != 1 else None) or index == 0


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"1 pod 00000000\n", b"x" * 100_000])
def test_a_scribbled_table(open_log: OpenLog, name: str, path: Path, content: bytes) -> None:
    """A reader shows the number; a writer that starts on it gives labels again."""
    with open_log(label="pod") as log:
        log.log(b"1")
        log.flush()
        (path / "disklog.labels").write_bytes(content)
        (record,) = disklog_mp.Reader(path)
        assert record.label == "?1"
