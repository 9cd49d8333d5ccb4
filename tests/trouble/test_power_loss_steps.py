"""Power is lost after any step of a small story, and after any step of the recoveries that follow: whichever
of the unsynced bytes the disk kept, what was durable is there and nothing is mixed up.
"""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from support.chance import TIMES
from support.faulty_files import Disk, FaultyFiles, content, put
from support.pages import LOG_ID, SALT, Source, closes_what_it_opens, options, page_path

from disklog_mp._pages.directory import Directory
from disklog_mp._pages.recovery import RingHints
from disklog_mp._pages.writer import PageWriter
from disklog_mp._reader.reader import Reader

NEW = [b"new %d" % i for i in range(3)]
NOISE = b"noise" * 100
KEPT = 3  # pages

Found = set[tuple[int, int, bytes]]
Contents = dict[str, bytes]


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No processes and no shared memory here."""
    yield from closes_what_it_opens()


class Moment(NamedTuple):
    """Before one step: what the disk holds, and the positions of what must be on it, and of what can be."""

    disk: Disk
    retired: int
    durable: int
    written: int
    noise: bool  # is in some page, or was


class Story:
    """Pages that roll, a group, a long record, syncs, retirement, a repair: watched at each step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.moments: list[Moment] = []
        self.records: Found = set()
        self.files = FaultyFiles(self._look)
        self._retired = self._durable = self._written = 0
        self._noise = False
        path.mkdir()
        self._open(LOG_ID)
        self._log(b"one", b"two")
        self._sync()
        self._log(b"three" * 900, b"four")
        self._log(b"a group", b"of three", b"is not split", together=True)
        self._sync()
        self._log(b"five" * 2000)
        self._log(*(b"%d more" % i for i in range(5)))
        self._retire()
        self._sync()
        self._log(b"not synced")
        self._repair()
        self._log(b"after the repair")
        self._retire()
        self._sync()
        self._log(b"the end" * 100)
        self._pages.seal()
        self._pages.close()
        self._look()

    def _look(self) -> None:
        disk = self.files.disk(self.path)
        self.moments.append(Moment(disk, self._retired, self._durable, self._written, self._noise))

    def _open(self, log_id: bytes) -> None:
        self._pages = PageWriter(
            Directory(self.path, self.files), "log", options(page_bytes=8192, page_records=4, keep_pages=KEPT)
        )
        self._pages.recover(RingHints(log_id, SALT))
        self._source = Source(base=self._pages.position)

    def _log(self, *records: bytes, together: bool = False) -> None:
        if together:
            self._source.log_many(records)
        for data in records * (not together):
            self._source.log(data)
        self._written = self._source.ring.frontier(self._source.position)  # soon
        self._source.move(self._pages)
        self.records |= found(self.path)

    def _sync(self) -> None:
        job = self._pages.sync_job()
        job.run()
        self._pages.synced(job)
        self._durable = self._pages.position

    def _retire(self) -> None:
        oldest = Directory(self.path).pages()[-KEPT]
        with Reader(self.path).get_page(oldest) as page:
            self._retired = page.first_position
        self._pages.retire()

    def _repair(self) -> None:
        """An unknown process wrote behind the last frame."""
        self._pages.close()
        path = page_path(self.path, Directory(self.path).pages()[-1])
        with open(path, "r+b") as file:
            file.seek(0, os.SEEK_END)
            file.write(NOISE)
            file.flush()
            self.files.remember(file.fileno(), path.read_bytes())
        self._noise = True
        self._open(b"N" * 16)


def found(path: Path) -> Found:
    """Position, number and bytes of all that can be read."""
    reader = Reader(path, on_damage=lambda damage: None)
    return {(record.position, record.number, record.data) for record in reader}


def remains(disk: Disk, dice: Random, *, few: bool = False) -> list[Contents]:
    """What a power loss may leave of a disk: nothing unsynced, with the names it had or those it was told
    to keep; any part of it; each OS page of it alone; all of it.
    """
    pages = disk.unsynced()
    parts: list[list[tuple[int, int]]] = [[page for page in pages if dice.random() < 0.5] for _ in range(2)]
    parts = [[], parts[0]] if few else [[], pages, *([page] for page in pages), *parts]
    return [disk.survivors(disk.names_synced, []), *(disk.survivors(disk.names, part) for part in parts)]


class Seen:
    """Tells what was met before, of which there is much."""

    def __init__(self) -> None:
        self._keys: set[int] = set()

    def is_new(self, *what: object) -> bool:
        key = hash(what)
        new = key not in self._keys
        self._keys.add(key)
        return new


