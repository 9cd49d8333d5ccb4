"""The ring, through the core: claim, commit, drain, release, abandon, close; slots; sleep; damage."""

import _thread
import array
import mmap
import os
import re
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.chance import TIMES
from support.memory_ring import (
    ALL,
    LAPS,
    SALT,
    SMALL,
    Raw,
    bytes_at,
    die_at,
    drain,
    drain_all,
    make_producer,
    make_ring,
    memory,
    set_state,
    tag_of,
    time_at,
    word,
    word_offset,
)
from support.ring_model import (
    ABANDONED,
    CLAIMED,
    GAP,
    GROUP,
    PADDING,
    RECORD,
    ModelRing,
    encode,
    encode_group,
)

import disklog_mp
from disklog_mp import _core
from disklog_mp._core import (
    DAMAGED,
    ENDED,
    FULL,
    HALTED,
    NEEDS_ATTACH,
    NEEDS_ATTENTION,
    SLOT_ATTACHED,
    SLOT_DETACHED,
    SLOT_FREE,
    SLOTS,
    STOP_CLAIMED,
    STOP_CLOSED,
    STOP_DAMAGED,
    STOP_EMPTY,
    STOP_LIMIT,
    STOP_WRAP,
    TOO_LARGE,
    Frames,
    Mapping,
    Producer,
    Ring,
)
from disklog_mp._ring import slots as _slots

