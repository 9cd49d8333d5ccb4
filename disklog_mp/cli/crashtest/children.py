"""The child processes of a crash test, however they were started: their pid, their end, signals to them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import get_context
from typing import Protocol

import disklog_mp
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness as _liveness
from disklog_mp.cli.crashtest import processes as _processes
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


class Opened:
    """A writer that open() in a program started: not our child, known by the pid in the ring."""

    def __init__(
        self, order: Order, options: dict[str, object], find: Callable[[], _ring.RingFile | None]
    ) -> None:
        self._starter = Forked("fork", _processes.open_once, order, options)
        self._find = find
        self._pidfd = -1
        self._code: int | None = None
        self.pid = 0

    def ended(self) -> int | None:
        """Return the exit code of the program, None while it or the writer lives.

        How the writer itself ended is unknown here: only the system's first process is told.
        """
        if self._code is None and self._pidfd < 0:
            self._code = self._starter.ended()
            if self._code == 0:
                self._adopt()
        elif self._code is None and _has_ended(self._pidfd):
            os.close(self._pidfd)
            self._pidfd, self._code = -1, 0
        return self._code

    def _adopt(self) -> None:
        """The program has ended: from now on this object stands for the writer it left."""
        file = self._find()
        if file is not None and _liveness.writer_alive(file):
            with contextlib.suppress(ProcessLookupError, ValueError):
                self._pidfd = os.pidfd_open(file.ring.writer_pid)
                self._code, self.pid = None, file.ring.writer_pid

    def signal(self, number: int) -> None:
        """Send it a signal if it is still there."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)
        else:
            self._starter.signal(number)


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
