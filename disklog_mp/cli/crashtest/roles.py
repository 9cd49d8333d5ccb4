"""The posts of a crash test: places for a worker, a reader or the writer that are always filled again."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from typing import Protocol

import disklog_mp
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness as _liveness
from disklog_mp.cli.crashtest import run as _crash_work
from disklog_mp.cli.crashtest.processes import Life
from disklog_mp.cli.crashtest.run import Order

AIM = 0.25  # seconds a death may be late for finding a process at its work
START = 30.0  # seconds a process may take until it is ready


class Child(Protocol):
    """A process that was started."""

    pid: int

    def ended(self) -> int | None:
        """Return its exit code, None while it lives."""

    def signal(self, number: int) -> None: ...


class Forked:
    """A child by multiprocessing, whichever way it starts them."""

    def __init__(self, method: str, target: Callable[..., None], *arguments: object) -> None:
        self._process = get_context(method).Process(target=target, args=arguments)  # type: ignore[attr-defined]
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
        """Send it a signal, if it is still there."""
        if self.ended() is None:
            os.kill(self.pid, number)


class Executed:
    """A child that is another program."""

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
        """Send it a signal, if it is still there."""
        self._process.send_signal(number)


class Opened:
    """A writer that a program's open() has started: nobody's child, known by what it put into the ring."""

    def __init__(
        self, order: Order, options: dict[str, object], find: Callable[[], _ring.RingFile | None]
    ) -> None:
        self._starter = Forked("fork", _crash_work.open_once, order, options)
        self._find = find
        self._pidfd = -1
        self._code: int | None = None
        self.pid = 0

    def ended(self) -> int | None:
        """Return an exit code, None while the writer lives, or who starts it.  Of the writer itself nobody
        but the system's first process is told how it ended.
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
        """The program is done: from now on this is the writer it has left."""
        file = self._find()
        if file is not None and _liveness.writer_alive(file):
            with contextlib.suppress(ProcessLookupError, ValueError):
                self._pidfd = os.pidfd_open(file.ring.writer_pid)
                self._code, self.pid = None, file.ring.writer_pid

    def signal(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)
        else:
            self._starter.signal(number)


def _has_ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


class Post:
    """A place for one process at a time, which lives as its life has it, and is then followed by another."""

    def __init__(
        self,
        kind: str,
        lives: Iterator[Life],
        start: Callable[[Life], Child],
        is_ready: Callable[[Child], bool],
        is_busy: Callable[[Child], bool],
    ) -> None:
        self.kind = kind
        self._lives = lives
        self._life = next(lives)
        self._start = start
        self._is_ready = is_ready
        self._is_busy = is_busy
        self.child: Child | None = None
        self._started_at = self._next_at = 0.0
        self.ready_at = 0.0  # 0: not ready
        self._frozen_until = 0.0  # 0: is not
        self._was_frozen = False
        self.killed = False
        self.started: Counter[str] = Counter()
        self.kills = self.freezes = 0
        self.freezing: Callable[[bool], None] = lambda frozen: None  # told before it is, and after it was

    @property
    def is_frozen(self) -> bool:
        """True while its process is stopped."""
        return self._frozen_until > 0

    @property
    def is_up(self) -> bool:
        """True while its process is ready and nobody has killed it."""
        return self.ready_at > 0 and not self.killed

    def turn(self, now: float, *, calm: bool = False) -> str | None:
        """Do what is due; `calm`: nobody is frozen or killed any more.  Returns what went wrong."""
        if self.child is None:
            if now >= self._next_at:
                self._begin(now)
            return None
        code = self.child.ended()
        if code is not None:
            return self._end(now, code)
        if self.killed:
            return None
        if not self.ready_at and self._is_ready(self.child):
            self.ready_at = now
        if not self.ready_at and now - self._started_at > START:
            self.kill()
            return f"a {self.kind} started by {self._life.method} was not ready after {START:.0f} s"
        self._fate(now, calm)
        return None

    def _begin(self, now: float) -> None:
        self.child = self._start(self._life)
        self.started[self._life.method] += 1
        self._started_at, self.ready_at, self._was_frozen, self.killed = now, 0.0, False, False

    def _end(self, now: float, code: int) -> str | None:
        assert self.child is not None
        pid, method = self.child.pid, self._life.method
        self.child, self.ready_at, self._frozen_until = None, 0.0, 0.0
        self._next_at = now + self._life.pause
        self._life = next(self._lives)
        if not self.killed:
            return f"a {self.kind} (process {pid}, by {method}) ended by itself, with exit code {code}"
        return None

    def _fate(self, now: float, calm: bool) -> None:
        life = self._life
        since = self._started_at if life.early else self.ready_at
        age = now - since if since else -1.0
        if self._frozen_until and (calm or now >= self._frozen_until):
            self.thaw()
        elif life.freeze_for and not calm and not self._was_frozen and self._is_time(age, life.freeze_at):
            self._freeze(now)
        if not calm and self._is_time(age, life.death_at):
            self.kill()

    def _is_time(self, age: float, moment: float) -> bool:
        """True if it is time, or a little later when its process is at work."""
        assert self.child is not None
        if age < moment:
            return False
        waits = self._life.aimed and not self._life.early and not self._frozen_until and age < moment + AIM
        return not waits or self._is_busy(self.child)

    def _freeze(self, now: float) -> None:
        assert self.child is not None
        self._was_frozen, self._frozen_until = True, now + self._life.freeze_for
        self.freezes += 1
        self.freezing(True)
        self.child.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let its process go on."""
        if self.child is not None and self._frozen_until:
            self._frozen_until = 0.0
            self.child.signal(signal.SIGCONT)
            self.freezing(False)

    @property
    def takes_everybody(self) -> bool:
        """True if its process was killed just now, and is to take all others along."""
        return self.killed and self._life.everybody

    def kill(self) -> None:
        """Kill its process, wherever it is."""
        if self.child is not None and not self.killed:
            self.killed = True
            self.kills += 1
            self.child.signal(signal.SIGKILL)
