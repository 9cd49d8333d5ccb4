"""The operating system, as this package uses it: files, locks, processes, threads."""
