"""What Erlang's disk_log can do with a running log, and ours.

In the order of its reference.  Elsewhere are the tests of open/1 (test_open.py; type halt, too), log/2
(test_session.py), chunk/3 (test_reading.py, test_cursor.py), info/1 (test_cli_state.py), change_size/2 for
good (test_configure.py) and notifications (test_log_events.py).  No meaning here have distributed logs,
external formats, read-only logs (a Reader is one), change_notify/3 and btruncate/2.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command import call, objects, run
from support.machine import stop_writer, wait_until
from support.mounts import fill

import disklog_mp

OpenLog = Callable[..., disklog_mp.Session]
NOTHING = disklog_mp.PageSpan(0, 0, 0, 0, 0)


def content(path: Path) -> list[tuple[int, bytes]]:
    """The log's records: number and data."""
    return [(record.number, record.data) for record in disklog_mp.Reader(path)]


def told(path: Path, *names: str) -> list[tuple[str, dict[str, Any]]]:
    """The log's events of these names."""
    return [(event.name, event.fields) for event in disklog_mp.Reader(path).events() if event.name in names]


def sums(path: Path) -> dict[str, int]:
    """The equation of verify(), which finds nothing wrong."""
    report = disklog_mp.verify(path)
    assert report.status == "clean", report.findings
    assert report.sums is not None
    return {name: number for name, number in report.sums.items() if number}


class TestNextFile:
    """inc_wrap_file/1, next_file/1: roll()."""

    def test_it_seals_the_page_with_all_that_was_logged(self, open_log: OpenLog, path: Path) -> None:
        """It returns the page's number; None for an empty page, and nothing is done."""
        log = open_log()
        assert log.roll() is None
        for number in (1, 2):
            log.log_many([b"a", b"b"])
            assert log.roll() == number
            assert [page.sealed for page in disklog_mp.Reader(path).pages()] == [True] * number
            assert log.roll() is None
        log.log(b"c")
        assert [len(page) for page in log.pages()] == [2, 2, 1]
        assert log.roll(wait=False) is None
        log.flush()

        assert sums(path) == {"ever": 5, "kept": 5}

    def test_a_page_that_was_filled_is_not_rolled_again(self, open_log: OpenLog) -> None:
        """Where page_records sealed it, there is nothing to seal."""
        log = open_log(page_records=2)
        log.log_many([b"a", b"b"])

        assert log.roll() is None


class TestTruncate:
    """truncate/1: all items go."""

    def test_all_goes_and_the_numbers_go_on(self, open_log: OpenLog, path: Path) -> None:
        """A reader that is behind gets the next record, and learns what is missing."""
        log = open_log(page_records=2)
        positions = [log.log(b"%d" % number) for number in range(5)]
        reader = disklog_mp.Reader(path)
        log.flush()
        _, cursor = reader.read(max_records=5)

        assert log.truncate()[:4] == (1, 3, 3, 5)
        assert content(path) == []
        assert log.truncate() == NOTHING
        position = log.log(b"next")
        log.flush()
        assert position > positions[-1]
        assert content(path) == [(5, b"next")]
        assert [record.data for record in reader.read(cursor)[0]] == [b"next"]
        assert sums(path) == {"ever": 6, "kept": 1, "retired": 5}

    def test_the_owners_are_told_how_many(self, open_log: OpenLog, path: Path) -> None:
        """{truncated, NoLostItems}: an event with the count."""
        log = open_log(page_records=2)
        log.log_many([b"a"] * 2)
        log.log(b"b")
        log.truncate()
        log.close()

        ((_, event),) = told(path, "truncated")
        assert (event["records"], event["pages"], event["by"]) == (3, 2, os.getpid())
        assert [fields["why"] for _, fields in told(path, "retired")] == ["truncated"] * 2


