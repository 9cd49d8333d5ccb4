"""Starting a writer as a process of its own: what open() does when a log has none.

The new process has its own session, so no Ctrl-C or hang-up meant for the foreground reaches it, inherits
no descriptor but stderr, and is nobody's child: it outlives the process that started it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import Any

from disklog_mp import errors
from disklog_mp._options import Options

_starting: list[int] = []  # short-lived parents of writers that nobody waits for


def start(name: str, path: str, options: dict[str, Any], ring_dir: str | None, *, wait: bool = True) -> None:
    """Start a writer process for the log; with `wait`, return when it is ready.

    Raises what the writer met at its start: WriterActiveError if there is one already, OSError, ...
    """
    _starting[:] = [pid for pid in _starting if not _has_ended(pid)]
    order = json.dumps(
        {"name": name, "path": path, "options": options, "ring_dir": ring_dir, "waiting": wait}
    )
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    environment = dict(os.environ)
    # The writer must find the package wherever this process found it.
    environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [environment.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-m", "disklog_mp._writer_process", order],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environment,
        cwd="/",
        start_new_session=True,
    )
    assert process.stdout is not None
    if not wait:
        process.stdout.close()
        _starting.append(process.pid)
        process.returncode = 0  # the object would complain, at the latest when this process ends
        return
    with process.stdout:
        answer = process.stdout.readline()
    process.wait()
    _raise_if_failed(answer, name)


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
    from disklog_mp import writer

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
        if ready or not told["waiting"]:
            print(f"disklog-mp: {told['name']}: the writer cannot go on: {error}", file=sys.stderr)
        _answer(_describe(error))


def _describe(error: Exception) -> dict[str, Any]:
    if isinstance(error, errors.DiskLogError):
        return {"kind": type(error).__name__, "values": error.args}
    if isinstance(error, OSError):
        return {"kind": "OSError", "values": [error.errno, error.strerror, error.filename]}
    return {"kind": type(error).__name__, "values": [str(error)]}


def _answer(told: dict[str, Any]) -> None:
    """Tell whoever waits, once, and let go of the pipe."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(told, default=str).encode() + b"\n")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


if __name__ == "__main__":
    main(sys.argv[1])
