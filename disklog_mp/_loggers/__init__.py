"""Structured records, and the loggers that make them."""
