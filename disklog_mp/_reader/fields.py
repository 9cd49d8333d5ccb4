"""Conditions on the fields of structured records: `user=42`, `ms>100`, `path~^/cart`, `cart.items!=[]`.

A name with dots is that of a field, or leads into one: `user.id` is the member `id` of the object `user`.
process, thread, task and caller are fields, too.  `=` compares the value's text: a string as it is, any other
value as JSON without blanks.  `<` and its like compare numbers where the condition names a number, else text.
A record without the field meets no condition on it, `!=` neither.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

from disklog_mp._core import TERM_EQUALS, TERM_KEY

EXPRESSION = re.compile(r"([^=!<>~]+)(!=|<=|>=|=|<|>|~)(.*)", re.DOTALL)
ORIGIN = ("process", "thread", "task", "caller")  # beside the fields, but searched like them
IN_OTHER_SPELLING = re.compile(r'["\\/\x00-\x1f]')  # in JSON these are escaped in more ways than by \u

_MISSING = object()

Term = tuple[int, bytes, bytes]  # kind, bytes, value: see Filter


class FieldCondition(NamedTuple):
    """A condition on one field."""

    name: str
    operator: str
    text: str
    pattern: re.Pattern[str] | None  # with ~
    number: float | None  # the value of the text, if that is a number

    @classmethod
    def parse(cls, expression: str) -> FieldCondition:
        """Take KEY=TEXT, or with one of != < <= > >= ~.  Raises ValueError."""
        found = EXPRESSION.fullmatch(expression)
        if found is None:
            raise ValueError(f"{expression!r} is not KEY=VALUE, nor with one of != < <= > >= ~")
        name, operator, text = found.groups()
        try:
            pattern = re.compile(text) if operator == "~" else None
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"{text!r} is no regular expression: {error}") from None
        return cls(name, operator, text, pattern, _number(text) if operator[0] in "<>" else None)

    @property
    def is_alternative(self) -> bool:
        """True if another condition on the same field may be met in place of this one."""
        return self.operator in ("=", "~")

    def holds(self, event: Any) -> bool:
        """True if a structured record meets it."""
        value = _value_of(event, self.name)
        if value is _MISSING:
            return False
        if self.operator == "=":
            return _text_of(value) == self.text
        if self.operator == "!=":
            return _text_of(value) != self.text
        if self.pattern is not None:
            return self.pattern.search(_text_of(value)) is not None
        return self._is_ordered(value)

    def _is_ordered(self, value: Any) -> bool:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if self.number is not None and isinstance(value, str):
            value = _number(value)
            is_number = value is not None
        if is_number != (self.number is not None) or not isinstance(value, (int, float, str)):
            return False
        limit: Any = self.text if self.number is None else self.number
        if self.operator[0] == "<":
            return bool(value < limit or (value == limit and self.operator == "<="))
        return bool(value > limit or (value == limit and self.operator == ">="))

    def terms(self) -> list[Term] | None:
        """Return what a record that meets it holds one of, in some spelling of JSON; None: not known."""
        keys = {self.name, self.name.rpartition(".")[2]}
        if any(IN_OTHER_SPELLING.search(key) for key in keys):
            return None
        try:
            quoted = [b'"%s"' % key.encode() for key in keys]
            value = self.text.encode()
        except UnicodeEncodeError:  # a lone surrogate, which JSON can only hold as \u
            return None
        if self.operator == "=" and _has_one_spelling(self.text):
            return [(TERM_EQUALS, key, value) for key in quoted]
        return [(TERM_KEY, key, b"") for key in quoted]


def _value_of(event: Any, name: str) -> Any:
    fields = event.fields
    if name in fields:
        return fields[name]
    if name in ORIGIN:
        value = getattr(event, name)
        return _MISSING if value is None else value
    first, *rest = name.split(".")
    value = fields.get(first, _MISSING)
    for part in rest:
        value = value.get(part, _MISSING) if isinstance(value, dict) else _MISSING
    return value if rest else _MISSING


def _text_of(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _number(text: str) -> float | None:
    for kind in (int, float):
        try:
            number: float = kind(text)
        except ValueError:
            continue
        return None if math.isnan(number) else number
    return None


def _has_one_spelling(text: str) -> bool:
    """True if a value of that text stands in JSON as the text itself, or as a string."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return True
    # A float may have an exponent, an object blanks, and -0 is 0.
    return text != "0" and not isinstance(value, (float, dict, list))
