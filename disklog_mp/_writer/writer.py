"""The writer: the one process of a log that drains the ring into page files.

The only place where ring and pages meet.  It holds two kernel locks while it lives, on the directory and on
the ring: another process that finds them free knows that it is dead, and takes over where it stopped.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

from disklog_mp import _core
from disklog_mp._options import Options, group_id
from disklog_mp._os import processes as _processes
from disklog_mp._os.background import Closer
from disklog_mp._os.files import REAL, Files
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.writer import NO_LIMIT, PageWriter
from disklog_mp._ring.death_watch import DeathWatch
from disklog_mp._ring.file import RingFile
from disklog_mp._ring.names import check_name
from disklog_mp._writer import intervals
from disklog_mp._writer.arrivals import Arrivals
from disklog_mp._writer.attendance import Attendance
from disklog_mp._writer.desk import Desk
from disklog_mp._writer.establishing import establish
from disklog_mp._writer.housekeeping import Housekeeping, Task
from disklog_mp._writer.labelling import Labelling
from disklog_mp._writer.live_ring import LiveRing
from disklog_mp._writer.log_file import LogFile
from disklog_mp._writer.making_way import MakingWay
from disklog_mp._writer.pace import Pace
from disklog_mp._writer.page_keeper import PageKeeper
from disklog_mp._writer.producers import Producers
from disklog_mp._writer.repairs import Repairs
from disklog_mp._writer.rest import Rest
from disklog_mp._writer.ring_maker import RingMaker
from disklog_mp._writer.signals import StopSignals
from disklog_mp._writer.starting import ClockWatch, begin_book
from disklog_mp._writer.strays import Strays
from disklog_mp._writer.succession import Succession
from disklog_mp._writer.syncer import Syncer
from disklog_mp._writer.takeover import Context, is_attached_to, take_over
from disklog_mp._writer.terms import Terms, identity_to_write
from disklog_mp._writer.troubles import BackOff, Troubles
from disklog_mp.errors import WriterActiveError

SEGMENT = 4 << 20  # bytes written with one call at the most; untuned: a larger one only delays housekeeping


class Writer:
    """Takes over a log's directory and ring, then drains until it is told to stop.

    Raises WriterActiveError, ConfigMismatchError, OSError; a failed start leaves nothing behind.
    """

    def __init__(
        self,
        name: str,
        path: str | os.PathLike[str],
        options: Options,
        *,
        ring_dir: str | None = None,
        files: Files = REAL,
        terms: Terms | None = None,
    ) -> None:
        """`terms`: what of the options was given, and by which process; None: all of them, by this one."""
        self.name = check_name(name)
        who = _processes.identity()
        terms = terms or Terms(options._asdict(), f"open, process {who.pid}")
        self._deaths = DeathWatch(self.ring_bell)
        self._directory = Directory(path, files)
        _lock(self._directory, self.name, options)
        self.troubles = Troubles(self.name)
        self._closer = Closer()
        self.strays = Strays(who, self.troubles)
        try:
            settled = establish(self._directory, self.name, ring_dir, self.strays)
            chosen = terms.choose(settled.found, is_attended=is_attached_to(settled.ring_path))
            gid = group_id(chosen.options.group)
            self.live = LiveRing(chosen.options.to_json(), who, self._deaths.add)
            self.pages = PageWriter(self._directory, name, chosen.options, gid, self._closer)
            self.pages.log_id = settled.log_id
            told = identity_to_write(settled, terms, chosen, self.pages)
            self.log_file = LogFile(self._directory, settled.found, told).written_at_start()
            self._maker = RingMaker(self.name, settled.ring_path, gid, self._directory.path, self.pages)
            taken = take_over(Context(self._maker, self.pages, self.troubles, who))
            _serve_first(self.live, taken.file, self.pages.position)
        except BaseException:
            for let_go in (self.strays.close, self._directory.unlock, self.troubles.close):
                let_go()
            raise
        self.recovered = taken.recovered
        self.events = begin_book(self._directory, self.pages, self.troubles.notices, taken, self.log_file)
        self._compose()
        self.troubles.show_in(self.live.ring)
        self.keeper.publish()
        self.repairs = Repairs(*taken[1:3], self.pages.position, self.live, self.troubles)

    def _compose(self) -> None:
        live, pages, troubles = self.live, self.pages, self.troubles
        self.producers = Producers(live, pages, troubles, Arrivals(live, self.events))
        self.labelling = Labelling(live, pages, troubles)
        self.succession = Succession(live, pages, self._maker, troubles, self._served)
        self.attendance = Attendance(live, pages, self.producers, self.succession)
        self.syncer = Syncer(live, pages, troubles, self.events, self.ring_bell)
        self.keeper = PageKeeper(live, pages, troubles, self.attendance, self.syncer)
        self.back_off, self.pace = BackOff(troubles), Pace()
        self.rest = Rest(
            live,
            pages,
            self._maker,
            self.attendance,
            syncer=self.syncer,
            troubles=troubles,
            back_off=self.back_off,
            pace=self.pace,
        )
        self.desk = Desk(
            live,
            pages,
            self._maker,
            self.log_file,
            directory=self._directory,
            deaths=self._deaths,
            attendance=self.attendance,
            succession=self.succession,
            syncer=self.syncer,
            keeper=self.keeper,
            back_off=self.back_off,
            events=self.events,
            troubles=troubles,
            abandon_if_dead=self._abandon_if_dead,
            drain=self.drain,
        )
        self.leaving, self.timings = self.desk.leaving, self.desk.exporter.timings
        self.making_way = MakingWay(self.producers, self.log_file, troubles, self.leaving.make_way)
        self.rest.is_stopping = self.leaving.is_stopping
        self.rest.is_missing = lambda: self.desk.is_missing() or self.labelling.is_missed
        self.reread: Callable[[], dict[str, Any]] = dict  # for SIGHUP: the options as they are given now
        self.housekeeping = _housekeeping_of(self)

    @property
    def options(self) -> Options:
        """The options in force."""
        return self.pages.options

    @property
    def path(self) -> str:
        """The directory, absolute."""
        return self._directory.path

    @property
    def ring(self) -> _core.Ring:
        """The ring that is served now."""
        return self.live.ring

    def ring_bell(self) -> None:
        """Wake the main thread; any thread, and a signal handler, may do that."""
        self.live.ring.wake()

    def _served(self) -> None:
        """Another ring is served."""
        self.troubles.show_in(self.live.ring)
        self.producers.forget()
        self.keeper.served()

    def run(
        self,
        stopping: Callable[[], bool] = lambda: False,
        alive: Callable[[], None] = lambda: None,
        every: float = math.inf,
    ) -> None:
        """Drain until `stopping()` is true and all that is committed is written, or no process needs us.

        `alive()` is called now and then while all is well, at least every `every` seconds.
        """
        self.rest.sign_of_life = every
        self.desk.begin(stopping, alive)
        signals = stopping if isinstance(stopping, StopSignals) else StopSignals()
        signals.ring_bell = self.ring_bell
        while True:
            bell = self.live.ring.bell  # before any look at what there is to do
            try:
                if not self.syncer.results.empty():
                    self.syncer.harvest()
                moved = self.drain()
            except OSError as error:
                self.back_off.failed(error)
                self.making_way.met(error)
                moved = False
            else:
                if self.back_off.seconds:
                    self._ease()
            if self.live.ring.labels_wanted:
                self.labelling.answer()
            now = time.monotonic()
            if now >= self.housekeeping.next_round:
                _keep_house(self, now)
                alive()
                if self.keeper.gives_way:  # the ring's records are logged again there
                    return self.close()
            if moved:
                continue
            if self._deaths.has_news:
                self.desk.answer()
            if signals.hung_up and signals.is_reload_asked():
                self.desk.configuration.reload(self.reread)
            is_gathering = self.syncer.start_if_wanted(self.attendance.attached)
            if (asked := stopping() or self.leaving.is_due(now)) or self.attendance.is_over(now):
                if self.leaving.leave(now, asked, lets_go=signals.lets_go):
                    return self.close()
            elif not is_gathering:
                self.rest.sleep(bell)

    def drain(self) -> bool:
        """Write one segment; False if there is nothing to do at once.  Raises OSError, and then the same can
        be tried again.
        """
        live, pages = self.live, self.pages
        ring, position = live.ring, pages.position
        room, records_room = pages.room()
        if records_room <= 0:
            self.keeper.roll(pages.times.reason(pages.page) or "page_records")
            return True
        most, inherited = SEGMENT, self.repairs.inherited_until - position
        if 0 < inherited < most:
            most = inherited
        end, length, records, last_time, stop, following = ring.drain(position, min(room, most), records_room)
        if end == position:
            if stop != _core.STOP_LIMIT:
                return self._stopped(stop, following)
            # A page of its own for what is larger than a page; but no page takes what would pass it.
            alone = pages.is_empty()
            if alone or following <= room:
                most = NO_LIMIT if alone else records_room
                end, length, records, last_time, stop, _ = ring.drain(position, following, most)
            if end == position:
                self.keeper.roll("page_bytes")
                return True
        index = position & live.mask
        begun = time.monotonic()
        pages.append(live.data[index : index + length], end, records, last_time)
        self.timings.write.add(time.monotonic() - begun)
        self.pace.wrote(length, ring.capacity)
        if self.back_off.seconds:
            self._ease()
        if self.repairs.is_going_on:
            self.repairs.drained(records, end)
        if pages.page_number != ring.page or pages.is_empty():
            self.keeper.rolled()
        live.written(end, pages.number)
        if self.options.max_bytes is not None:
            # Before the room in the ring is given back: it is all that may go beyond.
            live.refuse(self.keeper.is_full())
        if self.options.sync == "always":
            self.syncer.run_now()
        live.release(position, end)
        self.attendance.last_used = time.monotonic()
        return stop not in (_core.STOP_EMPTY, _core.STOP_CLAIMED)

    def _stopped(self, stop: int, owner: int) -> bool:
        """There is no complete frame at the position; True if there may be one now."""
        if stop == _core.STOP_CLAIMED:
            return self._abandon_if_dead(owner)
        self.pace.empty()
        if stop in (_core.STOP_DAMAGED, _core.STOP_CLOSED):
            self.succession.go_on(stop)
        return False

    def _abandon_if_dead(self, owner: int) -> bool:
        """The claim at the position is its owner's for as long as that lives, and padding when it is dead."""
        if not self.producers.is_dead(owner):
            self.pace.held()
            return False
        if self.live.abandon(self.pages.position):
            self.repairs.abandoned()
            self.producers.arrivals.abandoned(owner)
        return True

    def _ease(self) -> None:
        """Writing works again: it may have been the directory that was missing."""
        self.back_off.over()
        self.keeper.follow_directory(time.monotonic())

    def close(self) -> None:
        """Let go of ring, pages and locks as they are."""
        self.syncer.close()
        self.desk.close()
        self.live.leave()
        self.events.close()
        self.pages.close()
        self._closer.close()
        self._deaths.close()
        self.succession.close()
        self.strays.close()
        self.live.data.release()
        self._directory.unlock()
        self.desk.requests.let_go()
        self.troubles.close()


