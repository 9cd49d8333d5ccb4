"""Tests of disklog_mp._metrics."""
