"""Records as bytes for stdout: text, JSON lines (nested or flat), logfmt, a template, raw.

A structured record shows its parts, any other its bytes as text.  Unprintable characters are escaped in every
format but raw, and in text further lines are indented: no record can control the terminal, or look like two
records.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import tzinfo
from typing import Any, NamedTuple

from disklog_mp._core import Record
from disklog_mp._loggers import lines as _lines
from disklog_mp._loggers import structured as _structured
from disklog_mp._loggers.structured import Event
from disklog_mp.cli import _text
from disklog_mp.cli.records import _tokens

Format = Callable[[Record], bytes]

NAMES = ("text", "json", "flat", "logfmt", "message", "raw")
INDENT = "    "
BARE = re.compile(r"""[^\s="'\\]+""")
PART = re.compile(r"%\((?P<name>[^()%]*)\)?[-#0 +]*[0-9]*(?:\.[0-9]+)?[a-zA-Z]?")
_NUMBERS = {"number": 0, "pid": 0, "tag": 0}  # the parts that are numbers
_LEVEL_NAMES = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
RESET = "\033[m"
COLOURS = ((40, "\033[1;31m"), (30, "\033[33m"), (20, "\033[32m"), (1, "\033[2m"))  # by the least level
NOT_IN_KEY = re.compile(r'[\s="]')


class Style(NamedTuple):
    """What the options say about all text formats."""

    zone: tzinfo | None = None  # None: local times
    log: str | None = None  # the log's name, where several are shown
    colour: bool = False  # levels in colour


def choose(name: str, *, null: bool, style: Style, encoding: str) -> Format:
    """Return the function that formats a record: one of NAMES, or a template for %.

    Raises ValueError for any other name.
    """
    if name == "raw":
        end = b"\0" if null else b"\n"
        return lambda record: record.data + end
    if name == "json":
        first = {} if style.log is None else {"log": style.log}
        return lambda record: _text.to_json(first | fields(record)).encode("utf-8") + b"\n"
    if name == "flat":
        return lambda record: _text.to_json(flat_fields(record, style.log)).encode("utf-8") + b"\n"
    if name == "text":
        line: Callable[[Record], str] = _TextFormat(style)
    elif name == "message":
        line = message
    elif name == "logfmt":
        line = _Logfmt(style.log)
    elif "%(" in name:
        line = _Template(name, style)
    elif "%" in name:
        tokens = tokens_of(name, style)
        return lambda record: f"{tokens(record)}{tokens.end}".encode(encoding, "backslashreplace")
    else:
        raise ValueError(
            f"invalid --format {name!r}: write {', '.join(NAMES)}, or a template such as '%T %l %m'"
        )
    return lambda record: f"{line(record)}\n".encode(encoding, "backslashreplace")


def tokens_of(template: str, style: Style) -> _tokens.Tokens:
    """Return a template of tokens; raises ValueError for what is none."""
    return _tokens.Tokens(template, _tokens.known(_Clock(style.zone), _level_name), style.log)


def event_of(record: Record) -> Event | None:
    """Return the parts of a structured record, None for every other."""
    return record.event


def fields(record: Record) -> dict[str, Any]:
    """Return a record as values for JSON: a structured one as `event`, any other as `data`.

    Bytes that are not UTF-8 are in base64, as `data_base64`.
    """
    values = identity(record)
    event = event_of(record)
    if event is not None:
        values["event"] = {key: value for key, value in event._asdict().items() if value not in (None, {})}
        return values
    data = record.data
    try:
        values["data"] = data.decode("utf-8")
    except UnicodeDecodeError:
        import base64  # only what is no text needs it

        values["data_base64"] = base64.b64encode(data).decode()
    return values


def flat_fields(record: Record, log: str | None) -> dict[str, Any]:
    """Return a record as values for flat JSON: time, level, message, and the fields beside them.

    A field of the name of one of these stands there as `fields.NAME`.  A text that is a JSON object gives its
    own keys.
    """
    values: dict[str, Any] = {"time": _text.iso(record.timestamp)}
    if log is not None:
        values["log"] = log
    event = event_of(record)
    if event is not None:
        parts = {key: value for key, value in event._asdict().items() if value is not None}
        del parts["time"], parts["fields"]
        more: Mapping[str, Any] = event.fields
    else:
        level = _level_name(record.tag)
        parts = {"level" if level else "tag": level or record.tag} if record.tag else {}
        more = _lines.object_in(record.data) or {"message": _decoded(record)}
        parts = {key: value for key, value in parts.items() if key not in more}
    values |= {**parts, "pid": record.pid}
    if record.label is not None:
        values["label"] = record.label
    return values | {f"fields.{key}" if key in values else key: value for key, value in more.items()}


def identity(record: Record) -> dict[str, Any]:
    """Return what every record has as values for JSON: all but what it says."""
    values: dict[str, Any] = {
        "number": record.number,
        "position": record.position,
        "time": _text.iso(record.timestamp),
        "time_ns": record.timestamp,
        "pid": record.pid,
        "tag": record.tag,
    }
    if record.label is not None:
        values["label"] = record.label
    return values


def message(record: Record) -> str:
    """Return the message of a structured record, the text of any other."""
    event = event_of(record)
    return _text.printable(event.message if event else _decoded(record))


def _level_name(tag: int) -> str | None:
    """Return the name of a level that is the tag of a text record; None for any other tag."""
    return _LEVEL_NAMES.get(tag)


def _decoded(record: Record) -> str:
    return record.data.decode("utf-8", "backslashreplace")


