"""What keeps a writer from its work: said once on stderr, shown in the ring as long as it lasts.

It knows how trouble is told, not what is to be done about it.
"""

from __future__ import annotations

import threading
import time

from disklog_mp import _core
from disklog_mp._os.background import Stderr
from disklog_mp._ring import control as _control


class Troubles:
    """What stands in the way of one writer, by kind; the newest shows."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._stderr = Stderr()
        self._ring: _core.Ring | None = None
        self._met: dict[str, tuple[int, str]] = {}  # number and text
        self._noted = ""
        self._lock = threading.Lock()  # the sync thread meets some

    def show_in(self, ring: _core.Ring) -> None:
        """Show what there is in this ring from now on."""
        with self._lock:
            self._ring = ring
            self._show()

    def meet(self, kind: str, error: OSError, said: str) -> None:
        """Note trouble, or that it is still there; `said` is for stderr, when it is new."""
        with self._lock:
            if self._met.pop(kind, None) is None:
                self.say(said)
            self._met[kind] = error.errno or 0, str(error)
            self._show()

    def over(self, kind: str, said: str) -> None:
        """There is no trouble of that kind, or no more of it."""
        with self._lock:
            if self._met.pop(kind, None) is not None:
                self._noted = ""
                self.say(said)
                self._show()

    def are_there(self) -> bool:
        """True if there is any now."""
        return bool(self._met)

    def note(self, text: str) -> None:
        """Show what is no error but must be known, until there is trouble and its end."""
        with self._lock:
            self._noted = text
            self._show()

    def say(self, text: str) -> None:
        """Say it on stderr."""
        self._stderr.say(f"{self._name}: {text}")

    def _show(self) -> None:
        if self._met:
            self._put(*list(self._met.values())[-1])
        elif self._noted:
            self._put(0, self._noted)
        elif self._ring is not None:
            self._ring.error_time = 0

    def _put(self, number: int, text: str) -> None:
        ring = self._ring
        if ring is None:
            return
        _control.store_error_text(ring, text)
        ring.error_number = number
        ring.error_time = time.time_ns()

    def close(self) -> None:
        """Say nothing more."""
        self._stderr.close()
