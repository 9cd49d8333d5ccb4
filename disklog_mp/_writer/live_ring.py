"""The ring this writer serves.  Every store that the writer makes into a ring stands in this file.

LiveRing keeps what the writer must not read back from shared memory: any process that is attached can
scribble there.  The functions at the end store into rings that are not, or no longer, the live one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from disklog_mp import _core
from disklog_mp._core import Record, Ring
from disklog_mp._os import processes as _processes
from disklog_mp._pages.format import POSITION_MAX
from disklog_mp._pages.writer import PageWriter
from disklog_mp._ring import control as _control
from disklog_mp._ring import repair as _repair
from disklog_mp._ring.file import RingFile, hold
from disklog_mp._ring.liveness import Witnesses
from disklog_mp._ring.relog import append_to, rescue
from disklog_mp._ring.repair import Repair
from disklog_mp._ring.slots import take_slot
from disklog_mp._writer.control_guard import ControlGuard

WORD = 2**64 - 1
ATTEMPTS_TO_CLOSE = 10  # at the frontier, which producers move


class LiveRing:
    """The file, the witnesses of its producers, a view of its data, and our own copy of what we stored."""

    file: RingFile
    ring: Ring
    witnesses: Witnesses
    data: memoryview
    mask: int  # a position and this: its offset in `data`
    durable: int
    abandoned: int
    guard: ControlGuard
    is_given_up: bool

    def __init__(
        self, options: bytes, this_process: _processes.Identity, watch: Callable[[int], None]
    ) -> None:
        """`options` as JSON; `this_process`; `watch` is given the pidfd of each producer."""
        self._options = options
        self._this_process = this_process
        self._watch = watch
        self._barrier = int(_core.has_barrier())

    def serve(self, file: RingFile, position: int) -> None:
        """Put this writer's identity and options into a ring and serve it from now on.

        Asks the kernel for nothing: a writer that stopped halfway would take the new ring's positions for
        places in the old one.  Raises ValueError if the options are too long.
        """
        ring = file.ring
        _control.store_options(ring, self._options)
        ring.writer_start, ring.writer_namespace = self._this_process.start, self._this_process.namespace
        ring.writer_pid = self._this_process.pid
        ring.writer_count = ring.writer_count + 1 & WORD
        ring.parked = 0
        ring.barrier = self._barrier
        ring.heartbeat = time.time_ns()
        ring.written = position
        self.file, self.ring = file, ring
        self.witnesses = Witnesses(file, self._this_process, self._watch)
        self.data = memoryview(ring)[ring.data_offset :]
        self.mask = ring.capacity - 1
        self.durable, self.abandoned = ring.durable, ring.abandoned
        self.guard = ControlGuard(file)
        self.is_given_up = False

    def check_options(self, options: bytes) -> None:
        """Raise ValueError if these are too long for a ring."""
        _control.check_length(options)

    def show_options(self, options: bytes) -> None:
        """Show other options, as JSON, here and in the rings that follow."""
        self._options = options
        _control.store_options(self.ring, options)
        self.guard.options_changed()

    @property
    def namespace(self) -> int:
        """The pid namespace of this process."""
        return self._this_process.namespace

    # -- what was written --------------------------------------------------------------------------------

    def written(self, end: int, number: int) -> None:
        """All below this position is in pages, as are the records before that number."""
        ring = self.ring
        ring.records = number
        ring.written = end

    def release(self, position: int, end: int) -> None:
        """Give the space of a run back, and wake callers that wait for space or for `written`."""
        ring = self.ring
        ring.release(position, end)
        ring.announce()

    def synced(self, position: int) -> None:
        """All below this position is on disk: wake the callers of sync()."""
        self.durable = self.ring.durable = position
        self.ring.announce()

    def sync_failed(self) -> None:
        """A sync failed: wake the callers of sync(), which find the error in the ring."""
        ring = self.ring
        ring.sync_failures = ring.sync_failures + 1 & WORD
        ring.announce()

    def ask_for_sync(self, position: int) -> None:
        """Ask this writer itself for a sync, as a caller of sync() does."""
        self.ring.ask_sync(position)

    def abandon(self, position: int) -> bool:
        """Turn the claim of a dead producer into an abandoned frame; False if there is none."""
        ring = self.ring
        # A writer that is killed on the way has a successor that counts it, once: see resume_abandoning.
        ring.abandoning = position + self.abandoned % _core.GRANULE
        if not ring.abandon(position):
            return False
        self.abandoned = ring.abandoned = self.abandoned + 1 & WORD
        return True

    # -- what others may know ----------------------------------------------------------------------------

    def publish(self, pages: PageWriter, *, is_full: bool) -> None:
        """Show what is in the pages; `is_full`: producers are refused."""
        ring = self.ring
        ring.records, ring.page = pages.number, pages.page_number
        ring.first_page = pages.retention.first_page()
        ring.page_bytes = pages.retention.total_bytes()
        self.refuse(is_full)

    def refuse(self, is_full: bool) -> None:
        """Have producers refused, or let in."""
        if not self.is_given_up:
            self.ring.halted = int(is_full)

    def give_up(self) -> None:
        """Have producers begin no other record in it, and look for its successor."""
        self.is_given_up = True
        self.ring.halted = _core.REPLACED

    def show_sign_of_life(self, now: float = 0.0) -> None:
        """Show that the writer is alive, and not held up."""
        self.ring.heartbeat = time.time_ns()

    def show_that_it_works(self, now: float = 0.0) -> None:
        """This writer drains: should it die, a session starts the next one at once."""
        ring = self.ring
        if ring.start_turn:
            ring.start_turn = 0
            ring.start_error = b""

    def restore(self, position: int) -> None:
        """Store the writer's positions again: in a damaged ring that no other can replace now, callers that
        wait for them must not wait for the next record.
        """
        ring = self.ring
        ring.written, ring.durable, ring.abandoned = position, self.durable, self.abandoned
        if ring.sync_wanted > position + ring.capacity:
            ring.sync_wanted = 0
        ring.release(position, position)

    # -- slots, the end ----------------------------------------------------------------------------------

    def retire(self, index: int) -> None:
        """Add the slot's counts to the totals and make it free."""
        self.ring.retire(index)
        self.guard.retired(index)

    def labels_seen(self) -> None:
        """The producers that wait for the index of their label are answered next."""
        self.ring.labels_wanted = 0

    def answer_label(self, slot: int, index: int) -> None:
        """Tell a producer the index of its label: the table on disk has it."""
        self.ring.answer_label(slot, index)

    def close_at_frontier(self, position: int) -> bool:
        """End the ring behind all that is claimed; False if producers were faster, or it is full."""
        ring = self.ring
        return any(ring.close(ring.frontier(position)) for _ in range(ATTEMPTS_TO_CLOSE))

    def leave(self) -> None:
        """Show that no writer serves the ring."""
        self.ring.writer_pid = 0

    def carry_over(self, ring: Ring) -> None:
        """Put into a successor what this ring counted, as far as the writer knows it to be true."""
        kept, old = self.guard, self.ring
        ring.begin_totals(*(count & WORD for count in kept.counts()))
        ring.base_records, ring.base_position = kept.base_records, kept.base_position
        if (repair := _repair.read(old)) is not None:
            repair.store(ring)
        ring.abandoned, ring.durable = self.abandoned, self.durable
        ring.writer_count = kept.writer_count

    def show_repair(self, repair: Repair) -> None:
        """Show what this writer found broken and put right."""
        repair.store(self.ring)


