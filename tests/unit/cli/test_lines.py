"""Lines that the core renders: the same as Python's, for records of every kind."""

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chance import TIMES
from support.pages import frame, group, page_path, write_page

from disklog_mp import Reader, Record
from disklog_mp._loggers import structured
from disklog_mp._reader.conditions import Conditions
from disklog_mp.cli.records import _formats
from disklog_mp.cli.records._formats import Style
from disklog_mp.cli.records._lines import Batch, Lines, lines_of
from disklog_mp.cli.records._notes import Notes

PIECES = (
    "a",
    "word",
    "two words",
    "\n",
    "\t",
    "\r",
    "\\",
    '"',
    "'",
    "=",
    "käse",
    "日本",
    "\u202e",
    "\x1b[31m",
)
TEXT = st.lists(st.sampled_from((*PIECES, "\x7f", "\x00", "/", "\u00a0", "\ud800")), max_size=5).map("".join)
VALUE = st.recursive(
    TEXT | st.integers() | st.floats() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=3,
)
MAYBE = st.none() | TEXT


@st.composite
def structured_records(draw: st.DrawFn) -> bytes:
    parts = {name: draw(MAYBE) for name in ("process", "thread", "task", "caller", "exception", "stack")}
    fields = draw(st.dictionaries(TEXT, VALUE, max_size=3))
    data = structured.encode(1, draw(TEXT), draw(TEXT), draw(TEXT), fields=fields, **parts)
    change: Callable[[bytes], bytes] = draw(st.sampled_from(CHANGES))
    return change(data)


CHANGES: list[Callable[[bytes], bytes]] = [
    *[lambda data: data] * 5,
    lambda data: data[:-1],
    lambda data: data + b" ",
    lambda data: data[:-1] + b',"more":1}',
    lambda data: data.replace(b":", b": ", 1),
    lambda data: data.replace(b'"level"', b'"l\\u0065vel"'),
    lambda data: data[:-1] + b',"fields":{"n":-0,"m":01}}',
    lambda data: data[:-1] + b',"level":"again"}',
]
DATA = structured_records() | TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary()
RECORDS = st.builds(
    Record,
    DATA,
    position=st.integers(0, 2**40),
    number=st.integers(0, 2**40),
    timestamp=st.integers(0, 10**19),
    pid=st.integers(0, 2**32 - 1),
    tag=st.sampled_from((0, 7, 10, 20, 30, 40, 50, 60, 65535)),
    gap=st.sampled_from((False, False, False, True)),
    label_index=st.sampled_from((0, 1)),
    label=st.sampled_from((None, "web", "kä se", "a\nb")),
)
TEMPLATES = ("%T %t [%l] %n: %m\\t%p/%L %o %N 100%%", "%{user}, %{log}; %{a}.%{word.a} %{thread}%{=}\\0")
STYLES = (Style(UTC), Style(timezone(timedelta(hours=-3, minutes=-30)), "jobs"), Style(None, "kä\nse"))


def formats(layout: str, style: Style, null: bool) -> tuple[Callable[[Record], bytes], Lines]:
    show = _formats.choose(layout, null=null, style=style, encoding="utf-8")
    return show, lines_of(show, layout, null=null, style=style, encoding="UTF8")


def rendered(lines: Lines, records: list[Any]) -> list[bytes]:
    """The lines of each run of records that are no gap records."""
    runs, at = [], 0
    while at < len(records):
        text, end = lines.of(records, at)
        runs.append(text)
        at = end + (end < len(records))
    return runs


def expected(show: Callable[[Record], bytes], records: list[Any]) -> list[bytes]:
    runs = [b""]
    for record in records:
        if record is None or record.gap:
            runs.append(b"")
        else:
            runs[-1] += show(record)
    return runs[:-1] if records and (records[-1] is None or records[-1].gap) else runs if records else []


@settings(max_examples=20 * TIMES, deadline=None)
@given(st.lists(RECORDS | st.none(), max_size=6), st.sampled_from(STYLES), st.booleans())
def test_the_core_renders_as_python_does(records: list[Any], style: Style, null: bool) -> None:
    """Text and raw output to the byte; JSON to the value, for a structured record is passed through."""
    for layout in ("text", "raw", "message", "logfmt", *TEMPLATES):
        show, lines = formats(layout, style, null and layout == "raw")
        assert rendered(lines, records) == expected(show, records)
    show, lines = formats("json", style, null=False)
    for ours, theirs in zip(rendered(lines, records), expected(show, records), strict=True):
        assert [*map(json.loads, ours.splitlines())] == [*map(json.loads, theirs.splitlines())]
        assert ours.decode().replace("\n", "").isprintable()


