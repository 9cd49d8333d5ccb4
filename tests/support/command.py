"""The command line as users run it, in a process of its own; or, where it is run many times, in this one."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import disklog_mp
from disklog_mp import cli
from support.machine import stop_writer

COMMAND = [sys.executable, "-m", "disklog_mp"]
Finished = subprocess.CompletedProcess[bytes]


def run(*arguments: object, stdin: bytes = b"", **options: Any) -> Finished:
    """Run the command to its end, however it ends; whatever happened, there must be no traceback."""
    command = [*COMMAND, *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=100, check=False, **options)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done


def call(*arguments: object) -> Finished:
    """Run the command to its end in this process: a tenth of the time where nothing depends on a process."""
    out, err = (
        io.TextIOWrapper(io.BytesIO(), "utf-8", errors, write_through=True)
        for errors in ("strict", "backslashreplace")
    )
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run([*map(str, arguments)])
    return Finished(arguments, code, out.buffer.getvalue(), err.buffer.getvalue())  # type: ignore[attr-defined]


def lines(*arguments: object) -> list[str]:
    """Return the lines on stdout of a command that ends well."""
    done = call(*arguments)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().splitlines()


def objects(*arguments: object, code: int = 0) -> list[dict[str, Any]]:
    """Return the JSON objects a command prints with --json."""
    done = call(*arguments, "--json")
    assert done.returncode == code, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def start(*arguments: object) -> subprocess.Popen[bytes]:
    """Start the command and leave it running, with pipes; use it in `with`."""
    pipe = subprocess.PIPE
    return subprocess.Popen([*COMMAND, *map(str, arguments)], stdin=pipe, stdout=pipe, stderr=pipe)


def in_process(*arguments: str) -> int:
    """Run a command in this process and return its exit code: what would be a traceback is an exception."""
    out = io.TextIOWrapper(io.BytesIO())
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(out):
        return cli.run(list(arguments))


def look(name: str, *how: str) -> None:
    """All that people do to see how a log is; whatever stands there they get an answer."""
    for command in (
        ["stat", name],
        ["stat", "--json", name],
        ["ls"],
        ["verify", name],
        ["cat", "--ring", name],
        ["rm", name],
    ):
        assert in_process(*command, *how) in (0, 1, 2, 3)


@pytest.fixture
def kill_writer(
    open_log: Callable[..., disklog_mp.Session], name: str, path: Path
) -> Iterator[Callable[[], None]]:
    """Kill the writer of the test's log; at the end another one takes up what it left."""
    yield lambda: stop_writer(name, signal.SIGKILL)
    if os.path.isdir(path):
        open_log().flush()
