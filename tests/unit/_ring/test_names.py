"""What a log may be called."""

import pytest

from disklog_mp._ring import names


@pytest.mark.parametrize("name", ["a", "app", "A-Z_0.9", "x" * 100])
def test_names_that_a_log_can_have(name: str) -> None:
    """Letters, digits, dot, underscore and hyphen: 1 to 100 of them."""
    assert names.check_name(name) == name


@pytest.mark.parametrize("name", ["", "x" * 101, "a/b", "a b", "ä", "a\n", "..\0"])
def test_other_names_are_refused(name: str) -> None:
    """The error shows the name and says what is allowed."""
    with pytest.raises(ValueError, match="1 to 100 of A-Z a-z 0-9"):
        names.check_name(name)


def test_a_name_is_text() -> None:
    """Bytes are a TypeError."""
    with pytest.raises(TypeError, match="is a str, not b'app'"):
        names.check_name(b"app")  # type: ignore[arg-type]


def test_a_ring_is_in_shared_memory_or_in_its_directory() -> None:
    """Under its prefix, which tells rings from other objects there."""
    assert names.ring_path("app", None) == "/dev/shm/disklog-app"
    assert names.ring_path("app", "/mnt/rings") == "/mnt/rings/disklog-app"
