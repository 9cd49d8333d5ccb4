"""Which processes of a ring are alive, seen by the locks and the slots of this one process."""

import os
from pathlib import Path

from support.file_ring import closing, new_ring, path_in

from disklog_mp import _core
from disklog_mp._os import locks, processes
from disklog_mp._os.processes import Identity
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness
from disklog_mp._ring.file import RingFile


def attach(file: RingFile, index: int, owner: Identity) -> _core.Slot:
    """Fill a slot as a process of that identity would, without the lock."""
    assert file.ring.attach(index, owner.pid, owner.start, owner.namespace, 1)
    return file.ring.slot(index)


def test_a_writer_is_alive_while_it_holds_its_lock(tmp_path: Path) -> None:
    """As seen through another descriptor: the lock can be given back, and another process can take it."""
    writer = new_ring(tmp_path)
    other = _ring.attach(path_in(tmp_path))
    with closing(writer, other):
        assert liveness.writer_alive(other)
        assert not liveness.lock_as_writer(other)
        assert liveness.is_in_use(other.fd)

        liveness.unlock_as_writer(writer)
        assert not liveness.writer_alive(other)
        assert not liveness.is_in_use(other.fd)
        assert liveness.lock_as_writer(other)
        assert liveness.writer_alive(writer)


def test_locked_slots_are_those_of_living_producers(tmp_path: Path) -> None:
    """The first and the last one, and not the writer's lock behind them."""
    writer = new_ring(tmp_path)
    producer = _ring.attach(path_in(tmp_path))
    with closing(writer, producer):
        for index in (0, 7, _core.SLOTS - 1):
            assert locks.lock_byte(producer.fd, index)

        assert liveness.locked_slots(writer) == {0, 7, _core.SLOTS - 1}
    with closing(again := _ring.attach(path_in(tmp_path))):
        assert liveness.locked_slots(again) == set()


def test_two_witnesses_tell_the_dead(tmp_path: Path) -> None:
    """A slot without a lock is a dead producer's, unless its process is there and has a ring mapped."""
    me = processes.identity()
    writer = new_ring(tmp_path)
    producer = _ring.attach(path_in(tmp_path))
    with closing(writer, producer):
        living = attach(writer, 1, me)
        earlier = attach(writer, 2, me._replace(start=me.start - 2))  # its pid is this process's now
        elsewhere = attach(writer, 3, me._replace(namespace=me.namespace + 1))
        locked = attach(writer, 4, me._replace(namespace=me.namespace + 1))
        nowhere = attach(writer, 5, me._replace(pid=2**31))
        assert locks.lock_byte(producer.fd, 4)
        watched: list[int] = []
        witnesses = liveness.Witnesses(writer, me, watched.append)

        dead = [
            slot.index for slot in (living, earlier, elsewhere, locked, nowhere) if witnesses.is_dead(slot)
        ]

        assert dead == [2, 3, 5]
        assert len(watched) == 1  # one pidfd, of this process
        assert witnesses.pidfds() == watched[0].to_bytes(4, "little")
        assert witnesses.are_all_seen(1)
        assert not witnesses.are_all_seen(2)
        witnesses.forget(living)
        assert witnesses.pidfds() == b""
        witnesses.close()
        assert [slot.index for slot in liveness.living_producers(writer)] == [1, 4]


def test_no_process_is_killed_for_a_slot_that_is_not_its_own(tmp_path: Path) -> None:
    """A slot that names this process, with the start of an earlier one, kills nothing."""
    me = processes.identity()
    with closing(file := new_ring(tmp_path)):
        witnesses = liveness.Witnesses(file, me)
        assert not witnesses.kill(attach(file, 1, me._replace(start=me.start - 2)))
        assert not witnesses.kill(attach(file, 2, me._replace(namespace=me.namespace + 1)))
        witnesses.close()

    assert os.getpid() == me.pid
