"""Tests of the doctor that start no process and make no fault of the machine."""
