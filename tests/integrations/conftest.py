"""Real servers, pools and loggers, their workers killed."""

from support.census import multiprocessing_helpers, nothing_left_behind

__all__ = ["multiprocessing_helpers", "nothing_left_behind"]  # fixtures

BUDGET = 600  # seconds for all tests of this folder
TIMEOUT = 300  # seconds for one
