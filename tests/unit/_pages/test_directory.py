"""The log's directory, as far as no file is needed."""

import errno
from collections.abc import Callable

import pytest

from disklog_mp._core import PATH_LENGTH
from disklog_mp._pages.directory import Directory
from disklog_mp._session.checks import check_directory


@pytest.mark.parametrize("check", [lambda path: Directory(path).create(0o600, -1), check_directory])
def test_a_path_for_which_a_ring_has_no_room_is_refused(check: Callable[[str], None]) -> None:
    """In bytes, and with the bound; by the writer, and when logging is set up."""
    path = "/nonexistent" + "/é" * ((PATH_LENGTH - 12) // 3)
    with pytest.raises(OSError, match="at most 3,855 bytes") as caught:
        check(path + "123")

    assert caught.value.errno == errno.ENAMETOOLONG
