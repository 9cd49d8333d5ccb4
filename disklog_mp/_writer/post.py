"""The writer's address: its socket and the log's file, kept in place for as long as it runs.

A log is written where neither can be: on a full disk, on a file system without sockets.  Then no requests
arrive, the trouble shows, and another attempt follows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from disklog_mp._options import group_id
from disklog_mp._pages.writer import PageWriter
from disklog_mp._writer.log_file import LogFile
from disklog_mp._writer.requests import Kind, Request, Requests
from disklog_mp._writer.troubles import Troubles


class Post:
    """Makes socket and file at the start, and again when another process removed them."""

    def __init__(
        self,
        requests: Requests,
        log_file: LogFile,
        pages: PageWriter,
        troubles: Troubles,
        *,
        is_wanted: Callable[[], bool],
    ) -> None:
        """`is_wanted`: whether any process needs this writer."""
        self._is_wanted = is_wanted
        self._requests = requests
        self._log_file = log_file
        self._pages = pages
        self._troubles = troubles
        self.is_missed = False  # socket or file, since the last inspection
        requests.add({"ping": Kind(_ping)})

    def may_make_files(self) -> bool:
        """False if other processes may be removing the directory just now."""
        return self._is_wanted() and self._log_file.is_held()

    def open(self) -> None:
        """Listen, and have the log's file say what it has to."""
        try:
            self._listen()
            self._log_file.write_if_missing()
        except OSError as error:
            self._troubles.meet("requests", error, f"cannot take requests: {error}; trying again")
        else:
            self.is_missed = False
            self._troubles.over("requests", "taking requests again")

    def inspect(self, now: float) -> None:
        """Make what is missing, also at the inspection before.

        A file that appears in a directory while another process removes the directory makes that fail.  The
        lock file goes, too, before the next inspection; without it nothing is made.
        """
        was_missed, self.is_missed = self.is_missed, True
        if self._requests.is_listening() and self._log_file.is_in_place():
            self.is_missed = False
            self._troubles.over("requests", "taking requests again")
        elif was_missed and self.may_make_files():
            self.open()

    def _listen(self) -> None:
        if self._requests.is_listening():
            return
        options, identity = self._pages.options, self._log_file.identity
        address = self._requests.listen(self._pages.log_id, options.mode, group_id(options.group))
        self._log_file.change(identity._replace(socket=address))


def _ping(request: Request) -> dict[str, Any]:
    return {"pid": os.getpid()}
