"""verify() and list_logs() as library calls."""

import errno
from pathlib import Path

import pytest
from support.file_ring import closing, new_ring
from support.pages import frame, page_path, write_page

import disklog_mp
from disklog_mp._ring.names import log_of


def test_a_log_without_a_writer(path: Path) -> None:
    """It is checked without a ring; what was found can be asked for, and there is an exit code."""
    write_page(path, [frame(0, b"first"), frame(32, b"second")])
    report = disklog_mp.verify(path)

    assert isinstance(report, disklog_mp.Report)
    assert (report.status, report.exit_code, report.records, report.live) == ("clean", 0, 2, False)
    assert report.sums is not None
    assert (2, 2, 0) == tuple(report.sums[key] for key in ("ever", "kept", "missing"))
    assert report.books is None
    page = bytearray(page_path(path).read_bytes())
    page[4096 + 26] ^= 1
    page_path(path).write_bytes(page)
    assert (3, "damage", False) == (
        (report := disklog_mp.verify(str(path))).exit_code,
        report.status,
        report.is_intact,
    )
    assert report.findings[0].page == 1


def test_what_is_no_log(tmp_path: Path) -> None:
    """An error that names the path: nothing is made there."""
    (tmp_path / "empty").mkdir()
    for name in ("empty", "none"):
        with pytest.raises(FileNotFoundError, match=name):
            disklog_mp.verify(tmp_path / name)
    assert ["empty"] == [entry.name for entry in tmp_path.iterdir()]
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        disklog_mp.verify(tmp_path / "file")


def test_no_rings(tmp_path: Path) -> None:
    """No log is open; a directory that is not there has none."""
    assert [] == disklog_mp.list_logs(tmp_path)
    assert [] == disklog_mp.list_logs(tmp_path / "none")


def test_the_state_of_a_log(path: Path, tmp_path: Path) -> None:
    """Of a log without a ring its pages tell; what `stat` would end with is there."""
    write_page(path, [frame(0, b"first")])
    state = disklog_mp.stat(path)

    assert isinstance(state, disklog_mp.LogState)
    assert (state.status, state.exit_code, state.problems, state.path) == ("ok", 0, (), str(path))
    assert (1, 1) == (state.facts["records"], state.to_dict()["pages"])
    page_path(path).write_bytes(b"")
    assert (3, "damage") == ((state := disklog_mp.stat(str(path))).exit_code, state.status)
    assert "1 page without a readable header" in state.problems[0]
    with pytest.raises(FileNotFoundError, match="no log of that name is open on this machine"):
        disklog_mp.stat(tmp_path / "none")


def test_removing_a_ring(path: Path, tmp_path: Path) -> None:
    """It is there by name or directory; a refusal is an error that says why."""
    rings = str(tmp_path / "rings")
    (tmp_path / "rings").mkdir()
    with pytest.raises(disklog_mp.LogNotFoundError):
        disklog_mp.remove_ring("test", ring_dir=rings)
    write_page(path, [frame(0, b"first")])
    with pytest.raises(FileNotFoundError, match="has no ring"):
        disklog_mp.remove_ring(path, ring_dir=rings)
    with closing(file := new_ring(tmp_path / "rings")):
        name = log_of(file.path)
        with pytest.raises(OSError, match=f"{name}: not removed: process .* is writing it") as refusal:
            disklog_mp.remove_ring(name, ring_dir=rings)
        assert refusal.value.errno == errno.EBUSY
    disklog_mp.remove_ring(name, ring_dir=rings)
    assert [] == list((tmp_path / "rings").iterdir())
