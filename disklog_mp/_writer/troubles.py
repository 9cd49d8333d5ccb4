"""What keeps a writer from its work: printed once on stderr, shown in the ring as long as it lasts, and two
of the log's events: one when it begins, one when it ends.

It knows how trouble is reported, not what is done about it.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from disklog_mp import _core
from disklog_mp._os.background import Stderr
from disklog_mp._writer import intervals
from disklog_mp._writer.live_ring import clear_error, show_error
from disklog_mp._writer.notices import Notices


class Trouble(NamedTuple):
    """One that lasts."""

    number: int  # of the error
    text: str
    since: float  # by the monotonic clock
    times: int  # that it was met


class Troubles:
    """The troubles of one writer, by kind; the newest is shown."""

    def __init__(self, name: str, notices: Notices | None = None) -> None:
        self._name = name
        self._stderr = Stderr()
        self._ring: _core.Ring | None = None
        self._met: dict[str, Trouble] = {}
        self._noted = ""
        self.notices = notices or Notices()
        self.tell = self.notices.tell  # one of the log's events

    def show_in(self, ring: _core.Ring) -> None:
        """Show the current trouble in this ring from now on."""
        self._ring = ring
        self._show()

    def meet(self, kind: str, error: OSError, said: str) -> None:
        """Note trouble, or that it lasts; `said` goes to stderr if the trouble is new."""
        former = self._met.pop(kind, None)
        number, text = error.errno or 0, str(error)
        if former is None:
            self.say(said)
            path = error.filename if isinstance(error.filename, str) else None
            self.tell("error", what=kind, errno=number, error=error.strerror or text, path=path)
            former = Trouble(number, text, time.monotonic(), 0)
        self._met[kind] = Trouble(number, text, former.since, former.times + 1)
        self._show()

    def over(self, kind: str, said: str) -> None:
        """Note that there is no trouble of that kind; `said` goes to stderr if there was."""
        former = self._met.pop(kind, None)
        if former is not None:
            self._noted = ""
            self.say(said)
            after = round(time.monotonic() - former.since, 3)
            self.tell("recovered", what=kind, after=after, times=former.times)
            self._show()

    def are_there(self) -> bool:
        """True if there is any now."""
        return bool(self._met)

    def note(self, text: str) -> None:
        """Show what is no error but must be known, until the next trouble is over."""
        self._noted = text
        self._show()

    def say(self, text: str) -> None:
        """Print it on stderr."""
        self._stderr.say(f"{self._name}: {text}")

    def let_go_of_pipe(self) -> None:
        """See Stderr: what is said from now on is shown in the ring alone, if stderr is a pipe."""
        self._stderr.let_go_of_pipe()

    def _show(self) -> None:
        if self._ring is None:
            return
        if self._met:
            newest = list(self._met.values())[-1]
            show_error(self._ring, newest.number, newest.text)
        elif self._noted:
            show_error(self._ring, 0, self._noted)
        else:
            clear_error(self._ring)

    def close(self) -> None:
        """Say nothing more."""
        self._stderr.close()


class BackOff:
    """Waits longer after each write that failed."""

    def __init__(self, troubles: Troubles) -> None:
        self._troubles = troubles
        self.seconds = 0.0  # before the next attempt; 0.0: the last one succeeded

    def failed(self, error: OSError) -> None:
        """A write failed."""
        said = f"cannot write: {error}; what is logged stays in the ring, trying again"
        self._troubles.meet("write", error, said)
        shortest, longest = intervals.BACK_OFF
        self.seconds = min(max(self.seconds * 2, shortest), longest)

    def over(self) -> None:
        """What there was to write is written."""
        self.seconds = 0.0
        self._troubles.over("write", "writing again")
