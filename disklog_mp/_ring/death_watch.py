"""Hears of a producer's death at once, for a writer that may be at rest: the kernel makes pidfds readable."""

import contextlib
import os
import select
import threading
from collections.abc import Callable


class DeathWatch:
    """Calls `tell`, in a thread of its own, when a process that is watched is gone."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._epoll: select.epoll | None = None
        self._end = -1  # an eventfd
        self._thread: threading.Thread | None = None
        self._cannot = False

    def add(self, pidfd: int) -> None:
        """Watch a process until its pidfd is closed.

        Where descriptors or threads are short, nobody is told: what the writer looks at anyway must do.
        """
        if self._cannot:
            return
        try:
            if self._epoll is None:
                self._begin()
            assert self._epoll is not None
            self._epoll.register(pidfd, select.EPOLLIN | select.EPOLLONESHOT)
        except (OSError, RuntimeError):  # RuntimeError: no thread can be started
            self._cannot = self._thread is None

    def _begin(self) -> None:
        self._epoll, self._end = select.epoll(), os.eventfd(0)
        self._epoll.register(self._end, select.EPOLLIN)
        thread = threading.Thread(target=self._run, args=(self._epoll,), name="disklog-deaths", daemon=True)
        thread.start()
        self._thread = thread

    def _run(self, epoll: select.epoll) -> None:
        while all(fd != self._end for fd, _ in epoll.poll()):
            self._tell()

    def close(self) -> None:
        """End the thread."""
        self._cannot = True
        if self._thread is not None:
            os.eventfd_write(self._end, 1)
            self._thread.join()
            self._thread = None
        if self._end >= 0:
            os.close(self._end)
            self._end = -1
        if self._epoll is not None:
            with contextlib.suppress(OSError):
                self._epoll.close()
            self._epoll = None
