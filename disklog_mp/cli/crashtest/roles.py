"""The roles of a crash test: a worker, a reader or the writer, whose process is replaced whenever it ends."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator

from disklog_mp.cli.crashtest.children import Child
from disklog_mp.cli.crashtest.schedule import Fate

AIM = 0.25  # seconds that a kill may wait for its process to be at work
START = 30.0  # seconds a process may take until it is ready


class Role:
    """A place for one process at a time: it meets its fate, and then another process follows it."""

    def __init__(
        self,
        kind: str,
        fates: Iterator[Fate],
        start: Callable[[Fate], Child],
        is_ready: Callable[[Child], bool],
        is_busy: Callable[[Child], bool],
    ) -> None:
        self.kind = kind
        self._fates = fates
        self._fate = next(fates)
        self._start = start
        self._is_ready = is_ready
        self._is_busy = is_busy
        self.child: Child | None = None
        self._started_at = self._next_at = 0.0
        self.ready_at = 0.0  # 0: not ready
        self._frozen_until = 0.0  # 0: not frozen
        self._was_frozen = False
        self.killed = False
        self.started: Counter[str] = Counter()
        self.kills = self.freezes = 0
        self.freezing: Callable[[bool], None] = lambda frozen: None  # called before it is frozen and after

    @property
    def is_frozen(self) -> bool:
        """True while its process is stopped."""
        return self._frozen_until > 0

    @property
    def is_up(self) -> bool:
        """True while its process is ready and was not killed."""
        return self.ready_at > 0 and not self.killed

    def turn(self, now: float, *, calm: bool = False) -> str | None:
        """Do what is due and return what went wrong; `calm`: freeze and kill no process any more."""
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
            return f"a {self.kind} started by {self._fate.method} was not ready after {START:.0f} s"
        self._act(now, calm)
        return None

    def _begin(self, now: float) -> None:
        self.child = self._start(self._fate)
        self.started[self._fate.method] += 1
        self._started_at, self.ready_at, self._was_frozen, self.killed = now, 0.0, False, False

    def _end(self, now: float, code: int) -> str | None:
        assert self.child is not None
        pid, method = self.child.pid, self._fate.method
        self.child, self.ready_at, self._frozen_until = None, 0.0, 0.0
        self._next_at = now + self._fate.pause
        self._fate = next(self._fates)
        if not self.killed:
            return f"a {self.kind} (process {pid}, by {method}) ended by itself, with exit code {code}"
        return None

    def _act(self, now: float, calm: bool) -> None:
        fate = self._fate
        since = self._started_at if fate.early else self.ready_at
        age = now - since if since else -1.0
        if self._frozen_until and (calm or now >= self._frozen_until):
            self.thaw()
        elif fate.freeze_for and not calm and not self._was_frozen and self._is_time(age, fate.freeze_at):
            self._freeze(now)
        if not calm and self._is_time(age, fate.death_at):
            self.kill()

    def _is_time(self, age: float, moment: float) -> bool:
        """True if the moment has come; an aimed one comes up to AIM later, when its process is at work."""
        assert self.child is not None
        if age < moment:
            return False
        waits = self._fate.aimed and not self._fate.early and not self._frozen_until and age < moment + AIM
        return not waits or self._is_busy(self.child)

    def _freeze(self, now: float) -> None:
        assert self.child is not None
        self._was_frozen, self._frozen_until = True, now + self._fate.freeze_for
        self.freezes += 1
        self.freezing(True)
        self.child.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let its process continue."""
        if self.child is not None and self._frozen_until:
            self._frozen_until = 0.0
            self.child.signal(signal.SIGCONT)
            self.freezing(False)

    @property
    def takes_all(self) -> bool:
        """True if its process was killed and all workers are to be killed with it."""
        return self.killed and self._fate.together

    def kill(self) -> None:
        """Kill its process at once."""
        if self.child is not None and not self.killed:
            self.killed = True
            self.kills += 1
            self.child.signal(signal.SIGKILL)
