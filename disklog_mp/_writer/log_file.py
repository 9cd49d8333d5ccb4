"""The log's file in the hands of its writer, which holds the directory's lock: see _pages/identity.py.

A change of the log and the request that asked for it are written in one step: that is what makes a request
be done once or not at all.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from disklog_mp._options import group_id
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.identity import LogIdentity, path_of, read_identity, write_identity


class LogFile:
    """What the file says, and whether it does so on disk."""

    def __init__(self, directory: Directory, found: LogIdentity | None, identity: LogIdentity) -> None:
        """`found`: what the file says; `identity`: what it has to say, with the next write."""
        self._directory = directory
        self.found = found
        self.identity = identity
        self.is_written = found == identity

    @property
    def path(self) -> str:
        """The log's directory."""
        return self._directory.path

    def write(self, identity: LogIdentity) -> None:
        """Have the file say this from now on.  Raises OSError, and then it says what it said."""
        mode, group = identity.options.get("mode", 0o600), identity.options.get("group")
        try:
            write_identity(self._directory, identity, mode, group_id(group))
        except OSError:
            if self._read() != identity:  # it may be in place, though not surely on disk
                raise
        self.identity = identity
        self.is_written = True

    def _read(self) -> LogIdentity | None:
        with contextlib.suppress(OSError):
            return read_identity(self._directory.path)
        return None

    def change(self, identity: LogIdentity) -> None:
        """Have the file say this with the next write."""
        if identity != self.identity:
            self.identity, self.is_written = identity, False

    def is_held(self) -> bool:
        """True if the directory that was locked is where it was."""
        try:
            return self._directory.is_held()
        except OSError:  # there is none
            return False

    def is_in_place(self) -> bool:
        """True if the file says what it has to."""
        return self.is_written and os.path.exists(path_of(self._directory.path))

    def write_if_missing(self) -> None:
        """Write what could not be written yet, or was removed.  Raises OSError."""
        if not self.is_in_place():
            self.write(self.identity)

    def written_at_start(self) -> LogFile:
        """Write it, and return it, before the log's ring is there: sessions find the ring by what it says.

        Raises OSError, unless sessions find the ring all the same: then it is written later.
        """
        try:
            self.write_if_missing()
        except OSError:
            told, found = self.identity, self.found
            if found is None or (found.log_id, found.ring_dir) != (told.log_id, told.ring_dir):
                raise
        return self

    def let_go(self) -> None:
        """Have the file say that the log is no longer served: its sessions may start its next writer."""
        with contextlib.suppress(OSError):  # then it counts as served: a supervisor may come back
            self.write(self.identity._replace(served=False))

    def answer_to(self, request: str) -> dict[str, Any] | None:
        """Return the answer to a request that was done, None if it was not."""
        return self.identity.answer_to(request)
