"""A process dies, freezes or is replaced."""

from support.census import multiprocessing_helpers, nothing_left_behind

__all__ = ["multiprocessing_helpers", "nothing_left_behind"]  # fixtures

BUDGET = 120  # seconds for all tests of this folder
TIMEOUT = 120  # seconds for one
