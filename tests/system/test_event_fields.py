"""What the log's own events say: of damage, of pages that recovery seals, of deaths, of sums."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from support.machine import wait_until
from support.pages import Source, page_writer

import disklog_mp
from disklog_mp._os import processes
from disklog_mp._writer.notices import BURST, Notices

OpenLog = Callable[..., disklog_mp.Session]


def events_of(path: Path) -> list[disklog_mp.LogEvent]:
    return list(disklog_mp.Reader(path).events())


def test_damage_and_pages_sealed_by_recovery_are_told_once(open_log: OpenLog, path: Path) -> None:
    """Where, how long, how many records, between which times; a second writer tells nothing again."""
    pages, source = page_writer(path), Source()
    for _ in range(10):
        source.log(b"x" * 100)
        source.move(pages)
    pages.close()
    times = [record.timestamp for record in disklog_mp.Reader(path)]
    (page,) = path.glob("page-*")
    whole = bytearray(page.read_bytes())
    whole[4096 + 4 * 128 + 50] ^= 1  # the record of number 4
    whole[4096 + 9 * 128 + 50] ^= 1  # the last one
    page.write_bytes(whole)
    for count in (1, 2):
        open_log(linger=0.0).close()
        wait_until(lambda count=count: [event.name for event in events_of(path)].count("stopped") == count)

    events = events_of(path)
    inside, torn = [event.fields for event in events if event.name == "damaged"]
    assert inside == {
        "page": 1,
        "offset": 4096 + 4 * 128,
        "length": 128,
        "records": 1,
        "from": times[3],
        "to": times[5],
    }
    aside = f"page-0000000001.bad-{4096 + 9 * 128}"
    assert torn["file"] == aside
    assert (torn["records"], torn["from"]) == (1, times[8])
    assert (path / aside).stat().st_size == torn["length"]
    (sealed,) = (event for event in events if event.name == "sealed")
    assert (sealed.fields["page"], sealed.fields["reason"]) == (1, "recovery")


def test_the_signal_that_ended_a_process_is_known() -> None:
    """While its parent has not waited for it, and behind that where the kernel tells it."""
    for number in (signal.SIGKILL, signal.SIGUSR1):
        pid = os.fork()
        if not pid:
            os.kill(os.getpid(), number)
        pidfd = os.pidfd_open(pid)
        start = processes.start_ticks(pid)
        assert start is not None
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert processes.signal_that_ended(pid, start, None) == number
        os.waitpid(pid, 0)
        behind = processes.signal_that_ended(pid, start, pidfd)
        os.close(pidfd)
        release = tuple(int(part) for part in os.uname().release.split(".")[:2])
        assert behind == (number if release >= (6, 15) else None)
        assert processes.signal_that_ended(pid, start, None) is None


def test_many_of_one_kind_are_told_as_a_sum() -> None:
    """A pool that recycles its workers fills no disk; the sum says only what is true of all."""
    notices = Notices()
    for pid in range(BURST + 500):
        notices.tell("producer-left", pid=pid, command="worker", logged=2, dropped=1)
        notices.tell("dropped", pid=pid, count=3, **{"from": pid + 1, "to": pid + 2})
    notices.gather(time.monotonic(), is_last=True)
    told = notices.waiting()

    sums = []
    for name, key, each in (("producer-left", "logged", 2), ("dropped", "count", 3)):
        found = [notice.fields for notice in told if notice.name == name]
        assert len(found) == BURST + 1
        assert sum(fields.get("events", 1) for fields in found) == BURST + 500
        assert sum(fields[key] for fields in found) == each * (BURST + 500)
        assert "pid" not in found[-1]
        sums.append(found[-1])
    left, dropped = sums
    assert left["command"] == "worker"
    assert (dropped["from"], dropped["to"]) == (BURST + 1, BURST + 501)
