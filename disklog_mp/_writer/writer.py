"""The writer: the one process of a log that drains the ring into page files.

The only place where ring and pages meet.  It holds two kernel locks while it lives, on the directory and
on the ring; whoever finds them free knows it is dead and may take over where it stopped.
"""

from __future__ import annotations

import math
import os
import resource
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from disklog_mp import _core
from disklog_mp._options import Options, group_id, parse_duration
from disklog_mp._os import files as _files
from disklog_mp._os import processes as _processes
from disklog_mp._os.background import Closer
from disklog_mp._os.files import REAL, Files
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.format import POSITION_MAX
from disklog_mp._pages.recovery import Recovered, RingHints
from disklog_mp._pages.writer import NO_LIMIT, PageWriter
from disklog_mp._ring import contents as _salvage
from disklog_mp._ring import control as _control
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring import names as _names
from disklog_mp._ring import relog as _relog
from disklog_mp._ring import repair as _repair
from disklog_mp._ring import slots as _slots
from disklog_mp._ring.death_watch import DeathWatch
from disklog_mp._writer.control_guard import OwnWords
from disklog_mp._writer.pace import Pace, Watched
from disklog_mp._writer.syncer import Syncer
from disklog_mp._writer.troubles import Troubles
from disklog_mp.errors import ConfigMismatchError, LogNotFoundError, WriterActiveError

