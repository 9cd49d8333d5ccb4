"""Rolling, retiring and following the directory, and what the ring shows of the pages."""

from __future__ import annotations

from disklog_mp._pages.retention import KeptPage
from disklog_mp._pages.trial import covers_log, is_cut_off
from disklog_mp._pages.writer import PageWriter
from disklog_mp._writer.attendance import Attendance
from disklog_mp._writer.live_ring import LiveRing
from disklog_mp._writer.syncer import Syncer
from disklog_mp._writer.troubles import Troubles


class PageKeeper:
    """Does what is due with the pages, beside appending to them."""

    def __init__(
        self,
        live: LiveRing,
        pages: PageWriter,
        troubles: Troubles,
        attendance: Attendance,
        syncer: Syncer,
    ) -> None:
        self._was_full = syncer.events.totals.is_full  # so the events say
        self._live = live
        self._pages = pages
        self._troubles = troubles
        self._attendance = attendance
        self._syncer = syncer
        syncer.rolled = self.rolled
        # Another log stands in the place of this directory; its writer takes the records of the ring.
        self.gives_way = False
        pages.retention.on_sealed, pages.retention.on_retired = self._tell_rolled, self._tell_retired
        self._rolls = live.ring.roll_wanted  # requests to roll that were seen

    def served(self) -> None:
        """Another ring is served: show what is in the pages there."""
        self._rolls = 0
        self.publish()

    def publish(self) -> None:
        """Show what is in the pages."""
        self._live.publish(self._pages, is_full=self.is_full())

    def is_full(self) -> bool:
        """True if the pages have taken `max_bytes`."""
        limit = self._pages.options.max_bytes
        is_full = limit is not None and self._pages.retention.total_bytes() >= limit
        if is_full is not self._was_full:
            self._was_full = is_full
            self._troubles.tell("full" if is_full else "room-again", max_bytes=limit)
        return is_full

    def roll(self, why: str) -> None:
        """Seal the page being written.  Raises OSError."""
        if self._pages.seal(why):
            self.rolled()

    def _tell_rolled(self, page: KeptPage, why: str) -> None:
        number, size, _, records = page
        self._troubles.tell("rolled", page=number, reason=why, records=records, bytes=size)

    def _tell_retired(self, page: KeptPage, why: str) -> None:
        number, size, _, records = page
        self._troubles.tell("retired", page=number, why=why, records=records, bytes=size)

    def rolled(self) -> None:
        """A page was sealed: retire old ones, and sync if that is when to."""
        self._retire()
        self.publish()
        if self._pages.options.sync == "page":
            self._live.ask_for_sync(self._pages.position)  # if one is under way
            self._syncer.start()

    def roll_when_due(self, now: float) -> None:
        """Seal the page being written if that was asked for, or if it is time to.  Raises OSError."""
        wanted, reason = self._live.ring.roll_wanted, self._pages.times.reason(self._pages.page)
        if wanted != self._rolls:
            reason = "asked"
        if reason is not None:
            self.roll(reason)
            self._rolls = wanted

    def retire_when_due(self, now: float) -> None:
        """Remove the pages that are too old; retention may also have made room for producers."""
        if self._pages.options.keep_age is not None:
            self._retire()
        self.publish()

    def remove_up_to(self, number: int, why: str) -> None:
        """Remove the sealed pages up to that number, oldest first.  Raises OSError; then the rest stays."""
        retention = self._pages.retention
        retention.gone_to, retention.gone_why = number, why
        self._retire()
        self.publish()
        if self._pages.retire_error is not None:
            retention.gone_to = 0
            raise self._pages.retire_error

    def _retire(self) -> None:
        """Remove the pages that retention no longer keeps."""
        self._pages.retire()
        error = self._pages.retire_error
        if error is not None:
            self._troubles.meet("retire", error, f"cannot remove old pages: {error}; trying again")
        else:
            self._troubles.over("retire", "removing old pages again")

    def inspect(self, now: float) -> None:
        """Try again to remove what could not be removed; see whether directory and pages are still there."""
        if self._attendance.is_wanted():  # or the processes that had the directory may be removing it now
            self.follow_directory(now)
        self._retire()

    def _is_covered(self) -> bool:
        folder = self._pages.folder
        return covers_log(folder.directory, folder.name)

    def follow_directory(self, now: float) -> None:
        """If another process renamed or removed the directory, or unmounted its file system, and made
        another, go on there.
        """
        try:
            if self._pages.follow_directory():
                self.publish()
        except OSError as error:
            directory = self._pages.folder.directory
            if (isinstance(error, FileExistsError) or is_cut_off(directory)) and self._is_covered():
                # A disk was mounted late, over the directory that stood in for it, or anew after a crash.
                self.gives_way = True
                self._troubles.say(f"{directory.path} has an earlier part of this log now: going on there")
            self._attendance.count(now)
            if not self._attendance.is_wanted():  # the process that removed it had just left
                return
            said = f"the log's directory is not there: {error}"
            self._troubles.meet("directory", error, said)
        else:
            self._troubles.over("directory", "the log's directory is there")
