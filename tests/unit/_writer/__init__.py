"""Tests of disklog_mp._writer."""
