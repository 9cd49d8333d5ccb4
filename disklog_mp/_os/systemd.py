"""Telling systemd how a service is: the datagrams of sd_notify(3), nothing else."""

import math
import os
import socket
import time


class Notifier:
    """Sends states to $NOTIFY_SOCKET if there is one, and the watchdog's sign of life in time."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        period = os.environ.get("WATCHDOG_USEC", "")
        self._period = int(period) / 2e6 if period.isdigit() else 0.0
        self._last = time.monotonic()

    def notify(self, state: str) -> None:
        """Send a state such as READY=1.  A notification that cannot be delivered changes nothing."""
        if self._address[:1] not in ("/", "@"):
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.sendto(state.encode(), address)
        except OSError:
            pass

    @property
    def period(self) -> float:
        """Seconds between two calls of alive(), at the most."""
        return self._period / 2 or math.inf

    def alive(self) -> None:
        """Say so to the watchdog if half its time has passed."""
        now = time.monotonic()
        if self._period and now - self._last >= self._period:
            self._last = now
            self.notify("WATCHDOG=1")
