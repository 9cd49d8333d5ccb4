"""The session: one process's handle on a log."""
