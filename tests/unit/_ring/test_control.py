"""The control block by name."""

import pytest
from support.memory_ring import make_ring

from disklog_mp._ring import control
from disklog_mp._ring.repair import Repair, read


def test_the_text_of_an_error_comes_back_printable() -> None:
    """Cut to its place; what could steer a terminal is escaped."""
    ring = make_ring()
    for text, shown in (
        ("disk full", "disk full"),
        ("a\x1b[2J", "a\\x1b[2J"),
        ("x" * 1000, "x" * 239),
        ("", ""),
    ):
        control.store_error_text(ring, text)
        assert control.error_text(ring) == shown


@pytest.mark.parametrize(
    ("text", "found"),
    [(b'{"mode":384}', {"mode": 384}), (b"", {}), (b"[1]", {}), (b"[" * 2000, {}), (b"\xff", {})],
)
def test_options_that_cannot_be_read_are_none(text: bytes, found: dict[str, int]) -> None:
    """A damaged ring costs its options, not the session."""
    ring = make_ring()
    control.store_options(ring, b'{"mode":384,"group":"a longer text that was there before"}')
    control.store_options(ring, text)

    assert control.options(ring) == found


def test_options_that_find_no_room_are_refused() -> None:
    """The error says how much room there is."""
    with pytest.raises(ValueError, match="take 2048 bytes as JSON: a ring has room for 2047 bytes"):
        control.store_options(make_ring(), bytes(2048))


def test_totals_go_on_in_another_ring() -> None:
    """As its predecessor counted them."""
    ring = make_ring()
    assert ring.totals() == (0, 0, 0)
    ring.begin_totals(1, 2, 3)

    assert ring.totals() == (1, 2, 3)
    assert not control.retirement(ring).is_under_way


def test_a_repair_is_kept_in_the_ring() -> None:
    """All nine numbers; none was made where the time is 0."""
    ring = make_ring()
    assert read(ring) is None
    repair = Repair(*range(1, 10))
    repair.store(ring)

    assert read(ring) == repair
