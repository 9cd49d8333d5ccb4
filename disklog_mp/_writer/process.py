"""The writer as a process of its own: the child's half; the parent's is the session's.

Command line: a program that imports this module and calls main(ORDER), where ORDER is a JSON object:

    name      the log's name
    path      its directory, absolute
    given     the options that were given, checked
    source    where they come from, as the log's file has it: "open, process 4711"
    goes_on   true if it takes the place of a writer that died: the log's options stay
    ring_dir  directory of the ring, or null: /dev/shm
    waiting   true if the parent waits for the answer
    sys_path  where the application looks for modules: see begin.py

Answer: one line on stdout, a JSON object, after which stdout is /dev/null:

    {"kind": "ready"}                          the writer has taken over the log
    {"kind": CLASS, "values": [...]}           an error of disklog_mp.errors and its fields
    {"kind": "OSError", "values": [errno, text, path]}
    {"kind": "ValueError" or "TypeError", "values": [text]}

A parent that reads no answer was told by a process that died: WriterDiedError.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from disklog_mp import errors
from disklog_mp._options import Options
from disklog_mp._os.background import Stderr, to_nowhere

if TYPE_CHECKING:
    from disklog_mp._writer.writer import Writer

LONGEST_STDERR = 1.0  # seconds that a stderr which is a pipe is kept after the writer is ready


def main(order: str) -> None:
    """Be the writer: answer on stdout, drain until the end."""
    if sys.stderr is None:  # or a page file would get its number, and the lines that libraries print
        to_nowhere(2)
    from disklog_mp._writer.producers import raise_descriptor_limit
    from disklog_mp._writer.requests import describe
    from disklog_mp._writer.signals import stop_on_signals
    from disklog_mp._writer.terms import Terms
    from disklog_mp._writer.writer import Writer

    stderr = Stderr()
    told = json.loads(order)
    ready = False
    try:
        raise_descriptor_limit()
        with stop_on_signals() as stopping:
            terms = Terms(told["given"], told["source"], told["sources"], goes_on=told["goes_on"])
            options = Options(**told["given"])
            goes_on = True
            while goes_on:
                work = Writer(told["name"], told["path"], options, ring_dir=told["ring_dir"], terms=terms)
                if not ready:
                    _answer({"kind": "ready"})
                ready = True
                work.run(stopping, _Parting(work))
                goes_on = work.keeper.gives_way
    except errors.WriterActiveError as error:  # another process was faster: no news
        _answer({"kind": type(error).__name__, "values": error.args})
    except (errors.DiskLogError, OSError, TypeError, ValueError) as error:
        heard = _answer(describe(error))
        if ready or not told["waiting"] or not heard:
            stderr.say(f"{told['name']}: the writer cannot go on: {error}")
        stderr.close()


def _answer(told: dict[str, Any]) -> bool:
    """Answer the parent, once, and let go of the pipe; False if the parent waits no more."""
    heard = True
    try:
        os.write(1, json.dumps(told, default=str).encode() + b"\n")
    except OSError:
        heard = False
    to_nowhere(1)
    return heard


class _Parting:
    """Lets go of a stderr that is a pipe, once: its reader would wait for the end of the log.

    Not before what the writer inherited is in pages: what it says until then is for those that started it.
    """

    def __init__(self, work: Writer) -> None:
        self._work = work
        self._latest = time.monotonic() + LONGEST_STDERR
        self._is_over = False
        self()

    def __call__(self) -> None:
        """Look whether it is time; called with each round of housekeeping."""
        if self._is_over or (self._work.repairs.is_going_on and time.monotonic() < self._latest):
            return
        self._is_over = True
        self._work.troubles.let_go_of_pipe()
