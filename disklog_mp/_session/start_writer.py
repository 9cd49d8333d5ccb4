"""Starting a writer as a process of its own: what open() does when a log has none.

The new process is no child of this one, which it outlives.  It has a session of its own, so no Ctrl-C or
hang-up meant for the foreground reaches it, and inherits no descriptor but stderr.  The core starts it (see
spawn.c), so nothing that an application replaces (subprocess, select, os.fork, child watchers) takes part.
This half knows the child by the name of its module alone; the command line and the answer are described
there.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from disklog_mp import _core, errors
from disklog_mp._session import interpreter

# Meant for the application alone: readiness and sockets of its service manager, an interactive end.
NOT_INHERITED = (
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_FDS",
    "LISTEN_PID",
    "PYTHONINSPECT",
)
LONGEST_ANSWER = 64 << 10  # bytes


def may_start() -> bool:
    """Return False in a writer, and in what a writer runs: these never start another."""
    return not os.environ.get(interpreter.MARK)


def start(name: str, path: str, options: dict[str, Any], ring_dir: str | None, *, wait: float = 0.0) -> bool:
    """Start a writer process for the log and wait that many seconds until it is ready.

    Returns True if it is, False if the time was over first: then the writer is left to itself.  Raises what
    the writer met at its start (WriterActiveError if there is one already, OSError, ...), and OSError
    (ENOEXEC) if no program is known that could run it.
    """
    deadline = time.monotonic() + wait
    if not may_start():
        raise errors.LogNotFoundError(name)
    order = {
        "name": name,
        "path": path,
        "options": options,
        "ring_dir": ring_dir,
        "waiting": wait > 0,
        "sys_path": [entry for entry in sys.path if isinstance(entry, str) and os.path.isabs(entry)],
    }
    command = [*interpreter.command(), json.dumps(order)]
    _, answers = _core.spawn(
        os.fsencode(command[0]), _block(command), _block(_environment()), _stderr(), -1, -1, b""
    )
    try:
        answer = _read_answer(answers, deadline) if wait > 0 else None
    finally:
        os.close(answers)
    if answer is None:
        return False
    _raise_if_failed(answer, name)
    return True


def _environment() -> list[str]:
    """Return the environment of a writer: the program's own (LD_PRELOAD, TZ, locale), and that it is one."""
    kept = {key: value for key, value in os.environ.items() if key not in NOT_INHERITED}
    kept[interpreter.MARK] = "1"
    # A one-file program of PyInstaller unpacks itself once more, or it would lose its files with this
    # process.
    kept["PYINSTALLER_RESET_ENVIRONMENT"] = "1"
    return [f"{key}={value}" for key, value in kept.items()]


def _block(words: list[str]) -> bytes:
    """Return words as the core takes them: each ended by a NUL."""
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def _stderr() -> int:
    """Return the descriptor a writer says on what it meets at its start; -1 if there is none."""
    try:
        os.fstat(2)
    except OSError:
        return -1
    return -1 if sys.stderr is None else 2


def _read_answer(fd: int, deadline: float) -> bytes | None:
    """Return the line that the writer answers, b"" if it ended without one; None when the time is over."""
    answer = b""
    while not answer.endswith(b"\n") and len(answer) < LONGEST_ANSWER:
        if not _core.wait_readable(fd, max(0.0, deadline - time.monotonic())):
            return None
        more = os.read(fd, LONGEST_ANSWER)
        if not more:
            break
        answer += more
    return answer


def _raise_if_failed(answer: bytes, name: str) -> None:
    try:
        told = json.loads(answer)
    except ValueError:
        raise errors.WriterDiedError(name, 0) from None
    if told["kind"] == "ready":
        return
    if told["kind"] == "OSError":
        raise OSError(*told["values"])
    kind = getattr(errors, told["kind"], None)
    if kind is None:
        known = {"ValueError": ValueError, "TypeError": TypeError}
        raise known.get(told["kind"], RuntimeError)(*told["values"])
    raise kind(*told["values"])
