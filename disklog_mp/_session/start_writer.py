"""Starting a writer as a process of its own: what open() does when a log has none.

The new process has its own session, so no Ctrl-C or hang-up meant for the foreground reaches it.  It inherits
no descriptor but stderr and is no child of this process, which it outlives.  This half knows the child by the
name of its module alone; the command line and the answer are described there.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from typing import Any

from disklog_mp import errors

CHILD = "disklog_mp._writer.process"
PACKAGE_PARENT = __file__.rpartition("/disklog_mp/")[0]  # the directory that is on sys.path

_starting: list[int] = []  # short-lived parents of writers that nobody waits for


def start(name: str, path: str, options: dict[str, Any], ring_dir: str | None, *, wait: float = 0.0) -> bool:
    """Start a writer process for the log and wait that many seconds until it is ready: True if it is, False
    if it is left to itself because the time is over.

    Raises what the writer met at its start: WriterActiveError if there is one already, OSError, ...
    """
    deadline = time.monotonic() + wait
    _reap()
    order = json.dumps(
        {"name": name, "path": path, "options": options, "ring_dir": ring_dir, "waiting": wait > 0}
    )
    environment = dict(os.environ)
    # The writer must find the package wherever this process found it.
    environment["PYTHONPATH"] = os.pathsep.join(
        [PACKAGE_PARENT, *filter(None, [environment.get("PYTHONPATH")])]
    )
    process = subprocess.Popen(
        [sys.executable, "-m", CHILD, order],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environment,
        cwd="/",
        start_new_session=True,
    )
    process.returncode = 0  # the object would complain, at the latest when this process ends
    _starting.append(process.pid)
    assert process.stdout is not None
    with process.stdout:
        if wait <= 0 or not _is_readable(process.stdout.fileno(), deadline):
            return False
        answer = process.stdout.readline()  # written at once
    _reap()
    _raise_if_failed(answer, name)
    return True


def _is_readable(fd: int, deadline: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))


def _reap() -> None:
    _starting[:] = [pid for pid in _starting if not _has_ended(pid)]


def _has_ended(pid: int) -> bool:
    """Reap a child if it has ended; one that somebody else reaped has."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


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
