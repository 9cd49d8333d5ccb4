"""Where the events of loggers go: an outlet for each log, and one for loggers made without a log."""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Callable
from typing import Any

from disklog_mp._loggers.delivery import Delivery
from disklog_mp._session.session import BlockingConnection, Session, connection_of

UNCONFIGURED = 30  # the level of loggers that have no log, once that was told
UNCONFIGURED_TEXT = (
    "get_logger() is not configured: events are dropped until configure_loggers(name, path) is called"
)


class Outlet(Delivery):
    """Where the events of some loggers go."""

    is_configured = True

    def __init__(
        self,
        log: str | Session,
        path: str | os.PathLike[str] | None,
        *,
        directory: str | None = None,
        **options: Any,
    ) -> None:
        self._asked = log, options
        self._aside: BlockingConnection | None = None
        self._given: BlockingConnection | None = None
        if isinstance(log, Session):
            if path is not None:
                raise TypeError("path=: a session knows where its log is")
            self._given = connection_of(log)
            options = {"label": self._given.label, **options, "is_set_up": False}
            log = self._given.name
        super().__init__(log, path, directory=directory, **options)

    @property
    def asked(self) -> tuple[Any, ...]:
        """The arguments of outlet_for() that lead to the same log in another process."""
        log, options = self._asked
        is_by_name = self.path is None and not isinstance(log, Session)
        return log, self.path, options, self.directory if is_by_name else None

    @property
    def threshold(self) -> int:
        """The level of loggers that have none of their own."""
        return self._threshold

    @threshold.setter
    def threshold(self, level: int) -> None:
        self._threshold = level

    def _find(self) -> BlockingConnection | None:
        if self.is_configured:
            return super()._find()
        self._count_missed()
        self._print_once(UNCONFIGURED_TEXT, "unconfigured")
        self.threshold = max(self.threshold, UNCONFIGURED)
        return None

    def _attach(self) -> BlockingConnection:
        given = self._given
        if given is None:
            return super()._attach()
        # One of its own: it shares the slot of the session that was given, but not its policy.
        connection = BlockingConnection(
            given.place,
            on_full=self.on_full,
            timeout=self.timeout,
            label=self._options.get("label"),
            starter=given.starter,
        )
        connection.attach()
        return connection

    def _take(self, data: bytes, level: int) -> None:
        """Log what the ring did not take at once, or count it; this raises only where that was asked for."""
        if taps:
            self._take_tapped(data, level)
        else:
            self.enqueue(data, level)

    def _take_tapped(self, data: bytes, level: int) -> None:
        is_wanted = [tap(data, level) for tap in taps]
        if all(is_wanted) and self.is_configured:
            self.put_back()
            try:
                self.enqueue(data, level)
            finally:
                self.put_aside()

    def put_aside(self) -> None:
        """Hide the session from the core: all events come to _take()."""
        if self._session is not None:
            self._aside, self._session = self._session, None

    def put_back(self) -> None:
        """Undo put_aside()."""
        if self._aside is not None:
            self._session, self._aside = self._aside, None

    def log_or_count(self, data: bytes, level: int) -> None:
        """See _take(), which is its name in the core."""
        self._take(data, level)

    def configure(self, log: str | Session, path: str | os.PathLike[str] | None, **options: Any) -> None:
        """Go there from now on; what had nowhere to go is reported there."""
        Outlet(log, path, **options)  # raises for wrong options before anything changes
        missed = self.take_missed()
        self.close()
        Outlet.__init__(self, log, path, **options)
        self.add_missed(*missed)
        self.is_configured = True

    def begin_unconfigured(self) -> None:
        """Have no log; what is dropped is told once."""
        Outlet.__init__(
            self, "loggers", None, on_full="block", timeout=1.0, missing="stderr", is_set_up=False
        )
        self.is_configured = False

    def take_missed(self) -> tuple[int, int]:
        """Return how many events went nowhere and since when, and forget them."""
        return self._missed.take()

    def add_missed(self, count: int, since: int) -> None:
        """Have that many events reported when the log is there."""
        if count:
            self._missed.add(count, since)


def unconfigured() -> Outlet:
    """Return an outlet without a log."""
    outlet = Outlet.__new__(Outlet)
    outlet.begin_unconfigured()
    return outlet


Tap = Callable[[bytes, int], bool]  # gets an event's bytes and level; False: it is not to be logged
taps: list[Tap] = []  # see taps.py
default = unconfigured()
outlets: dict[tuple[Any, ...], Outlet] = {}  # the options asked for -> the outlet with these options


def outlet_for(
    log: str | Session,
    path: str | os.PathLike[str] | None,
    options: dict[str, Any],
    directory: str | None = None,
) -> Outlet:
    """Return the outlet for these, one for all loggers that ask for the same.

    `directory`: the log's, where it is known, for attaching.
    """
    place: Any = log
    if isinstance(log, Session):
        given = connection_of(log)
        at = given.place
        place = (given.name, at.directory, at.ring_dir, given.label, given.starter)
    key = (place, directory, None if path is None else os.path.abspath(path), *sorted(options.items()))
    if key not in outlets:
        outlets[key] = Outlet(log, path, directory=directory, **options)
    return outlets[key]


def all_aside() -> None:
    """Let all events come to the taps."""
    for outlet in (default, *outlets.values()):
        outlet.put_aside()


def all_back() -> None:
    """Undo all_aside()."""
    for outlet in (default, *outlets.values()):
        outlet.put_back()


def _close_all() -> None:
    for outlet in (default, *outlets.values()):
        with contextlib.suppress(Exception):
            outlet.close()


atexit.register(_close_all)  # reports drops that the log does not know of yet
