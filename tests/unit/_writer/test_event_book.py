"""The events' pages of a writer that is killed at any step, and what is done with pages that others wrote."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.faulty_files import FaultyFiles, Killed, files_that_die
from support.machine import wait_until
from support.pages import LOG_ID, Source, options, page_path, page_writer

from disklog_mp._os.files import REAL, Files
from disklog_mp._pages.identity import LogIdentity, write_identity
from disklog_mp._pages.recovery import Recovered
from disklog_mp._pages.writer import PageWriter
from disklog_mp._reader.damage import Damage, describe
from disklog_mp._reader.events import EventStream, LogEvent
from disklog_mp._reader.reader import Reader
from disklog_mp._verify.told import read_told
from disklog_mp._writer.event_book import EventBook
from disklog_mp._writer.log_file import LogFile
from disklog_mp._writer.notices import BURST, MOST_WAITING, Notices
from disklog_mp._writer.starting import begin_book
from disklog_mp._writer.takeover import Former, Taken
from disklog_mp.cli.records._between import Between

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


RECOVERED = Recovered(0, 0, 0, 0, 0, 0, 0, ())


def identity(book: Book, **options: tuple[object, str]) -> LogIdentity:
    """What the log's file says, with these options and their sources."""
    values = {name: value for name, (value, _) in options.items()}
    sources = {name: source for name, (_, source) in options.items()}
    path = book.directory.path
    return LogIdentity(LOG_ID, "log", 0, path, "/", {**book.pages.options._asdict(), **values}, sources)


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
        write_identity(book.directory, identity(book), 0o600, -1)
        book.close()
        (path / "events-0000000002.dlog").write_bytes(harm)
        (path / "events-000000003.dlog").symlink_to("/nowhere")
        read_told(str(path))  # whatever it says, it ends
        assert 0 == Between(str(path), with_routine=True).due()
        for number in (3, 4):
            book = Book(path).begin()
            book.tell(number)
            book.close()
        assert book.book.totals.events["told"] == 4, harm[:20]
        numbers, events, damage = read(path)
        assert numbers == [1, 2, 3, 4], harm[:20]
        assert events == list(EventStream(str(path), damage.append))  # as a follower begins
        told = f"{[*map(describe, damage)]} {read_told(str(path)).damage}"
        assert (told.count("is of another log") == 3) == is_foreign, told


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
        taken = Taken(None, RECOVERED, 0, Former())  # type: ignore[arg-type]
        file = LogFile(book.directory, None, identity(book))
        book.book = begin_book(book.directory, book.pages, book.notices, taken, file)
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


def test_options_that_were_changed_and_not_told(tmp_path: Path) -> None:
    """The writer was killed right behind the log's file: the next one tells, also what it changes itself.

    Of changes that were being added up it tells those that no sum told.
    """
    path = tmp_path / "log"
    by_set, by_open = (7, "set, process 5"), (60.0, "open, process 6")

    def start(book: Book, found: LogIdentity | None, now: LogIdentity) -> None:
        taken = Taken(None, RECOVERED, 0, Former())  # type: ignore[arg-type]
        file = LogFile(book.directory, found, now)
        book.book = begin_book(book.directory, book.pages, book.notices, taken, file)

    book = Book(path)
    start(book, None, identity(book))
    for number in range(BURST + 8):
        book.notices.tell("configured", option="keep_age", **{"from": number, "to": number + 1, "by": "set"})
        book.notices.tell("configured", option="linger", **{"from": number, "to": number + 1, "by": "set"})
    book.book.write_last()
    book.close()
    told = BURST + 8
    assert 2 * told == sum(
        event.fields.get("events", 1) for event in read(path)[1] if event[0] == "configured"
    )

    same = {"linger": (told, "")}
    found = identity(book, **same, keep_pages=by_set, keep_age=(told, ""))
    now = identity(book, **same, keep_pages=by_set, keep_age=by_open)
    for before in (found, now, now):
        book = Book(path)
        start(book, before, now)
        book.close()
        events = [event.fields for event in read(path)[1] if event.name == "configured"][-2:]
        assert events == [
            {"option": "keep_pages", "from": None, "to": 7, "by": "set, process 5"},
            {"option": "keep_age", "from": told, "to": 60.0, "by": "open, process 6"},
        ]
    assert 1 == len([event for event in read(path)[1] if event.fields.get("option") == "keep_pages"])


def test_errors_that_were_being_added_up(tmp_path: Path) -> None:
    """How many is lost with the writer; that some may be missing is told, once, and not without reason."""
    path = tmp_path / "log"
    for errors, untold in ((BURST - 1, 0), (1, 1), (0, 1), (BURST + 1, 2)):
        book = Book(path)
        taken = Taken(None, RECOVERED, 0, Former())  # type: ignore[arg-type]
        file = LogFile(book.directory, None, identity(book))
        book.book = begin_book(book.directory, book.pages, book.notices, taken, file)
        for _ in range(errors):
            book.notices.tell("error", what="write", errno=5)
        book.book.write()
        book.close()
        book = Book(path)
        book.book = begin_book(book.directory, book.pages, book.notices, taken, file)
        book.close()
        missed = [event.fields["names"] for event in read(path)[1] if event.name == "events-missed"]
        assert [{"error": 0}] * untold == missed
        assert read_told(str(path)).is_whole


def test_files_that_are_being_synced_stay_open(tmp_path: Path) -> None:
    """The directory may be another one meanwhile, or the events off: else the sync thread ends of that."""
    book = Book(tmp_path / "log").begin()
    book.tell(1)
    job = book.book.sync_job()
    assert job is not None
    book.pages.configure(options(event_bytes=0), -1)
    book.tell(2)
    job.run()
    assert [] == job.failed
    book.book.synced(job)
    book.tell(3)
    assert book.book.sync_job() is None
    with pytest.raises(ValueError, match="descriptor"):
        job.run()
    book.close()
