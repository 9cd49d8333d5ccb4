"""top: rates, delays, what is wrong, producers in order, levels counted from pages; without a terminal."""

import math
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from support.command import call
from support.memory_ring import die_at, make_producer, make_ring
from support.pages import Source, page_writer, write_page

from disklog_mp._reader.events import LogEvent
from disklog_mp._reader.reader import Reader
from disklog_mp._ring import control as _control
from disklog_mp._ring.file import RingFile
from disklog_mp._ring.stats import ProducerStats
from disklog_mp.cli.top import pages, text
from disklog_mp.cli.top import producers as _producers
from disklog_mp.cli.top.meters import SPAN, Delay, Meter
from disklog_mp.cli.top.watched import Watched


def test_a_rate_now_and_over_ten_minutes() -> None:
    """Of a counter; one that began anew counts nothing, and what is older than ten minutes is forgotten."""
    meter = Meter()
    for time, total in ((0.0, 500), (1.0, 600), (3.0, 1000), (4.0, 0), (4.0, 70), (5.0, 90)):
        meter.take(time, total)

    assert (90.0, 118.0) == (meter.now, meter.mean())
    assert (5.0, "over 5 s") == (meter.span(), text.over(meter))
    assert [100.0, 200.0, 0.0, 90.0] == meter.points(120)
    assert [500 / 3, 45.0] == meter.points(2)
    meter.add(SPAN + 3.5, 6000)
    assert 6090 / (SPAN + 0.5) == pytest.approx(meter.mean())
    assert (SPAN, "over 10 min") == (meter.span(), text.over(meter))


def test_how_long_positions_take() -> None:
    """The oldest that is not done counts; while the disk hangs little is remembered, and nothing is wrong."""
    delay = Delay()
    delay.take(0.0, 100, 100)
    assert (0.0, None) == (delay.seconds, delay.percentiles([0.5]))
    for time, claimed, done, expected in ((1, 200, 100, 0.0), (2, 300, 100, 1.0), (3, 400, 200, 1.0)):
        delay.take(time, claimed, done)
        assert expected == delay.seconds
    delay.take(4, 400, 400)
    assert 0.0 == delay.seconds
    assert [2.0, 2.0] == delay.percentiles([0.5, 0.99])
    for step in range(5000):
        delay.take(5 + step, 500 + step, 400)
    assert 4999.0 == delay.seconds
    delay.take(6000, 5500, 5500)
    assert 0.0 == delay.seconds
    assert 5900 < max(delay.percentiles([0.99]) or [0]) <= 5995


def test_producers_in_order() -> None:
    """By any column; a text filters them; one that came since is fast, the first look says no rate."""

    def stats(pid: int, logged: int, dropped: int = 0, label: str = "") -> ProducerStats:
        return ProducerStats(pid, logged, dropped, pid, 7, label)

    first = _producers.between({}, (stats(1, 100), stats(2, 50, 9, "web")), 0.0, lambda key: f"run {key[0]}")
    assert {0.0} == {each.rate for each in first.values()}
    now = (stats(1, 300), stats(2, 60, 11, "web"), stats(3, 80))
    found = _producers.between(first, now, 2.0, lambda key: f"run {key[0]}")
    assert [(100.0, 0.0), (5.0, 1.0), (40.0, 0.0)] == [(each.rate, each.dropping) for each in found.values()]
    orders = {
        order: [each.pid for each in _producers.ordered(found, order, "")] for order in _producers.ORDERS
    }
    assert {"rate": [1, 3, 2], "dropped": [2, 1, 3], "waited": [3, 2, 1]} == dict([*orders.items()][:3])
    assert [2] == [each.pid for each in _producers.ordered(found, "rate", "WEB")]
    assert [3] == [each.pid for each in _producers.ordered(found, "pid", "run 3")]


@pytest.fixture
def written(path: Path) -> Any:
    """Records of levels 20 and 40 in pages of 100 records, and a way to log more of them."""
    writer = page_writer(path, page_records=100)
    source = Source(base=writer.position)

    def log(count: int, tag: int = 20) -> None:
        for number in range(count):
            source.log(b"%d" % number, tag=tag)
        source.move(writer)

    log(250)
    yield log
    writer.close()


