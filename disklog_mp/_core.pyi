"""The C core: rings, producers, records, frames, checksums, loggers.  This file says what Python may call;
the files in csrc say how it is done.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Self, TypeVar, final

from typing_extensions import Buffer, disjoint_base

_Type = TypeVar("_Type", bound=type)

# Answers of Producer.try_record and try_group: a position, or one of these.
FULL: Final = -1  # no room now
TOO_LARGE: Final = -2  # longer than this ring ever takes
ENDED: Final = -3  # the ring is closed or replaced: attach to its successor
DAMAGED: Final = -4  # a claim word that cannot be
NEEDS_ATTACH: Final = -16  # bound to no ring, or in another process
NEEDS_ATTENTION: Final = -17  # `needs_attention` is set
HALTED: Final = -18  # the log reached max_bytes

# Why Ring.drain stopped.
STOP_EMPTY: Final = 0
STOP_CLAIMED: Final = 1
STOP_LIMIT: Final = 2
STOP_WRAP: Final = 3
STOP_CLOSED: Final = 4
STOP_DAMAGED: Final = 5

# Values of Ring.halted, 0 aside.
LOG_FULL: Final = 1  # max_bytes is reached
REPLACED: Final = 2  # attach to the successor

# States of a producer's slot.
SLOT_FREE: Final = 0
SLOT_ATTACHED: Final = 1
SLOT_DETACHED: Final = 2

KIND_RECORD: Final = 1
KIND_GAP: Final = 4

GRANULE: Final = 32
FRAME_HEADER: Final = 24
SLOTS: Final = 4096
HUGE_PAGE: Final[int]  # bytes, on the machines that have them in a size of use here
SLOTS_OFFSET: Final[int]
WRITER_LOCK: Final = 4096  # the byte the writer locks; a producer locks the one of its slot's index
RING_VERSION: Final = 1
PAGE_VERSION: Final = 1
CAPACITY_MIN: Final = 4096
CAPACITY_MAX: Final = 1099511627776

# Offsets in a ring, for load, store, wait and slices.
HINT: Final[int]
SPACE_WANTED: Final[int]
SPACE: Final[int]
DONE_WANTED: Final[int]
DONE: Final[int]
SYNC_WANTED: Final[int]
ROLL_WANTED: Final[int]
TOTALS: Final[int]
REPAIR: Final[int]
WRITER_COUNT: Final[int]
ERROR_TEXT: Final[int]
ERROR_TEXT_LENGTH: Final[int]
OPTIONS: Final[int]
OPTIONS_LENGTH: Final[int]

@disjoint_base
class Mapping:
    """Shared memory: `length` bytes of a file, from its beginning.  A buffer; unmapped when collected.

    The words are atomic and little-endian; offsets are in bytes and must be aligned: IndexError.
    """

    def __new__(cls, fd: int, length: int, writable: bool = False) -> Self: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def load32(self, offset: int, /) -> int: ...
    def load64(self, offset: int, /) -> int: ...
    def store32(self, offset: int, value: int, /) -> None: ...
    def store64(self, offset: int, value: int, /) -> None: ...
    def maximize64(self, offset: int, value: int, /) -> None:
        """Store the value unless what stands there is greater."""

    def add64(self, offset: int, value: int, /) -> int:
        """Add to the word, and return what it was."""

    def wait(self, offset: int, expected: int, seconds: float, /) -> bool:
        """Sleep while the 32-bit word is `expected`, until the bell rings: False if the time ran out."""

    def wait_watching(
        self, offset: int, expected: int, seconds: float, look: float, word: int, seen: int, path: bytes, /
    ) -> bool:
        """As wait(), and look every so many seconds: True, too, if the 64-bit word at that offset is not what
        was seen, or if the path is there.
        """

    def ring_bell(self, offset: int, /) -> int:
        """Count the 32-bit word up and wake who sleeps on it; how many that were."""

    def collapse(self, offset: int, length: int, /) -> bool:
        """Have the kernel put that part of the file into huge pages, now; False where it does not."""

@final
class Ring(Mapping):
    """A ring, of which every process sees the same.  ValueError: that is none.

    Positions must be frame boundaries; drain to close are the writer's.
    """

    # written once, by the creator
    @property
    def capacity(self) -> int: ...
    @property
    def base(self) -> int: ...
    @property
    def generation(self) -> int: ...
    @property
    def salt(self) -> int: ...
    @property
    def record_limit(self) -> int: ...
    @property
    def data_offset(self) -> int: ...
    @property
    def boot_id(self) -> bytes: ...
    @property
    def log_id(self) -> bytes: ...
    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str: ...

    # words of the control block: who writes them is in csrc/core/layout.h
    hint: int
    released: int
    written: int
    durable: int
    sync_wanted: int
    roll_wanted: int
    parked: int
    bell: int
    barrier: int
    heartbeat: int
    halted: int
    writer_pid: int
    writer_start: int
    writer_namespace: int
    writer_count: int
    records: int
    base_records: int
    base_position: int
    abandoned: int
    abandoning: int
    page: int
    first_page: int
    page_bytes: int
    sync_failures: int
    error_time: int
    error_number: int

    def drain(
        self, position: int, max_bytes: int, max_records: int, /
    ) -> tuple[int, int, int, int, int, int]:
        """The run of complete frames at a position: (end, length, records, last_time, stop, next).

        `length` bytes from `position` on are to be written, `end` is the position behind them; `next` is
        the owner's slot (STOP_CLAIMED) or the bytes the next frame takes (STOP_LIMIT).
        """

    def abandon(self, position: int, /) -> bool:
        """Turn a dead producer's claim into an abandoned frame; False if there is none."""

    def release(self, position: int, end: int, /) -> None:
        """Give the space of a run back, and wake who waits for space."""

    def close(self, position: int, /) -> bool:
        """End the ring there: False if something was claimed before."""

    def frontier(self, position: int, /) -> int:
        """The first unclaimed position at or after this one."""

    def is_closed(self) -> bool: ...
    def park(
        self,
        position: int,
        seconds: float,
        slice: float = 0.1,
        bell: int = ...,
        places: tuple[tuple[bytes, int, int], ...] = ...,
        pidfds: bytes = ...,
        /,
    ) -> bool:
        """Sleep until something is committed at the position or wake() is called (False), or the time is over
        (True).  A wake() after `bell` had that value counts.

        Every `slice` seconds it looks for a bell that was lost, shows that the writer lives, and looks
        whether the places (path, device, inode; two at the most) are still what they were and none of the
        processes has ended: else False.
        """

    def doze(self, seconds: float, bell: int = ..., /) -> None:
        """Sleep so long, or until wake() is called: no producer rings."""

    def wake(self) -> None: ...
    def announce(self) -> None:
        """Wake who waits for `written` or `durable`."""

    def slot(self, index: int, /) -> tuple[int, int, int, int, int, int, int, int, int, int, int]:
        """(index, state, incarnation, pid, start, namespace, since, logged, dropped, waited, again)"""

    def odd_slots(self) -> list[int]:
        """Indexes of the slots whose state is none that can be."""

    def slots(self, state: int, most: int = 4096, /) -> list[int]:
        """Indexes of slots in that state."""

    def attach(self, index: int, pid: int, start: int, namespace: int, since: int, /) -> bool:
        """Fill a free slot; the caller holds the lock on its byte."""

    def detach(self, index: int, incarnation: int, /) -> bool: ...
    def retire(self, index: int, /) -> None:
        """Add the slot's counts to the totals and make it free."""

    def retire_resume(self) -> None:
        """Finish what a writer that died in retire() had begun."""

    def totals(self) -> tuple[int, int, int]:
        """(logged, dropped, waited) of all slots retired so far."""

