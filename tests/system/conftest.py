"""Real processes, and all goes well."""

from support.census import multiprocessing_helpers, nothing_left_behind

__all__ = ["multiprocessing_helpers", "nothing_left_behind"]  # fixtures

BUDGET = 250  # seconds for all tests of this folder
TIMEOUT = 60  # seconds for one
