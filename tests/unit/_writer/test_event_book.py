"""The events' pages of a writer that is killed at any step, and what is done with pages that others wrote."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.faulty_files import FaultyFiles, Killed, files_that_die
from support.machine import wait_until
from support.pages import Source, page_path, page_writer

from disklog_mp._os.files import REAL, Files
from disklog_mp._pages.recovery import Recovered
from disklog_mp._pages.writer import PageWriter
from disklog_mp._reader.damage import Damage
from disklog_mp._reader.events import EventStream, LogEvent
from disklog_mp._reader.reader import Reader
from disklog_mp._verify.told import read_told
from disklog_mp._writer.event_book import EventBook
from disklog_mp._writer.notices import MOST_WAITING, Notices
from disklog_mp._writer.starting import begin_book
from disklog_mp._writer.takeover import Former, Taken
from disklog_mp.cli.records._between import Between
from disklog_mp.errors import CursorError

SMALL = 1 << 16  # bytes of events: four pages of 12 KiB


class Book:
    """A writer's book of events, without the writer."""

    def __init__(self, path: Path, files: Files = REAL) -> None:
        self.pages: PageWriter = page_writer(path, event_bytes=SMALL)
        self.directory = self.pages.folder.directory
        self.directory.lock(0o600, -1)
        self.directory.files = files
        self.notices = Notices()
        self.told: list[int] = []  # acknowledged

    def begin(self) -> "Book":
        self.book = EventBook(self.notices, self.directory, self.pages)
        return self

    def tell(self, *numbers: int) -> None:
        for number in numbers:
            self.notices.tell("told", number=number, text="x" * 200)
        self.book.write_last()
        if not self.notices.is_waiting():
            self.told += numbers

    def close(self) -> None:
        self.book.close()
        self.pages.close()
        self.directory.unlock()


def read(path: Path) -> tuple[list[int], list[LogEvent], list[Damage]]:
    damage: list[Damage] = []
    events = list(Reader(path, on_damage=damage.append).events())
    return [event.fields["number"] for event in events if event.name == "told"], events, damage


def killed_at_each_step(before: Path, path: Path) -> Iterator[tuple[FaultyFiles, list[int]]]:
    """Have a writer of events die at each step it takes, in a copy of a directory; yield what it told."""
    for step in range(1, 1000):
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(before, path)
        files = files_that_die(step)
        book = Book(path, files)
        with suppress(Killed):
            book.begin()
            for first in range(100, 190, 15):  # more than a page: the next is begun, the oldest goes
                book.tell(*range(first, first + 15))
            book.book.close()
            files.die_at = 0
        is_over = not files.die_at
        files.bury()
        book.directory.files = REAL
        book.pages.close()
        book.directory.unlock()
        yield files, book.told
        if is_over:
            return
    pytest.fail("no end of steps")


def test_no_event_is_lost_or_doubled_by_a_kill(tmp_path: Path) -> None:
    """At each step of writing: what was acknowledged is there once, what was not, once at the most; all in
    order, with the totals exact.
    """
    before, path = tmp_path / "before", tmp_path / "log"
    book = Book(before).begin()
    book.tell(*range(100))
    book.close()
    calls: set[str] = set()
    deaths = 0
    for files, told in killed_at_each_step(before, path):
        deaths += 1
        calls |= set(files.calls)
        book = Book(path).begin()
        known = book.book.totals.events["told"]
        book.tell(1000, 1001)
        book.close()
        numbers, _, damage = read(path)

        assert not damage
        assert numbers == sorted(set(numbers)), deaths
        assert numbers[-2:] == [1000, 1001]
        kept = [number for number in numbers if 100 <= number < 1000]
        assert kept[-1:] >= told[-1:]
        assert kept == list(range(kept[0], kept[-1] + 1)) if kept else not told
        if kept:
            assert known == kept[-1] + 1
        assert read_told(str(path)).events == known + 2
    assert deaths > 30
    assert {"write_at", "store", "rename", "create", "unlink", "allocate"} <= calls


