"""The C core: rings, producers, records, frames, checksums, loggers.  This file says what Python may call;
the files in csrc say how it is done.
"""

from collections.abc import Callable, Iterable, Iterator
from threading import RLock
from typing import Any, Final, Self, TypeVar, final

from _typeshed import structseq
from typing_extensions import Buffer, disjoint_base

from disklog_mp._loggers.structured import Event

_Type = TypeVar("_Type", bound=type)
_Result = TypeVar("_Result")

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

# States of a claim.
CLAIMED: Final = 1
COMMITTED: Final = 2
ABANDONED: Final = 3
COMMITTED_GROUP: Final = 6

KIND_RECORD: Final = 1
KIND_GAP: Final = 4

GRANULE: Final = 32
FRAME_HEADER: Final = 24
SLOTS: Final = 4096
LABEL_LENGTH: Final = 64  # bytes
LABEL_MAX: Final = 4095  # the highest index
NO_LABEL: Final = 4096  # answer to a producer: there is no index for its label
HUGE_PAGE: Final[int]  # bytes
WRITER_LOCK: Final = 4096  # the byte the writer locks; a producer locks the one of its slot's index
RING_VERSION: Final = 2
PAGE_VERSION: Final = 1
TERM_BYTES: Final = 0  # these bytes, anywhere
TERM_KEY: Final = 1  # a key of JSON
TERM_EQUALS: Final = 2  # a key and its value
TERM_BELOW: Final = 3  # a key, and its value up to a dot
PAGE_LABELLED: Final = 2  # the page may hold frames with a label
CAPACITY_MIN: Final = 4096
CAPACITY_MAX: Final = 1099511627776

# What a process may wait for: see Ring.want().
SPACE: Final[int]
DONE: Final[int]

# Bytes.
ERROR_TEXT_LENGTH: Final[int]
START_ERROR_LENGTH: Final[int]
PATH_LENGTH: Final[int]
OPTIONS_LENGTH: Final[int]

@disjoint_base
class Mapping:
    """Shared memory: `length` bytes of a file, from its beginning.  A buffer; unmapped when collected.

    The words are atomic and little-endian; offsets are in bytes and must be aligned: IndexError.
    """

    def __new__(cls, fd: int, length: int, writable: bool = False, apart: bool = False) -> Self:
        """`apart`: what is stored stays with this mapping, so the file may be open for reading alone."""

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def load32(self, offset: int, /) -> int: ...
    def load64(self, offset: int, /) -> int: ...
    def store32(self, offset: int, value: int, /) -> None: ...
    def store64(self, offset: int, value: int, /) -> None: ...
    def maximize64(self, offset: int, value: int, /) -> None:
        """Store the value unless the word has a greater one."""

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
        """Count the 32-bit word up and wake all sleepers; return how many there were."""

    def collapse(self, offset: int, length: int, /) -> bool:
        """Have the kernel put that part of the file into huge pages; False if it does not."""

@final
class Segment(structseq[int], tuple[int, int, int, int, int, int]):
    """A run of complete frames, as drained from a ring."""

    __match_args__: Final = ("end", "length", "records", "last_time", "stop", "next")
    @property
    def end(self) -> int:
        """Position one past the last frame."""

    @property
    def length(self) -> int:
        """Bytes to write, from the position on."""

    @property
    def records(self) -> int: ...
    @property
    def last_time(self) -> int:
        """ns since the epoch; 0 without a record."""

    @property
    def stop(self) -> int:
        """Why the run ends: STOP_..."""

    @property
    def next(self) -> int:
        """STOP_LIMIT: bytes that the next frame takes.  STOP_CLAIMED: the owner's slot."""

@final
class Claim(structseq[int], tuple[int, int, int, int, int, int, int]):
    """One claim of a ring, as found by a look that changes nothing."""

    __match_args__: Final = ("position", "span", "state", "owner", "offset", "pid", "records")
    @property
    def position(self) -> int: ...
    @property
    def span(self) -> int:
        """Bytes, header and padding included."""

    @property
    def state(self) -> int:
        """CLAIMED, COMMITTED, ABANDONED, COMMITTED_GROUP, or padding."""

    @property
    def owner(self) -> int:
        """Its slot."""

    @property
    def offset(self) -> int:
        """Of its frame in the ring object."""

    @property
    def pid(self) -> int:
        """Of its producer, once it is committed."""

    @property
    def records(self) -> int:
        """In a committed frame."""