@disjoint_base
class Producer:
    """Appends to the ring it is bound to.  Session says what to do when that does not go."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    @property
    def ring(self) -> Ring | None: ...
    @property
    def is_bound(self) -> bool:
        """True if bound, and in this process."""

    end: int  # position behind all that this object logged in the ring it is bound to
    needs_attention: bool  # ask the subclass before the next record
    watches_writer: bool  # call _look_at_writer when the writer's heartbeat is late

    def log(self, data: Buffer, /, *, tag: int = 0) -> int:
        """Log one record and return its position; -1 if it was dropped."""

    def log_many(self, records: Iterable[Buffer], /, *, tag: int = 0) -> int:
        """Log several records as one group and return the position of the first; -1 if dropped, or none."""

    def try_record(self, data: Buffer, tag: int, kind: int = 1, time: int = 0, pid: int = 0, /) -> int: ...
    def try_group(self, records: tuple[Buffer, ...], tag: int, time: int = 0, pid: int = 0, /) -> int: ...
    def bind(self, ring: Ring, slot: int, pid: int, /) -> None: ...
    def unbind(self) -> int:
        """From now on NEEDS_ATTACH; how many appends are still on their way."""

    def count(self, dropped: int, waited: int, /) -> None:
        """Add to the counts in the slot."""

@final
class Record:
    """One record as read back from a page.  Immutable; equal by value; pickles."""

    def __new__(
        cls,
        data: Buffer,
        position: int = 0,
        number: int = 0,
        timestamp: int = 0,
        pid: int = 0,
        tag: int = 0,
        gap: bool = False,
    ) -> Self: ...
    def __reduce__(self) -> tuple[type[Record], tuple[bytes, int, int, int, int, int, bool]]: ...
    def __hash__(self) -> int: ...
    @property
    def data(self) -> bytes:
        """The record's bytes, a copy."""

    @property
    def view(self) -> memoryview:
        """The record's bytes where they are, in the mapped page."""

    @property
    def position(self) -> int:
        """Its place in the log's total order, in bytes since the log began."""

    @property
    def number(self) -> int:
        """Its ordinal in the log, from 0."""

    @property
    def timestamp(self) -> int:
        """When it was logged, ns since the epoch on the producer's clock."""

    @property
    def pid(self) -> int:
        """The producer's process id, in the producer's pid namespace."""

    @property
    def tag(self) -> int:
        """The user's number from 0 to 65535; the logging handler puts the level here."""

    @property
    def gap(self) -> bool:
        """True if it stands for records that were dropped; data is then JSON with how many and since."""

