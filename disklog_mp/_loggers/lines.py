"""Lines of other programs as records: level and time are taken from a line that is a JSON object.  No I/O."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from disklog_mp._loggers import structured as _structured

if TYPE_CHECKING:
    from disklog_mp._session.session import Session

LEVEL_KEYS = ("level", "severity", "levelname", "log.level", "lvl", "levelno")
TIME_KEYS = ("time", "timestamp", "ts", "@timestamp", "asctime")
OF_OTHERS = {
    "TRACE": 5,
    "VERBOSE": 5,
    "NOTICE": 25,
    "ERR": 40,
    "CRIT": 50,
    "ALERT": 50,
    "EMERG": 50,
    "PANIC": 50,
}
LEVELS = {**OF_OTHERS, **_structured.LEVELS}
# Numbers up to the first are seconds, up to the second milliseconds, then microseconds: years 1973 to 5138.
SCALES = ((1e11, 10**9), (1e14, 10**6), (1e17, 10**3), (1e20, 1))
LATEST = 1 << 63  # ns since the epoch


class Origin(NamedTuple):
    """What a line says of itself; 0 for what it does not."""

    level: int
    time: int  # ns since the epoch


def origin_of(line: bytes) -> Origin | None:
    """Return level and time of a line that is a JSON object and says either, None for any other."""
    found = object_in(line)
    if found is None:
        return None
    level = next((level for key in LEVEL_KEYS if (level := _level(found.get(key)))), 0)
    time = next((time for key in TIME_KEYS if (time := _time(found.get(key)))), 0)
    return Origin(level, time) if level or time else None


def object_in(text: bytes) -> dict[str, Any] | None:
    """Return the object that a text is in JSON, None for any other text."""
    if text.lstrip()[:1] != b"{":
        return None
    try:
        found: dict[str, Any] = json.loads(text)  # after a brace there is nothing else in JSON
    except (ValueError, RecursionError):
        return None
    return found


def log_line(session: Session, line: bytes, origin: Origin, tag: int = 0) -> int:
    """Log a line as of its own time, with its level as the tag unless one is given.  Raises as log() does."""
    return log_of(session, 0, line, tag or origin.level, origin.time)


def log_of(session: Session, pid: int, data: bytes, tag: int = 0, time: int = 0) -> int:
    """Log a record of another process (0: this one), of another time (0: now).  Raises as log() does."""
    from disklog_mp._session.session import connection_of

    return connection_of(session).log_for(pid, data, tag, time)


def _level(value: Any) -> int:
    if isinstance(value, str):
        return int(value) if value.isdecimal() and len(value) < 5 else LEVELS.get(value.upper(), 0)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return int(value) if is_number and 0 < value <= 0xFFFF else 0


def _time(value: Any) -> int:
    if isinstance(value, bool):
        return 0
    if isinstance(value, (int, float)):
        scale = next((scale for most, scale in SCALES if 0 < value < most), 0)
        time = round(value * scale)
    elif isinstance(value, str):
        try:
            time = round(datetime.fromisoformat(value).timestamp() * 10**6) * 1000
        except (ValueError, OverflowError, OSError):
            return 0
    else:
        return 0
    return time if 0 < time < LATEST else 0
