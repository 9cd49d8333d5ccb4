"""Tests of disklog_mp.core."""
