"""What Erlang's disk_log can do with a running log, and ours.

In the order of its reference: calls first, then what its owners are told.  What has a test of its own
elsewhere, or no meaning here, is not repeated.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command import call, objects, run

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

    def test_they_ask_before_they_destroy(self, log: disklog_mp.Session, name: str, path: Path) -> None:
        """Without a terminal, and without --yes, they refuse."""
        log.log(b"a")
        log.flush()
        for command in (["truncate"], ["prune", "--pages", "1"]):
            done = run(*command, name)
            assert done.returncode == 2
            assert b"cannot be taken back, and there is no terminal to ask: give --yes" in done.stderr
        done = run("prune", name, "--yes")
        assert (done.returncode, done.stderr) == (
            2,
            b"disklog-mp: prune needs a limit: pages, bytes or age\n",
        )
        assert content(path) == [(0, b"a")]
