"""Closes files where nobody waits: of one that has no name any more the kernel gives back all it kept, which
takes it as long as writing it took.
"""

import queue
import threading
from typing import Protocol


class Closable(Protocol):
    """What is closed: it has to know by itself that twice is fine."""

    def close(self) -> None: ...


class Closer:
    """A thread that closes what it is given, begun with the first of it."""

    def __init__(self) -> None:
        self._files: queue.SimpleQueue[Closable | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def __call__(self, file: Closable) -> None:
        """Close a file soon; at once where there is no room for a thread."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="disklog-close", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                file.close()
                return
            self._thread = thread
        self._files.put(file)

    def _run(self) -> None:
        while (file := self._files.get()) is not None:
            file.close()
            del file

    def close(self) -> None:
        """Wait until all is closed, end the thread."""
        if self._thread is not None:
            self._files.put(None)
            self._thread.join()
            self._thread = None
