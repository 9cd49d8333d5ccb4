"""Taking over a log: its pages are recovered, and its ring is served, or gives way to another.

| the ring of that name                     | what is done with it                                        |
|-------------------------------------------|-------------------------------------------------------------|
| there is none                             | `begin`: make the first one                                 |
| of this boot, or processes are attached   | `go_on`: serve it, from where its last writer stopped       |
| the same, but the pages are another log's | `replace_empty`: if it is empty, make another in its place  |
| of an earlier boot                        | `log_again`: what the pages do not have goes into a new one |

A ring that still holds records of another log is refused with ConfigMismatchError.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from disklog_mp import _core
from disklog_mp._os import processes as _processes
from disklog_mp._pages.recovery import Recovered, RingHints
from disklog_mp._pages.writer import PageWriter
from disklog_mp._ring import contents as _contents
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring.file import RingFile
from disklog_mp._ring.room import keep_own_blocks
from disklog_mp._writer import live_ring as _live
from disklog_mp._writer.ring_maker import RingMaker
from disklog_mp._writer.salvage import save, whole_runs
from disklog_mp._writer.troubles import Troubles
from disklog_mp.errors import ConfigMismatchError, DiskLogError, LogNotFoundError, WriterActiveError


class Context(NamedTuple):
    """What taking over works with."""

    maker: RingMaker
    pages: PageWriter
    troubles: Troubles
    who: _processes.Identity


class Former(NamedTuple):
    """What is known of the writer before this one."""

    pid: int = 0  # 0: none, or it left in good order
    heartbeat: int = 0  # ns since the epoch
    is_ring_kept: bool = False  # and it was the live ring
    was_rebooted: bool = False


class Taken(NamedTuple):
    """What taking over came to: positions below `inherited_until` were already in the ring."""

    file: RingFile
    recovered: Recovered
    inherited_until: int = 0
    former: Former = Former()


def take_over(context: Context) -> Taken:
    """Recover the pages and return the ring that goes with them, its writer's lock taken.

    Raises WriterActiveError, ConfigMismatchError, FormatVersionError, OSError; nothing is left behind then.
    """
    was_rebooted = context.pages.folder.directory.rebooted
    found = _find_ring(context.maker)
    if found is None:
        return begin(context)._replace(former=Former(was_rebooted=was_rebooted))
    former = Former(found.ring.writer_pid, found.ring.heartbeat, was_rebooted=was_rebooted)
    try:
        if _liveness.is_of_this_boot(found):
            taken = go_on(context, found)
        else:  # kept on a disk over a reboot: its processes are gone, its last bytes may be
            taken = log_again(context, found)
    except BaseException:
        context.maker.drop()
        os.close(found.fd)
        raise
    if taken.file is not found:
        _live.send_over(found.ring)
        os.close(found.fd)
    return taken._replace(former=former._replace(is_ring_kept=taken.file is found))


def is_attached_to(ring_path: str) -> bool:
    """True if processes are attached to the ring of that path."""
    try:
        file = _ring.attach(ring_path)
    except (DiskLogError, OSError):  # taking over says what is wrong with it
        return False
    try:
        return _liveness.is_of_this_boot(file) and bool(_liveness.living_producers(file))
    finally:
        os.close(file.fd)


def _find_ring(maker: RingMaker) -> RingFile | None:
    """The log's ring, with its writer's lock taken; None if there is none."""
    while True:
        try:
            file = _ring.attach(maker.ring_path)
        except LogNotFoundError:
            return None
        if not _liveness.lock_as_writer(file):
            active = WriterActiveError(maker.name, file.ring.path, file.ring.writer_pid)
            os.close(file.fd)
            raise active
        if _ring.is_current(file):
            try:
                keep_own_blocks(file.fd, len(file.ring), file.path)
            except OSError:
                os.close(file.fd)
                raise
            _ring.tidy(file.path)
            return file
        os.close(file.fd)  # replaced between the two checks


# -- the rows of the table -------------------------------------------------------------------------------


def begin(context: Context) -> Taken:
    """There is no ring: make the first one."""
    recovered = _recover_alone(context)
    try:
        return Taken(_make_first(context, 1, replace=False), recovered)
    except FileExistsError:  # it came meanwhile, from a writer of a directory that was moved here
        raise WriterActiveError(context.maker.name, context.maker.path, context.who.pid) from None


def go_on(context: Context, found: RingFile) -> Taken:
    """The ring is of this boot: serve it, unless the pages are another log's."""
    maker, pages, troubles = context.maker, context.pages, context.troubles
    maker.renew_access(found)  # before anything else: a ring that is refused is not written to
    try:
        if not maker.fits(found.ring):
            maker.reserve()  # it will be replaced: is there room?
        recovered = _recover_with(found.ring, pages)
        if not _is_of_the_pages(context, found.ring):
            return replace_empty(context, found.ring, recovered)
        inherited_until = join(found.ring, pages, troubles)
    except OSError as error:  # for the processes that are attached
        troubles.show_in(found.ring)
        troubles.note(str(error))
        raise
    return Taken(found, recovered, inherited_until)