SEGMENT = 4 << 20  # bytes written with one call at the most
GATHER = 100e-6  # seconds for others who want a sync, too, to say so: one serves all
CROWD = 5  # so many producers that there may be such others
CHORES = 0.05
LOOK = 1.0  # between two looks at what others may have done to directory and ring
REAP = 0.1  # between two looks at who left, and who is alive; that longer with many producers
BACK_OFF = (0.02, 1.0)
LONGEST_WAIT = 0.1  # after that it looks what else there is to do
IN_FLIGHT = 0.02  # for records that are being copied into a ring that is given up
WORD = 2**64 - 1
ATTEMPTS = 5  # at being told whether anybody is attached
UNSEEN = 10.0  # to a look at producers of which no pidfd tells
GRACE = 1.0  # for whoever started this writer to attach


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
        self.name = _names.check_name(name)
        self.options = options
        self.ring_dir = ring_dir
        self._gid = group_id(options.group)
        self._capacity = options.ring_bytes
        self._interval = None if options.sync in ("always", "page", "never") else parse_duration(options.sync)
        self._who = _processes.identity()
        self._barrier = int(_core.has_barrier())
        self._directory = Directory(path, files)
        self._directory.create(options.mode, self._gid)
        if not self._directory.lock(options.mode, self._gid):
            raise self._active()
        self._file: _ring.RingFile | None = None
        self.troubles = Troubles(self.name)
        self._closer = Closer()
        self._deaths = DeathWatch(self._wake)
        self._left = 0  # what stands in the ring below was left by a writer that died
        try:
            self.pages = PageWriter(self._directory, name, options, self._gid, self._closer)
            self._directory.note(f"{self._who.pid} {name}", ring_dir or _names.SHM)
            self.recovered = self._take_over()
        except BaseException as error:
            if self._file is not None:
                if isinstance(error, OSError):  # for those who are attached
                    self.troubles.show_in(self._file.ring)
                    self.troubles.note(str(error))
                os.close(self._file.fd)
            self._directory.unlock()
            self.troubles.close()
            raise
        self._tell_of_repair(found := _found(self.recovered))
        self._repair = found if self._left > self.pages.position else None
        # Rings this writer closed, while somebody is still attached to them: they will come over.
        self._former: list[tuple[_ring.RingFile, _liveness.Witnesses]] = []
        self._marks: dict[int, int] = {}  # dead producers' slots: release up to here, then retire
        self._lap: int | None = None  # the end of a damaged ring that is being saved
        self._saved = 0
        self._pace = Pace()
        self._gathering = False  # those who want a sync
        self._sign_of_life = math.inf  # seconds
        self._held_at, self._held_since = -1, 0.0  # a claim that is not committed, and since when
        self._attached = 0
        self.leaving = False  # for good: nobody is left who would need the directory
        self._back_off = 0.0  # seconds to wait before the next attempt
        self._syncer = Syncer(self)
        now = time.monotonic()
        self._next_chores = self._next_free = self._next_reap = self._next_look = 0.0
        self._last_sync = now
        self._last_used = now + GRACE
        self._rolls = self.ring.roll_wanted

    @property
    def path(self) -> str:
        """The directory, absolute."""
        return self._directory.path

    @property
    def ring(self) -> _core.Ring:
        assert self._file is not None
        return self._file.ring

    def _active(self) -> WriterActiveError:
        pid, name = self._directory.read_note()
        return WriterActiveError(name or self.name, self._directory.path, pid)

    # -- taking over -------------------------------------------------------------------------------------

    def _take_over(self) -> Recovered:
        """Recover the pages, then go on with the ring that is there, or make one."""
        pages = self.pages
        found = self._find_ring()
        if found is None:
            recovered = pages.recover(RingHints(os.urandom(16), secrets.randbits(64)))
            try:
                self._file = self._create_ring(1, replace=False)
            except FileExistsError:  # a writer of the same name and another directory was faster
                raise self._active() from None
        elif self._is_ours(found):
            try:
                path = _names.ring_path(self.name, self.ring_dir)
                _ring.renew_access(found, self.options.mode, self._gid, path)
            except BaseException:
                os.close(found.fd)
                raise
            self._file = found  # and not before: one that is refused is not written to
            if found.ring.capacity != self._capacity:  # it will be replaced: is there room?
                _ring.check_room(self.name, self.ring_dir, self._capacity)
            recovered = self._recover_with(found.ring)
            if (pages.log_id, pages.salt) == (found.ring.log_id, found.ring.salt):
                self._join(found.ring)
            else:
                self._give_way(found.ring, "log_id", found.ring.log_id.hex(), pages.log_id.hex())
                self._file = self._create_ring(found.ring.generation + 1, replace=True)
                self._send_over(found.ring)
                os.close(found.fd)
        else:
            try:
                if found.ring.path == self._directory.path:
                    recovered = self._take_over_from_an_earlier_boot(found.ring)
                else:
                    recovered = pages.recover(RingHints(os.urandom(16), secrets.randbits(64)))
                    _ring.check_room(self.name, self.ring_dir, self._capacity)
                    self._give_way(found.ring, "path", found.ring.path, self._directory.path)
                    self._file = self._create_ring(1, replace=True)
                self._send_over(found.ring)
            finally:
                os.close(found.fd)
        self._introduce()
        return recovered

    def _find_ring(self) -> _ring.RingFile | None:
        """The ring of this name, with its writer's lock taken; None if there is none."""
        while True:
            try:
                file = _ring.attach(self.name, self.ring_dir)
            except LogNotFoundError:
                return None
            if not _liveness.lock_as_writer(file):
                active = WriterActiveError(self.name, file.ring.path, file.ring.writer_pid)
                os.close(file.fd)
                raise active
            if _ring.is_current(file, self.name, self.ring_dir):
                _ring.tidy(self.name, self.ring_dir)
                return file
            os.close(file.fd)  # replaced between the two looks

    def _take_over_from_an_earlier_boot(self, old: _core.Ring) -> Recovered:
        """A ring kept on a disk: what it holds and the pages do not is logged again, in the ring that takes
        its place, before that has its name.  Which bytes of it reached the disk nobody knows, so a frame is
        believed for its checksum.
        """
        pages = self.pages
        recovered = pages.recover(RingHints(old.log_id, old.salt))
        if (pages.log_id, pages.salt) != (old.log_id, old.salt):
            self._give_way(old, "log_id", old.log_id.hex(), pages.log_id.hex())
            self._file = self._create_ring(old.generation + 1, replace=True)
            return recovered
        first = max(pages.survived, old.base, old.frontier(old.released) - old.capacity)
        runs = _salvage.runs(old, first, first + old.capacity, old.salt, records=1, length=0)
        frames = [_salvage.records_between(old, run.position, run.end) for run in runs]

        def log_again(ring: _core.Ring) -> None:
            self._open_books(ring)
            producer = _core.Producer()
            ring.attach(0, self._who.pid, self._who.start, self._who.namespace, time.time_ns())
            producer.bind(ring, 0, self._who.pid)
            append = _relog.append_to(producer)
            for records in frames:
                append(records)
            producer.unbind()
            ring.detach(0, _slots.read_slot(ring, 0).incarnation)

        wanted = self._capacity
        if frames:  # with padding they may take more room than before; it gets its own size when they are out
            self._capacity = max(wanted, 2 * old.capacity)
            count = sum(map(len, frames))
            self.troubles.say(f"{count} records were in the ring when the machine went down: logged again")
        self._file = self._create_ring(old.generation + 1, replace=True, fill=log_again)
        self._capacity = wanted
        return recovered

    def _is_ours(self, file: _ring.RingFile) -> bool:
        """True if the ring is this directory's, of this boot."""
        # A ring kept on a disk over a reboot: its processes are gone, its last bytes may be.
        return file.ring.path == self._directory.path and _ring.is_of_this_boot(file.ring)

    def _give_way(self, ring: _core.Ring, option: str, current: str, given: str) -> None:
        """Close a ring that another comes in place of; ConfigMismatchError if anything would be lost."""
        if not self._is_closed_by(ring, ring.released):
            raise ConfigMismatchError(option, current, given)

    @staticmethod
    def _is_closed_by(ring: _core.Ring, position: int) -> bool:
        """Close a ring there; True also if that had been done, False if there is more behind."""
        return ring.close(position) or (ring.is_closed() and ring.frontier(position) == position)

    def _send_over(self, ring: _core.Ring) -> None:
        """Have those who are attached to a ring go to the one in its place; some sleep on it."""
        ring.halted = _core.REPLACED  # also for those who claim beyond where it was closed
        ring.ring_bell(_core.SPACE)
        ring.ring_bell(_core.DONE)

    def _recover_with(self, ring: _core.Ring) -> Recovered:
        """Recover the pages, told by the ring how far its last writer came: a word of it is believed as far
        as another one agrees.
        """
        agreed = ring.base <= ring.released <= ring.written <= ring.released + ring.capacity
        if not (agreed and ring.durable <= ring.written and ring.durable % _core.GRANULE == 0):
            ring.durable = 0
        return self.pages.recover(
            RingHints(
                ring.log_id,
                ring.salt,
                ring_is_there=True,
                released=ring.released if agreed else None,
                durable=ring.durable,
                records=ring.records,
                page=ring.page,
            )
        )

    def _join(self, ring: _core.Ring) -> None:
        """Bring ring and pages to one position: the pages' watermark may be ahead of `released`."""
        ring.retire_resume()
        pages = self.pages
        position = self._released(ring)
        while position < pages.position:
            end = ring.drain(position, pages.position - position, NO_LIMIT)[0]
            if end == position:
                break
            ring.release(position, end)
            position = end
        if position != pages.position:
            # Pages were removed under us, or the ring is damaged: what stands in the ring has its
            # positions, so the pages go on from there.
            self.troubles.say(f"ring and pages disagree: {position} and {pages.position}")
            for run in self._whole(ring, max(pages.position, position - ring.capacity), position):
                self._save(run)
            pages.leap(max(position, pages.position))
        ring.release(pages.position, pages.position)
        uncounted = ring.abandoning == pages.position + ring.abandoned % _core.GRANULE
        if uncounted and ring.drain(pages.position, NO_LIMIT, NO_LIMIT)[0] != pages.position:
            ring.abandoned = ring.abandoned + 1 & WORD
        if ring.writer_pid:
            self._left = ring.frontier(pages.position)

    def _released(self, ring: _core.Ring) -> int:
        """Up to where the ring says that it was released; what the pages say, if that cannot be."""
        told, ours = ring.released, self.pages.position
        behind = 0 <= ours - told <= ring.capacity
        # Pages may have been removed: then the ring is right, and nobody stores a hint beyond its frontier.
        ahead = ours < told < POSITION_MAX and ring.hint > ring.frontier(ours)
        if told % _core.GRANULE == 0 and (behind or ahead):
            return told
        self.troubles.say(f"the ring says that {told} was released, which cannot be: going on at {ours}")
        return max(ours, ring.base)

    def _create_ring(
        self, generation: int, replace: bool, fill: Callable[[_core.Ring], None] | None = None
    ) -> _ring.RingFile:
        pages = self.pages
        return _ring.create(
            self.name,
            ring_dir=self.ring_dir,
            capacity=self._capacity,
            base=pages.position,
            generation=generation,
            salt=pages.salt,
            log_id=pages.log_id,
            path=self._directory.path,
            mode=self.options.mode,
            gid=self._gid,
            replace=replace,
            fill=fill or self._open_books,
        )

    def _open_books(self, ring: _core.Ring) -> None:
        ring.base_records, ring.base_position = self.pages.number, self.pages.position
        ring.durable = 0  # what is in the pages may not be: the first sync takes them all

    def _introduce(self) -> None:
        """Put this writer's identity, options and books into the ring.  It asks the kernel for nothing: a
        writer that stopped halfway would take the new ring's positions for places in the old one.
        """
        ring = self.ring
        _control.store_options(ring, self.options.to_json())
        ring.writer_start, ring.writer_namespace = self._who.start, self._who.namespace
        ring.writer_pid = self._who.pid
        ring.writer_count = ring.writer_count + 1 & WORD
        ring.parked = 0
        ring.barrier = self._barrier
        ring.heartbeat = time.time_ns()
        self._witnesses = _liveness.Witnesses(self._file_(), self._who, self._deaths.add)
        self.troubles.show_in(ring)
        self._data = memoryview(ring)[ring.data_offset :]
        self._mask = ring.capacity - 1
        self._publish_books()
        ring.written = self.pages.position
        self.durable = ring.durable
        self._abandoned = ring.abandoned
        self._own = OwnWords(self._file_())

    def _file_(self) -> _ring.RingFile:
        assert self._file is not None
        return self._file

    def _publish_books(self) -> None:
        ring, pages = self.ring, self.pages
        ring.records, ring.page = pages.number, pages.page_number
        ring.first_page = pages.retention.first_page()
        ring.page_bytes = pages.retention.total_bytes()
        self._halt()

    def _halt(self) -> None:
        """Have producers refused when the pages have taken `max_bytes`; let in again when they have room."""
        limit = self.options.max_bytes
        self.ring.halted = int(limit is not None and self.pages.retention.total_bytes() >= limit)

    # -- the loop ----------------------------------------------------------------------------------------

    def run(
        self,
        stopping: Callable[[], bool] = lambda: False,
        alive: Callable[[], None] = lambda: None,
        every: float = math.inf,
    ) -> None:
        """Drain until `stopping()` is true and all that is committed is written, or nobody needs us.
        `alive()` is called now and then while all is well, at the least `every` so many seconds.
        """
        self._sign_of_life = every
        if isinstance(stopping, StopSignals):
            stopping.tell = self._wake
        while True:
            bell = self.ring.bell  # before any look at what there is to do
            try:
                moved = self._drain()
            except OSError as error:
                self._stumble(error)
                moved = False
            else:
                self._ease()
            now = time.monotonic()
            if now >= self._next_chores:
                self._next_chores = now + CHORES
                try:
                    self._chores(now)
                except OSError as error:
                    self.troubles.meet("chores", error, f"cannot do all of its work: {error}; trying again")
                else:
                    self.troubles.over("chores", "doing all of its work again")
                alive()
            if moved:
                continue
            self._sync_if_wanted()
            asked = stopping()
            if asked or self._is_over(now):
                if self._leave(now, asked):
                    return
                continue
            self._rest(bell)

    def _wake(self) -> None:
        self.ring.wake()

    def _sync_if_wanted(self, gather: float = GATHER) -> None:
        wanted = min(self.ring.sync_wanted, self.pages.position) > self.ring.durable
        alone = self._attached < CROWD or self._syncer.is_busy()
        if wanted and gather and not (self._gathering or alone):
            self._gathering = True  # what is written until the next look is in it, too
            time.sleep(gather)
            return
        self._gathering = False
        if wanted:
            self._syncer.start(self.pages.sync_job)

    def _drain(self) -> bool:
        """Write one segment; False if there is nothing to do at once.  Raises OSError, and then the same can
        be tried again.
        """
        ring, pages = self.ring, self.pages
        position = pages.position
        room, records_room = pages.room()
        if records_room <= 0:
            self._roll()
            return True
        most = min(SEGMENT, self._left - position) if position < self._left else SEGMENT
        segment = ring.drain(position, min(room, most), records_room)
        end, length, records, last_time, stop, following = segment
        if end == position:
            if stop == _core.STOP_LIMIT:
                # A page of its own for what is larger than a page; but no page takes what would pass it.
                alone = pages.is_empty()
                if alone or following <= room:
                    most = NO_LIMIT if alone else records_room
                    end, length, records, last_time, stop, _ = ring.drain(position, following, most)
                if end == position:
                    self._roll()
                    return True
            elif stop == _core.STOP_CLAIMED:
                return self._is_abandoned(following)
            else:
                self._pace.empty()
                if stop in (_core.STOP_DAMAGED, _core.STOP_CLOSED):
                    self._go_on_in_another(stop)
                return False
        index = position & self._mask
        pages.append(self._data[index : index + length], end, records, last_time)
        self._pace.wrote(length, ring.capacity)
        self._ease()
        ring.records = pages.number
        if self._repair is not None:
            self._repair.ring_records += records
            self._end_repair()
        if pages.page_number != ring.page or pages.is_empty():
            self.after_roll()
        ring.written = end
        if self.options.max_bytes is not None:
            self._halt()  # before the room in the ring is given back: it is all that may go beyond
        if self.options.sync == "always":
            self._syncer.run_now(pages.sync_job)
        ring.release(position, end)
        ring.announce()
        self._last_used = time.monotonic()
        return stop not in (_core.STOP_EMPTY, _core.STOP_CLAIMED)

    def _go_on_in_another(self, stop: int) -> None:
        """The ring ends here: closed by us, or by a writer that did not live to replace it, or damaged."""
        if stop == _core.STOP_CLOSED and not self._is_more_behind():
            self._replace(self._file_())
        else:
            self._replace_damaged()

    def _is_more_behind(self) -> bool:
        """True if records stand where a ring that was closed has none: then it was not closed but damaged."""
        position = self.pages.position
        return any(self._whole(self.ring, position, position + self.ring.capacity))

    def _stumble(self, error: OSError) -> None:
        """Tell of it, and wait longer each time before the next attempt."""
        said = f"cannot write: {error}; what is logged stays in the ring, trying again"
        self.troubles.meet("write", error, said)
        low, high = BACK_OFF
        self._back_off = min(max(self._back_off * 2, low), high)

    def _ease(self) -> None:
        """What there was to write is written."""
        if self._back_off:
            self._back_off = 0.0
            self.troubles.over("write", "writing again")
            self._look_at_directory(time.monotonic())  # it may have been that

    def _is_abandoned(self, owner: int) -> bool:
        """The claim at the head is its owner's for as long as that lives, and padding when it is dead."""
        ring = self.ring
        # Whatever the slot says of its state: who holds its lock is alive.
        slot = _slots.read_slot(ring, owner)
        if not self._witnesses.is_dead(slot):
            self._pace.held()
            self._lose_patience(slot)
            return False
        # A writer that is killed on the way has a successor that counts it, once: see _join.
        ring.abandoning = self.pages.position + ring.abandoned % _core.GRANULE
        if ring.abandon(self.pages.position):
            ring.abandoned = self._abandoned = self._abandoned + 1 & WORD
            if self._repair is not None:
                self._repair.ring_abandoned += 1
        return True

    def _lose_patience(self, slot: _slots.Slot) -> None:
        """Kill who has held up the log for too long, if that was asked for; the next look finds it dead."""
        limit, now, position = self.options.kill_stalled, time.monotonic(), self.pages.position
        if position != self._held_at:
            self._held_at, self._held_since = position, now
        if limit is not None and now - self._held_since >= limit and self._witnesses.kill(slot):
            self.troubles.say(f"process {slot.pid} held up the log for {limit:g} s: killed")
            self._held_since = now

    def _rest(self, bell: int) -> None:
        if self._gathering:
            return
        if self._back_off:
            time.sleep(min(self._back_off, LONGEST_WAIT))
        else:
            self._pace.rest(
                self.ring,
                self.pages.position,
                bell,
                at_most=max(CHORES, min(self._sign_of_life, self._to_next_roll(), self._to_next_look())),
                is_due=self._has_something_due(),
                watched=self._watched,
            )

    def _watched(self) -> Watched:
        places: list[_files.Place] = []
        with suppress(OSError):  # it says nothing now: the chores look, too
            places.append(self._directory.place())
        with suppress(OSError):
            places.append(_ring.place(self._file_(), self.name, self.ring_dir))
        return Watched(tuple(places), self._witnesses.pidfds())

    def _to_next_roll(self) -> float:
        """Return seconds until the page being written is old enough to be sealed, or that is tried again."""
        age, pages = self.options.page_age, self.pages
        if age is None or pages.is_empty():
            return math.inf
        left = age - pages.age()
        return left if left > -LOOK else LOOK

    def _to_next_look(self) -> float:
        """Return seconds until a page is too old to be kept, or to a look at those that cannot be watched."""
        known = not self._former and self._witnesses.are_all_seen(self._attached)
        left = math.inf if known else UNSEEN
        if self.options.keep_age is not None:
            age = self.pages.retention.oldest_since() + self.options.keep_age - time.time()
            left = min(left, age if age > -LOOK else LOOK)  # it cannot be removed
        return left

    def _has_something_due(self) -> bool:
        """True if a sync is to come, or another attempt at what failed, or room for more, or the end."""
        to_sync = self._interval is not None and self.ring.durable < self.pages.position
        again = self._syncer.has_failed() or self.troubles.are_there()
        return to_sync or again or bool(self.ring.halted) or not self._is_wanted()

    def _is_wanted(self) -> bool:
        """False if this writer was started for producers that are all gone."""
        return bool(self._attached) or self.options.linger is None

    def _roll(self) -> None:
        if self.pages.seal():
            self.after_roll()

    def after_roll(self) -> None:
        self._retire()
        self._publish_books()
        if self.options.sync == "page":
            self.ring.maximize64(_core.SYNC_WANTED, self.pages.position)  # if one is under way
            self._syncer.start(self.pages.sync_job)

    def _retire(self) -> bool:
        """Remove the pages that retention no longer keeps; True if there were any."""
        gone = self.pages.retire()
        error = self.pages.retire_error
        if error is not None:
            self.troubles.meet("retire", error, f"cannot remove old pages: {error}; trying again")
        else:
            self.troubles.over("retire", "removing old pages again")
        return bool(gone)

    # -- chores ------------------------------------------------------------------------------------------

    def _chores(self, now: float) -> None:
        ring, pages, options = self.ring, self.pages, self.options
        ring.heartbeat = time.time_ns()
        if ring.released != pages.position:  # nobody's but ours, and it is there: somebody scribbled
            ring.release(pages.position, pages.position)
        self._syncer.harvest()
        due = self._interval is not None and now - self._last_sync >= self._interval
        if due and ring.durable < pages.position:
            self._last_sync = now
            self._syncer.start(pages.sync_job)
        self._sync_if_wanted(gather=0)  # here too: under full load there is no rest
        again = pages.retire_error is not None and now >= self._next_look
        if (again or options.keep_age is not None) and self._retire():
            self._publish_books()
        ring.page_bytes = pages.retention.total_bytes()
        self._halt()  # retention may have made room
        if now >= self._next_reap:
            self._see_who_is_there(now)
            self._next_free = now + REAP
            self._next_reap = now + max(REAP, self._attached * 0.0005)
        elif now >= self._next_free:
            self._next_free = now + REAP
            self._free_slots()
        if now >= self._next_look:
            self._next_look = now + max(LOOK, self._attached * 0.002)
            self._heal()
            if self._is_wanted():  # or it may be taken down just now, by who had it for a while
                self._look_at_directory(now)
            self._look_at_ring()
        wanted = ring.roll_wanted
        if wanted != self._rolls or (options.page_age is not None and pages.age() >= options.page_age):
            self._roll()
            self._rolls = wanted

    def _see_who_is_there(self, now: float) -> None:
        before, self._attached = self._attached, self._reap()
        if before or self._attached:
            self._last_used = now

    def _free_slots(self) -> None:
        """Retire the slots of those who left."""
        ring = self.ring
        for index in ring.slots(_core.SLOT_DETACHED):
            self._witnesses.forget(_slots.read_slot(ring, index))
            self._own.retire(index)

    def _reap(self) -> int:
        """Retire the slots of those who left or died; return how many are still taken."""
        ring, position = self.ring, self.pages.position
        self._free_slots()
        taken = 0
        for slot in _slots.read_slots(ring, _core.SLOT_ATTACHED):
            taken += 1
            if slot.index not in self._marks:
                if not self._witnesses.is_dead(slot):
                    continue
                self._marks[slot.index] = ring.frontier(position)
            if position >= self._marks[slot.index]:
                del self._marks[slot.index]
                self._witnesses.forget(slot)
                self._own.retire(slot.index)
                taken -= 1
        for file, witnesses in list(self._former):
            left = [s for s in _slots.read_slots(file.ring, _core.SLOT_ATTACHED) if not witnesses.is_dead(s)]
            taken += len(left)
            if not left:
                self._former.remove((file, witnesses))
                witnesses.close()
                os.close(file.fd)
        return taken

    def _heal(self) -> None:
        """Put back what is the writer's own, where somebody scribbled over it."""
        damaged = self._own.heal(self.pages.position, self._abandoned)
        if self.ring.durable > self.durable:  # in this order: the sync thread raises our copy first
            self.ring.durable = self.durable
            damaged = True
        self._publish_books()
        if damaged:
            self.troubles.say("somebody wrote over the ring's control block: put right")
            self.troubles.note("the ring's control block was damaged and put right")

    def _look_at_directory(self, now: float) -> None:
        """Somebody may have renamed or removed the directory, or unmounted its file system, and made another:
        go on there.
        """
        try:
            if self.pages.follow_directory():
                self._publish_books()
        except OSError as error:
            self._see_who_is_there(now)
            if not self._is_wanted():  # whoever took it down had just left
                return
            said = f"the log's directory is not there: {error}"
            self.troubles.meet("directory", error, said)
        else:
            self.troubles.over("directory", "the log's directory is there")

    def _look_at_ring(self) -> None:
        """Somebody may have removed the ring's name (logind does, when a user leaves): go on in a new one."""
        capacity = self._capacity
        if self.ring.capacity != capacity or not _ring.is_current(self._file_(), self.name, self.ring_dir):
            try:
                _ring.check_room(self.name, self.ring_dir, capacity)
            except OSError as error:
                said = f"cannot make another ring: {error}; going on in this one, trying again"
                self.troubles.meet("ring", error, said)
                self._capacity = self.ring.capacity
                return
            # What was claimed before is drained first; then the closed word is met and the ring replaced.
            self.ring.close(self.ring.frontier(self.pages.position))
        self.troubles.over("ring", "there is a ring, or room for it")

    def _replace(self, old: _ring.RingFile) -> None:
        """Go on in a successor of the same name, after the last position of the old ring."""

        def carry_over(ring: _core.Ring) -> None:
            self.troubles.show_in(ring)
            _control.store_totals(ring, _slots.tallies(old.ring).total())
            ring.base_records, ring.base_position = old.ring.base_records, old.ring.base_position
            if (repair := _repair.read(old.ring)) is not None:
                repair.store(ring)
            ring.abandoned = self._abandoned
            ring.writer_count = old.ring.writer_count
            ring.durable = old.ring.durable

        try:
            file = self._create_ring(old.ring.generation + 1, replace=True, fill=carry_over)
        except OSError:
            self.troubles.show_in(old.ring)
            if self._capacity == old.ring.capacity:
                raise
            self._capacity = old.ring.capacity  # there is room for no other
            file = self._create_ring(old.ring.generation + 1, replace=True, fill=carry_over)
        self._former.append((old, self._witnesses))
        self._marks.clear()
        self._file = file
        self._rolls = 0
        self._introduce()
        self._send_over(old.ring)

    def _replace_damaged(self) -> None:
        """Somebody scribbled over the claim map: save what is whole in the ring, go on in another."""
        old, pages = self._file_(), self.pages
        if self._lap is None:
            self.troubles.say(f"the claim map is damaged at position {pages.position}: saving what is whole")
            old.ring.halted = _core.REPLACED  # nobody begins another record in it
            time.sleep(IN_FLIGHT)  # and what is being copied is whole by then
            self._lap, self._saved = pages.position + old.ring.capacity, 0
        # Where the disk stops us we are called again, and go on behind what is saved.
        for run in self._whole(old.ring, pages.position, self._lap):
            self._save(run)
            self._saved += run.records
        pages.leap(self._lap)
        old.ring.release(self._lap, self._lap)  # nobody else need save anything of it
        self.troubles.note(f"the claim map was damaged; {self._saved} records saved, the ring was replaced")
        self._replace(old)
        self.troubles.say(f"going on in a new ring; {self._saved} records of the old one saved")
        self._lap = None

    def _whole(self, ring: _core.Ring, position: int, end: int) -> Iterator[_salvage.Run]:
        """What is whole in a ring between two positions, whatever its claim map says."""
        limit = self.options.page_records or NO_LIMIT
        return _salvage.runs(ring, position, end, self.pages.salt, records=limit, length=SEGMENT)

    def _save(self, run: _salvage.Run) -> None:
        pages = self.pages
        pages.leap(run.position)
        room, records_room = pages.room()
        if run.records > records_room or len(run.data) > room:
            pages.seal()
        pages.append(run.data, run.end, run.records, run.last_time)

    # -- repair ------------------------------------------------------------------------------------------

    def _end_repair(self) -> None:
        """Tell of what was in the ring when it is all in pages."""
        if self._repair is not None and self.pages.position >= self._left:
            self._tell_of_repair(self._repair)
            self._repair = None

    def _tell_of_repair(self, repair: _repair.Repair) -> None:
        if repair.is_worth_telling():
            repair.store(self.ring)
            self.troubles.say(f"repaired what a crash left: {repair.text()}")

    # -- leaving -----------------------------------------------------------------------------------------

    def _is_over(self, now: float) -> bool:
        """True if nobody has needed this writer for as long as it was to linger."""
        linger = self.options.linger
        return linger is not None and now - self._last_used > linger and self._is_unused()

    def _is_unused(self) -> bool:
        ring = self.ring
        for attempt in range(ATTEMPTS):
            try:
                if self._reap() or _liveness.locked_slots(self._file_()):
                    return False
                break
            except OSError:  # the kernel cannot say now
                if attempt == ATTEMPTS - 1:
                    return False
        return ring.frontier(self.pages.position) == self.pages.position

    def _leave(self, now: float, asked: bool) -> bool:
        """End in good order: all that is committed is written and synced.  False if this writer has to stay.

        A ring without producers is removed.  A writer that was asked to end leaves a ring with producers to
        them and to the next writer.  One that was not asked stays if a producer has just attached: that
        producer may have no right to start another writer.
        """
        ring = self.ring
        if self._back_off:
            self.troubles.say("leaving with records in the ring: the next writer takes them")
        else:
            end, *_, stop, owner = ring.drain(self.pages.position, SEGMENT, NO_LIMIT)
            if end != self.pages.position or (stop == _core.STOP_CLAIMED and self._is_abandoned(owner)):
                return False
        ends = self._is_unused() and self._is_closed_by(ring, self.pages.position)
        if ends:
            if ring.slots(_core.SLOT_ATTACHED, 1):
                self._replace(self._file_())  # somebody came between the look and the closing
                self._last_used = now
                return False
            try:
                _ring.unlink(self.name, self.ring_dir)
            except OSError as error:  # another user's, in a directory where only the owner may
                self.troubles.say(f"the ring stays, closed, for the next writer: {error}")
        elif not asked:
            self._last_used = now
            return False
        if self.options.sync != "never":
            self.leaving = ends
            self._syncer.run_now(self.pages.sync_job)
        self.close()
        return True

    def close(self) -> None:
        """Let go of ring, pages and locks as they are."""
        self._syncer.close()
        self.ring.writer_pid = 0
        self.pages.close()
        self._closer.close()
        self._deaths.close()
        for file, witnesses in [*self._former, (self._file_(), self._witnesses)]:
            witnesses.close()
            os.close(file.fd)
        self._data.release()
        self._directory.unlock()
        self.troubles.close()


def _found(recovered: Recovered) -> _repair.Repair:
    return _repair.Repair(
        time=time.time_ns(),
        records=recovered.records,
        abandoned=recovered.abandoned,
        torn_bytes=recovered.torn_bytes,
        corrupt_ranges=recovered.corrupt_ranges,
        corrupt_bytes=recovered.corrupt_bytes,
        set_aside=len(recovered.set_aside),
    )


class StopSignals:
    """Called, says whether the writer was asked to end."""

    def __init__(self) -> None:
        self.asked = False
        self.tell: Callable[[], None] = lambda: None  # called when it is

    def __call__(self) -> bool:
        return self.asked

    def ask(self, *_: object) -> None:
        """Handle a signal."""
        self.asked = True
        self.tell()


@contextmanager
def stop_on_signals() -> Iterator[StopSignals]:
    """SIGTERM and SIGINT ask the writer to end in good order."""
    signals = StopSignals()
    former = {number: signal.signal(number, signals.ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield signals
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def raise_descriptor_limit() -> None:
    """One pidfd per producer: take as many descriptors as this user may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
