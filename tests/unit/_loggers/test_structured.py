"""Structured records: what becomes of each value, what is recognised, and the handler that writes them."""

import datetime
import decimal
import json
import logging
import logging.config
import math
import pathlib
import sys
import uuid
from collections import OrderedDict, namedtuple
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.odd_values import Broken, Colour, Nameless, Proxy, Text

from disklog_mp._loggers import structured as _structured
from disklog_mp._loggers.structured import Event, encode, parse
from disklog_mp.logging import DiskLogHandler


def value_of(value: Any) -> Any:
    """The value of a field as JSON reads it back."""
    return json.loads(encode(1, "INFO", "a", "m", fields={"it": value}))["fields"]["it"]


# -- bytes and back ------------------------------------------------------------------------------------


def test_the_bytes_are_these() -> None:
    """In this order, without blanks, and without what has no value."""
    assert encode(5, "INFO", "a.b", "hi") == b'{"time":5,"level":"INFO","logger":"a.b","message":"hi"}'
    assert (
        encode(
            5, "INFO", "a", "größer\n", process="P-1", thread="T-1", task="Task-1", caller="a.py:1 f",
            fields={"user": 42, "ip": "::1"}, exception="Traceback", stack="Stack",
        )
        == '{"time":5,"level":"INFO","logger":"a","message":"größer\\n","process":"P-1","thread":"T-1",'
        '"task":"Task-1","caller":"a.py:1 f","fields":{"user":42,"ip":"::1"},"exception":"Traceback",'
        '"stack":"Stack"}'.encode()
    )  # fmt: skip


def test_the_names_everything_starts_with_are_left_out() -> None:
    """A process that never heard of multiprocessing or threads pays nothing for them."""
    assert encode(5, "INFO", "a", "m", process="MainProcess", thread="MainThread") == encode(
        5, "INFO", "a", "m"
    )


def test_what_was_encoded_is_read_back() -> None:
    """Every part of it."""
    event = Event(5, "WARNING", "a", "m", "p", "t", "k", "c", {"x": [1, None, {"y": 2.5}]}, "e", "s")

    assert parse(encode(**event._asdict())) == event


Pair = namedtuple("Pair", "x y")

VALUES = [
    (None, None),
    (True, True),
    (-7, -7),
    (2**100, 2**100),
    (0.1, 0.1),
    (1e300, 1e300),
    (math.nan, "nan"),
    (math.inf, "inf"),
    (-math.inf, "-inf"),
    ("text", "text"),
    ('"\\\n\0\x1b\x7f', '"\\\n\0\x1b\x7f'),
    ("file-\udcff", "file-\\udcff"),
    (Text("itself"), "itself"),
    (Colour.RED, 1),
    (b"caf\xe9", "caf\\xe9"),
    (bytearray(b"x"), "x"),
    (memoryview(b"x"), "x"),
    ([1, [2]], [1, [2]]),
    ((1, 2), [1, 2]),
    (Pair(1, 2), [1, 2]),
    ({3}, [3]),
    ({"a": {"b": 1}}, {"a": {"b": 1}}),
    ({1: 2, None: 3, (4, 5): 6, "\udcff": 7}, {"1": 2, "null": 3, "[4,5]": 6, "\\udcff": 7}),
    (OrderedDict(a=1), {"a": 1}),
    (datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC), "2026-01-02T03:04:00+00:00"),
    (datetime.date(2026, 1, 2), "2026-01-02"),
    (datetime.timedelta(1), "datetime.timedelta(days=1)"),
    (decimal.Decimal("1.10"), "1.10"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (pathlib.PurePosixPath("/a"), "/a"),
    (KeyError("x"), "KeyError('x')"),
    (Proxy(), "a proxy"),
    (Broken(), "<Broken without a repr: ZeroDivisionError>"),
    (Nameless(), "<Nameless without a repr: ZeroDivisionError>"),
    ([Broken()], ["<Broken without a repr: ZeroDivisionError>"]),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=[str(i) for i in range(len(VALUES))])