CONTROL = 4096
HINT, RELEASED = CONTROL, CONTROL + 128
BASES = [0, 2**32 - 128, 2**63 - 4096 + 64, SMALL * (LAPS - 3), SMALL * (LAPS // 2 - 2) + 96]


@pytest.fixture
def ring() -> Ring:
    return make_ring()


@pytest.fixture
def producer(ring: Ring) -> Raw:
    return make_producer(ring)


# -- making and attaching ----------------------------------------------------------------------------


def test_a_new_ring_has_what_its_creator_gave_it() -> None:
    """The constants come back as they were given, and the positions begin at the base."""
    ring = make_ring(8192, 2**40, generation=3, name="näme".encode(), path=b"/p/a\xff")

    assert (ring.capacity, ring.base, ring.generation, ring.salt) == (8192, 2**40, 3, SALT)
    assert (b"b" * 16, b"l" * 16, "näme", os.fsdecode(b"/p/a\xff")) == (
        ring.boot_id,
        ring.log_id,
        ring.name,
        ring.path,
    )
    assert [ring.hint, ring.released, ring.written, ring.durable, ring.frontier(2**40)] == [2**40] * 5
    assert ring.record_limit == 8192 // 4 - 24
    assert len(ring) == _core.ring_size(8192) == ring.data_offset + 8192


@pytest.mark.parametrize(
    "wrong",
    [
        {"capacity": 2048},
        {"capacity": 5000},
        {"capacity": 2**41},
        {"base": 16},
        {"boot_id": b"short"},
        {"log_id": b"l" * 17},
        {"name": b"n" * 128},
        {"path": b"/" * 3856},
    ],
    ids=str,
)
def test_constants_that_make_no_ring_are_refused(wrong: dict[str, Any]) -> None:
    """A ring is formatted whole or not at all."""
    size = _core.ring_size(SMALL)
    fd = memory(size)
    given = {
        "capacity": SMALL,
        "base": 0,
        "generation": 1,
        "salt": 1,
        "boot_id": b"b" * 16,
        "log_id": b"l" * 16,
    }
    given = {**given, "name": b"name", "path": b"/path", **wrong}
    mapping = Mapping(fd, size, writable=True)
    os.close(fd)

    with pytest.raises(ValueError, match="do not make a ring"):
        _core.format_ring(mapping, *given.values())
    assert _core.all_zero(mapping)


def test_memory_of_another_size_is_no_ring() -> None:
    """The size must be that of the capacity, to the byte."""
    with pytest.raises(ValueError, match="do not make a ring"):
        _core.format_ring(bytearray(4096), SMALL, 0, 1, 1, b"b" * 16, b"l" * 16, b"name", b"/path")


@pytest.mark.parametrize(
    ("offset", "value", "problem"),
    [
        (0, b"X", "begin like a ring"),
        (8, b"\2", "version"),
        (12, b"\1\2\3\4", "other byte order"),
        (24, b"\0\x20", "checksum"),
        (104, b"X", "checksum"),
    ],
)
def test_what_is_no_whole_ring_is_not_attached(offset: int, value: bytes, problem: str) -> None:
    """Magic, version, byte order and checksum are looked at before anything else is believed."""
    ring = make_ring()
    fd = memory(len(ring))
    os.pwrite(fd, memoryview(ring), 0)
    os.pwrite(fd, value, offset)

    with pytest.raises(ValueError, match=problem):
        Ring(fd, len(ring), writable=True)
    os.close(fd)


def test_constants_that_contradict_the_size_are_refused() -> None:
    """A good checksum does not make up for a size that is not the object's."""
    ring = make_ring()
    fd = memory(len(ring) + 4096)
    os.pwrite(fd, memoryview(ring), 0)

    with pytest.raises(ValueError, match="contradict"):
        Ring(fd, len(ring) + 4096, writable=True)
    with pytest.raises(ValueError, match="begin like a ring"):
        Ring(fd, 4096, writable=True)
    os.close(fd)


def test_a_ring_needs_a_writable_mapping(ring: Ring) -> None:
    """Every use of a ring writes, so a read-only one is refused instead of faulting later."""
    fd = memory(len(ring))
    os.pwrite(fd, memoryview(ring), 0)

    with pytest.raises(ValueError, match="writable"):
        Ring(fd, len(ring))
    os.close(fd)


@pytest.mark.parametrize("capacity", [2**36, 2**37, 2**40])
def test_the_largest_rings_work(capacity: int) -> None:
    """Up to the limit a position, a length and a count of granules fit where they are kept."""
    try:
        ring = make_ring(capacity)
    except OSError as error:
        pytest.skip(f"no address space for {capacity} bytes: {error}")
    producer = make_producer(ring)

    positions = [producer.log(b"a"), producer.log(b"b")]

    assert positions == [0, 32]
    assert drain(ring, 0) == (64, 64, 2, STOP_EMPTY, 0)


# -- mappings ----------------------------------------------------------------------------------------


def test_a_subclass_can_have_methods_of_its_own() -> None:
    """The same functions, but those that a class in between has written anew."""

    class Between(Producer):
        def _count(self, *_: Any) -> None:
            raise NotImplementedError

    @_core.with_own_methods
    class Last(Between):
        pass

    assert Last.__dict__["log"].__objclass__ is Last
    assert Last.__dict__["log_many"].__doc__ == Producer.log_many.__doc__
    assert "_count" not in Last.__dict__
    assert disklog_mp.Session.__dict__["log"].__objclass__ is disklog_mp.Session
    assert Last().try_record(b"x", 0) == NEEDS_ATTACH
    with pytest.raises(TypeError, match=r"descriptor 'log' for 'Last' objects doesn't apply"):
        Last.log(Producer(), b"x")
    with pytest.raises(TypeError, match="7 is no type"):
        _core.with_own_methods(7)  # type: ignore[type-var]

    class Meta(type):
        def __getattribute__(cls, name: str) -> Any:
            if name == "log":
                raise LookupError(name)
            return super().__getattribute__(name)

    with pytest.raises(LookupError, match="log"):
        _core.with_own_methods(Meta("Odd", (Producer,), {}))


def test_words_of_a_mapping_are_loaded_stored_raised_and_added_to() -> None:
    """Each width has its own calls; maximize64 never lowers."""
    fd = memory(4096)
    mapping = Mapping(fd, 4096, writable=True)
    os.close(fd)

    mapping.store32(0, 2**32 - 1)
    mapping.store64(8, 5)
    mapping.maximize64(8, 4)
    before = mapping.add64(8, 2**64 - 1)
    mapping.maximize64(16, 2**63)

    assert (mapping.load32(0), before, mapping.load64(8), mapping.load64(16)) == (2**32 - 1, 5, 4, 2**63)
    assert (4096, struct.pack("<IIQ", 2**32 - 1, 0, 4)) == (len(mapping), bytes(memoryview(mapping)[:16]))


@pytest.mark.parametrize("offset", [-8, 4, 4096, 4092, 2**62])
def test_a_word_is_inside_its_mapping_and_aligned(offset: int) -> None:
    """What is not a word is an IndexError, and nothing is touched."""
    fd = memory(4096)
    mapping = Mapping(fd, 4096, writable=True)
    os.close(fd)

    for call in (mapping.load64, lambda at: mapping.store64(at, 1), lambda at: mapping.add64(at, 1)):
        with pytest.raises(IndexError, match="not a word"):
            call(offset)
    assert _core.all_zero(mapping)


def test_a_read_only_mapping_is_not_written() -> None:
    """Its words cannot be stored, its buffer is read-only."""
    fd = memory(4096)
    mapping = Mapping(fd, 4096)
    os.close(fd)

    for call in (mapping.store32, mapping.store64, mapping.maximize64, mapping.add64):
        with pytest.raises(TypeError, match="read-only"):
            call(0, 1)
    with pytest.raises(TypeError, match="read-only"):
        mapping.ring_bell(0)
    assert memoryview(mapping).readonly


def test_a_mapping_that_cannot_be_is_an_error() -> None:
    """No length, or no descriptor: the reason is told."""
    with pytest.raises(ValueError, match="positive"):
        Mapping(0, 0)
    with pytest.raises(OSError, match="descriptor"):
        Mapping(-1, 4096)


def mappings() -> int:
    """How many mappings this process has."""
    with open("/proc/self/maps", encoding="ascii") as file:
        return sum(1 for _ in file)


def mapped_at(name: str) -> tuple[int, dict[str, int]]:
    """Where memory of that name is mapped, and what the kernel tells of it, KiB."""
    with open("/proc/self/smaps", encoding="ascii") as file:
        parts = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", file.read(), flags=re.M)
    [told] = [part for part in parts if name in part.partition("\n")[0]]
    return int(told.partition("-")[0], 16), {
        key: int(value) for key, value in re.findall(r"^(\w+): +(\d+) kB", told, re.M)
    }


@pytest.mark.parametrize("length", [2 << 20, (4 << 20) + 4096, (4 << 20) + 1, (6 << 20) - 4096])
def test_a_large_mapping_begins_where_a_huge_page_does(length: int) -> None:
    """And nothing is left mapped around it."""
    fd = os.memfd_create("aligned")
    os.ftruncate(fd, length)
    before = mappings()
    mapping = Mapping(fd, length, writable=True)
    os.close(fd)
    at, told = mapped_at("aligned")
    mapping.store64((length - 8) & ~7, 1)

    assert at % (2 << 20) == 0
    assert told["Size"] == -(-length // 4096) * 4
    assert mappings() <= before + 1
    del mapping
    assert mappings() <= before


def test_a_ring_is_in_huge_pages_where_the_kernel_has_them() -> None:
    """Its creator moves it there, with what is in it; everybody else needs to do nothing for it."""
    length = 4 << 20
    fd = os.memfd_create("huge")
    os.ftruncate(fd, length)
    os.posix_fallocate(fd, 0, length)
    mapping = Mapping(fd, length, writable=True)
    mapping.store64(length - 8, 7)
    if not mapping.collapse(0, length):
        pytest.skip("no huge pages of shared memory on this machine")
    assert mapping.load64(length - 8) == 7
    del mapping
    again = Mapping(fd, length, writable=True)
    os.close(fd)
    assert again.load64(length - 8) == 7
    assert mapped_at("huge")[1]["ShmemPmdMapped"] == 2048  # by the one look


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1), (4096, 4097), (8193, 0), (1, 2**63 - 1)])
def test_only_what_is_mapped_is_put_into_huge_pages(offset: int, length: int) -> None:
    """collapse() refuses a range outside the mapping."""
    fd = memory(8192)
    mapping = Mapping(fd, 8192, writable=True)
    os.close(fd)

    with pytest.raises(IndexError, match="are not in 8192"):
        mapping.collapse(offset, length)


