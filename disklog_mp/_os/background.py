"""Work that nothing waits for: a daemon thread that starts with its first job.

It knows nothing of what the jobs do.
"""

import os
import queue
import select
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from select import PIPE_BUF
from typing import Generic, Protocol, TypeVar

Job = TypeVar("Job")

STDERR_LINES = 100  # lines that wait for a slow reader of stderr; further ones are not printed
STDERR_PARTING = 0.2  # seconds that close() leaves a slow reader of stderr


class Background(Generic[Job]):
    """One daemon thread that performs the jobs it is given, in order.

    A process that never gives it a job never has the thread.
    """

    def __init__(self, name: str, perform: Callable[[Job], None], at_most: int | None = None) -> None:
        """`name` is the thread's; `at_most` limits the jobs that wait.  An error in a job ends the thread."""
        self._name = name
        self._perform = perform
        self._at_most = at_most
        self._jobs: queue.SimpleQueue[tuple[Job] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def give(self, job: Job) -> bool:
        """Have the job performed soon; False if too many wait, or if no thread can be started."""
        if self._at_most is not None and self._jobs.qsize() >= self._at_most:
            return False
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
        self._jobs.put((job,))
        return True

    def _run(self) -> None:
        while (given := self._jobs.get()) is not None:
            self._perform(*given)
            del given  # or its objects would live until the next job comes

    def is_started(self) -> bool:
        """True if there is a thread."""
        return self._thread is not None

    def close(self, timeout: float | None = None) -> None:
        """Wait until all jobs are performed, for at most `timeout` seconds, and end the thread."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(timeout)
            self._thread = None


class Closable(Protocol):
    """A file that can be closed; closing it twice is fine."""

    def close(self) -> None: ...


class Closer:
    """Closes files in a background thread: closing the last handle of an unlinked file frees its blocks,
    which can take as long as writing them.
    """

    def __init__(self) -> None:
        self._background: Background[Closable] = Background("disklog-close", _close)

    def __call__(self, file: Closable) -> None:
        """Close a file soon, or at once if no thread can be started."""
        if not self._background.give(file):
            file.close()

    def close(self) -> None:
        """Wait until all files are closed, and end the thread."""
        self._background.close()


def _close(file: Closable) -> None:
    file.close()


class Stderr:
    """Prints lines on stderr in a background thread.

    stderr may be a full pipe whose reader has stopped, or a terminal on hold: then only that thread waits.
    """

    def __init__(self) -> None:
        self._background: Background[bytes | None] = Background("disklog-stderr", _print, STDERR_LINES)

    def say(self, text: str) -> None:
        """Print a line; not if stderr is closed, or too many lines wait already.

        Where no thread can be started, it is printed now, unless its reader does not take it at once.
        """
        if sys.stderr is None:
            return
        line = f"disklog-mp: {text}\n".encode("utf-8", "backslashreplace")
        if not self._background.give(line) and not self._background.is_started() and _takes_a_line():
            _print(line[:PIPE_BUF])

    def let_go_of_pipe(self) -> None:
        """Turn a stderr that is a pipe or socket into /dev/null when the lines said so far are printed."""
        if not (self._background.is_started() and self._background.give(None)):
            _let_go()

    def close(self) -> None:
        """Leave the lines that still wait a moment to be read."""
        self._background.close(STDERR_PARTING)


def _takes_a_line() -> bool:
    """True if stderr takes a line, of a length that a pipe takes whole, without waiting for its reader."""
    poll = select.poll()
    with suppress(OSError):
        poll.register(2, select.POLLOUT)
        return any(event & select.POLLOUT for _, event in poll.poll(0))
    return False


def _print(line: bytes | None) -> None:
    # Not through sys.stderr: a thread that waits inside it would hold up the interpreter's exit, too.
    with suppress(OSError):
        if line is None:
            _let_go()
        else:
            os.write(2, line)


def _let_go() -> None:
    """See Stderr.let_go_of_pipe(): the reader of a pipe waits for the end of each process that has it."""
    with suppress(OSError):
        mode = os.fstat(2).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            to_nowhere(2)


def to_nowhere(fd: int) -> None:
    """Make a descriptor lead to /dev/null."""
    null = os.open(os.devnull, os.O_WRONLY)
    if null != fd:
        os.dup2(null, fd)
        os.close(null)
