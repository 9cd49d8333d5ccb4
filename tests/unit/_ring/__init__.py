"""Tests of disklog_mp._ring."""
