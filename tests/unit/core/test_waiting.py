"""Sleeping and waking: the writer, and producers that wait for space or the disk."""

import threading

import pytest
from support.layout import BELL, DONE_WANTED, SPACE_WANTED
from support.memory_ring import (
    Raw,
    set_state,
)

from disklog_mp import _core
from disklog_mp._core import (
    Ring,
)


def test_a_parked_writer_is_rung_once(ring: Ring, producer: Raw) -> None:
    """The producer that takes the flag rings; the ones after find it taken."""
    bell = BELL
    ring.parked = 1
    producer.log(b"a")
    producer.log(b"b")

    assert (ring.parked, ring.load32(bell)) == (0, 1)


def test_a_writer_does_not_park_over_a_record(ring: Ring, producer: Raw) -> None:
    """What is committed at its position, or the ring's end, keeps it awake; a claim alone does not."""
    producer.log(b"a")
    ring.park(0, 3600.0)
    set_state(ring, 0, 1)
    ring.park(0, 0.001)
    ring.close(32)
    ring.park(32, 3600.0)

    assert ring.parked == 0


@pytest.mark.parametrize("how", ["a record", "wake"])
def test_a_parked_writer_wakes(ring: Ring, producer: Raw, how: str) -> None:
    """By the first record, or because a session wants something of it."""
    thread = threading.Thread(target=ring.park, args=(0, 3600.0))
    thread.start()
    while not ring.parked:
        pass
    if how == "a record":
        producer.log(b"a")
        thread.join()
    while thread.is_alive():  # it may not sleep yet when we call
        ring.wake()

    assert ring.parked == 0


def test_a_wait_for_space_ends_at_a_release(ring: Ring) -> None:
    """Only if a process waits for it; the wish is taken back then."""
    ring.release(0, 0)
    assert ring.load32(_core.SPACE) == 0
    ring.store32(SPACE_WANTED, 1)
    ring.release(0, 0)
    assert (ring.load32(_core.SPACE), ring.load32(SPACE_WANTED)) == (1, 0)


def test_a_wait_for_the_disk_ends_at_an_announcement(ring: Ring) -> None:
    """As with space."""
    ring.announce()
    assert ring.load32(_core.DONE) == 0
    ring.store32(DONE_WANTED, 1)
    ring.announce()
    assert (ring.load32(_core.DONE), ring.load32(DONE_WANTED)) == (1, 0)
