"""The crash test's ledger notices every damage; a seed fixes its schedule.  No process is started."""

import itertools
from collections.abc import Callable, Iterator

import pytest

import disklog_mp
from disklog_mp.cli.crashtest import schedule as _schedule
from disklog_mp.cli.crashtest.ledger import END, Balance, Ledger, Line
from disklog_mp.cli.crashtest.notes import (
    HEAD,
    record_of,
)

PID = 4711


def records() -> list[disklog_mp.Record]:
    """What two workers have logged: 1 singly, 2 in groups of three; then the end."""
    payloads = []
    for turn in range(4):
        payloads += [(1, record_of(1, turn, 50 + turn))]
        payloads += [(2, record_of(2, 3 * turn + place, 20, place, 3)) for place in range(3)]
    payloads.append((END, record_of(END, 0, 0)))
    return [
        disklog_mp.Record(data, number * 96, number, 0, PID + line)
        for number, (line, data) in enumerate(payloads)
    ]


NOTED = {1: Line(PID + 1, 4, 4), 2: Line(PID + 2, 12, 12)}
Records = list[disklog_mp.Record]


def renumbered(found: Records) -> Records:
    """The same with numbers and positions as the log gives them."""
    return [
        disklog_mp.Record(record.data, number * 96, number, 0, record.pid)
        for number, record in enumerate(found)
    ]


def without(*indexes: int) -> Callable[[Records], Records]:
    return lambda found: renumbered([record for i, record in enumerate(found) if i not in indexes])


def again(index: int, at: int) -> Callable[[Records], Records]:
    return lambda found: renumbered([*found[:at], found[index], *found[at:]])


def swapped(a: int, b: int) -> Callable[[Records], Records]:
    def swap(found: Records) -> Records:
        found[a], found[b] = found[b], found[a]
        return renumbered(found)

    return swap


def with_data(index: int, change: Callable[[bytes], bytes]) -> Callable[[Records], Records]:
    def alter(found: Records) -> Records:
        one = found[index]
        found[index] = disklog_mp.Record(change(one.data), one.position, one.number, 0, one.pid)
        return found

    return alter


def by_another(index: int) -> Callable[[Records], Records]:
    def alter(found: Records) -> Records:
        one = found[index]
        found[index] = disklog_mp.Record(one.data, one.position, one.number, 0, one.pid + 9)
        return found

    return alter


def at_number(index: int, more: int) -> Callable[[Records], Records]:
    def alter(found: Records) -> Records:
        one = found[index]
        found[index] = disklog_mp.Record(one.data, one.position, one.number + more, 0, one.pid)
        return found

    return alter


# Changes to the log, and what the books must say of them.  Worker 1 is at 0, 4, 8, 12, worker 2 between.
DAMAGES: list[tuple[str, Callable[[Records], Records], dict[str, int]]] = [
    ("nothing", lambda found: found, {}),
    ("a record in the middle is gone", without(4), {"lost": 1}),
    ("the last one is gone", without(12), {"lost": 1}),
    ("all of one worker are gone", without(0, 4, 8, 12), {"lost": 4}),
    ("a group is gone", without(5, 6, 7), {"lost": 3}),
    ("the first of a group is gone", without(5), {"lost": 1, "broken": 1}),
    ("the last of a group is gone", without(7), {"lost": 1, "broken": 1}),
    ("a record twice in a row", again(4, 5), {"doubled": 1}),
    ("a record again later", again(0, 12), {"doubled": 1}),
    ("two of one worker change places", swapped(0, 4), {"out_of_order": 1}),
    ("a record is inside another's group", swapped(4, 6), {"broken": 4, "out_of_order": 1}),
    ("half a record", with_data(4, lambda data: data[:-20]), {"broken": 1, "lost": 1}),
    ("less than its head", with_data(4, lambda data: data[: HEAD.size - 1]), {"broken": 1, "lost": 1}),
    ("nothing of it", with_data(4, lambda data: b""), {"broken": 1, "lost": 1}),
    ("more than all of it", with_data(4, lambda data: data + b"x"), {"broken": 1, "lost": 1}),
    ("one bit", with_data(4, lambda data: data[:-1] + bytes([data[-1] ^ 1])), {"broken": 1, "lost": 1}),
    ("the pid of another process", by_another(4), {"broken": 1}),
    ("a number left out", at_number(16, 1), {"out_of_order": 1}),
]


class TestLedger:
    @pytest.mark.parametrize(
        ("damage", "expected"), [damage[1:] for damage in DAMAGES], ids=[damage[0] for damage in DAMAGES]
    )
    def test_it_notices(self, damage: Callable[[Records], Records], expected: dict[str, int]) -> None:
        """Each damage is counted as what it is, and told."""
        balance = balanced(damage(records()))
        found = {what: getattr(balance, what) for what in ("lost", "doubled", "out_of_order", "broken")}

        assert {**dict.fromkeys(found, 0), **expected} == found
        assert balance.is_right == (not expected)
        assert bool(balance.findings) == bool(expected)

    @pytest.mark.parametrize(
        ("accepted", "tried", "expected"),
        [
            (12, 15, {}),  # killed before its last group was in the log, or at any time before its call
            (9, 12, {}),  # killed when it was, before it could note that
            (9, 13, {"broken": 1}),  # a part of what the last call would have logged
            (9, 9, {"broken": 1}),  # more than it ever tried
            (15, 15, {"lost": 3}),
        ],
    )
    def test_a_worker_s_last_call(self, accepted: int, tried: int, expected: dict[str, int]) -> None:
        """All that was accepted is there; beyond it the whole of the call under way, or nothing."""
        balance = balanced(records(), {**NOTED, 2: Line(PID + 2, accepted, tried)})

        assert expected.get("broken", 0) == balance.broken
        assert expected.get("lost", 0) == balance.lost
        assert accepted + 4 == balance.accepted

    def test_a_worker_nobody_knows(self) -> None:
        """Records of a worker that has noted nothing."""
        balance = balanced(records(), {1: NOTED[1]})

        assert balance.broken == 1
        assert "of which there was none" in balance.findings[0]

    def test_the_log_ends_within_a_group(self) -> None:
        """A group whose last record is not there, and nothing behind it."""
        balance = balanced(renumbered(records()[:-2]))

        assert (balance.broken, balance.lost) == (1, 1)

    def test_damage_counts(self) -> None:
        """What the reader could not read is found, even if no worker misses it."""
        ledger = Ledger()
        ledger.note_damage("a corrupt range")

        assert ledger.has_found
        assert ledger.balance.findings == ["a corrupt range"]


def balanced(found: Records, noted: dict[int, Line] = NOTED) -> Balance:
    ledger = Ledger()
    for record in found:
        ledger.take(record)
    return ledger.close(noted)


class TestFates:
    def test_a_seed_is_a_schedule(self) -> None:
        """The same seed, the same fates; another place or seed, others."""

        def first(fates: Iterator[_schedule.Fate]) -> list[_schedule.Fate]:
            return list(itertools.islice(fates, 200))

        for make in (_schedule.worker_fates, _schedule.reader_fates):
            assert first(make(1, 2)) == first(make(1, 2))
            assert first(make(1, 2)) != first(make(1, 3))
            assert first(make(1, 2)) != first(make(2, 2))
        assert first(_schedule.writer_fates(1)) == first(_schedule.writer_fates(1))
        assert {fate.method for fate in first(_schedule.worker_fates(1, 2))} == {
            *("fork", "spawn", "forkserver", "exec")
        }
