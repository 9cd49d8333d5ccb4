"""Producers that the writer cannot see in /proc: none is taken for dead while it lives, each in the end is.

Their slots' locks are free, as of a producer whose mapping could not be kept: then /proc is asked.
"""

import contextlib
import ctypes
import os
import resource
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.children import child, fork, succeeds
from support.file_ring import closing, new_ring, path_in
from support.machine import wait_until
from support.mounts import system
from support.users import NOBODY, User, as_user, serving

import disklog_mp
from disklog_mp import Reader, _core
from disklog_mp._os import processes
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness, slots
from disklog_mp._ring.file import RingFile

NEW_NAMESPACE = {"mount": 0x20000, "pid": 0x20000000, "time": 0x80}
GROUP = 4711
WRITER, MEMBER = User(1, 1, (GROUP,)), User(65534, 65534, (GROUP,))
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces take root")


def leave(kind: str) -> None:
    """Leave the namespace of that kind, this process itself or its next child."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NAMESPACE[kind]) != 0:
        raise OSError(ctypes.get_errno(), f"unshare {kind}")


def hide_others() -> None:
    """Become a user that does not see others' processes, as with ProtectProc=invisible."""
    leave("mount")
    assert system("mount", "--make-rprivate", "/")
    assert system("mount", "-t", "proc", "-o", "hidepid=2", "proc", "/proc")
    NOBODY.become()
    assert not os.path.exists(f"/proc/{os.getppid()}")


def hide_without_descriptors() -> None:
    """Likewise, and no pidfd can be had."""
    hide_others()
    resource.setrlimit(resource.RLIMIT_NOFILE, (liveness.SPARE_DESCRIPTORS, liveness.SPARE_DESCRIPTORS))


def be_in_another_time() -> None:
    """Live where the machine was started eleven days earlier."""
    leave("time")
    with open("/proc/self/timens_offsets", "w", encoding="ascii") as file:
        file.write("boottime 1000000 0\n")


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[RingFile]:
    """A ring in a directory that all users may enter."""
    with closing(file := new_ring(tmp_path)):
        yield file
        KEPT.clear()


def attached(file: RingFile, path: Path) -> _core.Slot:
    """Take a slot for this process, its lock being free."""
    held = _ring.hold(path_in(path))
    index = slots.take_slot(held, processes.identity(), 1)
    KEPT.append(held)
    liveness._locks.unlock_byte(held.seat.fd, index)
    return file.ring.slot(index)


KEPT: list[object] = []


def in_child(before: Callable[[], object], work: Callable[[], object], *, forks: bool = False) -> None:
    """Do the work in a process that did `before`, or in its child, which is where some of that counts."""

    def both() -> None:
        before()
        if forks:
            succeeds(fork(work))
        else:
            work()

    succeeds(fork(both))


@needs_root
@pytest.mark.parametrize("how", [hide_others, hide_without_descriptors, be_in_another_time])
def test_one_that_lives_is_not_gone(ring: RingFile, tmp_path: Path, how: Callable[[], None]) -> None:
    """Nor at a second look; one that is gone is, and one whose pid nothing has."""
    mine = attached(ring, tmp_path)
    me = processes.identity()
    gone = os.waitpid(fork(bool), 0)[0]
    assert ring.ring.attach(9, gone, 1, me.namespace, 1)
    dead = ring.ring.slot(9)
    assert mine.start == me.start

    def look() -> None:
        witnesses = liveness.Witnesses(ring, processes.identity())
        assert [witnesses.is_dead(slot) for slot in (mine, dead, mine, dead)] == [False, True, False, True]
        witnesses.close()

    in_child(how, look, forks=how is be_in_another_time)


@needs_root
def test_one_that_is_hidden_and_dies_is_found(ring: RingFile, tmp_path: Path) -> None:
    """Its pidfd tells, as soon as it is a zombie."""
    pid = fork(signal.pause)
    assert ring.ring.attach(9, pid, processes.start_ticks(pid) or 0, processes.identity().namespace, 1)

    def look() -> None:
        witnesses = liveness.Witnesses(ring, processes.identity())
        assert not witnesses.is_dead(ring.ring.slot(9))
        os.write(asks[1], b"x")
        assert os.read(tells[0], 1)
        assert witnesses.is_dead(ring.ring.slot(9))

    asks, tells = os.pipe(), os.pipe()
    with child(lambda: in_child(hide_others, look)) as observer:
        os.close(asks[1])  # an observer that failed asks nothing
        os.read(asks[0], 1)
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        os.write(tells[1], b"x")
        succeeds(observer)
    os.waitpid(pid, 0)
    for fd in (asks[0], *tells):
        os.close(fd)