def key(contents: Contents) -> tuple[tuple[str, bytes], ...]:
    return tuple(sorted(contents.items()))


def recover(path: Path, files: FaultyFiles | None = None, sync: str = "1s") -> PageWriter:
    """As a writer of the next boot does it, which finds no ring."""
    directory = Directory(path, files or FaultyFiles())
    directory.rebooted = True
    pages = PageWriter(directory, "log", options(page_bytes=8192, page_records=4, sync=sync))
    pages.recover(RingHints(os.urandom(16), SALT))
    return pages


def check(path: Path, moment: Moment, records: Found) -> None:
    """Recover, and compare with what was durable; go on logging, and recover once more."""
    pages = recover(path)
    left = found(path)
    must = {each for each in records if moment.retired <= each[0] < moment.durable}
    assert must <= left <= {each for each in records if each[0] < moment.written}
    assert all(page.sealed for page in list(Reader(path, on_damage=lambda damage: None).pages())[:-1])
    if moment.noise:
        assert any(NOISE in data for data in content(path).values()), "bytes were thrown away"

    source = Source(base=pages.position, salt=pages.salt, log_id=pages.log_id)
    positions = [source.log(data) for data in NEW]
    source.move(pages)
    pages.close()
    numbers = range(pages.number - len(NEW), pages.number)
    assert found(path) == left | set(zip(positions, numbers, NEW, strict=True))
    if pages.log_id == LOG_ID:  # or nothing of the log is left
        assert positions[0] >= moment.written, "a position that a reader saw is given again"
    directory = Directory(path, FaultyFiles())
    pages = PageWriter(directory, "log", options(page_bytes=8192, page_records=4))
    report = pages.recover(RingHints(LOG_ID, SALT))
    pages.close()
    assert (report.torn_bytes, report.set_aside) == (0, ())
    assert found(path) == left | set(zip(positions, numbers, NEW, strict=True))


@pytest.fixture
def story(path: Path) -> Story:
    return Story(path)


def test_after_any_step_whatever_the_disk_kept(story: Story) -> None:
    """All that was durable, in order, under the same numbers; no position is given twice; what is logged
    afterwards survives.
    """
    dice, seen = Random(1), Seen()
    for step, moment in enumerate(story.moments):
        for contents in remains(moment.disk, dice):
            if seen.is_new(key(contents), *moment[1:]):
                put(story.path, contents)
                try:
                    check(story.path, moment, story.records)
                except AssertionError as error:
                    raise AssertionError(f"step {step}: {error}") from error
    assert len(story.moments) > 100


@pytest.mark.parametrize("sync", ["1s", "never"])
def test_again_after_any_step_of_what_comes_next_and_of_what_comes_then(story: Story, sync: str) -> None:
    """A recovery that power interrupts, or the logging behind it, and a second one: nothing more is lost,
    and what a reader saw in between has no position that comes again.
    """
    dice, seen = Random(2), Seen()
    moment = story.moments[len(story.moments) * 2 // 3]
    for contents in remains(moment.disk, dice, few=True):
        for first, after, more in interrupted(story.path, contents, moment, sync, seen):
            again = interrupted(story.path, first, after, sync, seen)
            for second, then, still in itertools.islice(again, None, None, 2 if TIMES == 1 else 1):
                put(story.path, second)
                check(story.path, then, story.records | more | still)


def interrupted(
    path: Path, contents: Contents, moment: Moment, sync: str, seen: Seen
) -> Iterator[tuple[Contents, Moment, Found]]:
    """What may be left when power is lost at each step of a recovery and of logging a little, and what there
    was to read by then.
    """
    disks: list[Disk] = []
    dice = Random(len(contents))
    files = FaultyFiles(lambda: disks.append(files.disk(path)))
    put(path, contents)
    files.trust(path)
    pages = recover(path, files, sync)
    if pages.log_id != LOG_ID:  # nothing was left, and another log begins
        return pages.close()
    source = Source(base=pages.position, salt=pages.salt, log_id=pages.log_id)
    for data in (b"read", b"and lost"):
        source.log(data + b" %d" % moment.written)
    begins = len(disks)
    source.move(pages)
    more = found(path)
    pages.close()
    for step, disk in enumerate([*disks, files.disk(path)]):
        after = moment._replace(written=source.position if step >= begins else moment.written)
        for left in remains(disk, dice, few=True):
            if seen.is_new(key(contents), key(left), after.written):
                yield left, after, more