# -- rings that are taken over ---------------------------------------------------------------------------


def discard_impossible(ring: Ring) -> bool:
    """Forget how far the last writer synced if that cannot be; True if its other positions can be."""
    agreed = ring.base <= ring.released <= ring.written <= ring.released + ring.capacity
    if not (agreed and ring.durable <= ring.written and ring.durable % _core.GRANULE == 0):
        ring.durable = 0
    return agreed


def resume_retiring(ring: Ring) -> None:
    """Finish the slot that the last writer was retiring when it died."""
    ring.retire_resume()


def resume_abandoning(ring: Ring, position: int) -> None:
    """Count the claim that the last writer had abandoned when it died, unless it had counted it, too."""
    uncounted = ring.abandoning == position + ring.abandoned % _core.GRANULE
    if uncounted and ring.drain(position, 2**63, 2**63).end != position:
        ring.abandoned = ring.abandoned + 1 & WORD


def release_up_to(ring: Ring, position: int, end: int) -> int:
    """Release what pages hold already, frame by frame; return how far that went."""
    while position < end:
        behind = ring.drain(position, end - position, 2**63).end
        if behind == position:
            break
        ring.release(position, behind)
        position = behind
    return position


def set_released(ring: Ring, position: int) -> None:
    """All below this position is in pages, or lost."""
    ring.release(position, position)


