"""Making way for another writer, where this one may not have files as long as the log needs (RLIMIT_FSIZE).

A writer has the hard limit of the process that started it.  Pages end at that limit, so most logs can live
with it.  A record that is longer than such a page cannot be written.  If a process is attached that has a
higher limit, and may start a writer, this one ends and leaves the rest to that process.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

from disklog_mp._core import Slot
from disklog_mp._os.limits import longest_file_of
from disklog_mp._writer.log_file import LogFile
from disklog_mp._writer.producers import Producers
from disklog_mp._writer.troubles import Troubles


class MakingWay:
    """Decides whether another process can do better."""

    def __init__(
        self, producers: Producers, log_file: LogFile, troubles: Troubles, make_way: Callable[[], None]
    ) -> None:
        self._producers = producers
        self._log_file = log_file
        self._troubles = troubles
        self._make_way = make_way

    def met(self, error: OSError) -> None:
        """A write failed: make way if that is for the limit, and an attached process has a higher one.

        The log's file says so first: a process with this limit starts no writer then.
        """
        identity, limit = self._log_file.identity, longest_file_of()
        if error.errno != errno.EFBIG or limit == sys.maxsize or identity.served:
            return
        if not any(self._can_do_better(slot, limit) for slot in self._producers.living()):
            return
        try:
            self._log_file.write(identity._replace(longest_file=limit))
        except OSError:  # with the next attempt to write, then
            return
        self._troubles.say(
            f"no file may be longer than {limit} bytes here (ulimit -f): leaving to a new writer"
        )
        self._make_way()

    def _can_do_better(self, slot: Slot, limit: int) -> bool:
        """True if the process may start a writer, with a higher limit."""
        if slot.namespace != self._producers.namespace:
            return False  # its pid is another process's here
        try:
            is_allowed = os.stat(f"/proc/{slot.pid}").st_uid in (0, os.geteuid())
            return is_allowed and longest_file_of(slot.pid) > limit
        except OSError:  # it has ended, or other rights
            return False