def test_a_wait_that_looks_hears_of_signals_at_each_look() -> None:
    """Also of one that another thread got, or that came too early to end the sleep."""
    fd = memory(4096)
    mapping = Mapping(fd, 4096)
    os.close(fd)
    timer = threading.Timer(0.1, _thread.interrupt_main)
    timer.start()

    with pytest.raises(KeyboardInterrupt):
        mapping.wait_watching(0, 0, 3600, 0.05, 8, 0, b"/there/is/none")
    timer.join()
    assert not mapping.wait_watching(0, 0, 3600, 0, 8, 0, b"/there/is/none")


def test_a_wait_ends_when_the_bell_rings() -> None:
    """The word counts up and the sleeper goes on; a word that has changed is not waited for at all."""
    fd = memory(4096)
    mapping = Mapping(fd, 4096, writable=True)
    os.close(fd)
    woken: list[bool] = []
    thread = threading.Thread(target=lambda: woken.append(mapping.wait(0, 0, 60.0)))

    thread.start()
    while mapping.ring_bell(0) == 0 and thread.is_alive():
        pass
    thread.join()

    assert woken == [True]
    assert mapping.load32(0) > 0
    assert mapping.wait(0, 0, 60.0)
    assert not mapping.wait(0, mapping.load32(0), 0.0)


# -- appending ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", BASES)
def test_a_frame_begins_where_the_one_before_ends(base: int) -> None:
    """Header and bytes take whole granules, and the position is the place."""
    ring = make_ring(base=base)
    producer = make_producer(ring)
    expected = base

    for length in (0, 1, 7, 8, 9, 40, 41):
        assert expected == producer.log(bytes(length))
        expected += -(-(length + 24) // 32) * 32

    assert expected == producer.end == ring.frontier(base)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("kind", [RECORD, GAP])
def test_the_bytes_in_the_ring_are_the_frame(base: int, kind: int) -> None:
    """To the byte what the format says: it is what will stand in the page."""
    ring = make_ring(base=base)
    producer = make_producer(ring, slot=4, pid=77)

    position = producer.try_record(b"some bytes", 513, kind)

    expected = encode(SALT, base, time_at(ring, base), 77, kind, 513, b"some bytes")
    assert base == position
    assert expected == bytes_at(ring, base, len(expected))


@pytest.mark.parametrize("base", BASES)
def test_a_group_is_one_frame_around_its_records(base: int) -> None:
    """Its bytes are what the format says; the position is that of the first record."""
    ring = make_ring(base=base)
    producer = make_producer(ring, pid=77)
    records = [b"", b"1", b"12345678"]

    position = producer.log_many(records, tag=9)

    time = time_at(ring, base)
    expected = encode(SALT, base, time, 77, GROUP, 9, encode_group(time, 77, 9, records))
    assert base + 24 + 8 == position
    assert expected == bytes_at(ring, base, len(expected))
    assert drain(ring, base)[2] == 3


def test_any_bytes_like_object_is_a_record(ring: Ring, producer: Raw) -> None:
    """What has a contiguous buffer is taken as it is."""
    for data in (bytearray(b"abcd"), memoryview(b"abcd"), array.array("I", [0x64636261]), b"abcd"):
        producer.log(data)
    producer.log_many(iter([bytearray(b"abcd"), memoryview(b"xabcd")[1:]]))

    assert drain_all(ring, 0)[0] == [b"abcd"] * 6


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: p.log("text"), TypeError, "encode"),
        (lambda p: p.log(5), TypeError, "bytes-like"),
        (lambda p: p.log(None), TypeError, "bytes-like"),
        (lambda p: p.log(memoryview(b"abcd")[::2]), TypeError, "bytes-like"),
        (lambda p: p.log(), TypeError, "one record"),
        (lambda p: p.log(b"a", b"b"), TypeError, "one record"),
        (lambda p: p.log(b"a", 1), TypeError, "one record"),
        (lambda p: p.log(b"a", tog=1), TypeError, "tog"),
        (lambda p: p.log(b"a", tag=1, tog=1), TypeError, "one record"),
        (lambda p: p.log(b"a", tag=-1), ValueError, "0 to 65535"),
        (lambda p: p.log(b"a", tag=65536), ValueError, "0 to 65535"),
        (lambda p: p.log(b"a", tag="x"), TypeError, "int"),
        (lambda p: p.log(b"a", tag=2**70), OverflowError, "large"),
        (lambda p: p.log_many(b"ab"), TypeError, "several"),
        (lambda p: p.log_many("ab"), TypeError, "several"),
        (lambda p: p.log_many(5), TypeError, "iterable"),
        (lambda p: p.log_many([b"a", "b"]), TypeError, "encode"),
        (lambda p: p.log_many([b"a"], tag=70000), ValueError, "0 to 65535"),
        (lambda p: p.log_many([b"a"], 3), TypeError, "argument"),
        (lambda p: p.bind(None, 1, 1), TypeError, "Ring"),
        (lambda p: p.try_group([b"a"], 0), TypeError, "tuple"),
    ],
)
def test_what_is_no_record_is_refused(
    ring: Ring, producer: Raw, call: Callable[[Raw], object], error: type[Exception], message: str
) -> None:
    """The error says what a record is, and nothing is logged."""
    with pytest.raises(error, match=message):
        call(producer)
    assert ring.frontier(0) == 0


