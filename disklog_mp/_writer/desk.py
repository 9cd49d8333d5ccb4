"""Where requests arrive, with all that they can change."""

from __future__ import annotations

from collections.abc import Callable

from disklog_mp._pages.directory import Directory
from disklog_mp._pages.writer import PageWriter
from disklog_mp._ring.death_watch import DeathWatch
from disklog_mp._writer.access import Access
from disklog_mp._writer.attendance import Attendance
from disklog_mp._writer.configuration import Configuration
from disklog_mp._writer.event_book import EventBook
from disklog_mp._writer.exporter import Exporter
from disklog_mp._writer.leaving import Leaving
from disklog_mp._writer.live_ring import LiveRing
from disklog_mp._writer.log_file import LogFile
from disklog_mp._writer.page_keeper import PageKeeper
from disklog_mp._writer.pausing import Pausing
from disklog_mp._writer.post import Post
from disklog_mp._writer.requests import Requests
from disklog_mp._writer.ring_maker import RingMaker
from disklog_mp._writer.steering import Steering
from disklog_mp._writer.succession import Succession
from disklog_mp._writer.syncer import Syncer
from disklog_mp._writer.timings import Timings
from disklog_mp._writer.troubles import BackOff, Troubles


class Desk:
    """Composes the parts, and begins to answer."""

    def __init__(
        self,
        live: LiveRing,
        pages: PageWriter,
        maker: RingMaker,
        log_file: LogFile,
        *,
        directory: Directory,
        deaths: DeathWatch,
        attendance: Attendance,
        succession: Succession,
        syncer: Syncer,
        keeper: PageKeeper,
        back_off: BackOff,
        events: EventBook,
        troubles: Troubles,
        abandon_if_dead: Callable[[int], bool],
        drain: Callable[[], bool],
    ) -> None:
        self.requests = Requests(lambda: directory.path, maker.ring_path, deaths, log_file)
        self.access = Access(
            directory, live, pages, maker, requests=self.requests, events=events, troubles=troubles
        )
        self.configuration = Configuration(
            live,
            pages,
            maker,
            log_file,
            attendance=attendance,
            succession=succession,
            syncer=syncer,
            keeper=keeper,
            access=self.access,
            troubles=troubles,
        )
        self.leaving = Leaving(
            live,
            pages,
            maker,
            log_file,
            attendance=attendance,
            succession=succession,
            syncer=syncer,
            back_off=back_off,
            events=events,
            troubles=troubles,
            abandon_if_dead=abandon_if_dead,
        )
        self.post = Post(self.requests, log_file, pages, troubles, is_wanted=attendance.is_wanted)
        self.steering = Steering(
            live,
            pages,
            log_file,
            keeper,
            attendance=attendance,
            events=events,
            troubles=troubles,
            drain=drain,
        )
        self.pausing = Pausing(
            live,
            log_file,
            self.requests,
            leaving=self.leaving,
            syncer=syncer,
            events=events,
            troubles=troubles,
        )
        self.exporter = Exporter(pages, maker, Timings(syncer), troubles)
        for part in (self.configuration, self.leaving, self.steering, self.pausing, self.exporter.timings):
            self.requests.add(part.kinds())
        events.may_make = self.post.may_make_files
        self.steering.resume()
        self.post.open()
        self.access.finish()

    def begin(self, stopping: Callable[[], bool], alive: Callable[[], None]) -> None:
        """Keep the pauses of an earlier writer; `stopping` and `alive` are those of Writer.run()."""
        self.pausing.stopping, self.pausing.alive = stopping, alive
        self.pausing.hold()

    def answer(self, now: float = 0.0) -> None:
        """Answer requests; return when the log is not paused."""
        self.requests.answer(now)
        self.pausing.hold()

    def is_missing(self) -> bool:
        """True if something is to come that rings no bell: a file that is missing, pages that are moved."""
        return self.post.is_missed or self.steering.archiving.is_busy()

    def close(self) -> None:
        """Serve no metrics, move no pages, take no requests."""
        self.exporter.close()
        self.steering.archiving.close()
        self.requests.close()
