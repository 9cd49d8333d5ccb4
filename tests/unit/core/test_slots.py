"""Producers' slots: their states and counts."""

import pytest
from support.memory_ring import (
    make_producer,
)

from disklog_mp._core import (
    SLOT_ATTACHED,
    SLOT_DETACHED,
    SLOT_FREE,
    SLOTS,
    Producer,
    Ring,
)


def test_a_slot_goes_from_free_to_attached_to_detached_and_back(ring: Ring) -> None:
    """Each step only from the one before; the next producer has another incarnation."""
    assert [*range(5)] == ring.slots(SLOT_FREE, 5)
    assert len(ring.slots(SLOT_FREE)) == SLOTS
    assert ring.attach(2, 11, 22, 33, 44)
    assert not ring.attach(2, 12, 22, 33, 44)
    assert ring.slot(2) == (2, SLOT_ATTACHED, 0, 11, 22, 33, 44, 0, 0, 0, 0)
    assert not ring.detach(2, 1)
    assert ring.detach(2, 0)
    assert not ring.detach(2, 0)
    assert ring.slots(SLOT_DETACHED) == [2]
    ring.retire(2)
    assert ring.slot(2)[1:3] == (SLOT_FREE, 1)
    assert ring.attach(2, 13, 22, 33, 44)
    assert not ring.detach(2, 0)


def test_a_retired_slot_leaves_its_counts_in_the_totals(ring: Ring) -> None:
    """Exactly once each, and the next owner of the slot begins at nought."""
    for round_, slot in enumerate((3, 4, 3, 3)):
        producer = make_producer(ring, slot)
        producer.log(b"a")
        producer.count(10, 100)
        ring.retire(slot)
        ring.retire_resume()

        assert (round_ + 1, 10 * round_ + 10, 100 * round_ + 100) == ring.totals()
    assert ring.attach(3, 1, 1, 1, 1)
    assert ring.slot(3)[7:] == (0, 0, 0, 0)


def test_there_are_so_many_slots_and_no_more(ring: Ring) -> None:
    """An index beyond the table is an IndexError."""
    for call in (ring.slot, ring.retire, lambda i: ring.detach(i, 0), lambda i: ring.attach(i, 1, 1, 1, 1)):
        with pytest.raises(IndexError, match=f"slot {SLOTS} of {SLOTS}"):
            call(SLOTS)
    with pytest.raises(IndexError):
        Producer().bind(ring, SLOTS, 1)
