"""verify() and list_logs() as library calls."""

from pathlib import Path

import pytest
from support.pages import frame, page_path, write_page

import disklog_mp


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