class TestReopen:
    """reopen/2: what there is gets another place, and the log begins empty.  Ours is archive()."""

    def test_all_pages_are_moved_and_the_log_goes_on(
        self, open_log: OpenLog, path: Path, tmp_path: Path
    ) -> None:
        """A reader that is behind is told where they went."""
        log = open_log(page_records=2)
        for number in range(7):
            log.log(b"%d" % number)
        log.flush()
        missing: list[Any] = []
        behind = iter(disklog_mp.Reader(path, on_damage=missing.append))
        assert next(behind).number == 0
        to = tmp_path / "to"
        with pytest.raises(NotADirectoryError, match="a directory that exists"):
            log.archive(to)
        to.mkdir()

        assert log.archive(to)[:4] == (1, 4, 4, 7)
        assert content(to) == [(number, b"%d" % number) for number in range(7)]
        assert content(path) == []
        assert log.archive(to) == NOTHING
        log.log(b"next")
        log.flush()
        assert content(path) == [(7, b"next")]
        assert [record.number for record in behind] == [1]
        ((gone),) = missing
        assert (gone.why, gone.moved_to, gone.first_number, gone.last_number) == ("archived", str(to), 2, 6)
        assert sums(path) == {"ever": 8, "kept": 1, "archived": 7}
        assert [fields["to"] for _, fields in told(path, "archived")] == [str(to)] * 4

    def test_to_another_file_system(self, open_log: OpenLog, path: Path, small_disk: Path) -> None:
        """A full one takes none, or some; what it does not take stays, and goes when there is room."""
        log = open_log(page_bytes=1 << 20)
        for number in range(6):
            log.log(b"%d" % number + bytes(250_000))
        log.flush()
        fill(small_disk / "ballast")
        with pytest.raises(OSError, match="No space left on device"):
            log.archive(small_disk)
        assert len(content(path)) == 6
        os.unlink(small_disk / "ballast")

        assert log.archive(small_disk).records == 6
        assert len(content(small_disk)) == 6
        assert sums(path) == {"ever": 6, "archived": 6}

    def test_places_that_cannot_be_right(self, log: disklog_mp.Session, path: Path, tmp_path: Path) -> None:
        """The same directory, that of a log, or one that has such a page: nothing is moved."""
        log.log(b"a")
        log.flush()
        disklog_mp.open(f"{log.name}-other", tmp_path / "other", linger=0).close()
        with pytest.raises(ValueError, match="the directory of a log: give another one"):
            log.archive(tmp_path / "other")
        with pytest.raises(ValueError, match="the log's own directory"):
            log.archive(path)
        (tmp_path / "page-0000000001.dlog").write_bytes(b"another")
        with pytest.raises(FileExistsError, match="another page has that name"):
            log.archive(tmp_path)
        assert content(path) == [(0, b"a")]
        stop_writer(f"{log.name}-other")


class TestChangeSize:
    """change_size/2: fewer files.  prune() does it once, configure() for good."""

    def test_prune_keeps_so_many_pages(self, open_log: OpenLog, path: Path) -> None:
        """A dry run says what would go; the newest page always stays."""
        log = open_log(page_records=1)
        for number in range(5):
            log.log(b"%d" % number)
        log.flush()

        would = log.prune(pages=3, dry_run=True)
        assert (would.first, would.last, would.records) == (1, 2, 2)
        assert len(content(path)) == 5
        assert log.prune(pages=3) == would
        assert log.prune(pages="3") == NOTHING
        assert log.prune(bytes=0).last == 4
        assert log.prune(age=0) == NOTHING
        assert content(path) == [(4, b"4")]
        assert sums(path) == {"ever": 5, "kept": 1, "retired": 4}

    @pytest.mark.parametrize(
        ("keep", "problem", "said"),
        [
            ({}, ValueError, "prune needs a limit: pages, bytes or age"),
            ({"pages": 0}, ValueError, "pages=0 must be at least 1"),
            ({"pages": 1.5}, TypeError, "pages is a whole number, not 1.5"),
            ({"bytes": "much"}, ValueError, "bytes='much' is not a size"),
            ({"age": -1}, ValueError, "age=-1 is not a duration"),
        ],
    )
    def test_limits_that_are_none(
        self, log: disklog_mp.Session, keep: dict[str, Any], problem: type[Exception], said: str
    ) -> None:
        """One line says what is wrong."""
        with pytest.raises(problem, match=f"^{said}"):
            log.prune(**keep)


