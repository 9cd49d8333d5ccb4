"""The crash test: it runs, it cleans up, and above all: it would notice."""

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.command import COMMAND, call, run, start
from support.machine import processes_of, shared_memory_of, wait_until
from support.rings import attach_ring, has_ring, ring_path

import disklog_mp
from disklog_mp._os import processes as _processes
from disklog_mp._ring import file as _ring
from disklog_mp.cli.crashtest import processes as _workers
from disklog_mp.cli.crashtest.notes import (
    BEGAN,
    FROZEN,
    STALL,
    STALLED,
    STALLS,
    Notes,
    Order,
    record_of,
)
from disklog_mp.cli.crashtest.stalls import TICK, Watch, Watched

OpenLog = Callable[..., disklog_mp.Session]
PID = 4711


def crashtest(place: Path, *arguments: object, code: int = 0) -> dict[str, Any]:
    """Run the command to its end and return what it tells."""
    done = run("crashtest", "--dir", place, "--json", *arguments)
    assert done.returncode == code, done.stderr.decode()
    told: dict[str, Any] = json.loads(done.stdout)
    return told


class TestCommand:
    @pytest.mark.parametrize(("ring", "capacity"), [("4096", 4096), ("1M", 1 << 20)])
    def test_the_log_passes(self, ring: str, capacity: int, tmp_path: Path) -> None:
        """Killed workers and writers, in a ring that holds four long records too; nothing is left behind."""
        told = crashtest(tmp_path, "--seconds", 2, "--ring-bytes", ring, "--seed", 5)

        assert (5, 8, capacity) == (told["seed"], told["workers"], told["ring_bytes"])
        assert told["killed"]["worker"] > 5
        assert told["killed"]["writer"] > 1
        # A worker that was killed last may not have been replaced any more.
        assert 0 <= sum(told["started"]["worker"].values()) - told["killed"]["worker"] <= 8
        assert told["accepted"] > 1000
        assert told["accepted"] <= told["records"] <= told["accepted"] + 16 * told["killed"]["worker"] + 1
        for what in ("lost", "doubled", "out_of_order", "broken", "damage", "stalls"):
            assert told[what] == 0
        assert told["books"]["balance"] is True
        assert told["leaks"] == {"shared memory": [], "processes": [], "files": [], "descriptors": []}
        assert told["findings"] == []
        assert told["kept"] is None
        assert not list(tmp_path.iterdir())
        assert not processes_of(str(tmp_path))

    def test_the_table(self, tmp_path: Path) -> None:
        """For people: what was done, what came of it, and a verdict in the last line."""
        done = run(
            "crashtest", "--seconds", 1, "--workers", 2, "--length", 1000, "--seed", 1, "--dir", tmp_path
        )
        out = done.stdout.decode()
        facts = dict(line.split(maxsplit=1) for line in out.splitlines() if line)

        assert done.returncode == 0, done.stderr.decode()
        assert out.startswith("run           1 s, 2 workers, ring of 1 MiB, seed 1")
        assert facts["lost"] == facts["doubled"] == facts["broken"] == facts["leaks"] == "0"
        assert facts["verified"].startswith("counters match: ")
        assert out.endswith("\nall is well\n")

    @pytest.mark.parametrize(
        ("option", "value", "said"),
        [
            ("--seconds", "0", b"0.5<=x<=3600"),
            ("--workers", "0", b"1<=x<=256"),
            ("--length", "0", b"1<=x<=4096"),
            ("--ring-bytes", "4095", b"must be 4 KiB to 1 TiB"),
            ("--ring-bytes", "much", b"is not a size"),
            ("--seed", "x", b"not a valid integer"),
        ],
    )
    def test_options_are_checked(self, option: str, value: str, said: bytes, tmp_path: Path) -> None:
        """What cannot be is refused before anything is made: exit code 2."""
        done = call("crashtest", "--dir", tmp_path, option, value)

        assert done.returncode == 2
        assert said in done.stderr
        assert not list(tmp_path.iterdir())

    def test_a_directory_that_is_not_there(self, tmp_path: Path) -> None:
        """One line that names it, exit code 2."""
        done = call("crashtest", "--dir", tmp_path / "none")

        assert done.returncode == 2
        assert str(tmp_path / "none").encode() in done.stderr

    def test_control_c(self, tmp_path: Path) -> None:
        """In the middle of it: exit code 130, and no process, ring or file is left."""
        command = [*COMMAND, "crashtest", "--seconds", "60", "--dir", str(tmp_path)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, stderr=pipe, start_new_session=True) as process:
            name = f"crashtest-{process.pid}"
            wait_until(lambda: has_ring(name))
            wait_until(lambda: any(True for log in tmp_path.glob("*/log") for _ in disklog_mp.Reader(log)))
            os.killpg(process.pid, signal.SIGINT)
            out, complaint = process.communicate(timeout=60)

        assert process.returncode == 130
        assert (out, complaint.strip()) == (b"", b"")
        assert not list(tmp_path.iterdir())
        assert not shared_memory_of(name)
        assert not processes_of(str(tmp_path))


