"""The writer: the one process of a log that drains the ring into page files."""
