"""A new writer takes the ring of a dead one: what the ring tells about pages that are gone, and what of it
is believed.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from conftest import wait_until
from pages import page_path
from workers import write_log

import disklog_mp
from disklog_mp import _ring
from disklog_mp._options import Options
from disklog_mp.cli._verification import verify
from disklog_mp.reader import Reader
from disklog_mp.writer import Writer

Start = Callable[[], BaseProcess]
SPAN = 32  # of each frame in the ring
LOGGED = 12  # in pages of 5
OPTIONS = Options(ring_bytes=1 << 16, page_records=5, linger=None)


@pytest.fixture
def start_writer(name: str, path: Path) -> Iterator[Start]:
    """Start a writer that nothing starts again when it is killed; the last one is stopped at the end."""
    context = multiprocessing.get_context("fork")
    writers: list[BaseProcess] = []

    def start_writer() -> BaseProcess:
        if writers:
            writers[-1].join()
        writers.append(context.Process(target=write_log, args=(name, str(path), OPTIONS)))
        writers[-1].start()
        wait_until(lambda: _ring_is_written(name), 30)
        return writers[-1]

    yield start_writer
    for writer in writers:
        writer.terminate()
        writer.join()
        writer.close()
    _ring.unlink(name, None)


def _ring_is_written(name: str) -> bool:
    try:
        file = _ring.attach(name, None)
    except disklog_mp.LogNotFoundError:
        return False
    try:
        return _ring.writer_alive(file)
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
    result = verify(str(path), orphan.name, orphan._whole_attachment().file)

    assert found == expected([i for i in range(LOGGED + 3) if i // 5 + 1 not in gone or i >= LOGGED])
    assert pages == [*sorted({1, 2, 3} - set(gone)), *([4] if 3 in gone else [])]
    assert result.books is not None
    assert result.books.balance
    assert not result.books.uncounted
    # Where nothing is left of before, it is as if all had been retired.
    assert result.exit_code == (0 if len(gone) == 3 else 2)


NOISE = [0, 7, 64, 5 * SPAN, 1 << 40, 2**63, 2**64 - 32, 2**64 - 1]


def test_a_word_of_noise_is_not_believed(start_writer: Start, orphan: disklog_mp.Session, path: Path) -> None:
    """The pages are there and know better: all goes on as if nobody had scribbled."""
    ring = orphan._ring
    assert ring is not None
    for word in ("released", "written", "durable", "records", "page"):
        for value in NOISE:
            setattr(ring, word, value)
            work = Writer(orphan.name, path, OPTIONS)
            work.close()

            assert (work.recovered.position, work.recovered.number) == (LOGGED * SPAN, LOGGED), word
            assert ring.durable <= ring.written == LOGGED * SPAN, (word, value)
            assert ring.released == LOGGED * SPAN or word == "released", value
            assert work._pages.page_number == 3, (word, value)
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
    setattr(orphan._ring, word, value)
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
            assert orphan._ring is not None
            orphan._ring.durable = value
        work = Writer(orphan.name, path, OPTIONS)
        try:
            assert len(work._pages.sync_job().files) == files
        finally:
            work.close()
    os.unlink(_ring.ring_path(orphan.name, None))
    work = Writer(orphan.name, path, OPTIONS)
    try:
        assert work.ring.durable == 0
        assert len(work._pages.sync_job().files) == 3
    finally:
        work.close()
