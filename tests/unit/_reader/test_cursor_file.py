"""A cursor file is durable, and when it is empty or torn the place before it is used."""

import os
import stat
from pathlib import Path

import pytest

from disklog_mp._reader.cursor import Cursor
from disklog_mp._reader.cursor_file import Loaded, load_cursor, save_cursor

LOG = "0123456789abcdef" * 2
FIRST, SECOND = Cursor(LOG, 32, 1), Cursor(LOG, 64, 2)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "cursor")


def test_what_is_saved_is_loaded(file: str) -> None:
    """No file: no place, and no trouble."""
    assert load_cursor(file) == Loaded(None)
    for place in (FIRST, SECOND):
        save_cursor(file, place)
        assert load_cursor(file) == Loaded(place)


def test_a_saved_place_is_on_disk(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced before it has its name, and the directory after it."""
    seen: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note_fsync(fd: int) -> None:
        seen.append("directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
        fsync(fd)

    def note_rename(source: str, target: str) -> None:
        seen.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "rename", note_rename)
    save_cursor(file, FIRST)

    assert seen == ["file", "rename", "directory"]


@pytest.mark.parametrize("left", ["", "\n", str(SECOND)[:-1], str(SECOND)[:20], "\0" * 40])
def test_a_file_that_is_empty_or_torn_is_told_and_the_place_before_is_used(file: str, left: str) -> None:
    """As a power loss leaves it."""
    save_cursor(file, FIRST)
    save_cursor(file, SECOND)
    Path(file).write_text(left)

    loaded = load_cursor(file)

    assert loaded.cursor == FIRST
    assert file in loaded.trouble


def test_a_torn_file_does_not_become_the_place_before(file: str) -> None:
    """It is replaced, and the last good one stays."""
    save_cursor(file, FIRST)
    save_cursor(file, SECOND)
    Path(file).write_text("")
    save_cursor(file, SECOND)
    Path(file).write_text("")

    assert load_cursor(file).cursor == FIRST


def test_an_empty_file_without_a_place_before(file: str) -> None:
    """The oldest record is where to begin: none is missed."""
    Path(file).touch()

    cursor, trouble = load_cursor(file)

    assert cursor is None
    assert "beginning with the oldest record" in trouble


def test_a_file_that_a_person_wrote(file: str) -> None:
    """Without the end of its line it is as good; what is no cursor is refused."""
    Path(file).write_text(str(SECOND))
    assert load_cursor(file) == Loaded(SECOND)
    Path(file).write_text("nonsense")
    with pytest.raises(ValueError, match="'nonsense' is not a cursor"):
        load_cursor(file)


def test_a_file_keeps_its_mode_and_a_link_to_its_directory_is_followed(tmp_path: Path) -> None:
    """A relative path, too."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    place = tmp_path / "link" / "cursor"
    save_cursor(str(place), FIRST)
    place.chmod(0o640)
    save_cursor(os.path.relpath(place), SECOND)

    assert load_cursor(str(place)).cursor == SECOND
    assert stat.S_IMODE(place.stat().st_mode) == 0o640