def released_by(ring: Ring, written: int) -> int | None:
    """Up to where the last writer released the ring; None if that cannot be: the pages end at `written`."""
    told = ring.released
    is_behind = 0 <= written - told <= ring.capacity
    # Pages may have been removed: then the ring is right, and no process stores a hint beyond its frontier.
    is_ahead = written < told < POSITION_MAX and ring.hint > ring.frontier(written)
    return told if told % _core.GRANULE == 0 and (is_behind or is_ahead) else None


def log_stray_again(live: LiveRing, stray: RingFile, this_process: _processes.Identity) -> bool:
    """Log what is in a ring without writer again, in the live ring; False: to be called again.

    The live ring takes what it has room for.
    """
    producer, held = _core.Producer(), hold(live.file.path)
    producer.bind(held.ring, take_slot(held, this_process, time.time_ns()), this_process.pid)
    try:
        return rescue(stray, append_to(producer))
    finally:
        producer.unbind()
        held.seat.close()


# -- rings that are made, and rings that are given up ----------------------------------------------------


def open_books(ring: Ring, pages: PageWriter) -> None:
    """Begin to count in a first ring."""
    ring.base_records, ring.base_position = pages.number, pages.position
    ring.durable = 0  # the pages' records may not be durable: the first sync takes them all


def log_again(ring: Ring, frames: Sequence[Sequence[Record]], who: _processes.Identity) -> None:
    """Log the records of these frames in a ring that no other process knows yet."""
    producer = _core.Producer()
    ring.attach(0, who.pid, who.start, who.namespace, time.time_ns())
    producer.bind(ring, 0, who.pid)
    append = append_to(producer)
    for records in frames:
        append(records)
    producer.unbind()
    ring.detach(0, ring.slot(0).incarnation)


def close_at(ring: Ring, position: int) -> bool:
    """End a ring there; True also if it had ended there, False if there is more behind."""
    return ring.close(position) or (ring.is_closed() and ring.frontier(position) == position)


def empty_for_good(ring: Ring, position: int) -> None:
    """Release a ring up to a position and end it there: nothing is left in it, nothing can follow."""
    if ring.released != position or not ring.is_closed():
        ring.release(position, position)
        ring.close(position)
        ring.halted = _core.REPLACED


def send_over(ring: Ring) -> None:
    """Have the processes that are attached to a ring go to its successor; some sleep on it."""
    ring.halted = _core.REPLACED  # also for claims beyond where it was closed
    ring.wake_all()


# -- trouble ---------------------------------------------------------------------------------------------


def show_error(ring: Ring, number: int, text: str) -> None:
    """Show trouble, its time last."""
    _control.store_error_text(ring, text)
    ring.error_number = number
    ring.error_time = time.time_ns()


def clear_error(ring: Ring) -> None:
    """Show that there is no trouble."""
    ring.error_time = 0
