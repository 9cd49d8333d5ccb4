"""Tests of the checks of a log that start no process."""
