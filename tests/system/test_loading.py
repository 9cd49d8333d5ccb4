"""A writer starts while others wait for room: it loads what it needs, and nothing that takes long to load."""

import os
import subprocess
import sys

import posix_ipc

from disklog_mp import _writer

COSTLY = {"dataclasses", "inspect", "secrets", "hashlib", "random", "pathlib", "subprocess", "logging"}
LOAD = """
import sys
sys.path[:0] = [sys.argv[1]]
import begin
del sys.path[0]
sys.path.append(sys.argv[2])
begin.load_package()
from disklog_mp._writer import process, writer
print(*sys.modules)
"""


def test_the_modules_of_a_writer_are_few() -> None:
    """Each of these costs milliseconds, in which a full ring stays full."""
    places = os.path.dirname(_writer.__file__ or ""), os.path.dirname(posix_ipc.__file__)

    out = subprocess.run(
        [sys.executable, "-I", "-S", "-c", LOAD, *places], capture_output=True, text=True, check=True
    ).stdout.split()

    assert "disklog_mp._writer.writer" in out
    assert not COSTLY & set(out)
