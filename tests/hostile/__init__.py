"""Bytes and users lie."""
