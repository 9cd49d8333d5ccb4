"""Pages are moved to another directory, and none is ever in neither, whatever step is the last."""

import errno
import os
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from support.faulty_files import FaultyFiles, Killed
from support.pages import page_writer, write_log

from disklog_mp._os.background import Background
from disklog_mp._writer.archiving import Archiving

LAST = 3


class TwoDisks(FaultyFiles):
    """Two file systems: no file is renamed from one directory to another."""

    def rename(self, source: str, target: str) -> None:
        if os.path.dirname(source) != os.path.dirname(target):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        super().rename(source, target)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log of four pages; where no thread can be started, a job is run at once."""
    monkeypatch.setattr(Background, "give", lambda self, job: False)
    (tmp_path / "to").mkdir()
    write_log(tmp_path / "log", [b"%d" % number for number in range(7)], page_records=2)
    return tmp_path / "log"


def archive(path: Path, files: FaultyFiles) -> tuple[OSError | None, list[int]]:
    """Move the first pages; return what kept them, and the pages of which events tell."""
    pages = page_writer(path, files, page_records=2)
    ended: list[OSError | None] = []
    told = Mock()
    work = Archiving(pages, told, lambda: None, lambda plan, error: ended.append(error))
    try:
        work.begin({"last": LAST, "to": str(path.parent / "to")})
        while not ended:
            work.go_on()
    finally:
        pages.close()
    return ended[0], [call.kwargs["page"] for call in told.tell.call_args_list]


def pages_in(place: Path) -> dict[str, bytes]:
    """The first pages in a directory, up to their watermarks."""
    names = [f"page-{number:010d}.dlog" for number in range(1, LAST + 1)]
    return {name: (place / name).read_bytes() for name in names if (place / name).exists()}


@pytest.mark.parametrize("kind", [FaultyFiles, TwoDisks])
def test_they_are_moved(path: Path, kind: Any) -> None:
    """Byte for byte, and each is told of once."""
    before = pages_in(path)

    assert archive(path, kind()) == (None, [1, 2, 3])
    assert pages_in(path.parent / "to") == before
    assert not pages_in(path)
    assert archive(path, kind()) == (None, [])


@pytest.mark.parametrize("kind", [FaultyFiles, TwoDisks])
def test_a_process_that_dies_at_any_step(path: Path, kind: Any) -> None:
    """Each page is in one directory or in both, whole; the next writer moves the rest."""
    before, to = pages_in(path), path.parent / "to"
    for step in range(1, 500):
        files = kind()
        pages = page_writer(path, files, page_records=2)
        pages.close()
        files.die_at = files.steps + step
        try:
            archive(path, files)
        except Killed:
            files.bury()
        else:
            files.bury()
            break
        assert pages_in(path) | pages_in(to) == before
        assert pages_in(to) | pages_in(path) == before
        assert archive(path, kind())[0] is None
        assert pages_in(to) == before
        assert not pages_in(path)
        assert not [name for name in os.listdir(to) if name.startswith(".")]
        for name in pages_in(to):
            os.rename(to / name, path / name)
    assert 20 < step < 499


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("kind", [FaultyFiles, TwoDisks])
def test_a_disk_that_fails(path: Path, kind: Any, number: int) -> None:
    """The error says why; each page is somewhere, what was moved is told of, and later all is moved."""
    before, to = pages_in(path), path.parent / "to"
    operations = ["sync", "sync_directory", "rename"]
    operations += ["create", "write_at", "unlink"] if kind is TwoDisks else []
    for operation in operations:
        files = kind()
        page_writer(path, files, page_records=2).close()
        files.fail(operation, 2, number)
        error, moved = archive(path, files)
        files.bury()
        assert error is not None
        assert error.errno == number
        assert pages_in(path) | pages_in(to) == before
        assert len(pages_in(path)) == LAST - len(moved)
        assert archive(path, kind()) == (None, [1, 2, 3][len(moved) :])
        assert pages_in(to) == before
        for name in pages_in(to):
            os.rename(to / name, path / name)
