"""What a log may be called."""

from pathlib import Path

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
    log_id = bytes(range(16))
    assert names.ring_path("app", log_id, None) == "/dev/shm/disklog-app.0001020304050607"
    assert names.ring_path("app", log_id, "/mnt/rings") == "/mnt/rings/disklog-app.0001020304050607"
    assert names.former_ring_path("app", None) == "/dev/shm/disklog-app"


def test_rings_are_found_by_name(tmp_path: Path) -> None:
    """All logs of that name, and no others: names may have dots, and look like the names of rings."""
    one, two = bytes(16), bytes(range(16))
    paths = [
        names.ring_path(name, log_id, str(tmp_path)) for name in ("app", "app.x") for log_id in (one, two)
    ]
    for path in [*paths, str(tmp_path / "disklog-app"), str(tmp_path / ".disklog-app.0000000000000000.7")]:
        Path(path).touch()
    assert names.rings_of("app", str(tmp_path)) == paths[:2]
    assert names.rings_of("app.x", str(tmp_path)) == paths[2:]
    assert names.rings_of("ap", str(tmp_path)) == []
    assert names.all_rings(str(tmp_path)) == paths
    assert names.rings_of("app", str(tmp_path / "none")) == []
    assert [names.log_of(path) for path in paths] == ["app", "app", "app.x", "app.x"]
