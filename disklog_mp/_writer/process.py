"""Starting a writer as a process of its own: what open() does when a log has none.

The new process has its own session, so no Ctrl-C or hang-up meant for the foreground reaches it, inherits
no descriptor but stderr, and is nobody's child: it outlives the process that started it.
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
from disklog_mp._options import Options

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
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = dict(os.environ)
    # The writer must find the package wherever this process found it.
    environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [environment.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-m", "disklog_mp._writer.process", order],
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


def main(order: str) -> None:
    """Be the writer: detach from whoever asked, report on stdout, drain until the end."""
    if os.fork():
        os._exit(0)
    if sys.stderr is None:  # or a page file would get its number, with what the system has to say in it
        _to_nowhere(2)
    from disklog_mp._writer import troubles as _trouble
    from disklog_mp._writer import writer

    stderr = _trouble.Stderr()
    told = json.loads(order)
    ready = False
    try:
        writer.raise_descriptor_limit()
        with writer.stop_on_signals() as stopping:
            work = writer.Writer(
                told["name"], told["path"], Options(**told["options"]), ring_dir=told["ring_dir"]
            )
            _answer({"kind": "ready"})
            ready = True
            work.run(stopping)
    except errors.WriterActiveError as error:  # somebody was faster: no news
        _answer({"kind": type(error).__name__, "values": error.args})
    except (errors.DiskLogError, OSError, TypeError, ValueError) as error:
        heard = _answer(_describe(error))
        if ready or not told["waiting"] or not heard:
            stderr.say(f"{told['name']}: the writer cannot go on: {error}")
        stderr.close()


def _describe(error: Exception) -> dict[str, Any]:
    if isinstance(error, errors.DiskLogError):
        return {"kind": type(error).__name__, "values": error.args}
    if isinstance(error, OSError):
        return {"kind": "OSError", "values": [error.errno, error.strerror, error.filename]}
    return {"kind": type(error).__name__, "values": [str(error)]}


def _answer(told: dict[str, Any]) -> bool:
    """Tell whoever waits, once, and let go of the pipe; False if nobody waits any more."""
    heard = True
    try:
        os.write(1, json.dumps(told, default=str).encode() + b"\n")
    except OSError:
        heard = False
    _to_nowhere(1)
    return heard


def _to_nowhere(fd: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    if null != fd:
        os.dup2(null, fd)
        os.close(null)


if __name__ == "__main__":
    main(sys.argv[1])
