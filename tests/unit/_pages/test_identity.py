"""The log's own file: written whole, read back, and as good as missing when it is damaged."""

import json
import os
from pathlib import Path

import pytest

from disklog_mp import FormatVersionError
from disklog_mp._os.files import write_small
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.identity import DONE, FILE, LogIdentity, read_identity, write_identity

ONE = LogIdentity(
    log_id=bytes(range(16)),
    name="app",
    owner=1000,
    directory="/var/log/app",
    ring_dir="/dev/shm",
    options={"page_bytes": 1 << 20, "keep_age": None},
    sources={"page_bytes": "open, process 12"},
    served=True,
    stopped={"pid": 1, "uid": 2, "time_ns": 3},
    socket="disklog-1",
    former_ids=(bytes(16),),
)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """Every field survives, and the group cannot write the file even if it may write the log."""
    directory = Directory(tmp_path)
    assert directory.lock(0o660, -1)
    write_identity(directory, ONE.with_done("ab", {"ok": 1}), 0o660, -1)
    found = read_identity(str(tmp_path))
    assert found == ONE._replace(done=({"id": "ab", "answer": {"ok": 1}},))
    assert found is not None
    assert found.answer_to("ab") == {"ok": 1}
    assert found.answer_to("cd") is None
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o640
    directory.unlock()


def test_the_last_requests_are_remembered(tmp_path: Path) -> None:
    """The list of requests that were done does not grow without end."""
    one = ONE
    for number in range(DONE + 5):
        one = one.with_done(f"{number:x}", {})
    assert len(one.done) == DONE
    assert one.answer_to("5") is not None
    assert one.answer_to("4") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        ONE.to_json()[:-20],
        ONE.to_json().replace(b'"owner": 1000', b'"owner": "root"'),
        ONE.to_json().replace(ONE.log_id.hex().encode(), b"abcd"),
    ],
)
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    """A file that is empty, torn or of another form says nothing."""
    (tmp_path / FILE).write_bytes(content)
    assert read_identity(str(tmp_path)) is None


def test_a_missing_file_or_directory_says_nothing(tmp_path: Path) -> None:
    """Neither is an error: a directory of version 0.1.0 has no such file."""
    assert read_identity(str(tmp_path)) is None
    assert read_identity(str(tmp_path / "none")) is None


def test_a_file_of_a_later_format_is_refused(tmp_path: Path) -> None:
    """It is not taken for damage and overwritten."""
    (tmp_path / FILE).write_text(json.dumps({"format": 2}))
    with pytest.raises(FormatVersionError, match="format 2"):
        read_identity(str(tmp_path))


def test_a_small_file_is_replaced_whole(tmp_path: Path) -> None:
    """What a process left that died in the middle is no hindrance; a failed write leaves the old content."""
    path = tmp_path / "small"
    (tmp_path / ".small.new").write_bytes(b"half of")
    write_small(str(path), b"one", 0o600, -1)
    assert path.read_bytes() == b"one"
    with pytest.raises(TypeError):
        write_small(str(path), "two", 0o600, -1)  # type: ignore[arg-type]
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["small"]