def test_levels_are_counted_from_the_end_on(written: Any, path: Path) -> None:
    """Over rolls; with no time left the rest is passed over, and counted."""
    follower = pages.Follower(Reader(path))
    try:
        assert (0, 0) == pages.count_levels(follower, 60)[1:]
        written(320)
        written(5, 40)
        counted = pages.count_levels(follower, 60)
        assert ({20: 320, 40: 5}, 325, 0, 1.0) == (*counted, counted.share())
        written(400)
        counted = pages.count_levels(follower, -1)
        assert 400 == counted.seen + counted.passed
        assert counted.seen
        assert counted.passed
        assert 0.0 < counted.share() < 1.0
        written(3, 40)
        assert ({40: 3}, 3, 0) == pages.count_levels(follower, 60)
    finally:
        follower.close()


def test_the_core_counts_tags(path: Path) -> None:
    """Of records alone and in groups, so many at a time, from where the iterator stands, past damage."""
    source = Source()
    for tag in (0, 20, 65535):
        source.log(b"one", tag=tag)
    source.log_many([b"two"] * 3, tag=20)
    source.log(b"three", tag=40)
    run = source.drain()
    data = bytearray(run.data)
    write_page(path, [bytes(data)], records=run.records)
    with Reader(path).get_page(1) as page:
        frames = page.records_from()
        assert [{0: 1, 20: 1}, {20: 2, 65535: 1}, {20: 1, 40: 1}, {}] == [
            frames.count_tags(n) for n in (2, 3, 9, 9)
        ]
        assert 7 == frames.number
        assert {} == page.records_from().count_tags(0)
        frames = page.records_from(4)
        assert {20: 2, 40: 1} == frames.count_tags(100)
    data[32 + 24] ^= 1  # in the second record
    write_page(path, [bytes(data)], records=run.records)
    with Reader(path, on_damage=bool).get_page(1) as page:
        frames = page.records_from()
        assert {0: 1, 20: 3, 40: 1, 65535: 1} == frames.count_tags(100)
        assert (7, 1) == (frames.number, len(frames.damage))


def test_a_follower_that_retention_overtakes(written: Any, path: Path) -> None:
    """It goes on with the oldest page kept, and tells how many records it has not seen."""
    follower = pages.Follower(Reader(path))
    pages.count_levels(follower, 60)
    written(350)
    (path / "page-0000000004.dlog").unlink()
    counted = pages.count_levels(follower, 60)
    follower.close()
    assert (250, 100) == counted[1:]


def test_a_follower_of_a_log_without_a_page_yet(path: Path) -> None:
    """It begins with the first record that comes."""
    path.mkdir()
    follower = pages.Follower(Reader(path))
    assert 0 == pages.count_levels(follower, 60).seen == follower.skip()
    writer = page_writer(path)
    source = Source(base=writer.position)
    source.log(b"first", tag=30)
    source.move(writer)
    assert {30: 1} == pages.count_levels(follower, 60).tags
    writer.close()
    follower.close()


def test_the_records_of_one_process(written: Any, path: Path) -> None:
    """From some records before the end on; of another process there are none."""
    written(10)
    for pid, back, most, expected in (
        (4711, 5, 100, 5),
        (1, 100, 100, 0),
        (4711, 0, 100, 0),
        (4711, 9, 3, 9),
    ):
        follower = pages.Follower(Reader(path), back)
        found, passed = pages.records_of(follower, pid, most, 60)
        follower.close()
        assert expected == len(found) + passed, (pid, back)


def ring_file(capacity: int, path: Path) -> RingFile:
    """A ring in memory, with a file of its own as its name."""
    ring = make_ring(capacity, path=os.fsencode(path))
    memory = os.memfd_create("ring")
    return RingFile(ring, memory, f"/proc/self/fd/{memory}")