def test_events_of_another_log_and_garbage(tmp_path: Path) -> None:
    """A page of another log, garbage, an empty file, a cut page, a name without a file: each is passed over,
    and events go on behind it.
    """
    other, path = tmp_path / "other", tmp_path / "log"
    book = Book(other)
    book.pages.log_id = b"another log here"
    book.begin().tell(*range(700, 750))
    book.close()
    foreign = (other / "events-0000000002.dlog").read_bytes()
    for harm in (foreign, os.urandom(5000), b"", bytes(20000), foreign[:4097], foreign[:100]):
        is_foreign = harm.startswith(foreign[:4096])
        shutil.rmtree(path, ignore_errors=True)
        book = Book(path).begin()
        book.tell(1, 2)
        book.close()
        (path / "events-0000000002.dlog").write_bytes(harm)
        (path / "events-000000003.dlog").symlink_to("/nowhere")
        read_told(str(path))  # whatever it says, it ends
        between = Between(str(path), with_routine=True)
        assert between.due() == 0 or is_foreign
        for number in (3, 4):
            book = Book(path).begin()
            book.tell(number)
            book.close()
        assert book.book.totals.events["told"] == 4, harm[:20]
        if is_foreign:
            with pytest.raises(CursorError, match="another log"):
                read(path)
            assert "another log" in str(read_told(str(path)).damage)
            (path / "events-0000000002.dlog").unlink()
        numbers, *_ = read(path)
        assert numbers == [1, 2, 3, 4], harm[:20]


def test_a_disk_that_is_full_from_the_start(tmp_path: Path) -> None:
    """No page can be made: events wait while the queue takes them, the others are counted."""
    files = FaultyFiles()
    files.fail("create", times=10_000)
    book = Book(tmp_path / "log", files).begin()
    book.tell(*range(MOST_WAITING + 88))
    assert book.told == []
    assert read(tmp_path / "log")[1] == []
    files.heal()
    book.tell(9999)
    book.close()
    numbers, events, damage = read(tmp_path / "log")

    assert not damage
    assert numbers == [*range(numbers[0], MOST_WAITING)]
    assert (events[-1].name, events[-1].fields) == ("events-missed", {"events": 89, "names": {"told": 89}})
    told = read_told(str(tmp_path / "log"))
    assert (told.events, told.is_whole) == (MOST_WAITING + 89, False)


def test_a_reader_while_pages_come_and_go(tmp_path: Path) -> None:
    """One that keeps up gets each event once; one that is overtaken gets the totals and what follows."""
    path = tmp_path / "log"
    book = Book(path).begin()
    damage: list[Damage] = []
    quick, slow = (EventStream(str(path), damage.append) for _ in range(2))
    found: list[int] = []
    book.tell(0)
    late = iter(slow)
    assert next(late).fields["number"] == 0
    for first in range(1, 1001, 10):
        book.tell(*range(first, first + 10))
        found += [event.fields["number"] for event in quick]
    rest = list(late)
    wait_until(lambda: rest.extend(slow) or rest[-1].fields.get("number") == 1000)
    book.close()

    assert found == [*range(1001)]
    at = [event.name for event in rest].index("totals")
    numbers = [event.fields["number"] for event in rest[at + 1 :]]
    assert rest[at].fields["events"] == {"told": numbers[0]}
    assert numbers == [*range(numbers[0], 1001)]
    assert not damage


def test_what_a_writer_did_not_live_to_tell(tmp_path: Path) -> None:
    """Pages that it sealed and removed, each once, and that an error is over: the next writer tells it."""
    path = tmp_path / "log"
    book, source = Book(path).begin(), Source()
    book.notices.tell("opened")
    book.notices.tell("error", what="write", errno=28)
    book.tell(1)
    for number in range(1, 6):
        source.log(b"x" * number)
        source.move(book.pages)
        book.pages.seal()
        if number == 1:
            book.notices.tell("rolled", page=1, records=1)
            book.book.write_last()
    page_path(path, 1).unlink()
    page_path(path, 2).unlink()
    book.close()
    for _ in range(2):  # the second one dies, too, and told all
        book = Book(path)
        taken = Taken(None, Recovered(0, 0, 0, 0, 0, 0, 0, ()), 0, Former())  # type: ignore[arg-type]
        book.book = begin_book(book.directory, book.pages, book.notices, taken)
        book.close()
    _, events, damage = read(path)

    def told(name: str, *keys: str) -> list[tuple[object, ...]]:
        return [tuple(event.fields.get(key) for key in keys) for event in events if event.name == name]

    assert not damage
    assert told("rolled", "page", "last_page", "records") == [
        (1, None, 1),
        (2, 2, None),
        (3, None, 1),
        (4, None, 1),
        (5, None, 1),
    ]
    assert told("retired", "page", "last_page", "records", "events") == [(1, 2, 2, 2)]
    assert told("recovered", "what") == [("write",)]
    assert told("error", "what") == [("write",)]
