"""Tests of disklog_mp._os."""
