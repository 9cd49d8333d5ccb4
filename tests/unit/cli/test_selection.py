"""What cat and tail select: the core's look finds all that the conditions allow."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from support.pages import write_log

from disklog_mp import Reader, Record
from disklog_mp._loggers import structured
from disklog_mp._reader import page as _page
from disklog_mp._reader.fields import FieldCondition
from disklog_mp.cli.records import _selection
from disklog_mp.cli.records._levels import Levels
from disklog_mp.cli.records._patterns import patterns_of
from disklog_mp.cli.records._selection import Selection, to_fields

MESSAGES = ("GET /cart/7", 'say "hi" to us', "first\nsecond", "käse", "plain", "C:\\temp")


def test_patterns_are_found_in_every_spelling(tmp_path: Path) -> None:
    """The bytes that are looked for first stand in each record that a pattern fits, or an escape does."""
    records = [structured.encode(1, "INFO", "app", message) for message in MESSAGES]
    records += [data.replace(b"/", b"\\/").replace("ä".encode(), b"\\u00e4") for data in records]
    records += [
        b"".join(b"\\u%04x" % byte for byte in b"plain").join((b'"', b'"')),
        *map(str.encode, MESSAGES),
    ]
    write_log(tmp_path / "log", records)
    reader = Reader(tmp_path / "log")
    everything = list(reader)
    for pattern, count in (
        ("cart/7", 3),
        ("/cart/", 3),
        ("pl.in", 3),
        ("käse", 3),
        ('"hi" to', 3),
        ("^second$", 3),
        ("plain|second", 6),
        (r"C:\\te", 3),
        ("nothing", 0),
    ):
        for inverted in (False, True):
            patterns = patterns_of((pattern,), ignore_case=False, inverted=inverted)
            wanted = Selection(patterns=patterns)
            found = list(wanted.records(reader))

            assert found == list(filter(wanted.matches, everything)), pattern
            assert len(found) == (len(records) - count if inverted else count), pattern


def test_conditions_of_all_kinds_at_once(tmp_path: Path) -> None:
    """A field's values are alternatives, fields and levels must all fit."""
    records = [
        structured.encode(1, "INFO", "app.web", "m", fields={"user": {"id": number % 4}, "ms": number})
        for number in range(12)
    ]
    write_log(tmp_path / "log", records)
    reader = Reader(tmp_path / "log")
    fields = tuple(map(FieldCondition.parse, ("user.id=1", "user.id=2", "ms>4", "ms<10")))

    assert [each.number for each in Selection(fields=fields).records(reader)] == [5, 6, 9]
    assert [*Selection(fields=fields, levels=Levels(30)).records(reader)] == []
    assert len([*Selection(levels=Levels("info")).records(reader)]) == 12  # a level by its name


def test_the_last_records_are_found_from_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over pages and parts of pages; a part has few records, and what is before it is not made."""
    monkeypatch.setattr(_page, "CHECKPOINT", 4)
    monkeypatch.setattr(_selection, "CHECKPOINT", 4)
    write_log(tmp_path / "log", [b"%d" % number for number in range(250)], page_records=100)
    reader = Reader(tmp_path / "log")
    everything = list(reader)
    for wanted in (
        Selection(),
        Selection(start=95, stop=120),
        Selection(patterns=patterns_of(("[37]$",), ignore_case=False, inverted=False)),
        Selection(patterns=patterns_of(("^1$",), ignore_case=False, inverted=False)),
    ):
        for stop in (None, 201, 220):
            expected = [each for each in everything if wanted.matches(each)]
            expected = [each for each in expected if stop is None or each.number < stop]
            for count in (0, 1, 7, 60, 300):
                assert wanted.last(reader, count, stop) == expected[max(0, len(expected) - count) :]
            assert [*wanted.newest_first(reader, stop)] == expected[::-1]

    given: list[Record] = []
    records = Selection.records

    def counted(self: Selection, reader: Reader, stop: int | None = None) -> Iterator[Record]:
        for each in records(self, reader, stop):
            given.append(each)
            yield each

    monkeypatch.setattr(Selection, "records", counted)
    assert len(Selection().last(reader, 5)) == 5
    assert len(given) <= 5 + 4 * 4


def test_a_condition_on_a_field_that_is_none() -> None:
    """What cannot be read is refused in a line that names it."""
    for text, said in (("user", "is not KEY=VALUE"), ("a~(", "no regular expression")):
        with pytest.raises(click.BadParameter, match=said):
            to_fields(click.Context(click.Command("cat")), click.Option(["--field"]), (text,))