def test_what_is_wrong_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of it, the worst first; a control character of another process stays harmless."""
    path.mkdir()
    file = ring_file(4096, path)
    monkeypatch.setattr("disklog_mp.cli.top.watched._ring.is_current", lambda file: True)
    log = Watched("app", str(path), file, None)
    try:
        log.look(1.0)
        log.read(1.0, 0.1)
        log.look(2.0)
        assert [] == text.problems(log, 2.0)
        ring = file.ring
        producer = make_producer(ring, pid=os.getpid())
        for _ in range(63):
            producer.try_record(b"x" * 32, 0)
        producer.count(7, 1)
        ring.error_time, ring.abandoned, ring.sync_failures, ring.halted = 1, 2, 1, 1
        _control.store_error_text(ring, "No space left\x1b[2J")
        log.look(3.0)
        log.reading_since = 3.0
        told = text.problems(log, 9.5)
    finally:
        log.close()

    assert [
        "the writer cannot write: No space left\\x1b[2J",
        "no writer is alive",
        "the log reached max_bytes and takes no more",
        "1 sync failed",
        "the ring is 98 % full",
        "7 records dropped, 7.0/s now",
        "the disk has not answered for 6.5 s",
        "2 records given up: their processes died inside log()",
    ] == [each.text for each in told]
    assert [True] * 7 + [False] == [each.is_error for each in told]
    assert 63.0 == log.records.now
    assert 4032 == log.highest
    assert "\x1b" not in "".join(text.lines(log, 9.5))
    assert 7 == text.to_values(log, 9.5)["producers"][0]["dropped"]


def test_a_process_that_is_stopped_inside_log_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the ring has stood still between two looks."""
    path.mkdir()
    file = ring_file(4096, path)
    monkeypatch.setattr("disklog_mp.cli.top.watched._ring.is_current", lambda file: True)
    monkeypatch.setattr("disklog_mp.cli.top.watched._processes.is_stopped", lambda pid: pid == 4711)
    log = Watched("app", str(path), file, None)
    try:
        producer = make_producer(file.ring, pid=4711)
        die_at(file.ring, producer, 10)
        log.look(1.0)
        assert 0 == log.held_up_by
        log.look(2.0)
        assert 4711 == log.held_up_by
    finally:
        log.close()


def test_figures_as_words() -> None:
    """Rates, times and events, short enough for a terminal."""
    assert ["0/s", "0.5/s", "9.9/s", "10/s", "12,346/s"] == [
        text.rate(number) for number in (0, 0.5, 9.9, 9.96, 12345.6)
    ]
    assert ["0.05 s", "2.1 s", "310 s"] == [text.seconds(number) for number in (0.05, 2.1, 310.4)]
    assert ["ERROR", "25", "-", "others"] == [text.level_name(tag) for tag in (40, 25, 0, -1)]
    assert ["30 us", "3 ms", "300 ms", "10 s", "longer"] == [
        text.short(number) for number in (3e-5, 3e-3, 0.3, 10.0, math.inf)
    ]
    dropped = LogEvent("dropped", 1_795_386_577 * 10**9, 64, {"pid": 7, "count": 3})
    assert text.event(dropped).endswith(" dropped pid=7 count=3")
    assert not text.event(dropped).startswith("2026")
    assert "@" in text.event(LogEvent("odd", 2**200, 0, {}))
    assert text.is_alarming(dropped)


def test_bad_input(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line and exit code 2: no such log, no interval, no terminal, a narrow one, no extra."""
    for arguments, said in (
        (("--once", path), f"no log {str(path)!r}"),
        (("--once", "--interval", "0"), "'0' is no time from 0.1 s to 60 s"),
        (("--once", "--interval", "soon"), "'soon' is no time"),
        (("--once", "--svg", "x.svg"), "--once and --svg exclude each other"),
        ((), "top needs a terminal: --once prints the figures for a pipe"),
    ):
        done = call("top", *arguments)
        assert (2, 1) == (done.returncode, done.stderr.count(b"\n")), arguments
        assert said in done.stderr.decode(), arguments
    monkeypatch.delitem(sys.modules, "disklog_mp.cli.top.app", raising=False)
    for module in ("textual", "textual.app"):
        monkeypatch.setitem(sys.modules, module, None)
    done = call("top", "--svg", path / "x.svg")
    assert (2, b"") == (done.returncode, done.stdout)
    assert b"top needs textual: pip install 'disklog-mp[top]'; --once works without it" in done.stderr
