"""Where things stand in a ring object, for tests that scribble.

tests/rules/test_labels.py compares these numbers with layout.h.
"""

from disklog_mp._core import GRANULE, SLOTS, Ring

CONTROL = 4096
BELL = CONTROL + 388
SPACE_WANTED = CONTROL + 512
DONE_WANTED = CONTROL + 640
ERROR_TEXT = CONTROL + 1296
OPTIONS = CONTROL + 2048

SLOTS_OFFSET = 8192
SLOT_LENGTH = 64
LOGGED = 40  # the count in a slot

MAP_OFFSET = SLOTS_OFFSET + SLOTS * SLOT_LENGTH


def slot_offset(index: int) -> int:
    """Where the slot of that index begins: its word."""
    return SLOTS_OFFSET + SLOT_LENGTH * index


def word_offset(ring: Ring, position: int) -> int:
    """Where the claim word of that position stands."""
    return MAP_OFFSET + position % ring.capacity // GRANULE * 8
