"""serve_all: the writers of several logs in one process, a thread each.

The threads share nothing but the process: each has its own writer, which waits for its own disk, so a log
whose disk hangs delays no other.  A log that cannot be served, or fails, is tried again while the others go
on.  While a disk hangs the kernel does not let go of the process, not even when it is killed: until that disk
answers, the locks of all of its logs are held.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from disklog_mp import _environment, _options
from disklog_mp._os import systemd as _systemd
from disklog_mp._os.background import Background, Stderr
from disklog_mp._ring.names import check_name
from disklog_mp._writer.producers import raise_descriptor_limit
from disklog_mp._writer.signals import Alarm, StopSignals, stop_on_signals
from disklog_mp._writer.terms import SERVED, Terms
from disklog_mp._writer.writer import Writer

START_PATIENCE = 10.0  # seconds for all logs to be served before the supervisor is told that we are ready
TRY_AGAIN = (1.0, 30.0)  # seconds before a log that failed is tried again: at first, and at most
PARTING = 5.0  # seconds after which a log that keeps the process from ending is named
LOOK = 0.05  # seconds between two looks whether all logs were attempted
TICK = 1.0  # seconds between two signs of life for the supervisor


class ToServe(NamedTuple):
    """One log: see serve() for the options."""

    name: str
    path: str  # absolute
    ring_dir: str | None = None
    options: Mapping[str, Any] = MappingProxyType({})  # checked
    sources: Mapping[str, str] = MappingProxyType({})  # of those that are from the environment


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

    def reload(self, log: ToServe) -> None:
        """Serve the log with other options from now on."""
        self.log = log._replace(ring_dir=self.log.ring_dir)
        self.stopping.hang_up()

    def stop(self, *, lets_go: bool = False) -> None:
        """Have the log end in good order; `lets_go`: its sessions may start its next writer."""
        self.stopping.lets_go = lets_go
        self.stopping.ask()

    def serve_once(self) -> None:
        """Take the log over and write it until it is to stop.  Raises what Writer() raises."""
        log = self.log
        given = {"linger": None, **log.options}
        terms = Terms(given, SERVED, log.sources, is_served=True)
        options = _options.Options(**given)
        work = Writer(log.name, log.path, options, ring_dir=log.ring_dir, terms=terms)
        work.reread = lambda: {"linger": None, **self.log.options, "sources": self.log.sources}
        try:
            self.is_running = True
            if self.started is not None:
                self.started(work)
            self.is_answered.set()
            work.run(self.stopping)
        except BaseException:
            self.is_running = False
            work.close()  # its locks are this process's: without this no other writer could take them
            raise
        if work.keeper.gives_way:
            self.is_running = False
            raise OSError("another part of the log stands in the place of its directory")

    def serve_until_stopped(self) -> None:
        """Serve the log, again after each failure, until it is to stop, or was stopped."""
        pause, longest = TRY_AGAIN
        while not self.stopping.asked:
            began = time.monotonic()
            try:
                self.serve_once()
                break
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
    logs: Iterable[ToServe | Mapping[str, Any]],
    *,
    started: Callable[[Writer], object] | None = None,
    reread: Callable[[], Iterable[ToServe | Mapping[str, Any]]] | None = None,
) -> bool:
    """Run the writers of several logs in this process, a thread each, until SIGTERM or SIGINT.

    Each log is a mapping with `name`, `path`, and what else serve() takes; what is left out may stand in the
    environment.  Tells systemd when all are ready, or 10 seconds have passed; `started` is called for each
    log in its thread.  A log that cannot be served is named on stderr and tried again.  Ends, too, when every
    log was stopped.  Returns True if every log was being served, or stopped, when the end came.

    At SIGHUP the logs are those that `reread` returns, or else these again.  Changed options apply to a log
    that is served.  A new log is served.  One that is no longer there is written to its end and let go: then
    processes that use it start its next writer, as without serve().  If anything is wrong with what `reread`
    returns, stderr tells, and all stays as it is.

    Raises ValueError and TypeError for options that are wrong, before any log is served.
    """
    _environment.tell_unknown()
    given = list(logs)
    crew = Crew(_checked_all(given), started)
    raise_descriptor_limit()
    notifier = _systemd.Notifier()
    with stop_on_signals(reload=True) as stopping:
        alarm = Alarm()
        stopping.ring_bell = alarm.ring
        crew.start()
        deadline = time.monotonic() + START_PATIENCE
        while not (stopping.asked or crew.is_answered() or time.monotonic() > deadline):
            time.sleep(LOOK)
        notifier.notify(f"READY=1\nSTATUS={crew.status()}")
        while not (stopping.asked or crew.is_over()):
            alarm.wait(min(TICK, notifier.period))
            notifier.alive()
            if stopping.hung_up and stopping.is_reload_asked():
                crew.reload(reread or (lambda: given))
                notifier.notify(f"STATUS={crew.status()}")
        notifier.notify("STOPPING=1")
        crew.stop()
        well = crew.is_well()  # not before: a log may just have been taken over
        stopping.ring_bell = lambda: None
        alarm.close()
    return well


class Crew:
    """All logs that this process serves."""

    def __init__(self, logs: list[ToServe], started: Callable[[Writer], object] | None) -> None:
        self._started = started
        self._served = [Served(log, started) for log in logs]
        self._let_go: list[Served] = []
        self._stderr = Stderr()

    def start(self) -> None:
        """Serve all of them."""
        for each in self._served:
            each.start()

    def is_answered(self) -> bool:
        """True if each was attempted once."""
        return all(each.is_answered.is_set() for each in self._served)

    def is_over(self) -> bool:
        """True if each was stopped."""
        return all(each.is_over.is_set() for each in self._served)

    def is_well(self) -> bool:
        """True if each is being served, or was stopped."""
        return all(each.is_running for each in self._served)

    def status(self) -> str:
        """Return what a supervisor shows."""
        running = sum(each.is_running and not each.is_over.is_set() for each in self._served)
        return f"writing {running} of {len(self._served)} logs"

    def reload(self, reread: Callable[[], Iterable[ToServe | Mapping[str, Any]]]) -> None:
        """Serve the logs that there are now; if anything is wrong with them, tell, and change nothing."""
        before = {each.log.path: each for each in self._served}
        try:
            logs = {log.path: log for log in _checked_all(reread())}
            for path, each in before.items():
                _refuse_change(each.log, logs.get(path))
        except (OSError, TypeError, ValueError) as error:
            self._stderr.say(f"SIGHUP: all logs stay as they are: {error}")
            return
        gone = [each for path, each in before.items() if path not in logs]
        kept = [each for each in self._served if each not in gone]
        for each in gone:
            each.stderr.say(f"{each.log.name}: no longer to be served")
            each.stop(lets_go=True)
        for each in kept:
            each.reload(logs[each.log.path])
        self._let_go = [each for each in (*self._let_go, *gone) if not each.is_over.is_set()]
        self._served = kept
        for log in (log for path, log in logs.items() if path not in before):
            new = Served(log, self._started)
            try:
                new.start()
            except OSError as error:
                self._stderr.say(f"SIGHUP: {error}")
            else:
                self._served.append(new)

    def stop(self) -> None:
        """Have all logs end in good order, together; wait for each."""
        served = [*self._let_go, *self._served]
        for each in self._served:
            each.stop()
        deadline = time.monotonic() + PARTING
        late = [each for each in served if not each.is_over.wait(max(0.0, deadline - time.monotonic()))]
        for each in late:
            each.stderr.say(f"{each.log.name}: its disk has not answered; waiting for it to end")
        for each in served:
            each.is_over.wait()
            each.stderr.close()
        self._stderr.close()


def _checked_all(logs: Iterable[ToServe | Mapping[str, Any]]) -> list[ToServe]:
    """Return the logs, checked.  Raises ValueError, TypeError."""
    checked = [_checked(log) for log in logs]
    paths = [log.path for log in checked]
    twice = {path for path in paths if paths.count(path) > 1}
    if twice:
        raise ValueError(f"one directory, one log: {', '.join(sorted(twice))} is there twice")
    if not checked:
        raise ValueError("there is no log to serve")
    return checked


def _checked(log: ToServe | Mapping[str, Any]) -> ToServe:
    if isinstance(log, ToServe):
        return log
    told = dict(log)
    name, path = told.pop("name", None), told.pop("path", None)
    if name is None:
        raise ValueError(f"a log to serve needs a name: {log!r}")
    path = _environment.directory(check_name(name), path) if isinstance(path, str | None) else path
    if path is None:
        raise ValueError(f"log {name!r} is to be served without path")
    usual = {option: None for option in (*_options.CHECKS, "ring_dir") if option != "linger"}
    told = _environment.options(name, told, usual)
    ring_dir, sources = told.pop("ring_dir", None), told.pop("sources", {})
    if not isinstance(path, str) or not (ring_dir is None or isinstance(ring_dir, str)):
        raise TypeError(f"path and ring_dir of log {name!r} are texts")
    options = _options.check(told)
    _options.group_id(options.get("group"))
    return ToServe(name, os.path.abspath(path), ring_dir, options, sources)


def _refuse_change(now: ToServe, log: ToServe | None) -> None:
    """Raise ValueError for what a log that is served cannot change."""
    if log is not None and log.name != now.name:
        raise ValueError(f"{log.path} has the log {now.name!r}, not {log.name!r}")
    if log is not None and log.ring_dir != now.ring_dir:
        raise ValueError(f"the ring of log {log.name!r} cannot move to {log.ring_dir} while it is served")


def _serve(log: Served) -> None:
    log.serve_until_stopped()