def test_the_longest_record_takes_a_quarter_of_the_ring(ring: Ring, producer: Raw) -> None:
    """One byte more is too large, for a record and for a group, whatever room there is."""
    limit = ring.record_limit

    assert (producer.log(bytes(limit)), producer.log(bytes(limit + 1))) == (0, TOO_LARGE)
    assert producer.log_many([bytes(limit - 32)]) == SMALL // 4 + 32
    assert producer.log_many([bytes(limit - 31)]) == TOO_LARGE
    assert producer.log_many([bytes(limit - 79), bytes(24)]) == TOO_LARGE
    assert producer.log_many([bytes(limit + 1)]) == TOO_LARGE
    assert ring.frontier(0) == SMALL // 2


def test_no_records_are_no_group(ring: Ring, producer: Raw) -> None:
    """An empty iterable logs nothing."""
    assert producer.log_many([]) == -1
    assert ring.frontier(0) == 0


def test_a_full_ring_says_so_until_something_is_released(ring: Ring, producer: Raw) -> None:
    """Not a byte that is not released is ever claimed."""
    count = SMALL // 64
    for i in range(count):
        assert i * 64 == producer.log(b"%040d" % i)

    assert FULL == producer.log(b"x" * 40) == producer.log(b"") == producer.log_many([b""])
    ring.release(0, 64)
    assert producer.log(b"x" * 40) == SMALL
    assert producer.log(b"") == FULL
    assert [b"%040d" % i for i in range(1, count)] + [b"x" * 40] == drain_all(ring, 64)[0]


def test_a_record_too_long_for_the_rest_begins_at_the_ring_s_start(ring: Ring, producer: Raw) -> None:
    """The rest is padding: its header alone is written, and it counts for no record."""
    for _ in range(3):
        producer.log(bytes(1000))
    producer.log(bytes(900))
    ring.release(0, 2048)

    assert producer.log(bytes(200)) == SMALL

    rest = SMALL - 3072 - 928
    assert drain(ring, 2048) == (SMALL, 1024 + 928 + 24, 2, STOP_WRAP, 0)
    padding = struct.unpack("<IIQIHH", bytes_at(ring, SMALL - rest, 24))
    assert (rest - 24, 0, 0, PADDING, 0) == (padding[0], *padding[2:])
    assert drain(ring, SMALL) == (SMALL + 224, 224, 1, STOP_EMPTY, 0)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("capacity", [SMALL, 4 * SMALL])