def test_every_value_becomes_something(value: Any, expected: Any) -> None:
    """What JSON has, as it is; all else as a text that says what it was; never an error."""
    assert value_of(value) == expected


def test_numbers_too_long_for_python_are_written_in_hexadecimal() -> None:
    """Python refuses to write more than 4,300 digits."""
    assert value_of(10**5000) == f"{10**5000:#x}"


def test_containers_end_somewhere() -> None:
    """In themselves, or deep in one another."""
    endless: list[Any] = [1]
    endless.append(endless)
    deep: Any = "end"
    for _ in range(100_000):
        deep = [deep]

    assert value_of(endless) == [1, "[1, [...]]"]
    value_of(deep)


def test_a_text_that_is_not_utf8_anywhere_leaves_the_bytes_valid() -> None:
    """Names, message, keys."""
    odd = "x\udcff"
    data = encode(1, odd, odd, odd, process=odd, thread=odd, task=odd, caller=odd, fields={odd: odd})

    assert data.decode().isprintable()
    assert parse(data) == Event(1, *[r"x\udcff"] * 7, {r"x\udcff": r"x\udcff"})


texts = st.text(st.characters(exclude_categories=["Cs"]))
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(anything)
def test_what_json_has_comes_back_as_it_was(value: Any) -> None:
    """Numbers, texts, lists and objects of any depth up to DEPTH."""
    event = parse(encode(1, "INFO", "a", "m", fields={"it": value}))

    assert event is not None
    assert event.fields["it"] == value


TEXTS = [
    b"",
    b"a line of text",
    b'{"time":5}',
    b'{"time":5,"level":"INFO","logger":"a","message":"m"',
    b'{"time":5,"level":"INFO","logger":"a","message":3}',
    b'{"time":true,"level":"INFO","logger":"a","message":"m"}',
    b'{"time":5.5,"level":"INFO","logger":"a","message":"m"}',
    b'{"time":NaN,"level":"INFO","logger":"a","message":"m"}',
    b'{"time":5,"level":"INFO","logger":"a","message":"m","fields":[]}',
    b'{"time":5,"level":"INFO","logger":"a","message":"m","stack":1}',
    b'{"time":5,"level":"INFO","logger":"a","message":"m"} ...',
    b'{"time":5,"level":"INFO","logger":"a","message":"\xff"}',
    b' {"time":5,"level":"INFO","logger":"a","message":"m"}',
    b'{"time":' + b"[" * 200_000,
    b'{"time":' + b"1" * 5000 + b',"level":"INFO","logger":"a","message":"m"}',
]


@pytest.mark.parametrize("data", TEXTS, ids=[str(i) for i in range(len(TEXTS))])
def test_what_is_not_such_an_object_is_text(data: bytes) -> None:
    """JSON of another form, and what is no JSON."""
    assert parse(data) is None


def test_numbers_and_surrogates_of_others_are_read_exactly() -> None:
    """A whole number of any length, and a lone surrogate, which we would not write."""
    data = b'{"time":5,"level":"L","logger":"a","message":"\\ud800","fields":{"n":123456789012345678901}}'

    assert parse(data) == Event(5, "L", "a", "\ud800", fields={"n": 123456789012345678901})


# -- LogRecords ----------------------------------------------------------------------------------------


def test_the_standard_attributes_are_those_of_this_python() -> None:
    """All of a fresh record's, and those that formatters add: none of them is a field."""
    fresh = set(logging.makeLogRecord({}).__dict__)

    assert fresh | {"asctime", "message", "taskName"} == _structured.STANDARD
    assert len(fresh) >= _structured.ALWAYS


def test_an_unknown_encoding_is_refused(name: str) -> None:
    """When logging is configured."""
    with pytest.raises(ValueError, match="encoding='xml' is not one of structured, text"):
        DiskLogHandler(name, encoding="xml")


def test_names_are_found_only_where_they_are_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is half imported, or something else under that name, breaks nothing."""
    for module in (None, object()):
        monkeypatch.setitem(sys.modules, "multiprocessing", module)
        monkeypatch.setitem(sys.modules, "asyncio", module)
        assert _structured.process_name() is None
        assert _structured.task_name() is None
