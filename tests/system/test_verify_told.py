"""verify compares pages and ring with what the log's events tell: the books close, also over years."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

from support.command import call
from support.machine import wait_until
from support.pages import Source, page_writer

import disklog_mp
from disklog_mp._verify.told import read_told
from disklog_mp._writer.event_book import EventBook
from disklog_mp._writer.notices import Notices

OpenLog = Callable[..., disklog_mp.Session]


def test_the_equation_and_who_counted_drops(open_log: OpenLog, path: Path) -> None:
    """Kept, retired, in the ring; dropped ones told by ring, events and pages; refused ones by no page."""
    log = open_log(ring_bytes=4096, page_records=10, keep_pages=2, on_full="drop")
    writer = log.stats().writer_pid
    log.log_many([b"x"] * 9)
    log.flush()
    os.kill(writer, signal.SIGSTOP)
    accepted = 9 + sum(log.log(b"x" * 100) >= 0 for _ in range(50))
    log.on_full = "raise"
    refused = 0
    for _ in range(3):
        try:
            log.log(b"x" * 100)
        except disklog_mp.RingFullError:
            refused += 1
    dropped = 59 - accepted
    in_ring = call("verify", path).stdout.decode().splitlines()[2]
    os.kill(writer, signal.SIGCONT)
    log.on_full = "block"
    log.log(b"and reports the drops")
    log.flush()

    def told() -> int:
        return read_told(str(path)).dropped

    def expected() -> list[str]:
        records = list(disklog_mp.Reader(path))
        ever, reported = (
            records[-1].number + 1,
            sum(json.loads(each.data)["dropped"] for each in records if each.gap),
        )
        equation = (
            f"{ever} ever = {len(records)} kept + {ever - len(records)} retired + 0 archived + 0 missing"
        )
        return [equation, f"{dropped + refused} told by events, {reported} reported in the pages"]

    wait_until(lambda: told() == dropped + refused, 20)
    shown, (equation, drops) = call("verify", path), expected()
    assert shown.stdout.decode().splitlines()[2:4] == [
        f"{equation} + 0 still in the ring",
        f"drops: {dropped + refused} counted, {drops}",
    ]
    events = disklog_mp.Reader(path).events()
    assert [each.fields["policy"] for each in events if each.name == "dropped"][-1] == "drop, raise"
    log.close()
    wait_until(lambda: [*disklog_mp.Reader(path).events()][-1].name == "stopped")
    closed, (equation, drops) = call("verify", path), expected()

    assert in_ring == (
        f"{accepted} ever = 9 kept + 0 retired + 0 archived + 0 missing + {accepted - 9} still in the ring"
    )
    assert f", {dropped} reported" in drops
    lines = closed.stdout.decode().splitlines()
    assert lines[2:4] == [equation, f"drops: {drops}"]
    assert any(line.startswith(f"drop: {refused} records refused, or dropped and") for line in lines[4:])
    assert not any("before the first page" in line for line in lines)
    assert (shown.returncode, closed.returncode) == (1, 1)


def test_the_sums_stay_when_the_oldest_events_are_gone(path: Path) -> None:
    """Each page of events begins with the sums of all before it; damage of such a page is told, too."""
    pages, source = page_writer(path, event_bytes=1 << 16), Source()
    source.log(b"x")
    source.move(pages)
    assert pages.folder.directory.lock(0o600, -1)
    book = EventBook(Notices(), pages.folder.directory, pages)
    book.notices.tell("opened")
    for number in range(3000):
        book.notices.tell("writer-started", pid=number)
        book.notices.tell("retired", page=number, records=2)
        book.notices.tell("dropped", pid=number, count=3)
        if not number % 100:
            book.write_last()
    book.write_last()
    book.close()
    pages.close()
    pages.folder.directory.unlock()
    told = read_told(str(path))

    assert next(disklog_mp.Reader(path).events()).name == "totals"
    assert (told.events, told.retired, told.dropped) == (9001, 6000, 9000)
    assert told.is_whole
    assert b"drops: 9,000 told by events, 0 reported in the pages\n" in call("verify", path).stdout
    newest = max(path.glob("events-*"))
    whole = bytearray(newest.read_bytes())
    whole[4096 + 40] ^= 1
    newest.write_bytes(whole)
    done = call("verify", path)
    assert done.returncode == 3
    assert b"damage: events, page " in done.stdout
