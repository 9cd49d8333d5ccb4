"""The machine loses power at any step: what was durable is there, and of the rest what the policy allows is
lost.

A log lives over a file system that forgets (faulty_files.py); before each of its writer's steps we look at
what the disk would keep.  Afterwards each of these disks is given to a writer of the next boot.
"""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from support.chance import TIMES
from support.faulty_files import Disk, FaultyFiles, put
from support.machine import stop_writer, wait_until
from support.pages import page_path
from support.rings import ring_path
from support.sessions import connection_of, ring_of

import disklog_mp
from disklog_mp import _core
from disklog_mp._options import Options
from disklog_mp._os import processes as _processes
from disklog_mp._os.files import REAL, Files, RealFile, RealFiles
from disklog_mp._pages.format import HEADER_LENGTH
from disklog_mp._writer import syncer, writer
from disklog_mp._writer.writer import Writer

Found = set[tuple[int, int, bytes]]


class Clock:
    """The writer's clock, which stands until the test lets a second pass: a sync is due when it says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


class Moment(NamedTuple):
    """What the disk holds before one step, and the position below which nothing may be lost."""

    disk: Disk
    promised: int
    ring: bytes  # of some moments only: of its file


class Life:
    """A log whose writer runs in a thread over a file system that forgets, and is watched at each step."""

    def __init__(self, name: str, path: Path, sync: str, clock: Clock) -> None:
        self._name, self.sync, self.clock = name, sync, clock
        self.path, self.ring_dir = path, path.parent / "rings"
        self.options = Options(ring_bytes=1 << 14, page_records=4, page_bytes=8192, sync=sync, linger=None)
        self.promised = 0
        self.moments: list[Moment] = []
        self.files = FaultyFiles(self._look)
        self._looking = threading.Lock()
        self._ring: _core.Ring | None = None
        work = self.write(self.files)
        self._ring = work.ring
        self._ring_name = os.path.basename(ring_path(name, str(self.ring_dir)))
        stop = threading.Event()
        thread = threading.Thread(target=work.run, args=(stop.is_set,))
        thread.start()
        try:
            with disklog_mp.attach(name, ring_dir=str(self.ring_dir)) as self.log:
                self._live()
        finally:
            stop.set()
            thread.join()
        self.records: Found = found(path)

    def leave(self, contents: dict[str, bytes], ring: bytes) -> None:
        """Have the disk hold just that, and the ring's file, if it is kept."""
        put(self.path, contents)
        put(self.ring_dir, {self._ring_name: ring} if ring else {})

    def write(self, files: Files = REAL) -> Writer:
        """Take the log over."""
        return Writer(self._name, self.path, self.options, ring_dir=str(self.ring_dir), files=files)

    def take_over(self) -> list[Disk]:
        """The same, from a disk that holds all there is; return what it holds before each step."""
        steps: list[Disk] = []
        files = FaultyFiles(lambda: steps.append(files.disk(self.path)))
        files.trust(self.path)
        self.write(files).close()
        return steps

    def _look(self) -> None:
        with self._looking:
            ring = self._ring
            promised = self.promised
            if ring is not None:
                # Under "always" nothing leaves the ring before it is durable.
                promised = max(promised, ring.released if self.sync == "always" else ring.durable)
            kept = b""
            if ring is not None and len(self.moments) % 8 == 0:
                kept = bytes(ring)
            while True:
                with suppress(FileNotFoundError):  # the other thread renames
                    self.moments.append(Moment(self.files.disk(self.path), promised, kept))
                    return

    def _live(self) -> None:
        """Pages of four are filled and rolled; now and then a session asks for a sync."""
        for i in range(3):
            self.log.log(b"%d" % i * 100)
            self.log.log_many([b"%d, first of two" % i, b"%d, second" % i])
            self.log.flush()
            self._policy()
            if i != 1:
                self.log.log(b"%d, asked for" % i)
                self.log.sync()
                self.promised = connection_of(self.log).end
        self.log.log(b"written in time for the end")

    def _policy(self) -> None:
        """Wait for what the policy does by itself, when it is due and not before."""
        ring = ring_of(self.log)
        assert ring is not None
        written = connection_of(self.log).end
        if self.sync == "1s":
            assert ring.durable == self.promised
            self.clock.now += 1.0
            wait_until(lambda: ring.durable >= written, 60)
            self.promised = written
        elif self.sync == "page":
            pages = disklog_mp.Reader(self.path).pages()
            sealed = max([0, *(page.end_position() for page in pages if page.sealed)])
            wait_until(lambda: ring.durable >= sealed, 60)
            self.promised = max(self.promised, sealed)
        elif self.sync == "always":
            wait_until(lambda: ring.released >= written, 60)
        else:
            assert ring.durable == self.promised


def found(path: Path) -> Found:
    """Position, number and bytes of all that can be read."""
    reader = disklog_mp.Reader(path, on_damage=lambda damage: None)
    return {(record.position, record.number, record.data) for record in reader}


