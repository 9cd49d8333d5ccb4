"""Producers and writers in odd places: forks, exits, handlers, namespaces, stops, full tables, odd clocks."""

import contextlib
import ctypes
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.chance import TIMES
from support.children import child, end, fork, stepping_clock, succeeds
from support.machine import stop_writer, wait_until
from support.rings import has_ring, ring_path
from support.sessions import ring_of

import disklog_mp
from disklog_mp import _core
from disklog_mp._os import locks as _locks
from disklog_mp._os import processes as _processes
from disklog_mp._ring import file as _ring
from disklog_mp._ring import slots as _slots

OpenLog = Callable[..., disklog_mp.Session]
LONG = bool(os.environ.get("DISKLOG_TEST_LONG"))  # the long forms, of `make long`
CLONE_NEWPID = 0x20000000

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a pid namespace")


def run(script: str, *arguments: str, before: tuple[str, ...] = ()) -> str:
    """Run a script in a Python of its own; return what it printed.  Its exit status is its own affair."""
    command = [*before, sys.executable, "-c", textwrap.dedent(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def payloads(path: Path) -> list[bytes]:
    """All records of a log, as they stand there."""
    return [record.data for record in disklog_mp.Reader(path)]


def attached(log: disklog_mp.Session) -> list[int]:
    """The pids of the producers the log knows."""
    return [producer.pid for producer in log.stats().producers]


class TestForks:
    def test_a_fork_beside_a_thread_that_attaches_inherits_no_lock(self, open_log: OpenLog) -> None:
        """A child that kept its parent's descriptor would hold its lock, and with it the dead parent alive.

        What it has of the ring was opened for it, and holds none.
        """
        log = open_log(linger=5)
        stop = threading.Event()

        def come_and_go() -> None:
            while not stop.is_set():
                _ring_users.append(disklog_mp.attach(log.name))
                _ring_users.pop().close()

        def look() -> None:
            for fd in os.listdir("/proc/self/fd"):
                with contextlib.suppress(FileNotFoundError):
                    if os.readlink(f"/proc/self/fd/{fd}").startswith(ring):
                        assert "lock:" not in Path(f"/proc/self/fdinfo/{fd}").read_text()

        ring = ring_path(log.name)

        _ring_users: list[disklog_mp.Session] = []
        log.close()  # so that each attach() takes a slot anew
        thread = threading.Thread(target=come_and_go)
        thread.start()
        try:
            for _ in range(30 * TIMES):
                succeeds(fork(look))
        finally:
            stop.set()
            thread.join()
        stop_writer(log.name)

    @pytest.mark.parametrize("close_fds", [True, False])
    def test_a_program_started_after_attaching_holds_nothing(
        self, log: disklog_mp.Session, path: Path, close_fds: bool
    ) -> None:
        """subprocess starts by vfork and exec: the producer logs on, and its death is seen though the
        program lives.
        """
        read, write = os.pipe()

        def work() -> None:
            with disklog_mp.attach(log.name) as session:
                session.log(b"before")
                program = subprocess.Popen(["sleep", "60"], close_fds=close_fds)
                session.log(b"after")
                os.write(write, b"%d" % program.pid)
                signal.pause()

        with child(work) as producer:
            program = int(os.read(read, 20))
            try:
                assert producer in attached(log)
                end(producer)
                wait_until(lambda: producer not in attached(log))
                os.kill(program, 0)  # still there
            finally:
                os.kill(program, signal.SIGKILL)
        os.close(read)
        os.close(write)
        log.flush()

        assert [b"before", b"after"] == payloads(path)

    def test_exec_after_attaching_is_a_death(self, log: disklog_mp.Session, path: Path) -> None:
        """A process that turns into another program is a producer no more, and blocks nobody: the pid goes
        on, so it takes the lock to see it, and while both witnesses are asked the slot stays taken.
        """

        def work() -> None:
            session = disklog_mp.attach(log.name)
            session.log(b"last words")
            session.flush()
            os.execlp("sleep", "sleep", "60")

        with child(work) as producer:
            wait_until(lambda: b"sleep" in Path(f"/proc/{producer}/cmdline").read_bytes())
            log.log(b"on")
            log.flush(5)
        wait_until(lambda: producer not in attached(log))

        assert [b"last words", b"on"] == payloads(path)

    def test_exec_in_the_middle_of_log_blocks_nobody(self, log: disklog_mp.Session, path: Path) -> None:
        """One thread turns the process into another program while another has a claim: the pid goes on, and
        would keep the claim for ever; that the program has no ring mapped says that it is nobody's.
        """
        from support.workers import claim_and

        def work() -> None:
            signal.signal(signal.SIGUSR1, lambda *_: os.execlp("sleep", "sleep", "60"))
            claim_and(log.name, signal.SIGUSR1)

        with child(work) as producer:
            wait_until(lambda: b"sleep" in Path(f"/proc/{producer}/cmdline").read_bytes())
            log.log(b"on")
            log.flush(20)
            wait_until(lambda: producer not in attached(log))

        assert [b"on"] == payloads(path)
        assert log.stats().abandoned == 1

    def test_a_daemon_logs_before_and_after_it_became_one(self, log: disklog_mp.Session, path: Path) -> None:
        """Forked twice, in a session of its own, with every descriptor closed: its logging goes on."""
        read, write = os.pipe()

        def daemonise() -> None:
            log.log(b"0")
            if os.fork():
                os._exit(0)
            log.log(b"1")
            os.setsid()
            if os.fork():
                os._exit(0)
            log.log(b"2")
            done = os.dup2(write, 900)
            os.closerange(0, done)
            log.log(b"3")
            log.flush(10)
            log.close()
            os.write(done, b"done")

        succeeds(fork(daemonise))
        os.close(write)
        assert os.read(read, 20) == b"done"
        os.close(read)

        assert [b"0", b"1", b"2", b"3"] == payloads(path)


ENDINGS = {
    "os._exit": "import os; os._exit(3)",
    "sys.exit": "import sys; sys.exit('enough')",
    "exception": "raise RuntimeError('out of hand')",
    "atexit": "import atexit; atexit.register(log.log, b'last'); expected = 2",
    "__del__": """
        class Speaks:
            def __del__(self):
                log.log(b'last')
        speaks = Speaks()""",
    "thread": """
        import threading, time
        def speak():
            time.sleep(0.05)
            log.log(b'last')
        threading.Thread(target=speak).start()""",
    "signal handler": """
        import os, signal
        def speak(*_):
            log.log(b'last')
            os._exit(0)
        signal.signal(signal.SIGTERM, speak)
        os.kill(os.getpid(), signal.SIGTERM)""",
    "excepthook": """
        import sys
        sys.excepthook = lambda *_: log.log(b'last')
        raise RuntimeError('out of hand')""",
}


class TestEnds:
    @pytest.mark.parametrize("ending", ENDINGS)
    def test_however_a_process_ends_its_records_are_there(
        self, log: disklog_mp.Session, path: Path, ending: str
    ) -> None:
        """What was logged up to the very end, also from what runs while the interpreter shuts down."""
        script = "import disklog_mp, sys\nlog = disklog_mp.attach(sys.argv[1])\nlog.log(b'first')\n"
        told = run(script + textwrap.dedent(ENDINGS[ending]), log.name)
        log.flush()
        log.log(b"")
        log.flush()

        quiet = ending in ("os._exit", "sys.exit", "exception")
        assert [b"first", *([] if quiet else [b"last"]), b""] == payloads(path)
        assert "disklog_mp" not in told  # no trouble of ours
        wait_until(lambda: attached(log) == [os.getpid()])


class TestSignalHandlers:
    def test_a_handler_may_log_while_log_runs(self, open_log: OpenLog, path: Path) -> None:
        """Also while log() waits for room: the records of both are whole, and in their order."""
        log = open_log(ring_bytes=1 << 14)
        counts = [0, 0]

        def speak(*_: object) -> None:
            counts[1] += 1
            log.log(b"1 %d" % (counts[1] - 1))
            signal.setitimer(signal.ITIMER_REAL, 0.0005)  # not before: a slow machine would do nothing else

        former = signal.signal(signal.SIGALRM, speak)
        signal.setitimer(signal.ITIMER_REAL, 0.0005)
        try:
            while counts[0] < 10_000 or counts[1] < 50:
                log.log(b"0 %d" % counts[0])
                counts[0] += 1
        finally:
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, former)
        log.flush()

        pairs = [payload.split() for payload in payloads(path)]
        for worker in (0, 1):
            numbers = [int(n) for w, n in pairs if int(w) == worker]
            assert list(range(counts[worker])) == numbers

    def test_a_handler_may_log_while_its_thread_attaches(self, log: disklog_mp.Session) -> None:
        """However the two meet: no slot and no descriptor stays behind, and both have logged."""

        def work() -> None:
            spoken = 0

            def speak(*_: object) -> None:
                nonlocal spoken
                with disklog_mp.attach(log.name) as other:
                    other.log(b"handler")
                spoken += 1
                signal.setitimer(signal.ITIMER_REAL, 0.0001 * (1 + spoken % 5))

            before = len(os.listdir("/proc/self/fd"))
            signal.signal(signal.SIGALRM, speak)
            signal.setitimer(signal.ITIMER_REAL, 0.0003)
            worked = 0
            while worked < 400 * TIMES or spoken < 50:
                with disklog_mp.attach(log.name) as session:
                    session.log(b"work")
                worked += 1
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            signal.setitimer(signal.ITIMER_REAL, 0)
            # One less: what was inherited from the parent is let go of.
            assert len(os.listdir("/proc/self/fd")) <= before
            os.write(write, b"x")
            signal.pause()

        log.log(b"before")
        read, write = os.pipe()
        with child(work):
            os.close(write)
            assert os.read(read, 1) == b"x"
            wait_until(lambda: attached(log) == [os.getpid()])
        os.close(read)


class TestNamespaces:
    """Producers in a pid namespace of their own; the writer is outside and cannot see their pids."""

    @staticmethod
    def inside(work: Callable[[], object]) -> None:
        """Do the work as the first process of a new pid namespace, and end as it ends."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWPID) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        pid = fork(work)
        signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGKILL))
        os.waitpid(pid, 0)

    @needs_root
    def test_their_lives_are_respected_and_their_deaths_noticed(
        self, log: disklog_mp.Session, path: Path
    ) -> None:
        """The lock on the slot is the witness: one that sleeps stays attached, one that is killed goes."""
        read, write = os.pipe()
        wait_until(lambda: attached(log) == [os.getpid()])

        def work() -> None:
            assert os.getpid() == 1
            with disklog_mp.attach(log.name) as session:
                session.log(b"in here")
                os.write(write, b"x")
                signal.pause()

        with child(lambda: self.inside(work)) as outer:
            os.read(read, 1)
            time.sleep(0.5)  # the writer looks at its producers every tenth of that
            assert sorted(attached(log)) == [1, os.getpid()]
            end(outer, signal.SIGTERM)
        wait_until(lambda: attached(log) == [os.getpid()])
        log.flush()
        os.close(read)
        os.close(write)

        assert [b"in here"] == payloads(path)
        assert [1] == [record.pid for record in disklog_mp.Reader(path)]

    @needs_root
    def test_a_claim_of_one_that_was_killed_there_blocks_nobody(
        self, log: disklog_mp.Session, path: Path
    ) -> None:
        """Its pid is also that of a process outside which lives: the lock tells."""
        from support.workers import claim_and

        def stop_inside() -> None:  # SIGSTOP to itself would not stop the first process of a namespace
            succeeds_or_killed = fork(lambda: claim_and(log.name, signal.SIGSTOP))
            os.waitpid(succeeds_or_killed, 0)

        with child(lambda: self.inside(stop_inside)) as outer:
            wait_until(lambda: log.stats().ring_used == 96)
            log.log(b"behind")
            with pytest.raises(disklog_mp.WaitTimeoutError):
                log.flush(0.3)
            end(outer, signal.SIGTERM)
            log.flush(10)

        assert [b"behind"] == payloads(path)
        assert log.stats().abandoned == 1

    @needs_root
    @pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
    def test_a_pid_that_is_used_again_is_another_process(self, name: str, path: Path) -> None:
        """A producer dies inside its claim and its pid is another's before anybody looked."""
        script = """
            import os, signal, sys, time
            sys.path.insert(0, sys.argv[3])
            import disklog_mp
            from support.machine import wait_until
            from system.test_odd_places import fork
            from support.rings import has_ring
            from support.workers import claim_and

            name, path = sys.argv[1:3]
            log = disklog_mp.open(name, path, linger=0, ring_bytes=1 << 16)
            writer = log.stats().writer_pid
            os.kill(writer, signal.SIGSTOP)  # it sees neither the first one's life nor its death
            first = fork(lambda: claim_and(name, signal.SIGKILL))
            os.waitpid(first, 0)
            time.sleep(0.02)  # start times are told apart by the clock tick, a hundredth of a second
            try:
                with open("/proc/sys/kernel/ns_last_pid", "w") as file:
                    file.write(str(first - 1))
            except OSError as error:
                print("refused:", error)
            second = fork(signal.pause)
            print("again" if first == second else f"not again: {first}, {second}")
            os.kill(writer, signal.SIGCONT)
            log.log(b"behind")
            log.flush(10)
            print("abandoned", log.stats().abandoned)
            os.kill(second, signal.SIGKILL)
            os.waitpid(second, 0)
            log.close()
            wait_until(lambda: not has_ring(name))
        """
        told = run(
            script,
            name,
            str(path),
            str(Path(__file__).parents[1]),
            before=("unshare", "--pid", "--fork", "--mount-proc", "--kill-child"),
        )
        if "refused" in told or "unshare:" in told:
            pytest.skip(f"the kernel does not give a pid again when asked to: {told}")

        assert told.split("\n")[:2] == ["again", "abandoned 1"], told
        assert [b"behind"] == payloads(path)


SLEEPERS = """
    import os, signal, sys
    import disklog_mp
    name, count = sys.argv[1], int(sys.argv[2])
    pids = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            try:
                session = disklog_mp.attach(name)
                session.log(b"x")
                os.write(1, b"+")
                signal.pause()
            except disklog_mp.TooManyProducersError as error:
                os.write(1, b"-")
            finally:
                os._exit(0)
        pids.append(pid)
    sys.stdin.read(1)
    os.kill(pids[0], signal.SIGKILL)
    sys.stdin.read()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        os.waitpid(pid, 0)
"""


@contextlib.contextmanager
def sleepers(log: disklog_mp.Session, count: int) -> Iterator[Callable[[], None]]:
    """So many processes that attached, logged one record and sleep; the value kills the first of them."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SLEEPERS), log.name, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin = process.stdin
    with process:
        told = 0
        while told < count:
            answer = process.stdout.read(4096)
            assert answer is not None
            assert set(answer) == {ord("+")}
            told += len(answer)
        yield lambda: (stdin.write(b"x"), None)[1]
        stdin.close()


def occupy(log: disklog_mp.Session, count: int) -> None:
    """Take so many slots for this one process, as so many processes would, and sleep."""
    held = _ring.hold(ring_path(log.name))
    me = _processes.identity()
    for index in held.ring.slots(_core.SLOT_FREE, count):
        assert _locks.lock_byte(held.seat.fd, index)
        assert held.ring.attach(index, me.pid, me.start, me.namespace, time.time_ns())
    time.sleep(600)


class TestCrowds:
    @pytest.mark.long
    def test_a_full_table_is_an_error_and_takes_one_more_when_one_has_gone(
        self, open_log: OpenLog, path: Path
    ) -> None:
        """4,096 slots are taken; the next process is told, and waits for no other to end.

        The long form has as many processes.  In the short one, one process has most of the slots.
        """
        count = _core.SLOTS - 1 if LONG else 200
        log = open_log()
        log.log(b"x")
        with contextlib.ExitStack() as stack:
            if not LONG:
                stack.enter_context(child(lambda: occupy(log, _core.SLOTS - 1 - count)))
                wait_until(lambda: len(attached(log)) == _core.SLOTS - count, 30)
            kill_one = stack.enter_context(sleepers(log, count))
            with pytest.raises(disklog_mp.TooManyProducersError, match=r"4,?096"):
                _ring_attach_another(log.name)
            log.log(b"x")
            log.flush(10)
            kill_one()

            def attaches() -> bool:
                with contextlib.suppress(disklog_mp.TooManyProducersError):
                    _ring_attach_another(log.name)
                    return True
                return False

            wait_until(attaches, 30)
        wait_until(lambda: attached(log) == [os.getpid()], 30)
        log.flush()

        assert log.stats().records == log.stats().logged == count + 2

    def test_more_producers_than_the_writer_may_have_descriptors(
        self, name: str, path: Path, open_log: OpenLog
    ) -> None:
        """It keeps one for a producer, as long as it has any: with few allowed it lives and rolls pages."""
        script = """
            import os, resource, sys
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the writer keeps it
            resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
            import disklog_mp
            disklog_mp.open(sys.argv[1], sys.argv[2], ring_bytes=1 << 20, linger=1, page_records=20).close()
        """
        assert run(script, name, str(path)) == ""
        log = disklog_mp.attach(name)
        writer = log.stats().writer_pid
        with sleepers(log, 100):
            wait_until(lambda: len(attached(log)) == 101)
            for i in range(100):
                log.log(b"%d" % i)
            log.flush(10)
            assert len(attached(log)) == 101
        wait_until(lambda: attached(log) == [os.getpid()])
        stats = log.stats()
        log.close()
        stop_writer(name)

        assert writer == stats.writer_pid
        assert (200, None) == (stats.records, stats.error)

    @pytest.mark.long
    def test_attaching_and_leaving_thousands_of_times(self, log: disklog_mp.Session) -> None:
        """No slot, descriptor or mapping is left behind, and the sums stay right."""
        cycles = 100_000 if LONG else 1000

        def work() -> None:
            disklog_mp.attach(log.name).close()
            before = len(os.listdir("/proc/self/fd")), len(Path("/proc/self/maps").read_text().split("\n"))
            for _ in range(cycles):
                with disklog_mp.attach(log.name) as session:
                    session.log(b"x")
            after = len(os.listdir("/proc/self/fd")), len(Path("/proc/self/maps").read_text().split("\n"))
            assert after[0] == before[0]
            assert after[1] <= before[1] + 10

        succeeds(fork(work))
        log.flush()
        wait_until(lambda: attached(log) == [os.getpid()])

        assert cycles == log.stats().records == log.stats().logged


def _ring_attach_another(name: str) -> None:
    """Take and give back a slot beside the one this process has."""
    held = _ring.hold(ring_path(name))
    _slots.take_slot(held, _processes.identity(), time.time_ns())
    held.seat.close()


class TestStops:
    def test_a_producer_stopped_anywhere_blocks_nobody_from_logging(
        self, open_log: OpenLog, path: Path
    ) -> None:
        """Stopped 200 times at random: others log on; what is behind its claim is written at the latest
        when it goes on, or is killed.
        """
        log = open_log(ring_bytes=1 << 20, sync="never")
        dice = random.Random(11)
        sequence = inside = killed = 0

        def work() -> None:
            with disklog_mp.attach(log.name) as session:
                while True:
                    session.log(b"other" + b" " * 8000)
                    session.log(b"other")

        with contextlib.ExitStack() as stack:
            producer = stack.enter_context(child(work))
            for round_ in range(200):
                time.sleep(dice.random() * 0.002)
                os.kill(producer, signal.SIGSTOP)
                for _ in range(20):
                    log.log(b"%d" % sequence)
                    sequence += 1
                try:
                    log.flush(0.05)
                except disklog_mp.WaitTimeoutError:
                    inside += 1
                if round_ % 20 == 19:
                    end(producer)
                    killed += 1
                else:
                    os.kill(producer, signal.SIGCONT)
                log.flush(10)
                if round_ % 20 == 19:
                    producer = stack.enter_context(child(work))
        log.flush()
        wait_until(lambda: attached(log) == [os.getpid()])
        log.log(b"last")
        log.flush()
        stats = log.stats()
        own = [payload for payload in payloads(path) if not payload.startswith((b"other", b"last"))]

        assert [b"%d" % i for i in range(sequence)] == own
        assert stats.abandoned <= killed + 1
        assert stats.logged <= stats.records <= stats.logged + killed + 1

    @pytest.mark.parametrize("number", [signal.SIGCONT, signal.SIGKILL])
    def test_a_producer_stopped_inside_its_claim(self, open_log: OpenLog, path: Path, number: int) -> None:
        """Others log until the ring is full and are told so; when it goes on, or is dead, so do they."""
        log = open_log(ring_bytes=1 << 20, timeout=0.05, sync="never")

        def work() -> None:
            with disklog_mp.attach(log.name, timeout=60) as session:
                while True:
                    session.log(b"other" + b" " * 250_000)

        def is_inside() -> bool:
            os.kill(producer, signal.SIGSTOP)
            log.log(b"")
            try:
                log.flush(0.2)
            except disklog_mp.WaitTimeoutError:
                return True
            os.kill(producer, signal.SIGCONT)
            return False

        with child(work) as producer:
            wait_until(is_inside, 60)
            sequence = 0
            with pytest.raises(disklog_mp.RingFullError):
                while True:
                    log.log(b"%d" % sequence + b" " * 1000)
                    sequence += 1
            os.kill(producer, number)
            log.flush(10)
            log.log(b"on")
            log.flush(10)
        own = [p.strip() for p in payloads(path) if p and not p.startswith(b"other")]

        assert [*(b"%d" % i for i in range(sequence)), b"on"] == own
        assert log.stats().abandoned <= 1

    def test_a_stopped_writer_is_waited_for(self, open_log: OpenLog, path: Path) -> None:
        """It is alive: no other takes its place; log() goes on until the ring is full, and so on again."""
        log = open_log(timeout=0.05)
        writer = log.stats().writer_pid
        log.log(b"0")
        log.flush()
        os.kill(writer, signal.SIGSTOP)
        sequence = 1
        try:
            with pytest.raises(disklog_mp.RingFullError):
                while True:
                    log.log(b"%d" % sequence + b" " * 1000)
                    sequence += 1
            with pytest.raises(disklog_mp.WaitTimeoutError, match="written"):
                log.flush(0.2)
            assert sequence > 900
            assert writer == log.stats().writer_pid
        finally:
            os.kill(writer, signal.SIGCONT)
        log.flush(10)
        log.log(b"%d" % sequence)
        log.flush()

        assert [b"%d" % i for i in range(sequence + 1)] == [p.strip() for p in payloads(path)]
        assert log.stats().writers == 1


class TestTwoWriters:
    @pytest.mark.long
    def test_of_two_writers_started_at_once_one_writes(self, name: str, path: Path) -> None:
        """Every time one of them runs and the other says who does; and nothing is lost on the way."""
        rounds = 1000 if LONG else 16

        def serve() -> None:
            with contextlib.suppress(KeyboardInterrupt):
                os.read(start, 1)
                try:
                    disklog_mp.serve(name, path, ring_bytes=1 << 16, started=lambda _: os.write(told, b"+"))
                except disklog_mp.WriterActiveError:
                    os.write(told, b"-")

        for round_ in range(rounds):
            start, go = os.pipe()
            tell, told = os.pipe()
            with child(serve) as one, child(serve) as two:
                os.write(go, b"xx")
                assert sorted(os.read(tell, 1) + os.read(tell, 1)) == sorted(b"+-")
                with disklog_mp.attach(name) as log:
                    log.log(b"%d" % round_)
                    log.flush(10)
                    writer = log.stats().writer_pid
                assert writer in (one, two)
                # In good order or not: the next two take over from either.
                os.kill(writer, signal.SIGTERM if round_ % 2 else signal.SIGKILL)
                for pid in (one, two):
                    os.waitpid(pid, 0)
            for fd in (start, go, tell, told):
                os.close(fd)
        stop_writer(name)
        with disklog_mp.open(name, path, ring_bytes=1 << 16, linger=0):
            pass

        assert [b"%d" % i for i in range(rounds)] == payloads(path)


class TestClock:
    """The wall clock steps.  The machine's own cannot be set by a test, and a time namespace has none of its
    own; so clock_gettime is replaced in the processes under test, which is all they and libc ask.
    """

    @pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")
    def test_a_clock_set_back_by_a_day_costs_nothing(self, name: str, path: Path, tmp_path: Path) -> None:
        """Order and numbers are the ring's, waits and the age of pages are monotonic, and keep_age keeps
        for too long rather than not long enough.
        """
        environment, ahead = stepping_clock(tmp_path)
        code = textwrap.dedent(STEPS)
        done = subprocess.run(
            [sys.executable, "-c", code, name, str(path), str(ahead)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        wait_until(lambda: not has_ring(name))
        assert (done.stdout, done.stderr) == ("done\n", "")

        records = list(disklog_mp.Reader(path))
        assert [b"%d" % step for step in (0, -86400, 3000, -86400) for _ in range(10)] == [
            record.data for record in records
        ]
        assert list(range(40)) == [record.number for record in records]

    @pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")
    def test_pages_roll_at_midnight(self, name: str, path: Path, tmp_path: Path) -> None:
        """Before the first record of the new day goes in; once, though the clock is set back and forth; and
        after a restart.  The events say why.
        """
        environment, ahead = stepping_clock(tmp_path)
        code = textwrap.dedent(MIDNIGHTS)
        subprocess.run(
            [sys.executable, "-c", code, name, str(path), str(ahead)], env=environment, timeout=60, check=True
        )
        wait_until(lambda: not has_ring(name))

        reader = disklog_mp.Reader(path)
        kept = [[record.data for record in page] for page in reader.pages()]
        assert kept == [[b"one"], [b"two", b"back", b"forth"], [b"three"]]
        rolled = [event.fields["reason"] for event in reader.events() if event.name == "rolled"]
        assert rolled == ["page_at", "page_at"]

    def test_a_dead_writer_is_replaced_though_its_heartbeat_lies_in_the_future(
        self, open_log: OpenLog
    ) -> None:
        """Its last sign of life was written before the clock was set back by an hour."""
        log = open_log()
        ring = ring_of(log)
        assert ring is not None
        stop_writer(log.name, signal.SIGKILL)
        ring.heartbeat = time.time_ns() + 3600 * 10**9

        def replaced() -> bool:
            log.log(b"x")
            return log.stats().writer_pid != 0

        wait_until(replaced)


MIDNIGHTS = """
    import mmap, os, signal, sys, time
    import disklog_mp
    with open(sys.argv[3], "r+b") as file:
        ahead = mmap.mmap(file.fileno(), 8)
    until_midnight = 86400 - int(time.time()) % 86400
    options = dict(ring_bytes=1 << 16, linger=0, page_at="00:00", page_tz="UTC")

    def set_clock(minutes):  # behind the next midnight
        ahead[:] = (until_midnight + 60 * minutes).to_bytes(8, "little", signed=True)

    def log_at(minutes, data):
        set_clock(minutes)
        log.log(data)
        log.flush(20)

    set_clock(-70)
    with disklog_mp.open(sys.argv[1], sys.argv[2], **options) as log:
        log_at(-60, b"one")
        log_at(10, b"two")
        log_at(-30, b"back")
        log_at(20, b"forth")
        for _ in range(2000):  # the writer tells beside its work, and is killed when it has
            if any(event.name == "rolled" for event in log.events()):
                break
            time.sleep(0.01)
        os.kill(log.stats().writer_pid, signal.SIGKILL)
        log_at(1445, b"three")
"""
STEPS = """
    import mmap, os, sys, time
    import disklog_mp
    with open(sys.argv[3], "r+b") as file:
        ahead = mmap.mmap(file.fileno(), 8)
    options = dict(ring_bytes=1 << 16, linger=0, page_age=0.2, keep_age=3600)
    with disklog_mp.open(sys.argv[1], sys.argv[2], **options) as log:
        for pages, step in enumerate((0, -86400, 3000, -86400), 1):
            ahead[:] = step.to_bytes(8, "little", signed=True)
            start = time.monotonic()
            for _ in range(10):
                log.log(b"%d" % step)
            log.sync(5)
            while not all(page.sealed for page in disklog_mp.Reader(sys.argv[2]).pages()):
                if time.monotonic() - start > 5:
                    sys.exit(f"page {pages} is not sealed")
                time.sleep(0.01)
    print("done")
"""
