"""Giving all that belongs to a log the mode and group that it has now."""

from __future__ import annotations

from disklog_mp._options import group_id
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.writer import PageWriter
from disklog_mp._writer.event_book import EventBook
from disklog_mp._writer.live_ring import LiveRing
from disklog_mp._writer.requests import Requests
from disklog_mp._writer.ring_maker import RingMaker
from disklog_mp._writer.troubles import Troubles


class Access:
    """Changes files that are there; new ones are made right by those that make them."""

    def __init__(
        self,
        directory: Directory,
        live: LiveRing,
        pages: PageWriter,
        maker: RingMaker,
        *,
        requests: Requests,
        events: EventBook,
        troubles: Troubles,
    ) -> None:
        self._directory = directory
        self._live = live
        self._pages = pages
        self._maker = maker
        self._requests = requests
        self._events = events
        self._troubles = troubles

    def finish(self) -> None:
        """Do what a writer that died did not finish, or what was decided while none ran.

        The oldest page is the last to be changed, so it tells.
        """
        first = self._pages.retention.first_page()
        if first and not self._pages.folder.has_access(first):
            self.renew(self._pages.options.mode)

    def renew(self, before: int) -> None:
        """Give ring, directory and pages the mode and group that the options say; `before`: the last mode."""
        mode, gid = self._pages.options.mode, group_id(self._pages.options.group)
        try:
            self._directory.renew_access(before, mode, gid)
            self._maker.renew_access(self._live.file)
            self._requests.renew_access(mode, gid)
            self._events.renew_access()
            self._renew_pages()
        except OSError as error:
            said = f"cannot give all files of the log mode={mode:#o} and its group: {error}"
            self._troubles.meet("access", error, said)
        else:
            self._troubles.over("access", "all files of the log have its mode and group")

    def _renew_pages(self) -> None:
        """The oldest last: see finish()."""
        pages = self._pages
        if pages.page is not None:
            pages.folder.renew_access(pages.page.file)
        for kept in reversed(pages.retention.pages):
            pages.folder.renew_access_of(kept.number)
