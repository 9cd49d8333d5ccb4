"""Templates in the manner of kcat: `%T %l %m %{user}\\n`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from disklog_mp._core import Record
from disklog_mp._loggers import structured as _structured
from disklog_mp._loggers.structured import Event
from disklog_mp.cli import _text

PIECE = re.compile(r"%\{(?P<field>[^{}]+)\}|%(?P<token>.?)|\\(?P<escape>.?)", re.DOTALL)
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\"}
PARTS = ("process", "thread", "task", "caller", "exception", "stack")  # of an event, beside its fields

Said = Callable[[Record, Event | None], str]


def known(time: Callable[[int], str], level: Callable[[int], str | None]) -> dict[str, Said]:
    """Return what each token says of a record; `time` shows a time, `level` the name of a tag."""
    return {
        "T": lambda record, event: time(record.timestamp),
        "t": lambda record, event: str(record.tag),
        "l": lambda record, event: _text.printable(event.level) if event else level(record.tag) or "",
        "n": lambda record, event: _text.printable(event.logger) if event else "",
        "m": lambda record, event: _text.printable(
            event.message if event else record.data.decode("utf-8", "backslashreplace")
        ),
        "p": lambda record, event: str(record.pid),
        "L": lambda record, event: _text.printable(record.label or ""),
        "o": lambda record, event: str(record.position),
        "N": lambda record, event: str(record.number),
        "%": lambda record, event: "%",
    }


class Tokens:
    """A template of tokens; a part that a record does not have is empty."""

    def __init__(self, template: str, known: dict[str, Said], log: str | None) -> None:
        self._pieces: list[str | Said] = []
        self._known = known
        self._log = _text.printable(log or "")
        self._names: list[str] = []  # of the pieces that are no text: a token, or a field
        end = 0
        for piece in PIECE.finditer(template):
            self._pieces += [template[end : piece.start()], self._piece(piece, template)]
            end = piece.end()
        self._pieces.append(template[end:])
        # A line of its own for each record, unless the template has its own end.
        last = [piece for piece in self._pieces if piece][-1]
        self.end = "" if last in ("\n", "\0") else "\n"

    def _piece(self, piece: re.Match[str], template: str) -> str | Said:
        if piece["field"]:
            self._names.append(f"{{{piece['field']}")
            return self._field(piece["field"])
        if piece["escape"] is not None:
            known = ESCAPES.get(piece["escape"])
            if known is None:
                raise ValueError(
                    f"invalid --format {template!r}: write \\n, \\t, \\0 or \\\\, not {piece[0]}"
                )
            return known
        if piece["token"] not in self._known:
            names = " ".join(f"%{name}" for name in self._known)
            raise ValueError(
                f"invalid --format {template!r}: write %% for a percent sign; {names} %{{field}} are known"
            )
        if piece["token"] == "%":
            return "%"
        self._names.append(piece["token"])
        return self._known[piece["token"]]

    def for_core(self) -> tuple[tuple[str, bytes, bytes], ...]:
        """Return the pieces as a Renderer takes them."""

        def encoded(text: str) -> bytes:
            return text.encode("utf-8", "backslashreplace")

        names = iter(self._names)
        pieces = []
        for piece in (*self._pieces, self.end):
            name = "=" if isinstance(piece, str) else next(names)
            said = piece if isinstance(piece, str) else name[1:]
            pieces.append((name[0], encoded(said), encoded(self._log if name == "{log" else "")))
        return tuple(pieces)

    def _field(self, name: str) -> Said:
        def shown(record: Record, event: Event | None) -> str:
            value = None if event is None else value_of(event, name)
            if value is None:
                return self._log if name == "log" else ""
            return _text.printable(value if isinstance(value, str) else _structured.encode_value(value))

        return shown

    def __call__(self, record: Record) -> str:
        event = record.event
        pieces = self._pieces
        return "".join([piece if isinstance(piece, str) else piece(record, event) for piece in pieces])


def value_of(event: Event, name: str) -> Any:
    """Return the value of a field, also of one in another (`user.id`), or of a part; None: there is none."""
    if name in event.fields:
        return event.fields[name]
    value: Any = event.fields
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return getattr(event, name) if name in PARTS else None
        value = value[part]
    return value
