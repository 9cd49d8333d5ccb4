"""The table of labels: its lines, what a crash leaves of it, its writer and its readers."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from disklog_mp._core import LABEL_MAX
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.labels import LabelTable, LabelWriter, parse, path_of, to_line


def writer_of(path: Path) -> LabelWriter:
    path.mkdir(exist_ok=True)
    writer = LabelWriter(Directory(path), 0o600, -1)
    writer.load()
    return writer


def test_a_line() -> None:
    """Index, label, checksum; what is not whole is passed over, and an index means what it meant first."""
    line = to_line(1, "pöd-a")

    assert line.startswith(b"1 p\xc3\xb6d-a ")
    assert parse(line) == {1: "pöd-a"}
    assert parse(line[:-2]) == parse(b"\n \n7\n7 x\n7 x 00000000\n\xff\xff\n") == {}
    assert parse(to_line(1, "a") + to_line(1, "b")) == {1: "a"}
    assert parse(to_line(0, "a") + to_line(LABEL_MAX + 1, "b")) == {}


def test_the_writer_gives_an_index_once(path: Path) -> None:
    """The same label has the same index, in the next writer, too."""
    writer = writer_of(path)
    assert not writer
    assert [writer.index_of(label) for label in ("a", "b", "a")] == [1, 2, 1]
    writer.close()
    again = writer_of(path)

    assert again
    assert [again.index_of(label) for label in ("c", "b", "a")] == [3, 2, 1]
    assert (path / "disklog.labels").read_bytes() == to_line(1, "a") + to_line(2, "b") + to_line(3, "c")
    assert LabelTable(str(path)).text(3) == "c"
    again.close()


@pytest.mark.parametrize("cut", range(1, len(to_line(2, "b")) + 1))
def test_a_line_that_was_cut_short(path: Path, cut: int) -> None:
    """The next writer begins a line of its own behind it, and the label can be had."""
    writer = writer_of(path)
    writer.index_of("a")
    writer.close()
    with open(path_of(str(path)), "ab") as file:
        file.write(to_line(2, "b")[:-cut])
    writer = writer_of(path)

    index = writer.index_of("c")
    assert writer.index_of("b") in (2, 3)
    assert index in (2, 3)
    table = LabelTable(str(path))
    assert [table.text(index), table.text(writer.index_of("b")), table.text(1)] == ["c", "b", "a"]
    writer.close()


def test_no_index_is_left(path: Path) -> None:
    """0 is the answer, and the labels there are keep theirs."""
    path.mkdir()
    (path / "disklog.labels").write_bytes(b"".join(to_line(i, f"l{i}") for i in range(1, LABEL_MAX + 1)))
    writer = writer_of(path)

    assert writer.index_of("one more") == 0
    assert writer.index_of("l4095") == LABEL_MAX
    writer.close()


def test_a_table_that_was_removed_is_written_again(path: Path) -> None:
    """All lines are there again, with their indexes."""
    writer = writer_of(path)
    writer.index_of("a")
    writer.index_of("b")
    os.unlink(path_of(str(path)))

    writer.restore()

    assert LabelTable(str(path)).text(2) == "b"
    writer.close()


def test_a_disk_that_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OSError, no index; when the disk works again the line is there once."""
    writer = writer_of(path)
    writer.index_of("a")
    fdatasync: Callable[[int], None] = os.fdatasync

    def fails(fd: int) -> None:
        raise OSError(errno.EIO, "failed")

    monkeypatch.setattr(os, "fdatasync", fails)
    for _ in range(2):
        with pytest.raises(OSError, match="failed"):
            writer.index_of("b")
    monkeypatch.setattr(os, "fdatasync", fdatasync)

    assert writer.index_of("b") == 2
    assert (path / "disklog.labels").read_bytes() == to_line(1, "a") + to_line(2, "b")
    writer.close()


def test_a_reader_reads_what_comes_later(path: Path) -> None:
    """An index that is not known is looked for again; one that never comes is shown as a number."""
    path.mkdir()
    table = LabelTable(str(path))
    assert table.text(1) == "?1"
    writer = writer_of(path)
    writer.index_of("a")

    assert table.text(1) == "a"
    assert table.text(2) == "?2"
    writer.index_of("b")
    assert table.text(2) == "b"
    writer.close()