def test_structured_records_are_rendered_by_the_core() -> None:
    """A record in our encoder's spelling needs no Python, in text and in JSON; one in another does."""

    def refuse(record: Record) -> bytes:
        raise AssertionError(record)

    fields = {"user": 42, "ms": 0.1, "path": "/a b", "tags": ["x"], "name": 'say "hi"'}
    plain = structured.encode(1, "INFO", "app", "one\ntwo", fields=fields, exception="Error\n  at", stack="s")
    records = [Record(data, label_index=1, label="web") for data in (plain, b"text\nmore", b"")]
    foreign = Record(plain.replace(b":", b": "))
    for layout in ("text", "json", "raw", "logfmt", *TEMPLATES):
        lines = lines_of(refuse, layout, null=False, style=Style(UTC), encoding="utf-8")
        assert lines.of([*records, None], 0)[1] == 3
        if layout != "raw":
            with pytest.raises(AssertionError):
                lines.of([foreign], 0)


def test_what_was_taken_is_printed_before_a_note_that_comes_behind_it() -> None:
    """A note is told while records are taken; gap records and separators have their place among them."""
    printed: list[Any] = []
    records = [Record(b"%d" % number, number=number, gap=number == 3) for number in range(6)]
    lines = lines_of(lambda record: b"", "raw", null=False, style=Style(UTC), encoding="utf-8")

    def on_other(record: Record | None) -> None:
        batch.print()  # as each note does
        printed.append(record)

    batch = Batch(printed.append, lines, on_other, lambda *cut: None)

    def with_a_note() -> Iterator[Record | None]:
        yield from records[:2]
        batch.print()
        printed.append("note")
        yield None
        yield from records[2:]

    taken = with_a_note()
    while batch.take(taken):
        pass

    runs = [each for each in printed if each != b""]
    assert runs == [b"0\n1\n", "note", None, b"2\n", records[3], b"4\n5\n"]
    assert batch.printed == 5


@pytest.mark.parametrize(("held", "intact"), [(2, 2), (6, 5), (8, 8)])
def test_nothing_is_printed_of_what_was_cut_since_it_was_read(tmp_path: Path, held: int, intact: int) -> None:
    """The page file ends within record `held`; records 5-7 are a group, of which one checksum is."""
    said = [b"record %d" % number * 9 for number in range(12)]
    parts = [[data] for data in said[:5]] + [said[5:8]] + [[data] for data in said[8:]]
    for layout in ("text", "raw", "json", "message"):
        path = tmp_path / layout
        path.mkdir()
        frames, position = [], 0
        for part in parts:
            frames.append(group(position, part) if len(part) > 1 else frame(position, part[0]))
            position += len(frames[-1])
        write_page(path, frames, records=len(said))
        (records,) = list(Reader(path).batches(Conditions()))
        whole = formats(layout, Style(UTC), null=False)[1].of(records, 0)[0].splitlines(keepends=True)
        page = page_path(path)
        os.truncate(page, page.read_bytes().index(said[held]) + 20)
        printed: list[bytes] = []
        cut: list[tuple[int, ...]] = []
        lines = formats(layout, Style(UTC), null=False)[1]

        def on_cut(*run: Record, cut: list[tuple[int, ...]] = cut) -> None:
            cut.append(tuple(each.number for each in run))

        batch = Batch(printed.append, lines, lambda record: None, on_cut)
        while batch.take(iter(records)):
            records = []

        assert b"".join(printed) == b"".join(whole[:intact]), layout
        assert cut == [(intact, 11)]
        assert batch.printed == intact


def test_records_that_were_cut_are_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    """In a line of their own, also if the first one tells of drops; the exit code says so."""
    notes = Notes({"notes": None, "utc": True, "tz": None}, "text")
    notes.cut(Record(b"", number=1_000), Record(b"", number=1_002))
    notes.cut(*[Record(b"", number=7)] * 2)

    assert notes.exit_code == 1
    assert capsys.readouterr().err == (
        "disklog-mp: skipped records 1,000-1,002: the page file was cut while it was read\n"
        "disklog-mp: skipped record 7: the page file was cut while it was read\n"
    )
