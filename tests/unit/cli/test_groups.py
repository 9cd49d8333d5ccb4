"""Counting records by what they have in common: the core counts what Python counts."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chance import TIMES

from disklog_mp import Record
from disklog_mp._core import Groups
from disklog_mp._loggers import structured
from disklog_mp.cli.records import _groups
from disklog_mp.cli.records._groups import OTHERS, Tally, key_by

TEXTS = ("web", "", "-", "käse", 'say "hi"', "a\nb", "42", "1.0", "user.id")
NUMBERS = (42, 0, -7, 1.0, -0.0, 0.1, 0.00001, 12.5, 1e16, 1e-7, 0.1 + 0.2, 10**20, 123456789012345.5, 1e300)
VALUES = st.recursive(
    st.sampled_from((*TEXTS, *NUMBERS, True, False, None)),
    lambda inner: (
        st.dictionaries(st.sampled_from(("id", "user", "a.b")), inner, max_size=2)
        | st.lists(inner, max_size=1)
    ),
    max_leaves=3,
)
NAMES = ("user", "user.id", "a.b", "id", "käse", "thread", "exception")
CHANGES: list[Callable[[bytes], bytes]] = [
    *[lambda data: data] * 6,
    lambda data: data[:-1],  # no JSON, and yet a logger
    lambda data: data.replace(b":", b": "),
    lambda data: data.replace(b'"user"', b'"us\\u0065r"'),
    lambda data: data.replace("ä".encode(), b"\xe4"),
    lambda data: data.replace(b'"fields":{', b'"fields":{"user":"twice",'),
    lambda data: data.replace(b'"fields":{', b'"fields":{"id":1.50,"x":1e5,'),
    lambda data: json.dumps(json.loads(data), indent=1).encode() if data.startswith(b'{"time":1') else data,
]


@st.composite
def data(draw: st.DrawFn) -> bytes:
    fields = draw(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3))
    level = draw(st.sampled_from(("INFO", "Notice", "ERROR", "é")))
    exception = draw(st.sampled_from((None, "boom", "a\nb")))
    text = structured.encode(
        1, level, draw(st.sampled_from(TEXTS)), "käse", thread="t", fields=fields, exception=exception
    )
    change: Callable[[bytes], bytes] = draw(st.sampled_from(CHANGES))
    return change(text)


LABELS = (None, "web", "kä")
RECORDS = st.builds(
    lambda data, tag, pid, time, gap, label: Record(
        data, tag=tag, pid=pid, timestamp=time, gap=gap, label_index=label, label=LABELS[label]
    ),
    data() | st.sampled_from((b"", b"text", b'{"time":')),
    st.sampled_from((0, 7, 20, 25, 40, 60, 65535)),
    st.sampled_from((1, 2, 2**32 - 1)),
    st.integers(0, 50) | st.integers(0, 2**64 - 1),
    st.sampled_from((False, False, False, True)),
    st.integers(0, 2),
)
KINDS = (*_groups.KINDS, *(f"field:{name}" for name in NAMES))


def naive(
    records: list[Record], kind: str, every: int, offset: int, most: int
) -> tuple[dict[str, tuple[int, int, int]], dict[int, Counter[str]]]:
    """Count one record at a time."""
    key_of, times, parts = key_by(kind, "log"), {}, {}
    for record in records:
        if record.gap:
            continue
        key = key_of(record).encode("utf-8", "backslashreplace").decode()
        key = key if key in times or len(times) < most else OTHERS
        times.setdefault(key, []).append(record.timestamp)
        if every:
            begin = (record.timestamp + offset) // every
            parts.setdefault(begin, Counter())[key] += 1
    return {key: (len(each), min(each), max(each)) for key, each in times.items()}, parts


@settings(max_examples=15 * TIMES, deadline=None)
@given(
    st.lists(RECORDS, max_size=12),
    st.sampled_from((0, 7, 10**9, 2**62)),
    st.sampled_from((0, 3, -5, 3600 * 10**9)),
)
def test_the_core_counts_as_python_does(records: list[Record], every: int, offset: int) -> None:
    """Records in every spelling, by each kind."""
    for kind in KINDS:
        tally = Tally(every, offset)
        tally.add(iter(records), kind, "log")
        found = {key: (each.count, each.first, each.last) for key, each in tally.groups.items() if each.count}

        assert (found, tally.parts) == naive(records, kind, every, offset, _groups.MOST), kind


def test_records_in_our_spelling_need_no_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever they are counted by; what is in another spelling does."""

    def key_by(kind: str, log: str) -> Callable[[Record], str]:
        def refuse(record: Record) -> str:
            raise AssertionError(kind)

        return refuse

    monkeypatch.setattr(_groups, "key_by", key_by)
    fields: dict[str, Any] = {"user": {"id": 42}, "ms": 0.25, "path": "/käse"}
    record = Record(structured.encode(1, "INFO", "app", "a\nb", fields=fields), tag=20)
    text = Record(b"text", tag=30)
    for kind in (*_groups.KINDS, "field:user.id", "field:ms", "field:path", "field:none"):
        tally = Tally()
        tally.add(iter([record, text, record]), kind, "log")
        assert tally.sum().count == 3, kind
    with pytest.raises(AssertionError, match="field:user"):
        Tally().add(iter([record]), "field:user", "log")


def test_there_are_so_many_groups_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes later is counted together, in the histogram too."""
    monkeypatch.setattr(_groups, "MOST", 100)
    records = [Record(b"", pid=number % 300, timestamp=number) for number in range(900)]
    tally = Tally(every=10)
    tally.add(iter(records), "pid", "log")

    assert len(tally.groups) == 101
    assert tally.groups[OTHERS].count == 600
    assert sum(part[OTHERS] for part in tally.parts.values()) == 600
    assert (tally.groups["99"].first, tally.groups["99"].last) == (99, 699)


def test_what_cannot_be_counted() -> None:
    """Wrong numbers, and what is no record, are refused."""
    for wrong in ((7, b"", b"", 1), (-1, b"", b"", 1), (0, b"", b"", 0), (0, b"", b"", 1, 5, 5)):
        with pytest.raises(ValueError, match="groups by"):
            Groups(*wrong)
    groups = Groups(0, b"", b"", 1)
    assert groups.add([None, Record(b"")], 0) == 0
    with pytest.raises(TypeError, match="a key and a record"):
        groups.count(b"", b"", False)  # type: ignore[arg-type]
