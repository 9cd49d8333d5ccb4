"""How the writer is asked to end, or to read its options again: signals set a flag and ring the bell.

SIGHUP also comes when a terminal is closed.  Then it means the end, as for any program at a terminal.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StopSignals:
    """Called, says whether the writer was asked to end."""

    def __init__(self) -> None:
        self.asked = False
        self.hung_up = False
        self.lets_go = False  # the log is no longer served after this writer
        self.ring_bell: Callable[[], None] = lambda: None  # set by the writer, which may be asleep
        self._had_terminal = _has_terminal()

    def __call__(self) -> bool:
        return self.asked

    def ask(self, *_: object) -> None:
        """Handle a signal."""
        self.asked = True
        self.ring_bell()

    def hang_up(self, *_: object) -> None:
        """Handle SIGHUP."""
        self.hung_up = True
        self.ring_bell()

    def is_reload_asked(self) -> bool:
        """True, once, if there was a SIGHUP and the terminal is not gone, which would be the end."""
        self.hung_up = False
        self.asked = self.asked or (self._had_terminal and not _has_terminal())
        return not self.asked


class Alarm:
    """Wakes a thread that waits for it; a signal handler of that thread may ring it."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def ring(self) -> None:
        """Wake the thread, now or when it waits next."""
        os.eventfd_write(self._fd, 1)

    def wait(self, seconds: float) -> None:
        """Wait until it rings, at most so long."""
        if self._poll.poll(seconds * 1000):
            os.eventfd_read(self._fd)

    def close(self) -> None:
        """Give its descriptor back."""
        os.close(self._fd)


def _has_terminal() -> bool:
    """True if this process has a terminal that is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


@contextmanager
def stop_on_signals(*, reload: bool = False) -> Iterator[StopSignals]:
    """SIGTERM and SIGINT ask the writer to end in good order; with `reload`, SIGHUP to read its options."""
    signals = StopSignals()
    before = {number: signal.signal(number, signals.ask) for number in (signal.SIGTERM, signal.SIGINT)}
    if reload:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signals.hang_up)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
