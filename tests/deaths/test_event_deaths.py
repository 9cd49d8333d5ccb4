"""Writers killed at steps of telling an event: no event is doubled or lost, as far as pages and ring know."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.children import fork
from support.command import call
from support.faulty_files import FaultyFiles
from support.machine import stop_writer, wait_until

import disklog_mp
from disklog_mp._options import Options
from disklog_mp._verify.told import read_told
from disklog_mp._writer.event_book import EventBook
from disklog_mp._writer.signals import stop_on_signals
from disklog_mp._writer.writer import Writer

OPTIONS: dict[str, Any] = {"page_records": 2, "keep_pages": 3, "event_bytes": 1 << 16, "ring_bytes": 1 << 16}


def write_until_killed(name: str, path: Path, step: int) -> None:
    """Be the writer; die at that step of writing events."""
    is_telling, steps = False, 0

    def before_step() -> None:
        nonlocal steps
        steps += is_telling
        if steps == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def write(book: EventBook, wrapped: Any = EventBook._write) -> None:
        nonlocal is_telling
        is_telling = True
        wrapped(book)
        is_telling = False

    EventBook._write = write  # type: ignore[method-assign]
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with stop_on_signals() as stopping:
        Writer(name, path, Options(**OPTIONS, linger=5.0), files=FaultyFiles(before_step)).run(stopping)


def pages_of(fields: dict[str, Any]) -> Iterator[int]:
    yield from range(fields["page"], fields.get("last_page", fields["page"]) + 1)


def test_a_writer_killed_while_it_tells(name: str, path: Path) -> None:
    """Pages rolled and retired, producers that came and went: each is told once, over the next writer."""
    for step in (1, 3, 5, 7, 9, 11, 14, 20):
        log_name, directory = f"{name}-{step}", path / str(step)
        path.mkdir(exist_ok=True)
        writer = fork(lambda: write_until_killed(log_name, directory, step))  # noqa: B023
        wait_until(lambda: list(directory.glob("disklog.json")) or not is_alive(writer))  # noqa: B023
        log = disklog_mp.open(log_name, directory, **OPTIONS, linger=0.0)
        for number in range(12):
            log.log(b"%d" % number)
            log.flush()
        log.close()
        stop_writer(log_name)
        os.waitpid(writer, 0)
        disklog_mp.open(log_name, directory, linger=0.0).close()  # for one that died in its last moment
        stop_writer(log_name)
        wait_until(lambda: [*disklog_mp.Reader(directory).events()][-1].name == "stopped")  # noqa: B023

        events = [*disklog_mp.Reader(directory).events()]
        counts = Counter[str]()
        for event in events:
            counts[event.name] += event.fields.get("events", 1)
        numbers = disklog_mp.Reader(directory).page_numbers()
        sealed = [page.number for page in disklog_mp.Reader(directory).pages() if page.sealed]
        for names, expected in ((("rolled", "sealed"), sealed), (("retired",), [])):
            told = [page for event in events if event.name in names for page in pages_of(event.fields)]
            assert sorted(told) == [*range(1, numbers[0]), *expected], (step, told)
        assert counts["producer-attached"] == counts["producer-left"] + counts["producer-died"], step
        told_sums = read_told(str(directory))
        assert told_sums.retired == next(iter(disklog_mp.Reader(directory))).number
        assert told_sums.is_whole
        assert call("verify", directory).returncode == 0


def is_alive(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
