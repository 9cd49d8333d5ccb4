"""Appending: the bytes of frames and groups, full rings, what a producer is told before it appends."""

import array
import struct
import threading
from collections.abc import Callable

import pytest
from support.memory_ring import (
    BASES,
    SALT,
    SMALL,
    Raw,
    bytes_at,
    drain,
    drain_all,
    make_producer,
    make_ring,
    time_at,
)
from support.ring_model import (
    GAP,
    GROUP,
    PADDING,
    RECORD,
    encode,
    encode_group,
)

from disklog_mp import _core
from disklog_mp._core import (
    ENDED,
    FULL,
    HALTED,
    NEEDS_ATTACH,
    NEEDS_ATTENTION,
    SLOT_ATTACHED,
    STOP_EMPTY,
    STOP_WRAP,
    TOO_LARGE,
    Ring,
)


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
    """One byte more is too large, for a record and for a group, also in an empty ring."""
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
def test_the_writer_s_word_stops_all_producers_at_once(
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
    """The heartbeat is old: one look, and the record is logged, also if the look fails."""
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
    it; a refused record is not.
    """
    producer.log(b"a")
    producer.log_many([b"b", b"c"])
    producer.log(bytes(5000))
    producer.count(7, 2)
    assert producer.try_record(b"again", 0, 1, 5, 4711) > 0
    assert producer.try_group((b"again", b"again"), 0, 5, 4711) > 0
    assert producer.try_record(b"my own", 0, 1, 5, 1001) > 0

    assert ring.slot(1) == (1, SLOT_ATTACHED, 0, 1001, 5, 6, 7, 7, 7, 2, 3)
