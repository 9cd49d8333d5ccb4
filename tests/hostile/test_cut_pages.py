"""Page files that another process cuts while they are read, as logrotate's copytruncate does."""

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from support.machine import stop_writer

import disklog_mp

RECORDS = 2000
OpenLog = Callable[..., disklog_mp.Session]


def in_child(work: Callable[[], object]) -> int:
    """Run it in a process of its own, which a signal may end; return how it ended, 0: well."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def page_path(open_log: OpenLog, path: Path) -> str:
    """A sealed page of a megabyte, and no writer."""
    log = open_log()
    for i in range(RECORDS):
        log.log(b"%d" % i + b" " * 500)
    log.flush()
    log.roll()
    log.close()
    stop_writer(log.name)
    return disklog_mp.Reader(path).get_page(1).path


WAYS = {
    "iterate": iter,
    "records": disklog_mp.Reader.records,
    "search": lambda reader: reader.search(b" "),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("length", [0, 100, 4096, 500_000, 1_000_000])
def test_a_reader_passes_over_what_was_cut_under_it(
    path: Path, page_path: str, length: int, way: str
) -> None:
    """It is damage, reported like any other, and not the end of the process."""
    damages: list[disklog_mp.Damage] = []

    def read() -> None:
        seen = []
        for record in WAYS[way](disklog_mp.Reader(path, on_damage=damages.append)):
            seen.append(int(record.data))
            if len(seen) == 10:
                os.truncate(page_path, length)
        assert seen == list(range(len(seen)))
        assert len(seen) < RECORDS
        assert damages

    assert in_child(read) == 0


def test_a_record_that_was_cut_is_zeros(page_path: str) -> None:
    """A record that is held keeps its place, and no longer its bytes: no signal where they are read."""

    def hold() -> None:
        with disklog_mp.Reader(os.path.dirname(page_path)).get_page(1) as page:
            record = page[1000]
            view = record.view
            os.truncate(page_path, 8192)
            assert record.number == 1000
            assert bytes(view) == record.data == bytes(len(view))

    assert in_child(hold) == 0


def test_who_waits_at_the_end_of_a_page_lives_through_its_cutting(open_log: OpenLog, path: Path) -> None:
    """A follower sleeps on the page's header, which goes as well; the writer goes on in another page."""
    log = open_log()
    log.log(b"0")
    log.flush()

    def follow() -> None:
        following = disklog_mp.Reader(path, on_damage=lambda damage: None).follow(timeout=30)
        assert next(following).data == b"0"
        (page,) = path.glob("page-*")
        os.truncate(page, 0)
        log.log(b"1")
        assert next(following).data == b"1"

    assert in_child(follow) == 0
    log.roll()  # and the writer has not lost more than that
    log.log(b"2")
    log.flush()
    assert [b"1", b"2"] == [r.data for r in disklog_mp.Reader(path, on_damage=lambda damage: None)]
    assert log.stats().writers == 1


SENT = "os.kill(os.getpid(), 7)"
ELSEWHERE = "m = mmap.mmap(os.open(sys.argv[2], os.O_RDWR), 8192); os.truncate(sys.argv[2], 0); m[5000]"


@pytest.mark.parametrize("meet", [SENT, ELSEWHERE])
def test_other_bus_errors_are_not_ours(page_path: str, tmp_path: Path, meet: str) -> None:
    """A signal that a process sends, or that another mapping causes, ends the process as ever."""
    program = "import disklog_mp, mmap, os, sys\npage = disklog_mp.Page(sys.argv[1])\n" + meet
    (tmp_path / "other").write_bytes(b"x" * 8192)
    command = [sys.executable, "-c", program, page_path, str(tmp_path / "other")]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (-signal.SIGBUS, b"")
