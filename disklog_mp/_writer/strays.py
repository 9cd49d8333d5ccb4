"""Rings of this log that stand under another name: what is in them is logged again, in the live ring.

A ring becomes a stray when the log gets another id (its directory was made anew, or its file was lost), or
when its ring is to be in another directory.
"""

from __future__ import annotations

import os

from disklog_mp._os import processes as _processes
from disklog_mp._ring import file as _ring
from disklog_mp._ring.file import RingFile
from disklog_mp._writer import live_ring as _live
from disklog_mp._writer.live_ring import LiveRing
from disklog_mp._writer.troubles import Troubles
from disklog_mp.errors import TooManyProducersError


class Strays:
    """Such rings, until they are empty."""

    def __init__(self, this_process: _processes.Identity, troubles: Troubles) -> None:
        self._files: list[RingFile] = []
        self._this_process = this_process
        self.troubles = troubles

    def add(self, files: list[RingFile]) -> None:
        """Note rings, with their descriptors, which are closed when nothing is left in the rings."""
        self._files += files

    def log_again(self, live: LiveRing) -> None:
        """Log again what there is room for; a ring that is empty loses its name.  Raises OSError."""
        for file in list(self._files):
            try:
                if not _live.log_stray_again(live, file, self._this_process):
                    return
            except TooManyProducersError:
                return
            _live.clear_error(file.ring)  # the error was of the place that it had
            _live.send_over(file.ring)
            if _ring.is_current(file):
                _ring.unlink(file.path)
            self.troubles.say(f"the records of {file.path} are logged again, in this log's ring")
            self._files.remove(file)
            os.close(file.fd)

    def __bool__(self) -> bool:
        return bool(self._files)

    def close(self) -> None:
        """Let go of the rings that are left: the next writer finds them."""
        for file in self._files:
            os.close(file.fd)
        self._files.clear()
