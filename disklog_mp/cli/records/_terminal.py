"""What is done for a terminal alone: colours, and a pager."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LESS = "FRSXK"  # leaves at once if all fits, shows colours, cuts lines, keeps the screen, ends with Ctrl-C


def has_colours(wanted: str) -> bool:
    """True if levels are shown in colour: `auto` is on a terminal, unless NO_COLOR is set."""
    if wanted == "auto":
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        return not plain and sys.stdout.isatty()
    return wanted == "always"


def _pager() -> list[str] | None:
    """The command of the pager; None if there is none."""
    import shlex  # only a terminal needs them
    import shutil

    for name in ("DISKLOG_MP_PAGER", "PAGER"):
        if name in os.environ:
            command = shlex.split(os.environ[name])
            return command if command and command != ["cat"] and shutil.which(command[0]) else None
    return ["less"] if shutil.which("less") else None


@contextmanager
def paged(wanted: bool) -> Iterator[None]:
    """Show what is printed within in a pager, if it is wanted and a person sits at a terminal.

    To leave the pager is no error: what is still to be printed is not.
    """
    is_terminal = sys.stdout.isatty() and sys.stdin is not None and sys.stdin.isatty()
    command = _pager() if wanted and is_terminal and os.environ.get("TERM") != "dumb" else None
    if command is None:
        yield
        return
    import signal  # only a pager needs them
    import subprocess

    sys.stdout.flush()
    terminal = os.dup(1)
    pager = subprocess.Popen(command, stdin=subprocess.PIPE, env={"LESS": LESS, **os.environ})
    assert pager.stdin is not None
    os.dup2(pager.stdin.fileno(), 1)
    pager.stdin.close()
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
    finally:
        former = signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the pager's now
        os.dup2(terminal, 1)
        os.close(terminal)
        pager.wait()
        signal.signal(signal.SIGINT, former)


def _forget_output() -> None:
    """Let what is still in the buffer of stdout lead nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    sys.stdout.flush()
