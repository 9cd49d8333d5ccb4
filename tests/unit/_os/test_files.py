"""What messages say of files, and how a denied user may get in."""

import errno
import os
import stat
from pathlib import Path

import pytest

from disklog_mp._os import files


@pytest.mark.parametrize(("mode", "shown"), [(0o640, "0640"), (0o4755, "4755"), (0o000, "0000")])
def test_a_file_is_described_as_ls_shows_it(tmp_path: Path, mode: int, shown: str) -> None:
    """Its kind, owner, group and mode, in octal."""
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    status = path.stat()

    assert files.describe(status) == f"file {files.owner_and_mode(status)}"
    assert files.owner_and_mode(status) == f"{path.owner()}:{path.group()} {shown}"


def test_an_owner_without_a_name_is_a_number() -> None:
    """As in a container, where the files of another one are seen."""
    status = os.stat_result((stat.S_IFLNK | 0o777, 0, 0, 1, 3_999_999_999, 3_999_999_998, 0, 0, 0, 0))

    assert files.describe(status) == "symbolic link 3999999999:3999999998 0777"


def test_a_denied_user_is_told_what_the_owner_can_do(tmp_path: Path) -> None:
    """With the file's group, if the user is in it; else both need one in common."""
    path = tmp_path / "page"
    path.touch()
    problem = files.no_access(PermissionError(errno.EACCES, "x"), str(path))
    mine = path.group()
    other = os.stat_result((0, 0, 0, 1, 0, 3_999_999_998, 0, 0, 0, 0))

    assert str(problem).startswith(f"[Errno 13] permission denied: it is {path.owner()}:{mine} ")
    assert f"you are uid {os.geteuid()}; open the log with mode=0o660 and group='{mine}'" in str(problem)
    assert problem.filename == str(path)
    assert files.how_to_share(other).endswith("group=, a group that both users are in")


def test_a_file_whose_directory_cannot_be_entered_is_not_described(tmp_path: Path) -> None:
    """The error says what to do all the same."""
    problem = files.no_access(PermissionError(errno.EACCES, "x"), str(tmp_path / "none"))

    assert f"permission denied: you are uid {os.geteuid()}; open the log with" in str(problem)
