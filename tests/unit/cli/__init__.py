"""Tests of the command line's parts that start no process."""