class _Clock:
    """Shows times to the microsecond; it formats each second once."""

    def __init__(self, zone: tzinfo | None) -> None:
        self._zone = zone
        self._second = -1
        self._shown = self._offset = ""

    def __call__(self, nanoseconds: int) -> str:
        second, fraction = divmod(nanoseconds, 10**9)
        if second != self._second:
            self._second = second
            shown = _text.moment(second * 10**9, self._zone)
            self._shown, self._offset = shown[:19], shown[19:]
        return f"{self._shown}.{fraction // 1000:06d}{self._offset}"


class _TextFormat:
    """Shows time, label and pid, level or tag if there is one, and the record.

    A structured record has level, logger, message and fields on its first line.  Further lines of the text,
    exception and stack are indented below.  A backslash in a record is not escaped: for the exact bytes there
    are --raw and --json.
    """

    def __init__(self, style: Style) -> None:
        self._clock = _Clock(style.zone)
        self._log = "" if style.log is None else f"{_text.printable(style.log)} "
        self._colour = style.colour

    def __call__(self, record: Record) -> str:
        begin = f"{self._clock(record.timestamp)} {self._log}{producer(record)}"
        event = event_of(record)
        if event is None:
            level = _level_name(record.tag) or (f"#{record.tag}" if record.tag else "")
            first, _, rest = _decoded(record).rstrip("\n").partition("\n")
            level = self._painted(level, record.tag)
            return f"{begin}{level and ' '}{level} {_text.printable(first)}{_indented(rest)}"
        first, _, rest = event.message.rstrip("\n").partition("\n")
        level = self._painted(_text.printable(event.level), record.tag)
        said = _text.printable(f"{event.logger}: {first}")
        fields = "".join([f" {word}" for word in words(event.fields)])
        below = f"{_indented(rest)}{_indented(event.exception)}{_indented(event.stack)}"
        return f"{begin} {level} {said}{fields}{below}"

    def _painted(self, level: str, tag: int) -> str:
        colour = next((colour for least, colour in COLOURS if tag >= least), "") if self._colour else ""
        return f"{colour}{level}{RESET}" if colour and level else level


def producer(record: Record) -> str:
    """Return what tells a record's producer: its label, if it has one, and its pid."""
    return str(record.pid) if record.label is None else f"{_text.printable(record.label)}/{record.pid}"


def _indented(text: str | None) -> str:
    """Return the lines of a text, indented."""
    return "".join([f"\n{INDENT}{_text.printable(line)}" for line in text.split("\n")]) if text else ""


def words(fields: Mapping[str, Any]) -> Iterator[str]:
    """Iterate fields in logfmt: key=value, the value in quotes if it needs them."""
    for key, value in fields.items():
        yield f"{NOT_IN_KEY.sub('_', _text.printable(key)) or '_'}={_word(value)}"


def _word(value: Any) -> str:
    text = value if isinstance(value, str) else _structured.encode_value(value)
    plain = BARE.fullmatch(text) and text.isprintable()
    return text if plain else _text.to_json(text)


class _Logfmt:
    """Shows all parts and fields as key=value, in one line."""

    def __init__(self, log: str | None) -> None:
        self._first = {} if log is None else {"log": log}

    def __call__(self, record: Record) -> str:
        event = event_of(record)
        known: dict[str, Any] = {"time": _text.iso(record.timestamp), **self._first, "pid": record.pid}
        if record.label is not None:
            known["label"] = record.label
        if event is None:
            if record.tag:
                level = _level_name(record.tag)
                known["level" if level else "tag"] = level or record.tag
            known["message"] = _decoded(record)
            return " ".join(words(known))
        parts = event._asdict()
        del parts["time"], parts["fields"]
        known |= {key: value for key, value in parts.items() if value is not None}
        return " ".join([*words(known), *words(event.fields)])


class _Template:
    """A template for Python's % operator, with parts and fields by name; a missing one is empty."""

    def __init__(self, template: str, style: Style) -> None:
        self._template = template
        self._clock = _Clock(style.zone)
        self._log = _text.printable(style.log or "")
        try:
            self(Record(b""))
        except (ValueError, TypeError):
            raise ValueError(f"invalid --format {template!r}: {_advice(template)}") from None

    def __call__(self, record: Record) -> str:
        event = event_of(record)
        values = _Parts({key: _shown(value) for key, value in event.fields.items()} if event else {})
        if event is not None:
            values |= {key: _shown(value) for key, value in event._asdict().items() if value is not None}
            values["fields"] = " ".join(words(event.fields))
        elif level := _level_name(record.tag):
            values["level"] = level
        values |= {"number": record.number, "pid": record.pid, "tag": record.tag}
        values |= {"label": _text.printable(record.label or ""), "log": self._log}
        values |= {"time": self._clock(record.timestamp), "message": message(record)}
        return self._template % values


def _advice(template: str) -> str:
    """Return what to write instead of a template that % refuses."""

    def repair(part: re.Match[str]) -> str:
        try:
            _ = part[0] % _Parts(_NUMBERS)
        except (ValueError, TypeError):
            return f"%({part['name']})s"
        return part[0]

    better = PART.sub(repair, template)
    try:
        _ = better % _Parts(_NUMBERS)
    except (ValueError, TypeError):
        better = template
    return "write %% for a percent sign" if better == template else f"write {better!r}"


def _shown(value: Any) -> str:
    return _text.printable(value if isinstance(value, str) else _structured.encode_value(value))


class _Parts(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return ""
