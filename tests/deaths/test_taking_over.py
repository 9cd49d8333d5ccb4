"""A new writer takes the ring of a dead one: what the ring tells about pages that are gone, and what of it
is believed.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from support.command import call, objects
from support.machine import wait_until
from support.pages import page_path
from support.rings import attach_ring, has_ring, remove_ring, ring_path
from support.sessions import ring_file_of, ring_of
from support.workers import claim_and, write_log

import disklog_mp
from disklog_mp._options import Options
from disklog_mp._os import processes as _processes
from disklog_mp._reader.reader import Reader
from disklog_mp._ring import liveness as _liveness
from disklog_mp._verify.log import verify
from disklog_mp._writer.terms import Terms
from disklog_mp._writer.writer import Writer

Start = Callable[[], BaseProcess]
SPAN = 32  # of each frame in the ring
LOGGED = 12  # in pages of 5
OPTIONS = Options(ring_bytes=1 << 16, page_records=5, linger=None)
SERVED = Terms(OPTIONS._asdict(), "serve", is_served=True)  # no session starts its writer again


def served_writer(name: str, path: Path) -> Writer:
    """Return a writer in this process, as a supervisor runs it."""
    return Writer(name, path, OPTIONS, terms=SERVED)


@pytest.fixture
def start_writer(name: str, path: Path) -> Iterator[Start]:
    """Start a writer that nothing starts again when it is killed; the last one is stopped at the end."""
    context = multiprocessing.get_context("fork")
    writers: list[BaseProcess] = []

    def start_writer() -> BaseProcess:
        if writers:
            writers[-1].join()
        writers.append(context.Process(target=write_log, args=(name, str(path), OPTIONS, SERVED)))
        writers[-1].start()
        wait_until(lambda: _ring_is_written(name), 30)
        return writers[-1]

    yield start_writer
    for writer in writers:
        writer.terminate()
        writer.join()
        writer.close()
    remove_ring(name)


def _ring_is_written(name: str) -> bool:
    try:
        file = attach_ring(name)
    except disklog_mp.LogNotFoundError:
        return False
    try:
        return _liveness.writer_alive(file)
    finally:
        os.close(file.fd)


@pytest.fixture
def orphan(name: str, start_writer: Start) -> Iterator[disklog_mp.Session]:
    """A log with two sealed pages and a third being written, all of it durable; its writer is dead."""
    writer = start_writer()
    with disklog_mp.attach(name, timeout=30) as log:
        for i in range(LOGGED):
            log.log(b"%d" % i)
        log.sync()
        writer.kill()
        writer.join()
        yield log


def log_more(start_writer: Start, log: disklog_mp.Session) -> list[tuple[bytes, int, int]]:
    """Log three more with a new writer; return what is in the pages then: data, number, position."""
    start_writer()
    for i in range(LOGGED, LOGGED + 3):
        log.log(b"%d" % i)
    log.flush()
    return [
        (record.data, record.number, record.position)
        for record in Reader(log.path, on_damage=lambda damage: None)
    ]


def expected(indexes: list[int]) -> list[tuple[bytes, int, int]]:
    return [(b"%d" % i, i, i * SPAN) for i in indexes]


@pytest.mark.parametrize("gone", [(3,), (2, 3), (1, 2, 3), (2,)], ids=str)
def test_no_number_is_given_twice_though_pages_are_gone(
    start_writer: Start, orphan: disklog_mp.Session, path: Path, gone: tuple[int, ...]
) -> None:
    """Removed behind the dead writer's back: records, positions and pages go on where they were."""
    for number in gone:
        page_path(path, number).unlink()
    found = log_more(start_writer, orphan)
    pages = disklog_mp.Reader(path).page_numbers()
    result = verify(str(path), orphan.name, ring_file_of(orphan))

    assert found == expected([i for i in range(LOGGED + 3) if i // 5 + 1 not in gone or i >= LOGGED])
    assert pages == [*sorted({1, 2, 3} - set(gone)), *([4] if 3 in gone else [])]
    assert result.books is not None
    assert result.books.balance
    assert not result.books.uncounted
    # Where nothing is left of before, it is as if all had been retired.
    assert result.exit_code == (0 if len(gone) == 3 else 3)


NOISE = [0, 7, 64, 5 * SPAN, 1 << 40, 2**63, 2**64 - 32, 2**64 - 1]


def test_a_word_of_noise_is_not_believed(start_writer: Start, orphan: disklog_mp.Session, path: Path) -> None:
    """The pages are there and know better: all goes on as if nobody had scribbled."""
    ring = ring_of(orphan)
    assert ring is not None
    for word in ("released", "written", "durable", "records", "page"):
        for value in NOISE:
            setattr(ring, word, value)
            work = served_writer(orphan.name, path)
            work.close()

            assert (work.recovered.position, work.recovered.number) == (LOGGED * SPAN, LOGGED), word
            assert ring.durable <= ring.written == LOGGED * SPAN, (word, value)
            assert ring.released == LOGGED * SPAN or word == "released", value
            assert work.pages.page_number == 3, (word, value)
    assert log_more(start_writer, orphan) == expected(list(range(LOGGED + 3)))
    assert orphan.stats().records == LOGGED + 3
    assert disklog_mp.Reader(path).page_numbers() == [1, 2, 3]


@pytest.mark.parametrize("value", [2**63, 2**64 - 1])
@pytest.mark.parametrize("word", ["records", "page"])
def test_a_count_that_cannot_be_is_not_believed_where_pages_are_gone(
    start_writer: Start, orphan: disklog_mp.Session, path: Path, word: str, value: int
) -> None:
    """More records or pages than positions: no page could say so, and none does."""
    page_path(path, 3).unlink()
    setattr(ring_of(orphan), word, value)
    found = log_more(start_writer, orphan)

    first = 10 if word == "records" else LOGGED
    assert found[10:] == [(b"%d" % i, first + i - LOGGED, i * SPAN) for i in range(LOGGED, LOGGED + 3)]
    assert disklog_mp.Reader(path).page_numbers() == [1, 2, 3 if word == "page" else 4]


def test_what_is_durable_is_not_synced_again(orphan: disklog_mp.Session, path: Path) -> None:
    """The first sync of a new writer takes the page being written, not all that the ring says is on disk;
    without a ring to say so, all.
    """
    for value, files in ((None, 1), (0, 3)):
        if value is not None:
            assert ring_of(orphan) is not None
            ring_of(orphan).durable = value
        work = served_writer(orphan.name, path)
        try:
            assert len(work.pages.sync_job().files) == files
        finally:
            work.close()
    os.unlink(ring_path(orphan.name))
    work = served_writer(orphan.name, path)
    try:
        assert work.ring.durable == 0
        assert len(work.pages.sync_job().files) == 3
    finally:
        work.close()


# -- the report ----------------------------------------------------------------------------------------------


def damage(path: Path, offset: int, data: bytes) -> None:
    with open(page_path(path, 3), "r+b") as file:
        file.seek(offset)
        file.write(data)


def take_over(
    name: str, path: Path, capfd: pytest.CaptureFixture[str], code: int = 1
) -> tuple[list[str], dict[str, Any]]:
    """Let a writer of this process drain the ring and leave; what it said, and what `stat` tells then.

    `code`: what stat returns, 1 because no writer is alive, 3 if pages are damaged.
    """
    work = served_writer(name, path)
    with disklog_mp.attach(name):
        work.run(lambda: True)
        (told,) = objects("stat", name, code=code)
    return capfd.readouterr().err.splitlines(), told


END = 4096 + 2 * SPAN  # of the last page
NOTHING = {
    "records": LOGGED, "abandoned": 0, "torn_bytes": 0, "corrupt_ranges": 0, "corrupt_bytes": 0,
    "set_aside": 0, "ring_records": 0, "ring_abandoned": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("offset", "noise", "repair", "said"),
    [
        (END, b"", None, ""),
        (
            END, b"?" * 100, {"torn_bytes": 100, "set_aside": 1},
            "12 records kept in pages, 100 torn bytes, 1 file set aside",
        ),
        (
            4096 + 24, b"?", {"records": LOGGED - 1, "corrupt_ranges": 1, "corrupt_bytes": SPAN},
            "11 records kept in pages, 1 corrupt range (32 bytes)",
        ),
        (
            END - 1, b"?" * 33,
            {"torn_bytes": 32, "set_aside": 1},
            "12 records kept in pages, 32 torn bytes, 1 file set aside",
        ),
    ],
    ids=["nothing", "noise behind the end", "a record", "noise from the padding on"],
)  # fmt: skip
def test_what_was_repaired_is_told_and_kept(
    orphan: disklog_mp.Session,
    name: str,
    path: Path,
    capfd: pytest.CaptureFixture[str],
    offset: int,
    noise: bytes,
    repair: dict[str, int] | None,
    said: str,
) -> None:
    """Without the ring: one line on stderr, and the same in `stat`; nothing for a clean log."""
    orphan.close()
    remove_ring(name)
    damage(path, offset, noise)
    is_damaged = repair is not None and "corrupt_ranges" in repair
    said_lines, told = take_over(name, path, capfd, code=3 if is_damaged else 1)

    if repair is None:
        assert (said_lines, told["repair"]) == ([], None)
        return
    assert told["repair"].pop("time") > 0
    assert told["repair"] == {**NOTHING, **repair}
    assert said_lines == [f"disklog-mp: {name}: repaired what a crash left: {said}"]
    assert told["error"] is None


def test_what_was_taken_from_the_ring_is_told(
    orphan: disklog_mp.Session, name: str, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Records nobody had written, and the claim of a producer that died; but not what is logged later."""
    orphan.log(b"left")
    orphan.log_many([b"two", b"more"])
    victim = multiprocessing.get_context("spawn").Process(target=claim_and, args=(name, signal.SIGKILL))
    victim.start()
    victim.join()
    victim.close()
    orphan.log(b"behind it")
    work = served_writer(name, path)
    orphan.log(b"later")
    work.run(lambda: True)
    (told,) = objects("stat", name, code=1)  # no writer is alive
    said = call("stat", name).stdout.decode().splitlines()

    assert told["repair"].pop("time") > 0
    assert told["repair"] == {**NOTHING, "ring_records": 4, "ring_abandoned": 1}
    text = "12 records kept in pages, 4 records taken from the ring of a writer that died, 1 abandoned frame"
    assert any(line.startswith("repaired ") and line.endswith(text) for line in said)
    assert f"disklog-mp: {name}: repaired what a crash left: {text}" in capfd.readouterr().err.splitlines()


def test_a_writer_that_left_in_good_order_left_nothing_to_repair(
    orphan: disklog_mp.Session, name: str, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its ring stays for those who are attached, and what they logged meanwhile is no repair."""
    served_writer(name, path).run(lambda: True)
    orphan.log(b"meanwhile")
    capfd.readouterr()
    served_writer(name, path).run(lambda: True)

    assert orphan.stats().repair is None
    assert capfd.readouterr().err == ""


def test_a_writer_that_open_started_tells_too(name: str, path: Path, tmp_path: Path) -> None:
    """On the stderr of whoever started it; `stat` is content."""
    code = "import sys, disklog_mp; disklog_mp.open(sys.argv[1], sys.argv[2], linger=0).log(b'x')"
    command = [sys.executable, "-c", code, name, str(path)]
    for noise in (b"", b"noise"):
        if noise:
            with open(page_path(path), "r+b") as file:
                file.seek(4096 + SPAN)
                file.write(noise)
        with open(tmp_path / "stderr", "wb") as stderr:
            subprocess.run(command, stderr=stderr, check=True, timeout=60)
            wait_until(lambda: not has_ring(name), 30)

    said = (tmp_path / "stderr").read_text()
    assert said == (
        f"disklog-mp: {name}: repaired what a crash left: 1 record kept in pages, 5 torn bytes, "
        f"1 file set aside\n"
    )


def test_a_writer_that_is_stopped_before_it_replaced_the_ring_leaves_none(name: str, path: Path) -> None:
    """It has closed the ring of its predecessor, for one of another size, and is told to go."""
    served_writer(name, path).close()
    assert has_ring(name)
    Writer(name, path, OPTIONS._replace(ring_bytes=1 << 17)).run(lambda: True)

    assert not has_ring(name)


def test_a_writer_that_sees_another_boot_id_does_not_log_anything_twice(
    name: str, path: Path, orphan: disklog_mp.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a service with a /proc of its own: the lock of a process that lives says which boot it is."""
    before = ring_of(orphan)
    assert before is not None
    for i in range(LOGGED, LOGGED + 200):
        orphan.log(b"%d" % i)
    boot = os.urandom(16)
    monkeypatch.setattr(_processes, "boot_id", boot.hex)
    count = LOGGED + 210

    def is_done() -> bool:
        if work.pages.number == LOGGED + 200:
            for i in range(LOGGED + 200, count):
                orphan.log(b"%d" % i)
        return work.pages.number >= count

    work = Writer(name, path, OPTIONS, terms=SERVED)
    assert work.ring.generation == before.generation
    work.run(is_done)

    assert [b"%d" % i for i in range(count)] == [record.data for record in Reader(path)]
    assert call("verify", path).returncode == 0
