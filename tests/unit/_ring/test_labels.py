"""Which texts are labels, and which label a producer has that was given none."""

import pytest

from disklog_mp._ring.labels import VARIABLE, check_label, default_label, is_label, made_label


@pytest.mark.parametrize("label", ["", "a", "pod-a", "käse", "x" * 64, "a/b:c=d"])
def test_a_label(label: str) -> None:
    """Up to 64 bytes; "" is none."""
    assert check_label(label) == label


@pytest.mark.parametrize("text", ["a b", "a\n", "x" * 65, "ä" * 33, "\x1b[1m", "?7", "\ud800" * 40])
def test_what_is_no_label(text: str) -> None:
    """ValueError says what a label can be; the nearest label is one."""
    with pytest.raises(ValueError, match="1 to 64 bytes of printable characters"):
        check_label(text)

    assert is_label(made_label(text))


def test_a_label_is_a_text() -> None:
    """TypeError for a number."""
    with pytest.raises(TypeError, match="a label is a text, not 7"):
        check_label(7)


def test_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's; else the host name, but none in the writer's own pid namespace."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("os.uname", lambda: type("Uname", (), {"nodename": "pod-7"}))

    assert default_label(1, 1) == default_label(0, 1) == ""
    assert default_label(1, 2) == "pod-7"

    monkeypatch.setenv(VARIABLE, " of the environment ")
    assert default_label(1, 1) == default_label(1, 2) == "of_the_environment"
    monkeypatch.setenv(VARIABLE, "")
    assert default_label(1, 2) == ""
