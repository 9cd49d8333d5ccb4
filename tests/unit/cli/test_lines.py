"""Lines that the core renders: the same as Python's, for records of every kind."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disklog_mp import Record
from disklog_mp._loggers import structured
from disklog_mp.cli.records import _formats
from disklog_mp.cli.records._formats import Style
from disklog_mp.cli.records._lines import Batch, Lines, lines_of

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


@given(st.lists(RECORDS | st.none(), max_size=6), st.sampled_from(STYLES), st.booleans())
def test_the_core_renders_as_python_does(records: list[Any], style: Style, null: bool) -> None:
    """Text and raw output to the byte; JSON to the value, for a structured record is passed through."""
    for layout in ("text", "raw", "message"):
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
    for layout in ("text", "json", "raw"):
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

    batch = Batch(printed.append, lines, on_other)

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