class TestBlock:
    """block/1, unblock/1: pause() and resume()."""

    def test_the_directory_stays_as_it_is(self, open_log: OpenLog, name: str, path: Path) -> None:
        """Processes log on; what would change the log is refused, whichever way it is asked for."""
        log = open_log(linger=0)
        log.log(b"0")
        with log.paused():
            before = files_in(path)
            assert content(path) == [(0, b"0")]
            log.log(b"1")
            for steer in (log.roll, log.truncate, lambda: log.configure(keep_pages=3)):
                with pytest.raises(OSError, match="the log is paused"):
                    steer()
            with pytest.raises(disklog_mp.WaitTimeoutError):
                log.flush(0.2)
            assert files_in(path) == before
            another = log.pause("1h")
        assert files_in(path) == before
        assert log.resume(another) == 1
        assert log.resume(another) == log.resume() == 0
        log.flush()

        assert [data for _, data in content(path)] == [b"0", b"1"]
        log.close()
        wait_until(lambda: len(told(path, "resumed")) == 1)
        assert told(path, "paused", "resumed") == [
            ("paused", {"by": os.getpid(), "seconds": 600.0}),
            ("resumed", {"why": "asked", "pid": told(path, "writer-started")[0][1]["pid"]}),
        ]

    def test_it_ends_with_its_process(self, log: disklog_mp.Session, name: str, path: Path) -> None:
        """It is unblocked when the blocking process dies, and after its time; never while that lives."""
        code = f"import disklog_mp, os; disklog_mp.attach({name!r}).pause(); os.kill(os.getpid(), 9)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
        log.log(b"0")
        log.flush(30)
        log.pause(0.05)
        log.log(b"1")
        log.flush(30)
        wait_until(lambda: len(told(path, "resumed")) == 2)
        assert [fields["why"] for _, fields in told(path, "resumed")] == ["died", "limit"]

    def test_the_next_writer_keeps_it(self, log: disklog_mp.Session, name: str, path: Path) -> None:
        """It recovers, and then waits; a stop ends the pause."""
        log.log(b"0")
        pause = log.pause()
        stop_writer(name, signal.SIGKILL)
        log.log(b"1")
        with pytest.raises(OSError, match="the log is paused"):
            log.roll()
        assert len(content(path)) == 1
        assert log.resume(pause) == 1
        log.flush(30)
        assert len(content(path)) == 2

        log.pause()
        log.log(b"2")
        stop_writer(name)
        assert len(content(path)) == 3

    def test_from_a_shell(self, log: disklog_mp.Session, name: str, path: Path) -> None:
        """For as long as a command runs, whose exit code counts; or for a time, or until resume."""
        log.log(b"0")
        done = run("pause", name, "--", "sh", "-c", f"ls {path}/page-0000000001.dlog && exit 5")
        assert (done.returncode, done.stdout.decode()) == (5, f"{path}/page-0000000001.dlog\n")
        assert done.stderr.decode() == f"disklog-mp: {name}: paused for at most 10m\n"
        log.flush(30)
        assert call("resume", name).stderr.decode() == f"disklog-mp: {name}: was not paused\n"
        (paused,) = objects("pause", name, "--for", "1h")
        assert (paused["name"], paused["seconds"]) == (name, 3600)
        assert objects("resume", path) == [{"name": name, "pauses": 1}]
        for much in ("0s", "2d"):
            assert b"a pause has a limit of up to 86,400 seconds" in call("pause", name, "--for", much).stderr
        assert call("pause", name, "--", "no-such-program").returncode == 127
        log.flush(30)


def files_in(path: Path) -> dict[str, tuple[int, int]]:
    """When each file of a directory changed, and how long it is; but for the one that has the pauses."""
    entries = [entry for entry in os.scandir(path) if entry.name != "disklog.json"]
    return {entry.name: (entry.stat().st_mtime_ns, entry.stat().st_size) for entry in entries}


class TestCommands:
    """The same from a shell."""

    def test_they_do_it(self, open_log: OpenLog, name: str, path: Path) -> None:
        """As JSON for programs, in one line for people."""
        log = open_log(page_records=2)
        log.log_many([b"a"] * 2)
        log.log(b"b")
        assert objects("roll", name) == [{"name": name, "page": 2}]
        assert call("roll", path).stderr.decode() == f"disklog-mp: {name}: nothing to seal\n"
        (would,) = objects("prune", name, "--pages", "1", "-n")
        assert (would["first"], would["last"], would["records"]) == (1, 1, 2)
        assert objects("prune", name, "--pages", "1", "-y") == [would]
        said = call("truncate", name, "--yes").stderr.decode()
        assert said == f"disklog-mp: {name}: removed 1 page (2): 1 record, 4.0 KiB\n"
        assert objects("truncate", name, "--yes")[0]["pages"] == 0
        log.log(b"c")
        assert objects("archive", name, path.parent, "-y")[0]["records"] == 1

    def test_they_ask_before_they_destroy(self, log: disklog_mp.Session, name: str, path: Path) -> None:
        """Without a terminal, and without --yes, they refuse."""
        log.log(b"a")
        log.flush()
        for command in (["truncate", name], ["prune", "--pages", "1", name], ["archive", name, path.parent]):
            done = run(*command)
            assert done.returncode == 2
            assert b"cannot be taken back, and there is no terminal to ask: give --yes" in done.stderr
        done = run("prune", name, "--yes")
        assert (done.returncode, done.stderr) == (
            2,
            b"disklog-mp: prune needs a limit: pages, bytes or age\n",
        )
        assert content(path) == [(0, b"a")]


def test_the_same_for_asyncio(name: str, path: Path, tmp_path: Path) -> None:
    """Each call has its twin."""

    async def scenario() -> None:
        async with await disklog_mp.aio.open(name, path, linger=0, page_records=1) as log:
            await log.log(b"0")
            await log.log(b"1")
            await log.flush()
            assert (await log.prune(pages=1)).last == 1
            async with log.paused():
                with pytest.raises(OSError, match="the log is paused"):
                    await log.roll()
            assert await log.resume(await log.pause()) == 1
            (tmp_path / "to").mkdir()
            assert (await log.archive(tmp_path / "to")).records == 1
            await log.log(b"2")
            assert (await log.truncate()).records == 1
            assert await log.roll() is None

    asyncio.run(scenario())
    stop_writer(name)
    assert sums(path) == {"ever": 3, "retired": 2, "archived": 1}
