"""Columns of the core: the same values as Python's, for records of every kind."""

import json
import re
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chance import TIMES

from disklog_mp import Record
from disklog_mp._core import Columns
from disklog_mp._loggers import structured
from disklog_mp._reader.columns import KINDS, TEXTS, Field, fields_of, values_of

PIECES = ("a", "two words", "\n", "\t", "\b", "\\", '"', "käse", "日本", "\x1b[31m", "\x7f", "\x00", "\ud800")
TEXT = st.lists(st.sampled_from(PIECES), max_size=3).map("".join)
PLAIN = (
    TEXT
    | st.integers()
    | st.integers(2**63 - 2, 2**63 + 2)
    | st.integers(-(2**63) - 2, 2 - 2**63)
    | st.floats()
    | st.sampled_from((True, False, None, 1e300, -0.0, 10**400))
)
KEYS = st.sampled_from(("user", "user.id", "user.id.x", "id", "x", "ms", "käse", 'qu"ote', "", "userid"))
VALUE = st.recursive(
    PLAIN,
    lambda inner: st.dictionaries(KEYS, inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=4,
)
COLUMNS = st.lists(st.tuples(KEYS, st.sampled_from(sorted(KINDS))), max_size=4, unique=True).map(
    lambda wanted: tuple(Field(f"c{i}", name, kind) for i, (name, kind) in enumerate(wanted))
)
SPELLINGS: list[Any] = [
    *[lambda data: data] * 6,
    lambda data: data + b" ",
    lambda data: data.replace(b":", b": ", 2),
    lambda data: data.replace(b'"user"', b'"us\\u0065r"'),
    lambda data: data[:-1] + b',"fields":{"user":1,"user":2,"ms":1E2,"id":-0}}',
    lambda data: data[:-1] + b',"fields":{"user":1,"user":2,"user":{"id":7}}}',
    lambda data: data[:-1] + b',"fields":{"ms":-5,"user":{"id":1,"id":2}}}',
    lambda data: data[:-1] + b"\xff}",
]


@st.composite
def structured_records(draw: st.DrawFn) -> bytes:
    names = ("process", "thread", "task", "caller", "exception", "stack")
    parts = {name: draw(st.none() | TEXT) for name in names}
    fields = draw(st.dictionaries(KEYS, VALUE, max_size=4))
    level = draw(st.sampled_from(("INFO", "ERROR", "NOTICE")) | TEXT)
    data = structured.encode(1, level, draw(TEXT), draw(TEXT), fields=fields, **parts)
    changed: bytes = draw(st.sampled_from(SPELLINGS))(data)
    return changed


RECORDS = st.builds(
    Record,
    structured_records() | TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(),
    position=st.integers(0, 2**40),
    number=st.integers(0, 2**40),
    timestamp=st.integers(0, 10**19),
    pid=st.integers(0, 2**32 - 1),
    tag=st.sampled_from((0, 7, 10, 20, 30, 40, 50, 60, 65535)),
    label_index=st.sampled_from((0, 1)),
)


def columns_of(fields: tuple[Field, ...], passed: tuple[bytes, ...] = ()) -> Columns:
    wanted = tuple((field.name.encode(), KINDS[field.kind]) for field in fields)
    return Columns(wanted, lambda record: values_of(record, fields), passed)


def is_set(bits: bytes, row: int) -> bool:
    return bool(bits[row // 8] >> row % 8 & 1)


def values(kind: str, rows: int, bits: bytes, ends: bytes | None, data: bytes) -> list[Any]:
    """A column's values, read as Arrow reads them."""
    assert len(bits) == -(-rows // 8)
    if ends is not None:
        at = struct.unpack(f"{rows + 1}i", ends)
        assert (at[0], at[-1]) == (0, len(data))
        read: list[Any] = [data[at[i] : at[i + 1]].decode() for i in range(rows)]
    elif kind == "bool":
        read = [is_set(data, i) for i in range(rows)]
    else:
        read = list(struct.unpack(f"{rows}{'q' if kind == 'int' else 'd'}", data))
    return [value if is_set(bits, i) else None for i, value in enumerate(read)]


def parsed(name: str, value: Any) -> Any:
    """A value to be compared: JSON has several spellings of one."""
    if not isinstance(value, str) or name != "fields":
        return value
    return repr(json.loads(value))


@settings(max_examples=30 * TIMES, deadline=None)
@given(st.lists(RECORDS, max_size=10), COLUMNS)
def test_the_core_makes_the_columns_that_python_makes(
    records: list[Record], fields: tuple[Field, ...]
) -> None:
    """Each value, in every row; what the core passes over, and a batch that follows another, included."""
    columns = columns_of(fields)
    for _ in range(2):
        assert columns.add(records, 0, 100) == len(records) == columns.rows
        rows, fixed, others = columns.take()
        formats = zip("QQQIHH", ("number", "position", "timestamp", "pid", "tag", "label_index"), strict=True)
        for (code, name), data in zip(formats, fixed, strict=True):
            told = [min(getattr(record, name), 2**63 - 1) for record in records]
            assert list(struct.unpack(f"{rows}{code}", data)) == told
        expected = [values_of(record, fields) for record in records]
        names = [*TEXTS, *(field.column for field in fields)]
        kinds = [*("str" for _ in TEXTS), *(field.kind for field in fields)]
        for i, (name, kind) in enumerate(zip(names, kinds, strict=True)):
            found = [parsed(name, value) for value in values(kind, rows, *others[i])]
            assert found == [parsed(name, row[i]) for row in expected], name


def record_of(level: str, *, tag: int = 0, gap: bool = False, **fields: Any) -> Record:
    return Record(structured.encode(1, level, "app", "said", fields=fields), tag=tag, gap=gap)


def test_records_of_levels_that_are_passed_make_no_row() -> None:
    """By the event's own level, or a text's tag; also of a record that the core leaves to Python."""
    columns = columns_of((), (b"INFO", b"DEBUG"))
    records = [
        record_of("INFO"),
        record_of("ERROR"),
        Record(b"text", tag=20),
        Record(b"text", tag=40),
        Record(b"text"),
        Record(structured.encode(1, "DEBUG", "a", "b").replace(b":", b": ", 1)),
    ]
    assert columns.add(records, 0, 100) == len(records)
    rows, _, others = columns.take()

    assert values("str", rows, *others[0]) == ["ERROR", "ERROR", None]


def test_adding_stops_where_the_caller_has_to_look() -> None:
    """At a gap record, at what is no record, and at so many rows; it goes on behind that."""
    columns = columns_of(())
    records = [record_of("INFO"), record_of("INFO", gap=True), record_of("INFO"), None, record_of("INFO")]

    assert columns.add(records, 0, 100) == 1
    assert columns.add(records, 2, 100) == 3
    assert columns.add(records, 4, 2) == 4  # there are two rows already
    assert columns.bytes == len("said") * 2
    assert columns.take()[0] == 2
    assert columns.take()[0] == 0


def test_a_value_stays_among_the_fields_unless_a_column_has_it() -> None:
    """Of another type, too large, and inside of an object: nothing is lost."""
    fields = fields_of("user:int,ms:float,who=cart.owner,ok:bool")
    record = record_of("INFO", user="42", ms=7, cart={"owner": "eve", "n": 1}, ok=True, more=[1])
    row = values_of(record, fields)
    columns = columns_of(fields)
    columns.add([record], 0, 1)
    others = columns.take()[2]

    assert row[len(TEXTS) :] == (None, 7.0, "eve", True)
    assert json.loads(row[7]) == {"user": "42", "cart": {"owner": "eve", "n": 1}, "more": [1]}
    assert others[7][2].decode() == row[7]


def test_a_column_takes_no_more_than_its_ends_can_tell() -> None:
    """Adding stops behind the record by which a column has 32 MiB, however many rows are asked for."""
    columns = columns_of(())
    records = [Record(b"x" * (17 << 20))] * 3

    assert columns.add(records, 0, 100) == 2
    assert columns.add(records, 2, 100) == 2
    assert columns.bytes == 34 << 20
    assert columns.take()[0] == 2
    assert columns.add(records, 2, 100) == 3


@pytest.mark.parametrize("spelling", [b":", b": "])
def test_the_least_and_the_greatest_numbers_have_a_column(spelling: bytes) -> None:
    """Those of 64 bits; larger ones stay among the fields.  Read by the core, and by Python."""
    fields = fields_of("a:int,b:int,c:int,d:int")
    numbers = {"a": -(2**63), "b": 2**63 - 1, "c": 2**63, "d": -(2**63) - 1}
    data = structured.encode(1, "INFO", "app", "said", fields=numbers).replace(b":", spelling)
    columns = columns_of(fields)
    columns.add([Record(data)], 0, 1)
    others = columns.take()[2]

    found = [values("int", 1, *others[len(TEXTS) + i])[0] for i in range(4)]
    assert found == [-(2**63), 2**63 - 1, None, None]
    assert json.loads(others[7][2]) == {"c": 2**63, "d": -(2**63) - 1}


def test_what_python_returns_is_checked() -> None:
    """The wrong count, the wrong type, an exception: raised, and the columns go on."""
    for answer in ((), ("x",) * 12, tuple(range(11))):
        columns = Columns((), lambda record, answer=answer: answer, ())  # type: ignore[misc]
        with pytest.raises(TypeError):
            columns.add([Record(b"\xff")], 0, 1)
        assert columns.add([Record(b"text")], 0, 1) == 1
        assert columns.take()[0] == 1


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("user:integer", "'user:integer' is not FIELD:TYPE"),
        ("user:int,,ms", "'' is not FIELD:TYPE"),
        ("=user:int", "'=user:int' is not"),
        ("pid:int", "a column 'pid' already: write another name before the field, as in my_pid=pid:int"),
        ("a:int,a:str", "a column 'a' already"),
        (",".join(f"c{i}" for i in range(257)), "257 columns for fields: there can be 256"),
        ({"user": dict}, "'user:dict' is not"),
    ],
)
def test_columns_that_are_none_are_refused(wanted: Any, said: str) -> None:
    """With what to write instead."""
    with pytest.raises(ValueError, match=re.escape(said)):
        fields_of(wanted)
