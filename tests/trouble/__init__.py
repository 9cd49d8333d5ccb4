"""Disk and directory misbehave."""