@final
class Slot(structseq[int], tuple[int, int, int, int, int, int, int, int, int, int, int]):
    """One producer as its slot says."""

    __match_args__: Final = (
        "index",
        "state",
        "incarnation",
        "pid",
        "start",
        "namespace",
        "since",
        "logged",
        "dropped",
        "waited",
        "relogged",
    )
    @property
    def index(self) -> int: ...  # type: ignore[override]  # hides the method index() of tuples
    @property
    def state(self) -> int:
        """SLOT_..."""

    @property
    def incarnation(self) -> int:
        """How often the slot was freed."""

    @property
    def pid(self) -> int: ...
    @property
    def start(self) -> int:
        """Start ticks of the process."""

    @property
    def namespace(self) -> int:
        """Inode of its pid namespace."""

    @property
    def since(self) -> int:
        """ns since the epoch."""

    @property
    def logged(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    @property
    def waited(self) -> int:
        """Times a log() found the ring full."""

    @property
    def relogged(self) -> int:
        """Of `logged`: records of other processes."""

@final
class Totals(structseq[int], tuple[int, int, int]):
    """What all producers counted whose slots were freed."""

    __match_args__: Final = ("logged", "dropped", "waited")
    @property
    def logged(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    @property
    def waited(self) -> int: ...

@final
class DamagedRange(structseq[int], tuple[int, int, int, int, int]):
    """Bytes of a page that could not be read."""

    __match_args__: Final = ("offset", "length", "found", "expected", "records")
    @property
    def offset(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def found(self) -> int:
        """Checksum in the frame header."""

    @property
    def expected(self) -> int:
        """Checksum of the bytes."""

    @property
    def records(self) -> int:
        """Records lost, at the least."""

    # no items of the tuple:
    @property
    def number(self) -> int:
        """Of the first record lost, if any was."""

    @property
    def before(self) -> int:
        """Time of the record before the range, ns since the epoch, 0 if that is not known."""

    @property
    def after(self) -> int:
        """Time of the frame behind the range, 0 if there is none."""

@final
class Census(structseq[int], tuple[int, int, int, int, int, int, int, int]):
    """What stands between two offsets of a page."""

    __match_args__: Final = (
        "records",
        "frames",
        "abandoned",
        "corrupt_ranges",
        "corrupt_bytes",
        "end",
        "last_time",
        "data_crc",
    )
    @property
    def records(self) -> int: ...
    @property
    def frames(self) -> int: ...
    @property
    def abandoned(self) -> int: ...
    @property
    def corrupt_ranges(self) -> int:
        """Damaged ranges with a valid frame behind them."""

    @property
    def corrupt_bytes(self) -> int: ...
    @property
    def end(self) -> int:
        """Offset one past the last valid frame."""

    @property
    def last_time(self) -> int:
        """Of the last record, ns since the epoch."""

    @property
    def data_crc(self) -> int:
        """Checksum register after these bytes."""

    @property
    def gaps(self) -> int:
        """Gap records; no item of the tuple."""

@final
class Ring(Mapping):
    """A ring, shared by all its processes.  ValueError: the memory is not a ring.

    Positions must be frame boundaries.  Only the writer may call drain, abandon, release and close.
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

    # words of the control block: csrc/core/layout.h says which process stores each
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
    error_text: bytes
    start_turn: int
    start_error: bytes
    options: bytes  # JSON
    repair: tuple[int, ...]  # nine numbers, the time first: see _ring/repair.py

    # looks that change nothing
    def offset_of(self, position: int, /) -> int:
        """Return where the byte of that position is in the ring object."""

    def fixed_copy(self) -> bytes:
        """Return the bytes that no process changes while a writer serves: the constants, then the options."""

    def books_copy(self) -> bytes:
        """Return the bytes that only a retirement changes: the totals, and where they began."""

    def claim_at(self, position: int, /) -> Claim | None:
        """Return the claim that begins at a position, None if there is none."""

    # waiting: first say so, then look, then sleep
    def want(self, which: int, /) -> int:
        """Say that this process waits for SPACE, or for DONE (`written` and `durable`); for wait_for()."""

    def wait_for(self, which: int, seen: int, seconds: float, /) -> bool:
        """Sleep until the writer has news since want() returned `seen`; False if the time ran out."""

    def wake_all(self) -> None:
        """Wake all processes that wait for SPACE or DONE."""

    def ask_sync(self, position: int, /) -> None:
        """Ask the writer to make durable what is before the position."""

    def ask_roll(self) -> None:
        """Ask the writer to seal the page that it writes."""

    def take_start_turn(self, seen: int, following: int, /) -> bool:
        """Store `start_turn` if it is still `seen`; False if another session was faster."""

    def raise_hint(self, position: int, /) -> None:
        """Show a writer that lost the frontier that it is at this position or later."""

    def drain(self, position: int, max_bytes: int, max_records: int, /) -> Segment:
        """Return the run of complete frames at a position."""

    def abandon(self, position: int, /) -> bool:
        """Turn a dead producer's claim into an abandoned frame; False if there is none."""

    def release(self, position: int, end: int, /) -> None:
        """Give the space of a run back, and wake the producers that wait for space."""

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
        ring: int = -1,
        /,
    ) -> bool:
        """Sleep until something is committed at the position or wake() is called (False), or the time is over
        (True).  A wake() after `bell` had that value counts.

        Every `slice` seconds it looks for a bell that was lost, and shows that the writer lives.  It also
        returns False if one of the places (path, device, inode; at most three) is another file now, one of
        the processes has ended, or the file `ring` (a descriptor) shares blocks with a copy of it.
        """

    def doze(self, seconds: float, bell: int = ..., /) -> None:
        """Sleep so long, or until wake() is called; no producer rings."""

    def wake(self) -> None: ...
    def announce(self) -> None:
        """Wake the processes that wait for `written` or `durable`."""

    def slot(self, index: int, /) -> Slot: ...
    def slot_word(self, index: int, /) -> int:
        """Return the state and the incarnation of a slot as one number."""

    def odd_slots(self) -> list[int]:
        """Indexes of the slots whose state is none that can be."""

    def slots(self, state: int, most: int = 4096, /) -> list[int]:
        """Indexes of slots in that state."""

    def attach(
        self, index: int, pid: int, start: int, namespace: int, since: int, label: bytes = b"", /
    ) -> bool:
        """Fill a free slot; the caller holds the lock on its byte."""

    labels_wanted: int  # not 0: a producer waits for the index of its label

    def label(self, slot: int, /) -> tuple[bytes, int, int]:
        """The label that the slot's owner wants, the writer's answer (0: none yet), and the policies by which
        records were dropped or refused, a bit each; unchecked.
        """

    def unlabelled(self) -> list[int]:
        """Slots whose producers wait for the index of their label."""

    def answer_label(self, slot: int, index: int, /) -> None:
        """Tell the slot's owner the index of its label, which the table on disk has; or NO_LABEL."""

    def detach(self, index: int, incarnation: int, /) -> bool: ...
    def retire(self, index: int, /) -> None:
        """Add the slot's counts to the totals and make it free."""

    def retire_resume(self) -> None:
        """Finish what a writer that died in retire() had begun."""

    def totals(self) -> Totals: ...
    def begin_totals(self, logged: int, dropped: int, waited: int, /) -> None:
        """Begin the totals of a new ring where those of its predecessor ended."""

    def retirement(self) -> tuple[int, bool]:
        """Return how many slots were freed, and whether one is being freed."""

def in_turn(lock: RLock, seconds: float, action: Callable[[], _Result], /) -> _Result:
    """Call an action with a lock held, or without it when another thread keeps it for so long."""

@final
class Seat:
    """The descriptor of a ring's file, and the slot that its lock guards; the last reference gives both back.

    A forked child has the object without the descriptor.
    """

    def __new__(cls, path: bytes, fd: int = -1, /) -> Self:
        """Open the path, or take a descriptor over that is open already."""

    @property
    def fd(self) -> int:
        """-1 when it is closed."""

    @property
    def slot(self) -> int:
        """-1 without a slot."""

    def reopen(self) -> None:
        """Open the same file once more, and close the first descriptor."""

    def attach(self, ring: Ring, arguments: tuple[int, int, int, int, int, bytes], /) -> bool:
        """Take a free slot as Ring.attach() does with these arguments; the seat gives it back."""

    def mend(self, path: bytes, /) -> bool:
        """Open the ring's file again if a daemon closed the descriptor; True if its lock is held now."""

    def close(self) -> None:
        """Give the slot back and close the descriptor.  Twice is fine."""

    def give_up(self) -> int:
        """Return the descriptor, which the caller closes from now on."""

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

    @property
    def awaits_label(self) -> bool:
        """True while the writer has not answered which index our label has."""

    def try_record(
        self, data: Buffer, tag: int, kind: int = 1, time: int = 0, pid: int = 0, label: int = 0, /
    ) -> int: ...
    def try_group(
        self, records: tuple[Buffer, ...], tag: int, time: int = 0, pid: int = 0, label: int = 0, /
    ) -> int: ...
    def bind(self, ring: Ring, slot: int, pid: int, /) -> None: ...
    def unbind(self) -> int:
        """From now on NEEDS_ATTACH; how many appends are still on their way."""

    def count(self, dropped: int, waited: int, policy: int = 0, /) -> None:
        """Add to the counts in the slot; `policy`: the bit of that by which records were dropped."""

@disjoint_base
class Handle:
    """Holds a producer, and has its log() and log_many(): what a user sees of it."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def _hold(self, producer: Producer, /) -> None:
        """Set the producer, once."""

    def log(self, data: Buffer, /, *, tag: int = 0) -> int:
        """See Producer.log."""

    def log_many(self, records: Iterable[Buffer], /, *, tag: int = 0) -> int:
        """See Producer.log_many."""

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
        label_index: int = 0,
        label: str | None = None,
    ) -> Self: ...
    def __reduce__(
        self,
    ) -> tuple[type[Record], tuple[bytes, int, int, int, int, int, bool, int, str | None]]: ...
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
    def intact(self) -> bool:
        """False if its page file was cut or overwritten since it was read: its bytes are others then."""

    @property
    def gap(self) -> bool:
        """True if it stands for records that were dropped; data is then JSON with how many and since."""

    @property
    def event(self) -> Event | None:
        """What a structured record says, an Event; None for every other."""

    @property
    def label_index(self) -> int:
        """The index of the producer's label in the log's table, 0: none."""

    @property
    def label(self) -> str | None:
        """The producer's label, None if it has none."""

@final
class RecordIterator(Iterator[Any]):
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
        labels: Callable[[int], str] | None = None,
    ) -> Self:
        """`position` and `number` are those at `offset`; `records` the number behind the page's last
        record, if that is known.  `labels` returns the label of an index.
        """

    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...
    def seek(self, number: int, position: int = 0, /) -> None:
        """Go on to the record of that number, or to the one at that position if that is later."""

    def extend(self, end: int, mapping: Mapping = ..., /) -> None:
        """Go on to a later end, in a mapping of the same page."""

    def next_gap(self) -> Any:
        """Go on behind the next gap record and return it, None if there is none."""

    def find(self, filter: Filter, most: int = ..., /) -> list[Record]:
        """Go on to the next records that meet the filter, and return them, at most 256; [] at the end."""

    def count_tags(self, most: int, /) -> dict[int, int]:
        """Go on over the next records, at most so many, and return how many of each tag; {} at the end.

        Gap records count, as of the tag 0.
        """

    @property
    def offset(self) -> int:
        """Of the next frame."""

    @property
    def end(self) -> int: ...
    @property
    def number(self) -> int:
        """Of the next record."""

    @property
    def time(self) -> int:
        """Of the record before that one, ns since the epoch, 0 if that is not known."""

    @property
    def position(self) -> int: ...
    @property
    def damage(self) -> list[DamagedRange]:
        """The ranges passed over so far."""

    @property
    def inside(self) -> bool:
        """True between two records of one group."""

    @property
    def early(self) -> bool:
        """True if find() passed a record not later than the filter's `latest`."""

@final
class Filter:
    """What a record must meet, as far as the core looks at it: see search.h.

    A term is (clause, kind, bytes, value), its clause counted from 0; of each clause one term must be met.
    `escapes` has a byte for each clause, 1 if a record with a \\u escape is to be given out in any case.
    `tags` and `labels` are sets of bits, None for all.
    """

    def __new__(
        cls,
        terms: tuple[tuple[int, int, bytes, bytes], ...],
        escapes: bytes,
        tags: bytes | None = None,
        labels: bytes | None = None,
        pids: tuple[int, ...] = (),
        since: int = 0,
        latest: int = ...,
        start: int = 0,
        stop: int = ...,
    ) -> Self: ...
    def meets(self, data: bytes, /) -> bool:
        """True if a record of these bytes meets the clauses."""

@final
class Renderer:
    """Renders records as lines: raw (layout 0), JSON (1), text (2), logfmt (3), or by a template (4).

    `first` is what a line begins with, of text behind the time; of raw output it is what a record ends with.
    `clock` returns the text of a second: 19 characters, then what stands behind the fraction.  `otherwise`
    returns the line of a record that the core leaves to Python.  `pieces` of a template: a token of --format,
    `{` for a field or `=` for text; the name of the field, or the text; what stands there without the field.
    """

    def __new__(
        cls,
        layout: int,
        first: bytes,
        clock: Callable[[int], str],
        otherwise: Callable[[Record], bytes],
        pieces: tuple[tuple[str, bytes, bytes], ...] = ...,
    ) -> Self: ...
    def render(self, records: list[Any], start: int, /) -> tuple[bytes, int]:
        """Return the lines of the records from that index on, and the index behind them.

        It stops at the end, at what is no record, at a gap record, at one that is not intact, and when there
        is much.
        """

@final
class Columns:
    """What records say, as buffers of Arrow's arrays, a row for each: see _reader/columns.py.

    `fields` are names of fields, which may have dots, and kinds: 0 text, 1 a whole number, 2 a number, 3 true
    or false.  `otherwise` returns the values of a record that the core does not read: those of the parts,
    then of the fields.  Records of the levels in `passed` make no row.
    """

    def __new__(
        cls,
        fields: tuple[tuple[bytes, int], ...],
        otherwise: Callable[[Record], tuple[Any, ...]],
        passed: tuple[bytes, ...],
    ) -> Self: ...
    def add(self, records: list[Any], start: int, rows: int, /) -> int:
        """Add records from that index on until there are so many rows; return the index behind them.

        It stops, too, at a gap record, at what is no record, and when a column has 32 MiB.
        """

    def take(self) -> tuple[int, tuple[bytes, ...], tuple[tuple[bytes, bytes | None, bytes], ...]]:
        """Return how many rows there are, and begin anew.

        With it come number, position, time, pid, tag and label's index of each, and for each other column the
        bits that tell which rows have a value, where each text ends (None for others), and the values.
        """

    @property
    def rows(self) -> int:
        """How many there are."""

    @property
    def bytes(self) -> int:
        """The length of the longest column."""

@final
class Groups:
    """Counts records by pid (0), level (1), logger (2), label (3), tag (4), a field (5), or all alike (6).

    `name` is that of the field, or the key of all; `others` the key of what comes when there are `most`.
    `every` is the length of a part of the time in ns, 0 for none, and the first one ends `shift` ns sooner.
    """

    def __new__(
        cls, by: int, name: bytes, others: bytes, most: int, every: int = 0, shift: int = 0
    ) -> Self: ...
    def add(self, records: list[Any], start: int, /) -> int:
        """Count the records from that index on; return the index of the first one that is left.

        It is left because it is a gap record, or Python has to say its key, or it is the end.
        """

    def count(self, key: bytes, record: Record, keep: bool, /) -> None:
        """Count a record as one of that key; with `keep` so are all others of its tag, or its label."""

    def groups(self) -> list[tuple[bytes, int, int, int]]:
        """Return key, count, first and last time of each group, in the order in which they came."""

    def parts(self) -> list[tuple[int, int, int]]:
        """Return number of the part of the time, index of the group, and count, of each pair there is."""

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

def use_parser(parse: Callable[[bytes], Event | None], /) -> None:
    """Hand in what makes an Event of the bytes of a structured record.  TypeError: it is not callable."""

def forked() -> None:
    """Tell the core that this process is a fork's child."""

def census(data: Buffer, offset: int, end: int, position: int, salt: int, crc: int = 0xFFFFFFFF, /) -> Census:
    """Check all frames between two offsets; `crc` is the checksum register to go on from."""

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

# -- starting programs ---------------------------------------------------------------------------------

def spawn(
    path: bytes, argv: bytes, environment: bytes, stderr: int, uid: int, gid: int, groups: bytes, /
) -> tuple[int, int]:
    """Start a program that is no child of this process; return its pid and a pipe to read its stdout from.

    argv and environment are words, each ended by a NUL.  stderr is a descriptor, -1 for none; uid is -1 for
    this process's user, else gid and groups (C unsigned ints) are taken on with it.  Raises OSError.
    """

def wait_readable(fd: int, seconds: float, /) -> bool:
    """Wait until the descriptor has something to read or its other end is closed.  False: the time is over.

    Runs signal handlers meanwhile and raises what they raise.  Raises OSError.
    """