@needs_root
def test_a_start_is_the_same_in_every_time_namespace(ring: RingFile, tmp_path: Path) -> None:
    """A process of another start is another one, from there as well."""
    me = processes.identity()
    assert ring.ring.attach(9, me.pid, me.start - 2, me.namespace, 1)

    def look() -> None:
        assert processes.start_ticks(me.pid) == me.start
        witnesses = liveness.Witnesses(ring, processes.identity())
        assert witnesses.is_dead(ring.ring.slot(9))

    in_child(be_in_another_time, look, forks=True)


@needs_root
def test_proc_may_be_another_pid_namespaces(ring: RingFile, tmp_path: Path) -> None:
    """As after unshare without --mount-proc: what it shows of a pid is another process's."""

    def produce_and_look() -> None:
        assert os.getpid() == 1
        mine = attached(ring, tmp_path)
        assert not processes.shows_our_pids()

        def look() -> None:
            witnesses = liveness.Witnesses(ring, processes.identity())
            assert not witnesses.is_dead(mine)

        succeeds(fork(look))

    in_child(lambda: leave("pid"), produce_and_look, forks=True)


@needs_root
def test_one_in_another_pid_namespace_that_closed_its_descriptors_lives(
    ring: RingFile, tmp_path: Path
) -> None:
    """Its lock lasts as long as its mapping: till it ends, gives its slot back, or runs another program.  No
    child of it keeps the lock.
    """
    for ends in ("dies", "gives back", "execs"):
        told, ask = os.pipe(), os.pipe()

        def produce(ends: str = ends, told: tuple[int, int] = told, ask: tuple[int, int] = ask) -> None:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # with its parent
            held = _ring.hold(path_in(tmp_path))
            slots.take_slot(held, processes.identity(), 1)
            for fd in {*range(3, 100)} - {told[1], ask[0]}:
                with contextlib.suppress(OSError):
                    os.close(fd)
            fork(signal.pause)
            os.write(told[1], b"x")
            os.read(ask[0], 1)
            if ends == "gives back":
                held.seat.close()
                signal.pause()
            if ends == "execs":
                os.execv("/bin/sleep", ["sleep", "1000"])

        def outside(produce: Callable[[], None] = produce) -> None:
            leave("pid")
            os.waitpid(fork(produce), 0)

        with child(outside):
            os.close(told[1])
            assert os.read(told[0], 1)
            (slot,) = slots.read_slots(ring.ring, _core.SLOT_ATTACHED)
            witnesses = liveness.Witnesses(ring, processes.identity())
            assert slot.namespace != processes.identity().namespace
            assert not witnesses.is_dead(slot)
            assert liveness.locked_slots(ring) == {slot.index}
            os.write(ask[1], b"x")
            wait_until(lambda: not liveness.locked_slots(ring))
            if ends != "gives back":
                assert witnesses.is_dead(slot)
                ring.ring.retire(slot.index)
            witnesses.close()
        for fd in (told[0], *ask):
            os.close(fd)


@needs_root
def test_a_whole_log_of_users_that_do_not_see_each_other(name: str) -> None:
    """The writer's user sees no producer in /proc: one that dies is told, the other is not."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o1777)
        path = Path(made) / "log"

        def produce(*texts: bytes, told: int, wait: Callable[[], object]) -> None:
            MEMBER.become()
            with disklog_mp.attach(name, path) as log:
                for text in texts:
                    log.log(text)
                    log.flush(60)
                    os.write(told, b"x")
                    wait()

        def died() -> list[int]:
            return [event.fields["pid"] for event in Reader(path).events() if event.name == "producer-died"]

        def inside() -> None:
            assert system("mount", "-t", "proc", "-o", "hidepid=2", "proc", "/proc")
            (told, tell), (asked, ask) = os.pipe(), os.pipe()
            with serving(WRITER, name, path, mode=0o660, group=GROUP):
                dies = fork(lambda: produce(b"dies", told=tell, wait=signal.pause))
                lives = fork(lambda: produce(b"1", b"2", told=tell, wait=lambda: os.read(asked, 1)))
                assert b"xx" == os.read(told, 1) + os.read(told, 1)
                seen = as_user(WRITER, lambda: [os.path.exists(f"/proc/{pid}") for pid in (dies, lives)])
                assert [False, False] == seen
                os.kill(dies, signal.SIGKILL)
                os.waitpid(dies, 0)
                wait_until(lambda: died() == [dies], 60)
                os.write(ask, b"xx")
                succeeds(lives)
            assert [dies] == died()
            assert {b"dies", b"1", b"2"} == {record.data for record in Reader(path)}
            assert 0 == disklog_mp.verify(path).exit_code

        def alone() -> None:
            leave("mount")
            assert system("mount", "--make-rprivate", "/")
            leave("pid")

        in_child(alone, inside, forks=True)
