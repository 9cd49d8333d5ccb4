"""serve_all: the writers of several logs in one process, a thread each.

The threads share nothing but the process: each has its own writer, which waits for its own disk, so a log
whose disk hangs delays no other.  A log that cannot be served, or fails, is tried again while the others go
on.  While a disk hangs the kernel does not let go of the process, not even when it is killed: until that disk
answers, the locks of all of its logs are held.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from disklog_mp import _options
from disklog_mp._os import systemd as _systemd
from disklog_mp._os.background import Background, Stderr
from disklog_mp._ring.names import check_name
from disklog_mp._writer.producers import raise_descriptor_limit
from disklog_mp._writer.signals import StopSignals, stop_on_signals
from disklog_mp._writer.terms import SERVED, Terms
from disklog_mp._writer.writer import Writer

START_PATIENCE = 10.0  # seconds for all logs to be served before the supervisor is told that we are ready
TRY_AGAIN = (1.0, 30.0)  # seconds before a log that failed is tried again: at first, and at most
PARTING = 5.0  # seconds after which a log that keeps the process from ending is named
TICK = 1.0  # seconds between two signs of life for the supervisor


class ToServe(NamedTuple):
    """One log: see serve() for the options."""

    name: str
    path: str
    ring_dir: str | None = None
    options: Mapping[str, Any] = MappingProxyType({})  # checked


class Served:
    """One of the logs while it is served."""

    def __init__(self, log: ToServe, started: Callable[[Writer], object] | None) -> None:
        self.log = log
        self.started = started
        self.stopping = StopSignals()
        self.is_answered = threading.Event()  # the first attempt to take the log over came to an end
        self.is_over = threading.Event()
        self.is_running = False
        self.stderr = Stderr()
        self._thread: Background[Served] = Background("disklog-serve", _serve)

    def start(self) -> None:
        """Serve the log in a thread.  Raises OSError if there can be no thread."""
        if not self._thread.give(self):
            raise OSError(f"no thread can be started for log {self.log.name}")

    def serve_once(self) -> None:
        """Take the log over and write it until it is to stop.  Raises what Writer() raises."""
        log = self.log
        given = {"linger": None, **log.options}
        terms = Terms(given, SERVED, is_served=True)
        options = _options.Options(**given)
        work = Writer(log.name, log.path, options, ring_dir=log.ring_dir, terms=terms)
        work.reread = lambda: given
        try:
            self.is_running = True
            if self.started is not None:
                self.started(work)
            self.is_answered.set()
            work.run(self.stopping)
        except BaseException:
            work.close()  # its locks are this process's: without this no other writer could take them
            raise
        finally:
            self.is_running = False

    def serve_until_stopped(self) -> None:
        """Serve the log, again after each failure, until it is to stop."""
        pause, longest = TRY_AGAIN
        while not self.stopping.asked:
            began = time.monotonic()
            try:
                self.serve_once()
            except Exception as error:
                self.stderr.say(f"{self.log.name}: {error}; the log is not served, trying again")
                self.is_answered.set()
                if time.monotonic() - began > longest:
                    pause, _ = TRY_AGAIN
                self._pause(pause)
                pause = min(2 * pause, longest)
        self.is_over.set()

    def _pause(self, seconds: float) -> None:
        asked = threading.Event()
        self.stopping.ring_bell = asked.set
        if not self.stopping.asked:
            asked.wait(seconds)


def serve_all(
    logs: Iterable[ToServe | Mapping[str, Any]], *, started: Callable[[Writer], object] | None = None
) -> bool:
    """Run the writers of several logs in this process, a thread each, until SIGTERM or SIGINT.

    Each log is a mapping with `name`, `path`, and what else serve() takes.  Tells systemd when all are ready,
    or 10 seconds have passed; `started` is called for each log in its thread.  A log that cannot be served is
    named on stderr and tried again.  Returns True if every log was being served when the end came.

    Raises ValueError and TypeError for options that are wrong, before any log is served.
    """
    served = [Served(_checked(log), started) for log in logs]
    _check_places(served)
    raise_descriptor_limit()
    notifier = _systemd.Notifier()
    with stop_on_signals() as stopping:
        ended = threading.Event()
        stopping.ring_bell = ended.set
        for each in served:
            each.start()
        deadline = time.monotonic() + START_PATIENCE
        for each in served:
            while not (stopping.asked or each.is_answered.wait(0.05) or time.monotonic() > deadline):
                pass
        running = sum(each.is_running for each in served)
        notifier.notify(f"READY=1\nSTATUS=writing {running} of {len(served)} logs")
        while not ended.wait(min(TICK, notifier.period)):
            notifier.alive()
        notifier.notify("STOPPING=1")
        well = all(each.is_running for each in served)
        _stop(served)
    return well


def _checked(log: ToServe | Mapping[str, Any]) -> ToServe:
    if isinstance(log, ToServe):
        log = {**log.options, "name": log.name, "path": log.path, "ring_dir": log.ring_dir}
    told = dict(log)
    try:
        name, path, ring_dir = told.pop("name"), told.pop("path"), told.pop("ring_dir", None)
    except KeyError as missing:
        raise ValueError(f"a log to serve needs {missing.args[0]!r}: {log!r}") from None
    if not isinstance(path, str) or not (ring_dir is None or isinstance(ring_dir, str)):
        raise TypeError(f"path and ring_dir of log {name!r} are texts")
    options = _options.check(told)
    _options.group_id(options.get("group"))
    return ToServe(check_name(name), path, ring_dir, options)


def _check_places(served: list[Served]) -> None:
    paths = [each.log.path for each in served]
    twice = {path for path in paths if paths.count(path) > 1}
    if twice:
        raise ValueError(f"one directory, one log: {', '.join(sorted(twice))} is there twice")
    if not served:
        raise ValueError("there is no log to serve")


def _serve(log: Served) -> None:
    log.serve_until_stopped()


def _stop(served: list[Served]) -> None:
    """Have all logs end in good order, together; wait for each."""
    for each in served:
        each.stopping.ask()
    deadline = time.monotonic() + PARTING
    late = [each for each in served if not each.is_over.wait(max(0.0, deadline - time.monotonic()))]
    for each in late:
        each.stderr.say(f"{each.log.name}: its disk has not answered; waiting for it to end")
    for each in served:
        each.is_over.wait()
        each.stderr.close()