def test_many_laps_lose_nothing(base: int, capacity: int) -> None:
    """Across 2^32, 2^63 and the wrap of the tags every record comes out once, in order."""
    ring = make_ring(capacity, base // SMALL * capacity + base % SMALL if base < 2**60 else base)
    producers = [make_producer(ring, slot, 1000 + slot) for slot in (1, 2, 3)]
    logged: list[bytes] = []
    drained: list[bytes] = []
    position = ring.base

    for i in range(12 * capacity // 100):
        data = b"%d" % i + bytes(i * 37 % 300)
        while producers[i % 3].log(data) == FULL:
            records, position = drain_all(ring, position)
            drained += records
        logged.append(data)
    drained += drain_all(ring, position)[0]

    assert logged == drained
    assert ring.frontier(ring.released) == ring.released > ring.base + 8 * capacity


def test_a_long_record_is_copied_beside_other_threads() -> None:
    """Above 16 KiB the copy goes on without the interpreter's lock; records of all threads come out whole."""
    ring = make_ring(1 << 20)
    producer = make_producer(ring)
    records = [bytes([i]) * (17_000 + i) for i in range(12)]
    threads = [
        threading.Thread(target=lambda part=records[i::3]: [producer.log(data) for data in part])
        for i in range(3)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert records == sorted(drain_all(ring, 0)[0])
    assert len(records) == ring.slot(1)[7]


# -- what stands in the way --------------------------------------------------------------------------


def test_an_unbound_producer_asks_to_be_attached(ring: Ring) -> None:
    """Before bind() and after unbind() nothing is logged."""
    producer = Raw()

    assert NEEDS_ATTACH == producer.log(b"a") == producer.try_record(b"a", 0) == producer.log_many([b"a"])
    assert (producer.ring, producer.is_bound) == (None, False)
    producer.bind(ring, 1, 1)
    assert (ring, True, 0) == (producer.ring, producer.is_bound, producer.log(b"a"))
    assert producer.unbind() == 0
    assert (producer.log(b"a"), producer.is_bound) == (NEEDS_ATTACH, False)


@pytest.mark.parametrize(("halted", "answer"), [(_core.LOG_FULL, HALTED), (_core.REPLACED, ENDED)])
def test_the_writer_s_word_stops_everybody_at_once(
    ring: Ring, producer: Raw, halted: int, answer: int
) -> None:
    """A log that is full takes no records; a ring that is replaced sends producers on."""
    ring.halted = halted

    assert answer == producer.log(b"a") == producer.try_record(b"a", 0) == producer.log_many([b"a"])
    ring.halted = 0
    assert producer.log(b"a") == 0


def test_a_producer_with_something_to_say_is_asked_first(ring: Ring, producer: Raw) -> None:
    """Drops to report go before the next record; try_record(), which reports them, goes on."""
    producer.needs_attention = True

    assert NEEDS_ATTENTION == producer.log(b"a") == producer.log_many([b"a"])
    assert producer.needs_attention
    assert producer.try_record(b"gap", 0, GAP) == 0


def test_a_silent_writer_is_looked_at_once_in_a_while(ring: Ring, producer: Raw) -> None:
    """The heartbeat is old: one look, and whatever it finds, the record is logged."""
    ring.heartbeat = 1
    producer.log(b"not watching")
    producer.watches_writer = True

    assert (producer.log(b"a"), producer.log(b"b")) == (32 + 32, 96)
    assert producer.looked == 1


@pytest.mark.parametrize("sleeps", [True, False])
def test_a_writer_that_was_asleep_is_not_looked_at(ring: Ring, producer: Raw, sleeps: bool) -> None:
    """Its heartbeat is old for that; one that says it sleeps and does not hear the bell is looked at."""
    thread = threading.Thread(target=ring.park, args=(0, 3600.0))
    if sleeps:
        thread.start()
        while not ring.parked or state_of(thread) != "S":
            pass
    else:
        ring.parked = 1
    ring.heartbeat = 1
    producer.watches_writer = True
    producer.log(b"a")
    if sleeps:
        thread.join()

    assert producer.looked == (not sleeps)


def state_of(thread: threading.Thread) -> str:
    """What the kernel says a thread is at."""
    with open(f"/proc/self/task/{thread.native_id}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_what_a_process_did_stands_in_its_slot(ring: Ring, producer: Raw) -> None:
    """Records are counted one by one, drops and waits as told, and how many were another's, logged again for
    him; a refused record is not.
    """
    producer.log(b"a")
    producer.log_many([b"b", b"c"])
    producer.log(bytes(5000))
    producer.count(7, 2)
    assert producer.try_record(b"again", 0, 1, 5, 4711) > 0
    assert producer.try_group((b"again", b"again"), 0, 5, 4711) > 0
    assert producer.try_record(b"my own", 0, 1, 5, 1001) > 0

    assert ring.slot(1) == (1, SLOT_ATTACHED, 0, 1001, 5, 6, 7, 7, 7, 2, 3)


# -- draining ----------------------------------------------------------------------------------------


def test_an_empty_ring_has_nothing_to_drain(ring: Ring) -> None:
    """Empty is an answer of its own."""
    assert ring.drain(0, ALL, ALL) == (0, 0, 0, 0, STOP_EMPTY, 0)


def test_a_drain_keeps_to_its_limits(ring: Ring, producer: Raw) -> None:
    """It stops before the frame that would pass one, and says how many bytes that takes."""
    for length in (8, 8, 100):
        producer.log(bytes(length))
    producer.log_many([b"a", b"b"])

    assert drain(ring, 0, 63) == (32, 32, 1, STOP_LIMIT, 32)
    assert drain(ring, 0, 64) == (64, 64, 2, STOP_LIMIT, 128)
    assert drain(ring, 0, ALL, 2) == (64, 64, 2, STOP_LIMIT, 128)
    assert drain(ring, 0, ALL, 4) == (192, 192, 3, STOP_LIMIT, 96)
    assert drain(ring, 0, 288, 5) == (288, 288, 5, STOP_EMPTY, 0)
    assert (0, 0, 0, STOP_LIMIT, 32) == drain(ring, 0, 31) == drain(ring, 0, ALL, 0)


def test_a_drain_can_be_repeated_byte_for_byte(ring: Ring, producer: Raw) -> None:
    """Until something is released it gives the same: a writer that died in between is repeated."""
    ring.attach(9, 909, 1, 1, 1)
    dead = make_producer(ring, slot=9)
    producer.log(b"a")
    die_at(ring, dead, 50)
    ring.abandon(32)
    producer.log(bytes(1000))
    producer.log(bytes(1000))
    producer.log(bytes(1000))
    ring.release(0, 32)
    producer.log(bytes(930))
    first = ring.drain(32, ALL, ALL), bytes_at(ring, 32, SMALL - 32)

    assert first == (ring.drain(32, ALL, ALL), bytes_at(ring, 32, SMALL - 32))
    assert struct.unpack("<IIQIHH", bytes_at(ring, 32, 24))[3:5] == (909, ABANDONED)


def test_a_run_has_the_time_of_its_last_record(ring: Ring, producer: Raw) -> None:
    """A group's counts as a record's; an abandoned frame has none."""
    producer.log(b"a")
    producer.log_many([b"b"])
    ring.abandon(die_at(ring, producer, 1))

    assert time_at(ring, 32) == ring.drain(0, ALL, ALL)[3] >= time_at(ring, 0) > 0


def test_a_group_that_lies_about_its_count_costs_the_count(ring: Ring, producer: Raw) -> None:
    """The bytes of a record are not trusted with more than a number."""
    producer.log_many([b"b", b"c"])
    memoryview(ring)[ring.data_offset + 24 : ring.data_offset + 28] = b"\xff\xff\xff\xff"

    assert drain(ring, 0) == (96, 96, 1, STOP_EMPTY, 0)


def test_a_claim_that_is_not_committed_stops_the_run(ring: Ring, producer: Raw) -> None:
    """What stands behind it waits; its owner is named; abandoned, it is passed over."""
    ring.attach(7, 707, 1, 1, 1)
    dead = make_producer(ring, slot=7)
    producer.log(b"before")
    position = die_at(ring, dead, 200)
    producer.log(b"behind")

    assert drain(ring, 0) == (32, 32, 1, STOP_CLAIMED, 7)
    assert drain(ring, 32) == (32, 0, 0, STOP_CLAIMED, 7)
    assert [ring.abandon(position), ring.abandon(position), ring.abandon(0)] == [True, False, False]
    assert drain_all(ring, 0)[0] == [b"before", b"behind"]
    length, _, time, pid, kind, tag = struct.unpack("<IIQIHH", bytes_at(ring, 32, 24))
    assert (length, time, pid, kind, tag) == (224 - 24, 0, 707, ABANDONED, 0)


# -- the end of a ring -------------------------------------------------------------------------------


def test_a_closed_ring_sends_everybody_on(ring: Ring, producer: Raw) -> None:
    """The end has a place in the order: what was logged before is drained, nothing comes after."""
    producer.log(b"last")

    assert [ring.close(0), ring.is_closed(), ring.close(32)] == [False, False, True]
    assert ENDED == producer.log(b"a") == producer.log_many([b"a"]) == make_producer(ring, 2).log(b"b")
    assert ring.is_closed()
    assert not ring.close(32)
    assert drain_all(ring, 0) == ([b"last"], 32)
    assert drain(ring, 32) == (32, 0, 0, STOP_CLOSED, 0)
    assert producer.log(bytes(5000)) == TOO_LARGE


@pytest.mark.parametrize("base", BASES)
def test_a_ring_can_end_anywhere(base: int) -> None:
    """Also at its very end, where the next word is that of the lap before."""
    ring = make_ring(base=base)
    producer = make_producer(ring)
    position = base
    while position % SMALL != SMALL - 32:
        producer.log(b"a")
        position = drain_all(ring, position)[1]

    assert ring.close(position)
    assert ENDED == producer.log(bytes(500)) == producer.log(b"")


# -- slots -------------------------------------------------------------------------------------------


def test_a_slot_goes_from_free_to_attached_to_detached_and_back(ring: Ring) -> None:
    """Each step only from the one before; who comes next is another incarnation."""
    assert [*range(5)] == ring.slots(SLOT_FREE, 5)
    assert len(ring.slots(SLOT_FREE)) == SLOTS
    assert ring.attach(2, 11, 22, 33, 44)
    assert not ring.attach(2, 12, 22, 33, 44)
    assert ring.slot(2) == (2, SLOT_ATTACHED, 0, 11, 22, 33, 44, 0, 0, 0, 0)
    assert not ring.detach(2, 1)
    assert ring.detach(2, 0)
    assert not ring.detach(2, 0)
    assert ring.slots(SLOT_DETACHED) == [2]
    ring.retire(2)
    assert ring.slot(2)[1:3] == (SLOT_FREE, 1)
    assert ring.attach(2, 13, 22, 33, 44)
    assert not ring.detach(2, 0)


def test_a_retired_slot_leaves_its_counts_in_the_totals(ring: Ring) -> None:
    """Exactly once each, and the next owner of the slot begins at nought."""
    for round_, slot in enumerate((3, 4, 3, 3)):
        producer = make_producer(ring, slot)
        producer.log(b"a")
        producer.count(10, 100)
        ring.retire(slot)
        ring.retire_resume()

        assert (round_ + 1, 10 * round_ + 10, 100 * round_ + 100) == ring.totals()
    assert ring.attach(3, 1, 1, 1, 1)
    assert ring.slot(3)[7:] == (0, 0, 0, 0)


def test_the_tallies_are_of_one_moment(ring: Ring) -> None:
    """What a slot has counted is there once, though it is given back, or freed, in the middle of the look."""
    for slot in (3, 4, 5):
        make_producer(ring, slot).log(b"a")

    class Moving:
        """The ring, in which something happens after each look at its slots."""

        def __init__(self) -> None:
            self.coming = [lambda: ring.detach(3, 0), lambda: ring.retire(3), lambda: ring.retire(4)]

        def __getattr__(self, name: str) -> Any:
            return getattr(ring, name)

        def slots(self, state: int) -> list[int]:
            found = ring.slots(state)
            if self.coming:
                self.coming.pop(0)()
            return found

    tallies = _slots.tallies(Moving())  # type: ignore[arg-type]

    assert tallies.total().logged == 3
    assert [slot.index for slot in tallies.slots] == [5]


def test_there_are_so_many_slots_and_no_more(ring: Ring) -> None:
    """An index beyond the table is an IndexError."""
    for call in (ring.slot, ring.retire, lambda i: ring.detach(i, 0), lambda i: ring.attach(i, 1, 1, 1, 1)):
        with pytest.raises(IndexError, match=f"slot {SLOTS} of {SLOTS}"):
            call(SLOTS)
    with pytest.raises(IndexError):
        Producer().bind(ring, SLOTS, 1)


# -- sleeping ----------------------------------------------------------------------------------------


def test_a_parked_writer_is_rung_once(ring: Ring, producer: Raw) -> None:
    """The producer that takes the flag rings; the ones after find it taken."""
    bell = CONTROL + 388
    ring.parked = 1
    producer.log(b"a")
    producer.log(b"b")

    assert (ring.parked, ring.load32(bell)) == (0, 1)


def test_a_writer_does_not_park_over_a_record(ring: Ring, producer: Raw) -> None:
    """What is committed at its position, or the ring's end, keeps it awake; a claim alone does not."""
    producer.log(b"a")
    ring.park(0, 3600.0)
    set_state(ring, 0, 1)
    ring.park(0, 0.001)
    ring.close(32)
    ring.park(32, 3600.0)

    assert ring.parked == 0


@pytest.mark.parametrize("how", ["a record", "wake"])
def test_a_parked_writer_wakes(ring: Ring, producer: Raw, how: str) -> None:
    """By the first record, or because somebody wants something of it."""
    thread = threading.Thread(target=ring.park, args=(0, 3600.0))
    thread.start()
    while not ring.parked:
        pass
    if how == "a record":
        producer.log(b"a")
        thread.join()
    while thread.is_alive():  # it may not sleep yet when we call
        ring.wake()

    assert ring.parked == 0


def test_who_waits_for_space_is_woken_by_a_release(ring: Ring) -> None:
    """Only if somebody wants it, and the wish is taken back."""
    ring.release(0, 0)
    assert ring.load32(_core.SPACE) == 0
    ring.store32(_core.SPACE_WANTED, 1)
    ring.release(0, 0)
    assert (ring.load32(_core.SPACE), ring.load32(_core.SPACE_WANTED)) == (1, 0)


def test_who_waits_for_the_disk_is_woken_by_an_announcement(ring: Ring) -> None:
    """As with space."""
    ring.announce()
    assert ring.load32(_core.DONE) == 0
    ring.store32(_core.DONE_WANTED, 1)
    ring.announce()
    assert (ring.load32(_core.DONE), ring.load32(_core.DONE_WANTED)) == (1, 0)


# -- damage ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "tag", "state", "owner", "granules"),
    [
        ("no length", 0, 2, 1, 0),
        ("past the ring's end", 0, 2, 1, SMALL // 32),
        ("no state", 0, 0, 1, 1),
        ("an unknown state", 0, 7, 1, 1),
        ("no such slot", 0, 2, SLOTS, 1),
        ("of the next lap", 1, 2, 1, 1),
        ("of a far lap", 1000, 2, 1, 1),
        ("of a lap longer ago than can be", -(2**22), 2, 1, 1),
    ],
)
@pytest.mark.parametrize("base", BASES)
def test_a_word_that_cannot_be_is_noticed_by_all(
    what: str, tag: int, state: int, owner: int, granules: int, base: int
) -> None:
    """Who walks over it says so and goes no further: nobody follows it anywhere."""
    ring = make_ring(base=base)
    producer = make_producer(ring)
    producer.log(b"good")
    producer.log(b"bad")
    position = base + 32
    ring.store64(word_offset(ring, position), word(tag_of(ring, position) + tag, state, owner, granules))

    assert (position, 32, 1, STOP_DAMAGED, 0) == drain(ring, base)
    assert (position, 0, 0, STOP_DAMAGED, 0) == drain(ring, position)
    assert make_producer(ring, 2).log(b"new") == DAMAGED
    assert position == ring.frontier(base)
    assert not ring.abandon(position)


@pytest.mark.parametrize(
    ("hint", "answer"),
    [
        (2**64 - 1, DAMAGED),
        (2**63, DAMAGED),
        (2**64 - 32, DAMAGED),
        (SMALL + 1, DAMAGED),
        (33, DAMAGED),
        (96, 96),
    ],
)
def test_a_hint_gone_astray_is_noticed_by_the_writer(hint: int, answer: int) -> None:
    """Producers cannot tell a wrong hint from a right one, but for its size; the writer, waiting at a
    frontier that lies before the hint, can.
    """
    ring = make_ring()
    producer = make_producer(ring)
    producer.log(b"good")
    ring.hint = hint

    assert drain(ring, 0) == (32, 32, 1, STOP_EMPTY, 0)
    assert drain(ring, 32) == (32, 0, 0, STOP_DAMAGED, 0)
    assert answer == make_producer(ring, 2).log(b"new")
    assert drain(ring, 32) == (32, 0, 0, STOP_DAMAGED, 0)


def test_a_hint_that_is_too_low_costs_a_walk(ring: Ring, producer: Raw) -> None:
    """Too low is what a hint may be."""
    for _ in range(5 * SMALL // 64):
        producer.log(b"a" * 40)
        drain_all(ring, ring.released)
    ring.hint = 0

    assert ring.frontier(ring.released) == make_producer(ring, 2).log(b"new")


def test_a_position_that_is_none_is_damage(ring: Ring, producer: Raw) -> None:
    """Between granules nothing begins."""
    producer.log(bytes(100))

    assert drain(ring, 5) == (5, 0, 0, STOP_DAMAGED, 0)


def test_a_group_s_damaged_header_is_not_followed() -> None:
    """A header that claims more than there is counts as one lost record: its bytes are not looked at."""
    frames = [encode(SALT, 4096 + 32 * i, 1, 1, RECORD, 0, b"%08d" % i) for i in range(4)]
    liar = struct.pack("<IIQIHH", 2**32 - 1, 5, 1, 1, GROUP, 0) + struct.pack("<Q", 3)
    fd = memory(mmap.PAGESIZE)
    os.pwrite(fd, frames[0] + liar + b"".join(frames[2:]), 0)
    mapping = Mapping(fd, mmap.PAGESIZE)
    os.close(fd)
    found = Frames(mapping, 0, 128, 4096, 0, SALT, payloads=True)

    assert list(found) == [b"00000000", b"00000002", b"00000003"]
    assert found.damage == [(32, 32, 5, 0, 1)]
    assert found.number == 4


# -- old tags ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lap", [2**20 - 1, 2**21 - 1, LAPS - 1])
def test_granules_inside_frames_get_the_lap_s_tag_now_and_then(lap: int) -> None:
    """Once in 2^20 laps releasing renews the words at which no frame began, so that none is ever old."""
    ring = make_ring(base=SMALL * lap)
    producer = make_producer(ring)
    producer.log(bytes(100))
    old = [ring.load64(word_offset(ring, ring.base + at)) for at in (32, 64, 96, 128)]

    drain_all(ring, ring.base)

    tag = (lap + 1) % LAPS
    new = [ring.load64(word_offset(ring, ring.base + at)) for at in (32, 64, 96, 128)]
    assert [word(tag - 1, 0, 0, 0)] * 4 == old
    assert [word(tag, 0, 0, 0)] * 3 + [old[3]] == new
    assert ring.base + 128 == producer.log(b"next")
    assert drain_all(ring, ring.base + 128)[0] == [b"next"]


# -- against the model -------------------------------------------------------------------------------

LENGTHS = st.integers(0, 60) | st.integers(0, 1100)


class RingMachine(RuleBasedStateMachine):
    """The C ring and the Python ring are given the same calls and must give the same answers."""

    claims = Bundle("claims")

    @initialize(base=st.sampled_from(BASES), capacity=st.sampled_from([SMALL, 2 * SMALL]))
    def start(self, base: int, capacity: int) -> None:
        self.ring = make_ring(capacity, base)
        self.model = ModelRing(capacity, base)
        self.producers = {slot: make_producer(self.ring, slot, 1000 + slot) for slot in (1, 2, 3)}
        self.counts = dict.fromkeys(self.producers, 0)

    @rule(
        slot=st.sampled_from([1, 2, 3]),
        data=st.binary(max_size=40) | LENGTHS.map(bytes),
        tag=st.integers(0, 65535),
    )
    def log(self, slot: int, data: bytes, tag: int) -> None:
        expected = self.model.claim(slot, len(data))
        if expected >= 0:
            self.model.commit(expected, RECORD, tag, [data])
            self.counts[slot] += 1

        assert expected == self.producers[slot].log(data, tag=tag)

    @rule(slot=st.sampled_from([1, 2, 3]), lengths=st.lists(LENGTHS, min_size=1, max_size=6))
    def log_many(self, slot: int, lengths: list[int]) -> None:
        records = [bytes([i]) * length for i, length in enumerate(lengths)]
        expected = self.model.claim(slot, len(encode_group(0, 0, 0, records)))
        if expected >= 0:
            self.model.commit(expected, GROUP, 3, records)
            self.counts[slot] += len(records)
            expected += 24 + 8

        assert expected == self.producers[slot].log_many(records, tag=3)

    @rule(target=claims, slot=st.sampled_from([1, 2, 3]), length=LENGTHS)
    def die(self, slot: int, length: int) -> int:
        expected = self.model.claim(slot, length)
        self.counts[slot] += expected >= 0

        assert expected == die_at(self.ring, self.producers[slot], length)
        return expected

    @rule(position=claims)
    def abandon(self, position: int) -> None:
        if position >= self.model.released:
            assert self.model.abandon(position) == self.ring.abandon(position)

    @rule(
        max_bytes=st.integers(0, 3000) | st.just(ALL), max_records=st.integers(0, 20), release=st.booleans()
    )
    def drain(self, max_bytes: int, max_records: int, release: bool) -> None:
        start = self.model.released
        expected = self.model.drain(start, max_bytes, max_records)
        end, length, records, last_time, stop, following = self.ring.drain(start, max_bytes, max_records)

        assert expected == (end, length, records, stop, following)
        times = [0, *self._check_frames(start, end)]
        assert times[-1] == last_time
        if release:
            self.model.release(start, end)
            self.ring.release(start, end)

    def _check_frames(self, start: int, end: int) -> Iterator[int]:
        """Every frame of the run is, to the byte, what the model says; the times of its records."""
        for position, frame in self.model.frames.items():
            if not start <= position < end:
                continue
            found = bytes_at(self.ring, position, frame.span)
            pid, time = 1000 + frame.slot, time_at(self.ring, position)
            if frame.kind in (PADDING, ABANDONED):
                pid = 0 if frame.kind == PADDING else pid
                covered = struct.pack("<QQQIHHQ", SALT, position, 0, pid, frame.kind, 0, frame.span - 24)
                fields = (frame.span - 24, _core.crc32c(covered), 0, pid, frame.kind, 0)
                assert struct.pack("<IIQIHH", *fields) == found[:24]
                continue
            data = (
                frame.records[0]
                if frame.kind == RECORD
                else encode_group(time, pid, frame.tag, frame.records)
            )
            assert found.startswith(encode(SALT, position, time, pid, frame.kind, frame.tag, data))
            yield time

    @precondition(lambda self: self.model.frontier < self.model.released + self.model.capacity)
    @rule(place=st.sampled_from(["frontier", "released"]), dice=st.integers(0, 9))
    def close(self, place: str, dice: int) -> None:
        if dice == 0:
            position = getattr(self.model, place)
            assert self.model.close(position) == self.ring.close(position)
            assert self.model.closed == self.ring.is_closed()

    @rule(slot=st.sampled_from([1, 2, 3]))
    def retire(self, slot: int) -> None:
        if not any(frame.slot == slot and frame.kind == CLAIMED for frame in self.model.frames.values()):
            before = self.ring.totals()[0]
            self.ring.retire(slot)
            assert before + self.counts[slot] == self.ring.totals()[0]
            self.counts[slot] = 0
            self.producers[slot] = make_producer(self.ring, slot, 1000 + slot)

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "model"):
            assert self.model.frontier == self.ring.frontier(self.model.released)
            assert self.model.released == self.ring.released
            assert self.ring.hint <= self.model.frontier


RingMachine.TestCase.settings = settings(max_examples=60 * TIMES, stateful_step_count=60, deadline=None)
test_the_ring_does_what_the_model_does = RingMachine.TestCase
