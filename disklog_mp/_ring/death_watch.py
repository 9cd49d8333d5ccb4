"""Tells a writer that is at rest of a producer's death at once: the kernel makes pidfds readable.  Likewise
of a request that arrives at a socket.

It knows only descriptors; which process died or asks, and what follows, is found out elsewhere.
"""

import contextlib
import os
import select
from collections.abc import Callable

from disklog_mp._os.background import Background


class DeathWatch:
    """Calls `tell`, in a thread of its own, when a process that is watched has ended."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._epoll: select.epoll | None = None
        self._end = -1  # an eventfd
        self._background: Background[select.epoll] = Background("disklog-deaths", self._run)
        self._cannot = False
        self.has_news = False  # set by the thread before it tells, cleared by the main thread before it looks

    def add(self, pidfd: int) -> None:
        """Watch a process until its pidfd is closed.

        Does nothing where descriptors or threads are short: the writer's regular checks find the death then.
        """
        if self._cannot:
            return
        try:
            if self._epoll is None:
                self._begin()
            assert self._epoll is not None
            self._epoll.register(pidfd, select.EPOLLIN | select.EPOLLONESHOT)
        except OSError:
            pass
        self._cannot = not self._background.is_started()

    def add_again(self, fd: int) -> bool:
        """Tell once more, or at first, when there is something to read; False if that cannot be told."""
        if self._epoll is None or self._cannot:
            self.add(fd)
            return not self._cannot
        once = select.EPOLLIN | select.EPOLLONESHOT
        try:
            self._epoll.modify(fd, once)
        except FileNotFoundError:  # it is another descriptor of that number
            self.add(fd)
        except OSError:
            return False
        return not self._cannot

    def _begin(self) -> None:
        self._epoll, self._end = select.epoll(), os.eventfd(0)
        self._epoll.register(self._end, select.EPOLLIN)
        self._background.give(self._epoll)

    def _run(self, epoll: select.epoll) -> None:
        while all(fd != self._end for fd, _ in epoll.poll()):
            self._news()

    def _news(self) -> None:
        self.has_news = True
        self._tell()

    def close(self) -> None:
        """End the thread."""
        self._cannot = True
        if self._background.is_started():
            os.eventfd_write(self._end, 1)
            self._background.close()
        if self._end >= 0:
            os.close(self._end)
            self._end = -1
        if self._epoll is not None:
            with contextlib.suppress(OSError):
                self._epoll.close()
            self._epoll = None
