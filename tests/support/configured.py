"""Logs with options, and another process that is attached."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from disklog_mp._pages.identity import LogIdentity, read_identity

WORKER = """
import sys, disklog_mp
log = disklog_mp.attach(*sys.argv[1:])
log.log(b"worker")
print("attached", flush=True)
input()
"""
SMALL = {"ring_bytes": 1 << 16, "linger": 5}


@contextmanager
def worker_on(name: str, *path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is attached to the log."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, name, *path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "attached\n"
    try:
        yield process
    finally:
        process.communicate("\n")


def identity_of(path: Path) -> LogIdentity:
    """What the log's file says."""
    identity = read_identity(str(path))
    assert identity is not None
    return identity
