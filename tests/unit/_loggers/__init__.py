"""Tests of disklog_mp._loggers."""
