"""Starting the processes of a crash test, and looking at them: is it ready, is it at work?"""

from __future__ import annotations

import contextlib
import json
import os

from disklog_mp._ring import file as _ring
from disklog_mp._ring import finding as _finding
from disklog_mp._ring import liveness as _liveness
from disklog_mp.cli.crashtest import notes as _notes
from disklog_mp.cli.crashtest import processes as _processes
from disklog_mp.cli.crashtest.children import Child, Executed, Forked
from disklog_mp.cli.crashtest.notes import Notes, Order
from disklog_mp.cli.crashtest.schedule import Fate
from disklog_mp.cli.crashtest.stalls import Watched
from disklog_mp.errors import LogNotFoundError

AIMED_LOOKS = 1000  # checks whether a worker is inside a call: about 0.2 ms in all


class Starter:
    """Starts workers, readers and writers of one log, and knows its ring and their notes."""

    def __init__(self, order: Order, notes: Notes, options: dict[str, object]) -> None:
        self.order = order
        self.notes = notes
        self.file: _ring.RingFile | None = None
        self.watched: dict[int, Watched] = {}  # by pid
        self._options = options

    def start_worker(self, fate: Fate) -> Child:
        """Start a process that logs."""
        order = self._next_order(fate.seed)
        child: Child
        if fate.method == "exec":
            child = Executed(["disklog_mp.cli.crashtest.processes", json.dumps(order)], order)
        else:
            child = Forked(fate.method, _processes.work, order)
        self.watched[child.pid] = Watched(child.pid, order.line)
        return child

    def start_reader(self, fate: Fate) -> Child:
        """Start a process that reads."""
        order = self._next_order(fate.seed)
        child = Forked(fate.method, _processes.read, order)
        self.watched[child.pid] = Watched(child.pid, order.line)
        return child

    def start_writer(self, fate: Fate) -> Child:
        """Start the writer as a supervisor or a shell does: then no session starts another."""
        if fate.method == "serve":
            options = [f"--{name.replace('_', '-')}={value}" for name, value in self._options.items()]
            command = ["disklog_mp", "serve", self.order.name, self.order.log, *options]
            return Executed(command, self.order)
        return Forked("fork", _processes.serve, self.order, self._options)

    def _next_order(self, seed: str) -> Order:
        line = self.notes.get(0, _notes.STARTED) + 1
        self.notes.set(0, _notes.STARTED, line)
        return self.order._replace(line=line, seed=seed)

    def find_ring(self) -> _ring.RingFile | None:
        """Return the log's ring, None as long as no writer has made it."""
        if self.file is None:
            with contextlib.suppress(LogNotFoundError):
                self.file = _finding.find(self.order.name)
        return self.file

    def is_serving(self, child: Child) -> bool:
        """True if that child is the writer of the ring."""
        file = self.find_ring()
        return file is not None and file.ring.writer_pid == child.pid and _liveness.writer_alive(file)

    def is_writing(self, child: Child) -> bool:
        """True if the writer has something to write."""
        file = self.find_ring()
        return file is not None and file.ring.frontier(file.ring.released) != file.ring.released

    def is_logging(self, child: Child) -> bool:
        """True if the worker is inside a call; waits a little for one.  A reader never is."""
        line = self.watched[child.pid].line
        return any(self.notes.get(line, _notes.BEGAN) for _ in range(AIMED_LOOKS))

    def is_ready(self, child: Child) -> bool:
        """True if the process has attached, or follows the log."""
        return self.notes.get(self.watched[child.pid].line, _notes.READY) != 0

    def note_freezing(self, child: Child) -> None:
        """Tell the process that it is about to be stopped, or was continued."""
        line = self.watched[child.pid].line
        self.notes.set(line, _notes.FROZEN, self.notes.get(line, _notes.FROZEN) + 1)

    def forget(self, present: set[int]) -> None:
        """Stop watching the processes that are not among those pids."""
        for pid in set(self.watched) - present:
            self.watched.pop(pid).close()

    def close(self) -> None:
        """Close the ring."""
        if self.file is not None:
            os.close(self.file.fd)
            self.file = None
