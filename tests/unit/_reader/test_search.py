"""Searching a log: the core finds what a filter in Python finds, and tells of what is missing."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.chance import TIMES
from support.pages import GAP, RECORD, frame, group, page_path, write_log, write_page

from disklog_mp import Damage, Missing, Reader, Record
from disklog_mp._loggers.structured import Event
from disklog_mp._reader.literals import literal_of

SHARED = [HealthCheck.function_scoped_fixture]  # each example writes the page anew
KEYS = ("user", "user.id", "id", "path", "käse", 'qu"ote', "s/l", "process", "0", "")
TEXTS = ("42", "421", "/cart/7", "", "käse", 'say "hi"', "a\nb", "tab\t", "C:\\x", "\x01", "1.0", "0", "true")
VALUES = st.recursive(
    st.sampled_from((*TEXTS, 42, 421, 0, -7, 10**20, True, False, None, 1.0, -0.0, 0.25, 1e16, 1e300)),
    lambda inner: st.dictionaries(st.sampled_from(KEYS), inner, max_size=2) | st.lists(inner, max_size=2),
    max_leaves=3,
)
LOGGERS = ("app", "app.web", "apple", "lib", "käse.x", "")
OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "~")
LIMITS = (*TEXTS, "-0", "7", "-7", "1e16", "1e+16", "100", "null", "[]", '{"id":42}', "4.", "nan", "Infinity")


# -- records in all spellings -----------------------------------------------------------------------------


class Spelling(NamedTuple):
    """One of the ways in which JSON can say the same."""

    escaped: Callable[[str], bool]  # as \u
    slashes: bool  # a slash as \/
    blank: str

    def of(self, value: Any) -> str:
        if isinstance(value, str):
            return f'"{"".join(map(self._character, value))}"'
        if isinstance(value, dict):
            members = (
                f"{self.of(key)}{self.blank}:{self.blank}{self.of(item)}" for key, item in value.items()
            )
            return f"{{{self.blank}{f'{self.blank},'.join(members)}{self.blank}}}"
        if isinstance(value, list):
            return f"[{','.join(map(self.of, value))}]"
        if isinstance(value, float) and self.blank:
            return f"{value:.30e}"
        return "-0" if value == 0 and type(value) is int and self.blank else json.dumps(value)

    def _character(self, character: str) -> str:
        if self.escaped(character):
            return f"\\u{ord(character):04x}"
        if character == "/" and self.slashes:
            return "\\/"
        return json.dumps(character, ensure_ascii=False)[1:-1]


SPELLINGS = st.builds(
    Spelling,
    st.sampled_from((lambda c: False, lambda c: True, lambda c: c in "u4é", lambda c: not c.isascii())),
    st.booleans(),
    st.sampled_from(("", " ", "\n\t ")),
)


@st.composite
def structured(draw: st.DrawFn) -> bytes:
    """A structured record; some of them are not quite one."""
    spelling = draw(SPELLINGS)
    parts: dict[str, Any] = {
        "level": draw(st.sampled_from(("INFO", "Notice", "ERROR"))),
        "logger": draw(st.sampled_from(LOGGERS)),
        "message": draw(st.sampled_from((*TEXTS, "needle", 5))),
        "process": draw(st.sampled_from(("Worker-1", "42"))),
        "fields": draw(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3)),
    }
    names = draw(st.permutations(sorted(parts)))
    whole = spelling.of({name: parts[name] for name in names}).lstrip("{ \n\t")
    return b'{"time":1,' + whole.encode()


class Made(NamedTuple):
    """A record as it is put into a page."""

    data: bytes
    tag: int
    time: int
    pid: int
    label: int
    gap: bool


RECORDS = st.builds(
    Made,
    structured() | st.sampled_from((b"", b"needle", b"a needle in hay" * 9, b'"user":42', b"\xff\\u12")),
    st.sampled_from((0, 10, 20, 30, 40, 65535)),
    st.integers(0, 9),
    st.sampled_from((1, 2, 2**31 + 1)),
    st.sampled_from((0, 0, 1, 2)),
    st.sampled_from((False, False, False, True)),
)


def write_records(path: Path, records: list[Made | list[Made]]) -> None:
    """A page of these records; those in a list are a group."""
    frames, position = [], 0
    for each in records:
        if isinstance(each, list):
            data = group(position, [made.data for made in each], tag=each[0].tag, time=each[0].time)
        else:
            kind = (GAP if each.gap else RECORD) | each.label << 4
            data = frame(position, each.data, kind=kind, tag=each.tag, time=each.time, pid=each.pid)
        frames.append(data)
        position += len(data)
    path.mkdir(exist_ok=True)
    count = sum(len(each) if isinstance(each, list) else 1 for each in records)
    write_page(path, frames, records=count, version=2)


# -- the same in Python -------------------------------------------------------------------------------------


def value_in(event: Event, name: str) -> list[Any]:
    """The value of a field, or nothing."""
    if name in event.fields:
        return [event.fields[name]]
    if name == "process" and event.process is not None:
        return [event.process]
    value: Any = event.fields
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return []
        value = value[part]
    return [value]


def holds(event: Event | None, name: str, operator: str, text: str) -> bool:
    """One condition on a field, as the README has it."""
    for value in value_in(event, name) if event else ():
        said = (
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        )
        if operator in ("=", "!="):
            return (said == text) == (operator == "=")
        if operator == "~":
            return re.search(text, said) is not None
        try:
            sides: list[Any] = [float(said) if isinstance(value, str) else value, float(text)]
            if text == "nan":
                raise ValueError
        except ValueError:
            sides = [value, text]
        if isinstance(value, (bool, dict, list)) or value is None:
            return False
        if isinstance(sides[0], str) != isinstance(sides[1], str):
            return False
        low, high = sides if operator[0] == "<" else sides[::-1]
        return bool(low < high or (low == high and operator[1:] == "="))
    return False


FIELDS = st.tuples(
    st.sampled_from((*KEYS[:-1], "user.id", "id.user")).filter(bool),
    st.sampled_from(OPERATORS),
    st.sampled_from(LIMITS),
).filter(lambda field: field[1] != "~" or ("\\" not in field[2] and field[2] not in ("[]", '{"id":42}')))


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


CONDITIONS = st.fixed_dictionaries(
    {
        "needle": maybe(
            st.sampled_from((b"needle", "hay", b'r":4', re.compile(b"ne+dle in.h"), (b"hay", b"42")))
        ),
        "level": maybe(st.sampled_from((20, "ERROR", "INFO..WARNING", "notice", "..10"))),
        "logger": st.lists(st.sampled_from(LOGGERS), max_size=2),
        "pid": st.lists(st.sampled_from((1, 2, 2**31 + 1)), max_size=2),
        "tag": st.lists(st.sampled_from((0, 20, 65535)), max_size=2),
        "label": st.lists(st.sampled_from(("a", "?2")), max_size=1),
        "since": maybe(st.integers(0, 9)),
        "until": maybe(st.integers(0, 9)),
        "start": maybe(st.integers(0, 9)),
        "stop": maybe(st.integers(0, 9)),
    }
)


def one_of_them(wanted: dict[str, Any], fields: list[tuple[str, str, str]]) -> Callable[[Record], bool]:
    """A filter in Python, simple and slow."""
    needles = wanted["needle"]
    patterns = [
        each
        if isinstance(each, re.Pattern)
        else re.compile(re.escape(each if isinstance(each, bytes) else each.encode()))
        for each in (needles if isinstance(needles, tuple) else [needles] if needles else [])
    ]
    ranges = {20: (20, 65535), "ERROR": (40, 65535), "INFO..WARNING": (20, 30), "..10": (0, 10)}

    def is_one(record: Record) -> bool:
        if wanted["start"] is not None and record.number < wanted["start"]:
            return False
        if wanted["stop"] is not None and record.number >= wanted["stop"]:
            return False
        if wanted["since"] is not None and record.timestamp < wanted["since"]:
            return False
        if wanted["until"] is not None and record.timestamp >= wanted["until"]:
            return False
        if record.gap:
            return True
        low, high = ranges.get(wanted["level"], (0, 65535))
        event = record.event
        alternatives = {name for name, operator, _ in fields if operator in "=~"}
        return (
            low <= record.tag <= high
            and (wanted["level"] != "notice" or (event is not None and event.level == "Notice"))
            and record.tag in (wanted["tag"] or [record.tag])
            and record.pid in (wanted["pid"] or [record.pid])
            and record.label in (wanted["label"] or [record.label])
            and (not patterns or any(each.search(record.data) for each in patterns))
            and (
                not wanted["logger"]
                or (
                    event is not None
                    and any(f"{event.logger}.".startswith(f"{name}.") for name in wanted["logger"])
                )
            )
            and all(holds(event, *field) for field in fields if field[1] not in "=~")
            and all(
                any(holds(event, *field) for field in fields if field[0] == name and field[1] in "=~")
                for name in alternatives
            )
        )

    return is_one


@settings(max_examples=20 * TIMES, suppress_health_check=SHARED, deadline=None)
@given(
    st.lists(RECORDS | st.lists(RECORDS, min_size=1, max_size=3), max_size=12),
    st.lists(st.tuples(CONDITIONS, st.lists(FIELDS, max_size=2)), min_size=4, max_size=8),
)
def test_it_finds_what_a_filter_in_python_finds(
    tmp_path: Path, records: list[Made | list[Made]], asked: list[tuple[dict[str, Any], Any]]
) -> None:
    """Records in every spelling of JSON, conditions of every kind."""
    write_records(tmp_path / "log", records)
    reader = Reader(tmp_path / "log")
    (everything,) = [list(page) for page in reader.pages()]
    for wanted, fields in asked:
        expected = list(filter(one_of_them(wanted, fields), everything))
        found = reader.search(field=["".join(field) for field in fields], **wanted)

        assert list(found) == expected, (wanted, fields)


def test_damage_on_the_way_is_told(tmp_path: Path) -> None:
    """A search tells of a damaged frame, whatever it looks for, and finds what is behind it."""
    path = tmp_path / "log"
    write_log(path, [b"record %d" % i for i in range(9)])
    page = bytearray(page_path(path).read_bytes())
    page[page.index(b"record 4")] ^= 1
    page_path(path).write_bytes(page)
    told: list[Damage] = []
    found = list(Reader(path, on_damage=told.append).search(b"record 5"))

    assert [each.number for each in found] == [5]
    (damage,) = told
    assert isinstance(damage, Missing)
    assert (damage.first_number, damage.last_number) == (4, 4)


def test_gap_records_meet_all_but_number_and_time(tmp_path: Path) -> None:
    """No condition hides that records were dropped."""
    gap = Made(b'{"dropped":3}', 0, 5, 1, 0, True)
    write_records(tmp_path / "log", [gap])
    reader = Reader(tmp_path / "log")

    assert [each.gap for each in reader.search("x", level="ERROR", pid=9, field="user=1")] == [True]
    assert list(reader.records(since=6, level="ERROR")) == list(reader.records(start=1)) == []


def test_conditions_that_are_none(tmp_path: Path) -> None:
    """They are refused at once, in words that name them."""
    write_records(tmp_path / "log", [])
    reader = Reader(tmp_path / "log")
    for conditions, error, text in (
        ({"field": "user"}, ValueError, "'user' is not KEY=VALUE"),
        ({"field": "=42"}, ValueError, "'=42' is not KEY=VALUE"),
        ({"field": "user~("}, ValueError, r"'\(' is no regular expression"),
        ({"level": "ERROR..loud"}, ValueError, "is no range of DEBUG"),
        ({"needle": re.compile("text")}, TypeError, "a pattern of text"),
        ({"needle": 5}, TypeError, "not iterable"),
        ({"pid": "5"}, TypeError, "pid='5' is no int"),
        ({"logger": [5]}, TypeError, "logger=5 is no str"),
        ({"colour": 1}, TypeError, "colour"),
    ):
        with pytest.raises(error, match=text):
            reader.search(**conditions)  # type: ignore[arg-type]


PIECES = (
    "a",
    "b",
    "needle",
    ".",
    "x*",
    "y?",
    "(a|b)",
    "[^c]",
    "[]a]",
    r"[\]\\]",
    "c{2}",
    "d{,2}",
    r"\.",
    r"\x41b",
    r"\d",
)
WORDS = ("a", "b", "needle", "x", "xx", "y", "c", "cc", "d", ".", "Ab", "A", "7", "]", "\\", "{b", "c}")


@settings(max_examples=50 * TIMES, deadline=None)
@given(
    st.lists(st.sampled_from((*PIECES, "|", "^", "$", "{b", "c}", "+")), max_size=5),
    st.lists(st.sampled_from(WORDS), max_size=5),
)
def test_a_literal_stands_in_whatever_the_pattern_matches(pieces: list[str], words: list[str]) -> None:
    """Patterns of all pieces, and texts that they may match."""
    try:
        pattern = re.compile("".join(pieces).encode())
    except re.error:
        return
    found = pattern.search("".join(words).encode())

    assert found is None or literal_of(pattern) in found[0], pattern


def test_the_literals_of_patterns() -> None:
    """They are found where they are, so that a search for a pattern is one for bytes first."""
    for pattern, literal in (
        (b"timeout after [0-9]+ s", b"timeout after "),
        (rb"GET /cart\.html\?x", b"GET /cart.html?x"),
        (b"ab*", b"a"),
        (b"one|two", b""),
        (b"(?i)needle", b""),
        (b"a{b|c}", b""),
    ):
        assert literal_of(re.compile(pattern)) == literal
    assert literal_of(re.compile(b"needle", re.IGNORECASE)) == b""