@pytest.fixture
def next_boot(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Have everything from then on happen in another boot of the machine.  A real one no test survives."""

    def next_boot() -> None:
        monkeypatch.setattr(_processes, "boot_id", lambda: "01" * 16)

    return next_boot


@pytest.mark.parametrize("sync", ["always", "1s", "page", "never"])
def test_what_the_policy_made_durable_survives_a_power_loss_at_any_step(
    name: str, path: Path, sync: str, monkeypatch: pytest.MonkeyPatch, next_boot: Callable[[], None]
) -> None:
    """All that sync() returned for or stats() calls durable; with "always" all that left the ring, with an
    interval all that was written when the last one was over; with the ring's file kept, and without.
    """
    clock = Clock()
    if sync == "1s":
        monkeypatch.setattr(writer, "time", clock)
        monkeypatch.setattr(syncer, "time", clock)
    life = Life(name, path, sync, clock)
    monkeypatch.setattr(writer, "time", time)
    monkeypatch.setattr(syncer, "time", time)
    next_boot()
    dice = Random(1)
    seen = set()
    for step, (disk, promised, ring) in enumerate(life.moments):
        some = [page for page in disk.unsynced() if dice.random() < 0.5]
        for names, pages in ((disk.names_synced, []), (disk.names, []), (disk.names, some)):
            contents = disk.survivors(names, pages)
            case = (frozenset(contents.items()), promised, ring)
            if case in seen:
                continue
            seen.add(case)
            life.leave(contents, ring)
            life.write().close()
            left = found(path)

            assert {each for each in life.records if each[0] < promised} <= left, f"step {step}"
            assert left <= life.records, f"step {step}"
    assert life.moments[-1].promised >= life.promised > 0


def test_power_lost_again_while_a_writer_takes_over(
    name: str, path: Path, next_boot: Callable[[], None]
) -> None:
    """At each step of its recovery, with an old ring's file beside it or without: the next one recovers all
    that was durable.
    """
    life = Life(name, path, "never", Clock())
    next_boot()
    kept = [moment for moment in life.moments if moment.ring]
    for disk, promised, ring in kept[:: max(1, len(kept) // (2 if TIMES == 1 else 4))]:
        for file in (ring, b""):
            life.leave(disk.survivors(disk.names, disk.unsynced()), file)
            for step in life.take_over():
                for names in (step.names_synced, step.names):
                    life.leave(step.survivors(names, []), file)
                    life.write().close()

                    assert {each for each in life.records if each[0] < promised} <= found(path)


class SlowFiles(RealFiles):
    """Files whose sync takes until the test lets it go."""

    def __init__(self) -> None:
        self.syncing, self.go = threading.Event(), threading.Event()

    def open(self, path: str, *, writable: bool) -> RealFile:
        return SlowFile(self, super().open(path, writable=writable))

    def create(self, path: str, mode: int, gid: int) -> RealFile:
        return SlowFile(self, super().create(path, mode, gid))


class SlowFile(RealFile):
    """One of them; the sync that gives a page its name is no job's and not slow."""

    def __init__(self, files: SlowFiles, file: RealFile) -> None:
        super().__init__(file.fd)
        self._files = files

    def sync(self) -> None:
        if self.size() > HEADER_LENGTH:
            self._files.syncing.set()
            assert self._files.go.wait(60)
        super().sync()


def test_a_page_sealed_while_a_sync_is_under_way_is_synced_next(name: str, path: Path) -> None:
    """With sync="page" nothing else would ask again, and the last page of a log that falls silent would wait
    for ever.
    """
    files, stop = SlowFiles(), threading.Event()
    work = Writer(name, path, Options(ring_bytes=1 << 14, sync="page", linger=None), files=files)
    thread = threading.Thread(target=work.run, args=(stop.is_set,))
    thread.start()
    try:
        with disklog_mp.attach(name) as log:
            log.log(b"in page 1")
            log.flush()
            log.roll()
            assert files.syncing.wait(60)
            log.log(b"in page 2")
            log.flush()
            log.roll()
            wait_until(lambda: all(page.sealed for page in disklog_mp.Reader(path).pages()), 60)
            files.go.set()
            wait_until(lambda: log.stats().durable >= connection_of(log).end, 60)
    finally:
        files.go.set()
        stop.set()
        thread.join()


# Notes each fdatasync and fsync that succeeded, by what it was of, then what was asked of the log.
WITNESS = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int note(const char *call, int fd, int status)
{
    char link[64], path[4096], line[4200];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    int out = open(getenv("SYNC_WITNESS"), O_WRONLY | O_APPEND), told;
    told = snprintf(line, sizeof line, "%s %s\\n", call, path);
    if (status == 0 && write(out, line, told) != told)
        abort();
    close(out);
    return status;
}
int fdatasync(int fd) { return note("fdatasync", fd, (int)syscall(SYS_fdatasync, fd)); }
int fsync(int fd) { return note("fsync", fd, (int)syscall(SYS_fsync, fd)); }
"""

STORIES = """
import sys, time, disklog_mp
name, path, sync, witness = sys.argv[1:]
with disklog_mp.open(name, path, sync=sync, ring_bytes=1 << 16, linger=0) as log:
    log.log(b"x")
    log.flush()
    if sync == "page":
        log.roll()
    elif sync == "never":
        print(open(witness).read().count(".dlog"))
        log.sync()
    while (stats := log.stats()).durable < stats.claimed:
        time.sleep(0.002)
    print(open(witness).read())
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("sync", ["always", "10ms", "page", "never"])
def test_what_is_called_durable_went_through_the_kernel(
    name: str, path: Path, tmp_path: Path, sync: str
) -> None:
    """By the time stats() says so, the page file has been given to fdatasync, and the directory to fsync."""
    source, library, witness = tmp_path / "witness.c", tmp_path / "witness.so", tmp_path / "witness"
    source.write_text(WITNESS)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    witness.touch()
    environment = {**os.environ, "LD_PRELOAD": str(library), "SYNC_WITNESS": str(witness)}
    command = [sys.executable, "-c", STORIES, name, str(path), sync, str(witness)]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, timeout=100, check=True
    )
    stop_writer(name)
    calls = done.stdout.splitlines()

    assert f"fdatasync {page_path(path)}" in calls
    assert f"fsync {path}" in calls
    if sync == "never":
        assert calls[0] == "0"
