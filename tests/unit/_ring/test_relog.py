"""Records of a ring, logged again into another one."""

from support.memory_ring import make_producer, make_ring

from disklog_mp import _core
from disklog_mp._ring import claims, contents, relog


def test_records_are_logged_again_as_they_were() -> None:
    """Data, time, pid and tag are the same; a gap stays one."""
    old, new = make_ring(), make_ring(base=4096)
    producer = make_producer(old)
    producer.try_record(b"one", 20, _core.KIND_RECORD, 1000, 4711)
    producer.try_record(b'{"dropped":3}', 0, _core.KIND_GAP, 2000, 4712)
    records = contents.records_between(old, 0, producer.end)
    append = relog.append_to(other := make_producer(new))

    assert [append([record]) for record in records] == [4096, 4128]
    again = contents.records_between(new, 4096, other.end)

    assert [(each.data, each.timestamp, each.pid, each.tag, each.gap) for each in again] == [
        (b"one", 1000, 4711, 20, False),
        (b'{"dropped":3}', 2000, 4712, 0, True),
    ]


def test_a_group_stays_a_group() -> None:
    """Its records are one claim in the other ring, too."""
    old, new = make_ring(), make_ring()
    producer = make_producer(old)
    producer.try_group((b"a", b"bb"), 9, 1000, 4711)
    append = relog.append_to(make_producer(new))

    assert append(contents.records_between(old, 0, producer.end)) >= 0

    (claim,) = claims.walk(new, 0)
    assert (claim.records, claim.pid) == (2, 4711)
    assert [record.tag for record in claims.records(new, 0, 0)] == [9, 9]


def test_a_ring_without_room_answers_so() -> None:
    """The answer is the producer's: what to do about it is the caller's."""
    old, new = make_ring(), make_ring()
    producer, full = make_producer(old), make_producer(new)
    producer.log(bytes(900))
    while full.try_record(bytes(900), 0) >= 0:
        pass
    append = relog.append_to(full)

    assert append(contents.records_between(old, 0, producer.end)) == _core.FULL