class TestFindings:
    """What is done to a crash test from outside it must not put up with."""

    @pytest.fixture
    def meddle(self, tmp_path: Path) -> Iterator[Callable[[Callable[[str, Path], object]], str]]:
        """Run a crash test, do something to its log; return what it says on stderr."""

        def meddle(act: Callable[[str, Path], object]) -> str:
            with start("crashtest", "--seconds", 60, "--dir", tmp_path, "--json") as process:
                name = f"crashtest-{process.pid}"
                wait_until(
                    lambda: any(True for log in tmp_path.glob("*/log") for _ in disklog_mp.Reader(log))
                )
                (place,) = tmp_path.iterdir()
                act(name, place)
                out, said = process.communicate(timeout=90)
            told = json.loads(out)

            assert process.returncode == 1
            assert told["kept"] == str(place)
            assert (place / "log").is_dir()
            assert not shared_memory_of(name)
            assert not processes_of(str(tmp_path))
            return said.decode()

        return meddle

    def test_a_record_nobody_logged(self, meddle: Callable[..., str]) -> None:
        """A record that is none of the workers': broken, and where the log lies is told."""

        def intrude(name: str, place: Path) -> None:
            with disklog_mp.attach(name, timeout=60) as log:
                log.log(b"not one of theirs")

        assert "it is shorter than any" in meddle(intrude)

    def test_a_worker_that_ends_by_itself(self, meddle: Callable[..., str]) -> None:
        """Killed by another process, or with an error of its own: the run ends there."""

        def kill_one(name: str, place: Path) -> None:
            with disklog_mp.attach(name, timeout=60) as log:
                others = [producer.pid for producer in log.stats().producers if producer.pid != os.getpid()]
            os.kill(others[0], signal.SIGKILL)

        assert "ended by itself, with exit code -9" in meddle(kill_one)

    def test_a_ring_that_is_removed(self, meddle: Callable[..., str]) -> None:
        """Its writers go on in another: nothing is lost, but it is told."""

        def remove(name: str, place: Path) -> None:
            os.unlink(ring_path(name))

        assert "the ring was replaced" in meddle(remove)


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(str(tmp_path / "notes"), 10)


class TestStalls:
    @pytest.fixture
    def full(self, open_log: OpenLog, name: str) -> Iterator[tuple[_ring.RingFile, Watched]]:
        """A full ring whose writer is stopped without notice to the crash test, and that writer."""
        log = open_log(ring_bytes=4096)
        writer = log.stats().writer_pid
        os.kill(writer, signal.SIGSTOP)
        file = attach_ring(name)
        watched = Watched(writer, 0)
        with disklog_mp.attach(name, on_full="raise") as other:
            with contextlib.suppress(disklog_mp.RingFullError):
                while True:
                    other.log(b"x" * 500)
            yield file, watched
        watched.close()
        os.close(file.fd)
        os.kill(writer, signal.SIGCONT)

    def stalls(self, notes: Notes, file: _ring.RingFile, writer: Watched | None, *, frozen: bool) -> int:
        """Watch a call that began just now until it was told, or for 50 ms more than it may take.

        Time in which this process had no core counts for neither.
        """
        watch = Watch(notes)
        worker = Watched(os.getpid(), 1)
        notes.set(1, BEGAN, time.monotonic_ns())
        ticks = int((STALL / 1e9 + 0.05) / TICK)
        is_stall = writer is not None and not frozen
        for _ in range(100 * ticks):
            time.sleep(TICK)
            watch.look(time.monotonic(), file, writer, [worker], frozen=frozen)
            ticks -= 1
            if ticks <= 0 and (watch.stalls or not is_stall):
                break
        worker.close()
        return len(watch.stalls)

    def test_a_writer_that_does_nothing_is_noticed(
        self, notes: Notes, full: tuple[_ring.RingFile, Watched]
    ) -> None:
        """A full ring that is not being emptied, though it has a writer: a stall, told once."""
        assert self.stalls(notes, *full, frozen=False) == 1

    def test_what_this_test_does_itself_is_no_stall(
        self, notes: Notes, full: tuple[_ring.RingFile, Watched]
    ) -> None:
        """Nor is the time in which there is no writer."""
        file, writer = full

        assert self.stalls(notes, file, writer, frozen=True) == 0
        assert self.stalls(notes, file, None, frozen=False) == 0

    def test_a_long_call_with_room_in_the_ring(
        self, log: disklog_mp.Session, notes: Notes, name: str
    ) -> None:
        """It waits for something else than room."""
        file = attach_ring(name)
        writer = Watched(log.stats().writer_pid, 0)
        found = self.stalls(notes, file, writer, frozen=False)
        writer.close()
        os.close(file.fd)

        assert found == 1

    @pytest.mark.parametrize(("frozen", "expected"), [(0, 1), (1, 0)])
    def test_a_worker_times_its_calls(
        self, frozen: int, expected: int, log: disklog_mp.Session, notes: Notes, name: str, tmp_path: Path
    ) -> None:
        """A call of 150 ms counts, unless the process was stopped on purpose meanwhile."""

        class Slow(_workers.Worker):
            """Its calls take long: a real one does not do us that favour."""

            def _put(self, session: disklog_mp.Session, records: Sequence[bytes]) -> None:
                time.sleep(0.15)

        parent = os.getpid(), _processes.start_ticks(os.getpid()) or 0
        worker = Slow(Order(name, str(tmp_path), 1, "seed", 100, 1 << 20, *parent))
        notes.set(1, FROZEN, frozen)
        worker.log([record_of(1, 0, 10)])
        worker.close()

        assert expected == notes.get(1, STALLS)
        assert (notes.get(1, STALLED) > STALL) == bool(expected)


def test_records_differ_from_each_other() -> None:
    """No two records of a run are the same, so none can stand for another."""
    dice = random.Random(3)
    made = {
        (line, sequence): record_of(line, sequence, dice.randrange(100))
        for line in range(50)
        for sequence in range(50)
    }

    assert len(set(made.values())) == len(made)
