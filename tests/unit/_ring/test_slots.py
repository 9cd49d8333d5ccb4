"""Slots as the ring's room reads them."""

from typing import Any

from support.memory_ring import make_producer, make_ring

from disklog_mp._ring import slots as _slots


def test_the_tallies_are_of_one_moment() -> None:
    """What a slot has counted is there once, though it is given back, or freed, in the middle of the look."""
    ring = make_ring()
    for slot in (3, 4, 5):
        make_producer(ring, slot).log(b"a")

    class Moving:
        """The ring, in which something happens after each look at its slots."""

        def __init__(self) -> None:
            self.coming = [lambda: ring.detach(3, 0), lambda: ring.retire(3), lambda: ring.retire(4)]

        def __getattr__(self, name: str) -> Any:
            return getattr(ring, name)

        def slots(self, state: int) -> list[int]:
            found = ring.slots(state)
            if self.coming:
                self.coming.pop(0)()
            return found

    tallies = _slots.tallies(Moving())  # type: ignore[arg-type]

    assert tallies.total().logged == 3
    assert [slot.index for slot in tallies.slots] == [5]