@final
class Frames(Iterator[Any]):
    """Iterator over the records between two offsets of a page: Record, or bytes with `payloads`.

    What cannot be read is noted in `damage` and passed over.
    """

    def __new__(
        cls,
        mapping: Mapping,
        offset: int,
        end: int,
        position: int,
        number: int,
        salt: int,
        records: int = ...,
        payloads: bool = False,
    ) -> Self:
        """`position` and `number` are those at `offset`; `records` the number behind the page's last
        record, if that is known.
        """

    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...
    def seek(self, number: int, position: int = 0, /) -> None:
        """Go on to the record of that number, or at that position, whichever is later."""

    def extend(self, end: int, mapping: Mapping = ..., /) -> None:
        """Go on to a later end, in a mapping of the same page."""

    @property
    def offset(self) -> int:
        """Of the next frame."""

    @property
    def end(self) -> int: ...
    @property
    def number(self) -> int:
        """Of the next record."""

    @property
    def position(self) -> int: ...
    @property
    def damage(self) -> list[tuple[int, int, int, int, int]]:
        """(offset, length, crc found, crc expected, records lost) of each range passed over."""

    @property
    def inside(self) -> bool:
        """True between two records of one group."""

@disjoint_base
class Outlet:
    """The way to a log, as far as loggers in C follow it.  Delivery is the rest of it."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...

    _session: Any  # a session, or None
    _threshold: int  # the level of loggers without one of their own

    def _log_text(self, record: Any, /) -> bool:
        """Log a LogRecord's message, if that is all there is to it; False if it is still to be done."""

    def _log_record(self, record: Any, /) -> bool:
        """Log a LogRecord as a structured record, likewise."""

@disjoint_base
class EventLogger:
    """Turns calls into structured records and logs them.  Logger says what to do when C does not know."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def _set_up(
        self,
        outlet: Outlet,
        opening: bytes,
        bound: bytes,
        keys: frozenset[str] | None,
        level: int,
        in_full: bool,
        /,
    ) -> None:
        """Once: `bound` and `keys` are the fields all events have, `in_full`: Python makes the record."""

    _level: int  # -1: the outlet's

    def debug(self, message: Any, /, *args: Any, **fields: Any) -> None:
        """Log an event of that level, with fields of any names and values."""

    def info(self, message: Any, /, *args: Any, **fields: Any) -> None:
        """Log an event of that level, with fields of any names and values."""

    def warning(self, message: Any, /, *args: Any, **fields: Any) -> None:
        """Log an event of that level, with fields of any names and values."""

    def error(self, message: Any, /, *args: Any, **fields: Any) -> None:
        """Log an event of that level, with fields of any names and values."""

    def critical(self, message: Any, /, *args: Any, **fields: Any) -> None:
        """Log an event of that level, with fields of any names and values."""

    def log(self, level: int | str, message: Any, /, *args: Any, **fields: Any) -> None:
        """Log an event of any level, by number or name."""

    def isEnabledFor(self, level: int | str, /) -> bool:
        """Return True if an event of that level is logged."""

def ring_size(capacity: int, /) -> int:
    """Bytes of the whole object for a ring of that capacity."""

def format_ring(
    memory: Buffer,
    capacity: int,
    base: int,
    generation: int,
    salt: int,
    boot_id: bytes,
    log_id: bytes,
    name: bytes,
    path: bytes,
    /,
) -> None:
    """Make zeroed memory of ring_size(capacity) bytes a ring.  ValueError: these constants make none."""

def use_encoders(
    *,
    encode_value: Callable[[Any], str],
    process_part: Callable[[], str],
    thread_part: Callable[[], str],
    task_part: Callable[[], str],
    standard: frozenset[str],
) -> None:
    """Hand in what Outlet and EventLogger need from Python to make a structured record.

    `encode_value` returns any value as JSON; the parts are what a record says of the process, the thread
    and the task it comes from; `standard` has the names of a LogRecord's own attributes.  TypeError: one
    of them is not callable.
    """

def forked() -> None:
    """Tell the core that this process is a fork's child."""

def census(
    data: Buffer, offset: int, end: int, position: int, salt: int, crc: int = 0xFFFFFFFF, /
) -> tuple[int, int, int, int, int, int, int, int]:
    """Check all frames between two offsets: (records, frames, abandoned, corrupt ranges, corrupt bytes,
    end of the last valid frame, time of the last record, checksum register).
    """

def has_barrier() -> bool: ...
def all_zero(data: Buffer, /) -> bool: ...
def crc32c(data: Buffer, /) -> int:
    """CRC-32C, as RFC 3720 defines it."""

def crc32c_update(data: Buffer, register: int, /) -> int:
    """The raw register after these bytes: begin with 0xffffffff, invert at the end."""

def crc32c_name() -> str:
    """The implementation in use: sse4.2, armv8 or portable."""

def with_own_methods(type: _Type, /) -> _Type:
    """Give a subclass of one of these types the inherited methods as its own: they are called faster."""
