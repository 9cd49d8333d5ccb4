"""What records say as columns: which there are, and the values of records that the core leaves to Python.

Every record but those that tell of drops is a row.  Of a structured record level, logger and message are its
own, and `fields` has, as JSON, the fields that have no column of their own.  Any other record is its
`message`, and its tag is the level if it is one of Python's.  Bytes that are no UTF-8 are shown in the
message as in `\\xff`, and stand in `data_base64`.  Control characters are kept.

A field's value that is not of its column's type stays in `fields`; so does an object that a dotted name leads
into.  A column of the type str takes any value but null: what is no string as JSON.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from disklog_mp._core import Record

PARTS = ("level", "logger", "message", "process", "thread", "task", "caller", "fields", "exception", "stack")
TEXTS = (*PARTS, "data_base64")  # in the order of the core
NUMBERS = ("number", "position", "time", "pid", "tag", "label")  # likewise
KINDS = {"str": 0, "int": 1, "float": 2, "bool": 3}
MOST = 256  # columns for fields
LEVELS = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}

Wanted = str | Mapping[str, str | type] | Iterable["Field"]
_MISSING = object()


class Field(NamedTuple):
    """A field that has a column of its own."""

    column: str
    name: str  # with dots: what is inside of an object
    kind: str  # one of KINDS

    @classmethod
    def parse(cls, text: str) -> Field:
        """Take FIELD, FIELD:TYPE or COLUMN=FIELD:TYPE.  Raises ValueError."""
        rest, colon, kind = text.strip().rpartition(":")
        if not colon:
            rest, kind = kind, "str"
        column, equals, name = rest.partition("=")
        if not equals:
            name = column
        if not column or not name or kind not in KINDS:
            raise ValueError(f"{text!r} is not FIELD:TYPE, with one of {', '.join(KINDS)}: user:int")
        return cls(column, name, kind)


def fields_of(wanted: Wanted) -> tuple[Field, ...]:
    """Take columns as a caller gives them: "user:int,ms:float", or {"user": int}.  Raises ValueError."""
    if isinstance(wanted, str):
        fields = tuple(Field.parse(part) for part in wanted.split(",")) if wanted.strip() else ()
    elif isinstance(wanted, Mapping):
        fields = tuple(
            Field.parse(f"{name}:{kind.__name__ if isinstance(kind, type) else kind}")
            for name, kind in wanted.items()
        )
    else:
        fields = tuple(wanted)
    taken = {*TEXTS, *NUMBERS}
    for field in fields:
        if field.column in taken:
            raise ValueError(
                f"there is a column {field.column!r} already: write another name before the field, as in "
                f"my_{field.column}={field.name}:{field.kind}"
            )
        taken.add(field.column)
    if len(fields) > MOST:
        raise ValueError(f"{len(fields)} columns for fields: there can be {MOST}")
    return fields


def values_of(record: Record, fields: Iterable[Field]) -> tuple[Any, ...]:
    """Return the values of TEXTS and of the fields; this is what columns mean."""
    event = record.event
    if event is None:
        return _of_text(record) + tuple(None for _ in fields)
    rest = dict(event.fields)
    values = [_take(rest, event.fields, field) for field in fields]
    parts = {**event._asdict(), "fields": _json(rest) if rest else None}
    texts = [None if parts[name] is None else _text(parts[name]) for name in PARTS]
    return (*texts, None, *values)


def _of_text(record: Record) -> tuple[Any, ...]:
    data = record.data
    try:
        message, exact = data.decode(), None
    except UnicodeDecodeError:
        message, exact = data.decode("utf-8", "backslashreplace"), base64.b64encode(data).decode()
    parts = {"level": LEVELS.get(record.tag), "message": message, "data_base64": exact}
    return tuple(parts.get(name) for name in TEXTS)


def _take(rest: dict[str, Any], fields: Mapping[str, Any], field: Field) -> Any:
    """Return a field's value if it is of its column's type, else None; a whole field is no rest then."""
    whole = field.name in fields
    value = fields[field.name] if whole else _inside(fields, field.name.split("."))
    shown = None if value is _MISSING else _typed(value, field.kind)
    if whole and shown is not None:
        rest.pop(field.name, None)
    return shown


def _inside(value: Any, names: list[str]) -> Any:
    for name in names:
        value = value.get(name, _MISSING) if isinstance(value, dict) else _MISSING
    return value


def _typed(value: Any, kind: str) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "str":
        return None if value is None else _text(value if isinstance(value, str) else _json(value))
    if kind == "bool":
        return value if isinstance(value, bool) else None
    if kind == "int":
        return value if is_number and isinstance(value, int) and -(2**63) <= value < 2**63 else None
    try:
        return float(value) if is_number else None
    except OverflowError:  # of a whole number
        return None


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _text(text: str) -> str:
    """Return the text with lone surrogates, for which there is no UTF-8, as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