def replace_empty(context: Context, old: _core.Ring, recovered: Recovered) -> Taken:
    """The pages are another log's than the ring: if the ring is empty, make another."""
    context.maker.reserve()
    _close_if_empty(old, "log_id", old.log_id.hex(), context.pages.log_id.hex())
    return Taken(_make_first(context, old.generation + 1, replace=True), recovered)


def log_again(context: Context, found: RingFile) -> Taken:
    """The ring was kept on a disk over a reboot: what it holds and the pages do not is logged again, in the
    ring that takes its place, before that has its name.

    It is not known which bytes of it reached the disk, so a frame counts if its checksum is right.
    """
    maker, pages, old = context.maker, context.pages, found.ring
    recovered = pages.recover(RingHints(old.log_id, old.salt))
    if not _is_of_the_pages(context, old):
        return replace_empty(context, old, recovered)
    first = max(pages.survived, old.base, old.frontier(old.released) - old.capacity)
    runs = _contents.runs(old, first, first + old.capacity, old.salt, records=1, length=0)
    frames = [_contents.records_between(old, run.position, run.end) for run in runs]

    def fill(ring: _core.Ring) -> None:
        _live.open_books(ring, pages)
        _live.log_again(ring, frames, context.who)

    wanted = maker.capacity
    if frames:  # with padding they may take more room than before; it gets its own size when they are out
        maker.capacity = max(wanted, 2 * old.capacity)
        count = sum(map(len, frames))
        context.troubles.say(f"{count} records were in the ring when the machine went down: logged again")
    try:
        return Taken(maker.make(old.generation + 1, replace=True, fill=fill), recovered)
    finally:
        maker.capacity = wanted


# -- steps -----------------------------------------------------------------------------------------------


def _close_if_empty(ring: _core.Ring, option: str, current: str, given: str) -> None:
    """Close `ring` so that a new one can replace it; refuse if it still holds records."""
    if not _live.close_at(ring, ring.released):
        raise ConfigMismatchError(option, current, given)


def _make_first(context: Context, generation: int, *, replace: bool) -> RingFile:
    """Make a ring that has counted nothing yet."""

    def fill(ring: _core.Ring) -> None:
        _live.open_books(ring, context.pages)

    return context.maker.make(generation, replace=replace, fill=fill)


def _is_of_the_pages(context: Context, ring: _core.Ring) -> bool:
    return (context.pages.log_id, context.pages.salt) == (ring.log_id, ring.salt)


def _recover_alone(context: Context) -> Recovered:
    """Recover the pages without a ring to help."""
    return context.pages.recover(RingHints(context.pages.log_id, int.from_bytes(os.urandom(8), "little")))


def _recover_with(ring: _core.Ring, pages: PageWriter) -> Recovered:
    """Recover the pages, told by the ring how far its last writer came, as far as its words agree."""
    agreed = _live.discard_impossible(ring)
    hints = RingHints(
        ring.log_id,
        ring.salt,
        ring_is_there=True,
        released=ring.released if agreed else None,
        durable=ring.durable,
        records=ring.records,
        page=ring.page,
    )
    return pages.recover(hints)


def join(ring: _core.Ring, pages: PageWriter, troubles: Troubles) -> int:
    """Bring ring and pages to one position: the pages' watermark may be ahead of `released`.

    Returns up to where the ring holds what a writer that died left in it.
    """
    _live.resume_retiring(ring)
    told = _live.released_by(ring, pages.position)
    if told is None:
        text = (
            f"the ring says that {ring.released} was released, which cannot be: going on at {pages.position}"
        )
        troubles.say(text)
        told = max(pages.position, ring.base)
    position = _live.release_up_to(ring, told, pages.position)
    if position != pages.position:
        # Pages were removed under us, or the ring is damaged: what the ring holds has its positions, so the
        # pages go on from there.
        troubles.say(f"ring and pages disagree: {position} and {pages.position}")
        for run in whole_runs(ring, pages, max(pages.position, position - ring.capacity), position):
            save(pages, run)
        pages.leap(max(position, pages.position))
    _live.set_released(ring, pages.position)
    _live.resume_abandoning(ring, pages.position)
    return ring.frontier(pages.position) if ring.writer_pid else 0