def _lock(directory: Directory, name: str, options: Options) -> None:
    """Make the directory if there is none, and take its lock."""
    gid = group_id(options.group)
    directory.create(options.mode, gid)
    if not directory.lock(options.mode, gid):
        pid, other = directory.read_note()
        raise WriterActiveError(other or name, directory.path, pid)


def _serve_first(live: LiveRing, file: RingFile, position: int) -> None:
    try:
        live.serve(file, position)
    except BaseException:
        os.close(file.fd)
        raise


def _keep_house(writer: Writer, now: float) -> None:
    try:
        writer.housekeeping.run(now)
    except OSError as error:
        writer.troubles.meet("chores", error, f"cannot do all of its work: {error}; trying again")
    else:
        writer.troubles.over("chores", "doing all of its work again")


def _housekeeping_of(writer: Writer) -> Housekeeping:
    """What a writer does now and then; the order matters only where a comment says so."""
    attendance, keeper, succession = writer.attendance, writer.keeper, writer.succession

    def each_round() -> float:
        return intervals.HOUSEKEEPING

    return Housekeeping(
        Task(each_round, writer.live.show_sign_of_life),
        Task(each_round, writer.syncer.start_what_is_due),
        Task(each_round, writer.desk.steering.go_on),
        Task(each_round, writer.desk.answer),
        Task(attendance.inspection_interval, writer.desk.post.inspect),
        Task(each_round, keeper.retire_when_due),
        Task(lambda: intervals.PRODUCERS_CHECK, writer.producers.free_left),
        Task(attendance.check_interval, attendance.count),
        Task(lambda: intervals.RETRY, writer.labelling.inspect),
        Task(each_round, succession.check),
        # After the count: without producers the directory may be taken down just now.
        Task(attendance.inspection_interval, keeper.inspect),
        Task(attendance.inspection_interval, succession.inspect),
        Task(each_round, keeper.roll_when_due),
        Task(each_round, writer.live.show_that_it_works),
        Task(each_round, lambda now: writer.strays.log_again(writer.live)),
        Task(attendance.inspection_interval, ClockWatch(writer.troubles.tell).inspect),
        Task(each_round, writer.desk.exporter.inspect),
        Task(each_round, writer.events.write),  # last: what the others noticed
    )
