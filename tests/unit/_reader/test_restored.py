"""A backup put in the place of a log while it is followed; then the log goes on from there."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.pages import GRANULE, Source, page_writer

from disklog_mp import CursorError, Record
from disklog_mp._reader import stream as _stream
from disklog_mp._reader.reader import Reader


def append(path: Path, first: int, count: int, *, fresh: bool = False) -> None:
    """Log so many records; at fresh positions, as a writer does that finds no ring."""
    pages = page_writer(path, page_records=4)
    if fresh:
        pages.leap((pages.position // GRANULE + 100) * GRANULE)
    source = Source(base=pages.position)
    for i in range(first, first + count):
        source.log(b"%d" % i)
        source.move(pages)
    pages.close()


def as_another_directory(backup: Path, path: Path) -> None:
    path.rename(backup.with_name("before"))
    shutil.copytree(backup, path)


def remove_what_is_new(backup: Path, path: Path) -> None:
    for file in path.iterdir():
        if not (backup / file.name).exists():
            file.unlink()


def over_its_files(backup: Path, path: Path) -> None:
    """As `cp` does it."""
    remove_what_is_new(backup, path)
    for file in backup.iterdir():
        shutil.copyfile(file, path / file.name)


def file_by_file(backup: Path, path: Path) -> None:
    """As `rsync --delete` does it."""
    remove_what_is_new(backup, path)
    for file in backup.iterdir():
        shutil.copyfile(file, path / f".{file.name}")
        (path / f".{file.name}").rename(path / file.name)


@pytest.mark.parametrize("restore", [as_another_directory, over_its_files, file_by_file])
def test_a_follower_is_told(
    restore: Callable[[Path, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CursorError as soon as there is anything new; no record is given that it was not."""
    monkeypatch.setattr(_stream, "PATH_POLL", (0.0, 0.0))
    monkeypatch.setattr(_stream, "LIST_POLL", (0.0, 0.0))
    # The backup ends within a page, or with a sealed page; the follower is in that page, or in a later one.
    for case, (saved, lost, new) in enumerate([(6, 1, 1), (6, 3, 20), (8, 2, 1), (8, 3, 20), (10, 9, 3)]):
        path, backup = tmp_path / f"log{case}", tmp_path / f"backup{case}"
        append(path, 0, saved)
        shutil.copytree(path, backup)
        append(path, saved, lost)
        stream = Reader(path).stream()
        assert saved + lost == len(list(stream))
        restore(backup, path)
        append(path, 1000, new, fresh=True)

        found: list[Record] = []
        with pytest.raises(CursorError, match="rewound"):
            found.extend(stream)
        assert [] == found
        shutil.rmtree(tmp_path / "before", ignore_errors=True)
