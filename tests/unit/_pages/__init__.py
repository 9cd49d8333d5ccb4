"""Tests of disklog_mp._pages."""
