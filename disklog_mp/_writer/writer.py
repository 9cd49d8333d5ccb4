"""The writer: the one process of a log that drains the ring into page files.

The only place where ring and pages meet.  It holds two kernel locks while it lives, on the directory and on
the ring: another process that finds them free knows that it is dead, and takes over where it stopped.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

from disklog_mp import _core
from disklog_mp._options import Options, group_id
from disklog_mp._os import processes as _processes
from disklog_mp._os.background import Closer
from disklog_mp._os.files import REAL, Files
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.writer import NO_LIMIT, PageWriter
from disklog_mp._ring.death_watch import DeathWatch
from disklog_mp._ring.file import RingFile
from disklog_mp._ring.names import SHM, check_name
from disklog_mp._writer import intervals
from disklog_mp._writer.attendance import Attendance
from disklog_mp._writer.housekeeping import Housekeeping, Task
from disklog_mp._writer.live_ring import LiveRing, close_at
from disklog_mp._writer.pace import Pace
from disklog_mp._writer.page_keeper import PageKeeper
from disklog_mp._writer.producers import Producers
from disklog_mp._writer.repairs import Repairs
from disklog_mp._writer.rest import Rest
from disklog_mp._writer.ring_maker import RingMaker
from disklog_mp._writer.signals import StopSignals
from disklog_mp._writer.succession import Succession
from disklog_mp._writer.syncer import Syncer
from disklog_mp._writer.takeover import Context, take_over
from disklog_mp._writer.troubles import BackOff, Troubles
from disklog_mp.errors import WriterActiveError

SEGMENT = 4 << 20  # bytes written with one call at the most


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
    ) -> None:
        self.name = check_name(name)
        self.options = options
        gid = group_id(options.group)
        who = _processes.identity()
        self._deaths = DeathWatch(self.ring_bell)
        self.live = LiveRing(options.to_json(), who, self._deaths.add)
        self._directory = Directory(path, files)
        self._directory.create(options.mode, gid)
        if not self._directory.lock(options.mode, gid):
            pid, other = self._directory.read_note()
            raise WriterActiveError(other or self.name, self._directory.path, pid)
        self.troubles = Troubles(self.name)
        self._closer = Closer()
        try:
            self.pages = PageWriter(self._directory, name, options, gid, self._closer)
            self._directory.note(f"{who.pid} {name}", ring_dir or SHM)
            self._maker = RingMaker(self.name, ring_dir, gid, self._directory.path, self.pages)
            taken = take_over(Context(self._maker, self.pages, self.troubles, who))
            _serve_first(self.live, taken.file, self.pages.position)
        except BaseException:
            self._directory.unlock()
            self.troubles.close()
            raise
        self.recovered = taken.recovered
        self._compose()
        self.troubles.show_in(self.live.ring)
        self.keeper.publish()
        self.repairs = Repairs(
            taken.recovered, taken.inherited_until, self.pages.position, self.live, self.troubles
        )

    def _compose(self) -> None:
        live, pages, troubles = self.live, self.pages, self.troubles
        self.producers = Producers(live, pages, troubles)
        self.succession = Succession(live, pages, self._maker, troubles, self._served)
        self.attendance = Attendance(live, pages, self.producers, self.succession)
        self.syncer = Syncer(live, pages, troubles, self.ring_bell)
        self.keeper = PageKeeper(live, pages, troubles, self.attendance, self.syncer)
        self.back_off = BackOff(troubles)
        self.pace = Pace()
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
        self.housekeeping = _housekeeping_of(self)

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

    # -- the loop ----------------------------------------------------------------------------------------

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
        if isinstance(stopping, StopSignals):
            stopping.ring_bell = self.ring_bell
        results = self.syncer.results
        while True:
            bell = self.live.ring.bell  # before any look at what there is to do
            try:
                if not results.empty():
                    self.syncer.harvest()
                moved = self.drain()
            except OSError as error:
                self.back_off.failed(error)
                moved = False
            else:
                if self.back_off.seconds:
                    self._ease()
            now = time.monotonic()
            if now >= self.housekeeping.next_round:
                self._keep_house(now)
                alive()
            if moved:
                continue
            is_gathering = self.syncer.start_if_wanted(self.attendance.attached)
            asked = stopping()
            if asked or self.attendance.is_over(now):
                if self._leave(now, asked):
                    return
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
            self.keeper.roll()
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
                self.keeper.roll()
                return True
        index = position & live.mask
        pages.append(live.data[index : index + length], end, records, last_time)
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
        return True

    def _ease(self) -> None:
        """Writing works again: it may have been the directory that was missing."""
        self.back_off.over()
        self.keeper.follow_directory(time.monotonic())

    def _keep_house(self, now: float) -> None:
        try:
            self.housekeeping.run(now)
        except OSError as error:
            self.troubles.meet("chores", error, f"cannot do all of its work: {error}; trying again")
        else:
            self.troubles.over("chores", "doing all of its work again")

    # -- leaving -----------------------------------------------------------------------------------------

    def _leave(self, now: float, asked: bool) -> bool:
        """End in good order: all that is committed is written and synced.  False if this writer has to stay.

        A ring without producers is removed.  A writer that was asked to end leaves a ring with producers to
        them and to the next writer.  One that was not asked stays if a producer has just attached: that
        producer may have no right to start another writer.
        """
        ring, position = self.live.ring, self.pages.position
        if self.back_off.seconds:
            self.troubles.say("leaving with records in the ring: the next writer takes them")
        else:
            rest = ring.drain(position, SEGMENT, NO_LIMIT)
            if rest.end != position or (rest.stop == _core.STOP_CLAIMED and self._abandon_if_dead(rest.next)):
                return False
        ends = self.attendance.is_unused() and close_at(ring, position)
        if ends:
            if self.attendance.has_come():
                self.succession.replace()
                self.attendance.last_used = now
                return False
            try:
                self._maker.unlink()
            except OSError as error:  # another user's, in a directory where only the owner may
                self.troubles.say(f"the ring stays, closed, for the next writer: {error}")
        elif not asked:
            self.attendance.last_used = now
            return False
        if self.options.sync != "never":
            self.syncer.is_leaving = ends
            self.syncer.run_now()
        self.close()
        return True

    def close(self) -> None:
        """Let go of ring, pages and locks as they are."""
        self.syncer.close()
        self.live.leave()
        self.pages.close()
        self._closer.close()
        self._deaths.close()
        self.succession.close()
        self.live.data.release()
        self._directory.unlock()
        self.troubles.close()


def _serve_first(live: LiveRing, file: RingFile, position: int) -> None:
    try:
        live.serve(file, position)
    except BaseException:
        os.close(file.fd)
        raise


def _housekeeping_of(writer: Writer) -> Housekeeping:
    """What a writer does now and then; the order matters only where a comment says so."""
    attendance, keeper, succession = writer.attendance, writer.keeper, writer.succession

    def each_round() -> float:
        return intervals.HOUSEKEEPING

    return Housekeeping(
        Task(each_round, writer.live.show_sign_of_life),
        Task(each_round, writer.syncer.start_what_is_due),
        Task(each_round, keeper.retire_when_due),
        Task(lambda: intervals.PRODUCERS_CHECK, writer.producers.free_left),
        Task(attendance.check_interval, attendance.count),
        Task(each_round, succession.check),
        # After the count: without producers the directory may be taken down just now.
        Task(attendance.inspection_interval, keeper.inspect),
        Task(attendance.inspection_interval, succession.inspect),
        Task(each_round, keeper.roll_when_due),
    )
