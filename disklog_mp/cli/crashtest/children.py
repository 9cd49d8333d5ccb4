"""The child processes of a crash test, however they were started: their pid, their end, signals to them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import get_context
from typing import Protocol

import disklog_mp
from disklog_mp.cli.crashtest.notes import Order


class Child(Protocol):
    """A process that the crash test started."""

    pid: int

    def ended(self) -> int | None:
        """Return its exit code, None while it lives."""

    def signal(self, number: int) -> None: ...


class Forked:
    """A child that multiprocessing starts, by any of its start methods."""

    def __init__(self, method: str, target: Callable[..., None], *arguments: object) -> None:
        process = get_context(method).Process  # type: ignore[attr-defined]
        self._process = process(target=target, args=arguments)
        self._process.start()
        self.pid: int = self._process.pid
        self._code: int | None = None

    def ended(self) -> int | None:
        """Return its exit code, None while it lives."""
        if self._code is None and self._process.exitcode is not None:
            self._code = self._process.exitcode
            self._process.close()
        return self._code

    def signal(self, number: int) -> None:
        """Send it a signal if it is still there."""
        if self.ended() is None:
            os.kill(self.pid, number)


class Executed:
    """A child that runs another program."""

    def __init__(self, arguments: list[str], order: Order) -> None:
        root = os.path.dirname(os.path.dirname(os.path.abspath(disklog_mp.__file__)))
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        with open(order.said, "ab") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
        self.pid = self._process.pid

    def ended(self) -> int | None:
        """Return its exit code, None while it lives."""
        return self._process.poll()

    def signal(self, number: int) -> None:
        """Send it a signal if it is still there."""
        self._process.send_signal(number)
