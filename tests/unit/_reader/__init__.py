"""Tests of disklog_mp._reader."""
