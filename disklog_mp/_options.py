"""The writer's options: their defaults, their limits, and how sizes and durations are spelled."""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypedDict

from disklog_mp._addresses import parse_address
from disklog_mp._core import CAPACITY_MAX, CAPACITY_MIN

SIZE_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
SIZES = ("B", "KiB", "MiB", "GiB", "TiB")
PAGE_MIN = 4096
EVENTS_MIN = 64 << 10
DURATION_UNITS = {  # also in the plural
    **dict.fromkeys(("ms", "msec", "millisecond"), 1e-3),
    **dict.fromkeys(("", "s", "sec", "second"), 1.0),
    **dict.fromkeys(("m", "min", "minute"), 60.0),
    **dict.fromkeys(("h", "hr", "hour"), 3600.0),
    **dict.fromkeys(("d", "day"), 86400.0),
    **dict.fromkeys(("w", "week"), 604800.0),
}
DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
HOURLY = "hourly"
TIME_OF_DAY = re.compile(r"\s*([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?\s*", re.ASCII)
MOST_TIMES = 96  # of a day
NO_LIMIT = ("none", "never", "off", "")  # an option that may be None is set to it in text by one of these


def parse_size(value: int | str, what: str = "size") -> int:
    """Return a number of bytes: 4096, "64M", "64MB", "1.5 GiB" (powers of 1024 all of them).

    Raises ValueError for anything else, TypeError for other types.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"{what} is a number of bytes, not {value!r}")
    if isinstance(value, int):
        size = value
    else:
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b|bytes?)?\s*", value, re.I)
        if match is None:
            raise ValueError(f"{what}={value!r} is not a size: write 4096, 64k, 16M or 1GiB")
        unit = SIZE_UNITS[match[2].lower()]
        size = int(float(match[1]) * unit) if "." in match[1] else int(match[1]) * unit
    if size < 0:
        raise ValueError(f"{what}={value!r} is negative")
    return size


def parse_duration(value: float | str, what: str = "duration") -> float:
    """Return seconds: 1.5, "1.5s", "200ms", "10min", "2 h", "7 days", "1h 30m".

    Raises ValueError for anything else, TypeError for other types.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError(f"{what} is a duration in seconds, not {value!r}")
    if isinstance(value, str):
        seconds = _seconds(value)
        if seconds is None:
            raise ValueError(f"{what}={value!r} is not a duration: write 1.5s, 200ms, 10min, 2h or 7d")
        return seconds
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{what}={value!r} is not a duration")
    return float(value)


def _seconds(text: str) -> float | None:
    """Return the sum of all numbers with their units; None if the text is anything else."""
    parts = DURATION.findall(text)
    if not parts or DURATION.sub("", text) or (len(parts) > 1 and any(not unit for _, unit in parts)):
        return None
    seconds = 0.0
    for number, unit in parts:
        word = unit.lower() if len(unit) > 1 else unit  # "64M" is a size, not 64 minutes
        each = DURATION_UNITS.get(word, DURATION_UNITS.get(word.removesuffix("s")))
        if each is None:
            return None
        seconds += float(number) * each
    return seconds


def size_text(number: float) -> str:
    """Return a number of bytes as people read it: 1.5 MiB."""
    unit = 0
    while number >= 1024 and unit < len(SIZES) - 1:
        number /= 1024
        unit += 1
    digits = 0 if unit == 0 or number >= 100 or number == int(number) else 1
    return f"{number:.{digits}f} {SIZES[unit]}"


def shown(option: str, value: object) -> str:
    """Return an option's value as people write it: a mode in octal, sizes and durations with their units."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return repr(value)
    if option == "mode":
        return f"{value:#o}"
    if option.endswith("_bytes"):
        return size_text(value)
    return f"{value:g} s" if CHECKS.get(option) is parse_duration else repr(value)


def contradiction(current: Mapping[str, object], given: Mapping[str, object]) -> str:
    """Return what is in force and what was given instead: keep_bytes=2 GiB, not 10 MiB; ..."""
    return "; ".join(f"{name}={shown(name, current[name])}, not {shown(name, given[name])}" for name in given)


def assignments(given: Mapping[str, object]) -> str:
    """Return options as `disklog-mp set` takes them: keep_bytes=10MiB sync=page."""
    return " ".join(f"{name}={_as_text(name, value)}" for name, value in given.items())


def _as_text(option: str, value: object) -> str:
    if value is None:
        return "none"
    if not isinstance(value, (int, float)):
        return str(value)
    text = shown(option, value).replace(" ", "")
    is_exact = option in CHECKS and CHECKS[option](text, option) == value
    return text if is_exact else str(value)


class Changes(TypedDict, total=False):
    """The options of a log's writer as keywords; for configure() None takes a limit back."""

    page_records: int | str | None
    page_bytes: int | str | None
    page_age: float | str | None
    page_at: str | None
    page_tz: str | None
    ring_bytes: int | str | None
    keep_pages: int | str | None
    keep_bytes: int | str | None
    keep_age: float | str | None
    max_bytes: int | str | None
    sync: float | str | None
    mode: int | str | None
    group: str | int | None
    linger: float | str | None
    kill_stalled: float | str | None
    event_bytes: int | str | None
    metrics: str | None


class LogOptions(Changes, total=False):
    """The options of open() as keywords of a function that hands them on; None: left out."""

    ring_dir: str | None
    label: str | None
    strict: bool


class Options(NamedTuple):
    """The options of a writer.  Sizes are in bytes, times in seconds; None means no limit."""

    page_records: int | None = None
    page_bytes: int = 64 << 20
    page_age: float | None = None
    page_at: str | None = None
    page_tz: str | None = None
    ring_bytes: int = 16 << 20
    keep_pages: int | None = None
    keep_bytes: int | None = None
    keep_age: float | None = None
    max_bytes: int | None = None
    sync: str = "1s"
    mode: int = 0o600
    group: str | int | None = None
    linger: float | None = 10.0
    kill_stalled: float | None = None
    event_bytes: int = 4 << 20
    metrics: str | None = None

    def to_json(self) -> bytes:
        """Return them as JSON, as they stand in the ring."""
        return json.dumps(self._asdict(), separators=(",", ":")).encode()


def _count(value: Any, what: str) -> int:
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value)  # as it is in text
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} is a whole number, not {value!r}")
    if value < 1:
        raise ValueError(f"{what}={value!r} must be at least 1")
    return value


def _ring_bytes(value: Any, what: str) -> int:
    size = parse_size(value, what)
    if not CAPACITY_MIN <= size <= CAPACITY_MAX:
        raise ValueError(f"{what}={value!r} must be {size_text(CAPACITY_MIN)} to {size_text(CAPACITY_MAX)}")
    return 1 << (size - 1).bit_length()


def _page_bytes(value: Any, what: str) -> int:
    size = parse_size(value, what)
    if size < PAGE_MIN:
        raise ValueError(f"{what}={value!r} must be at least {size_text(PAGE_MIN)}")
    return size


def _page_at(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f'{what} is "hourly" or times of the day such as "00:00", not {value!r}')
    if value.strip().lower() == HOURLY:
        return HOURLY
    words = "00:00" if value.strip().lower() == "midnight" else value
    times = {_time_of_day(word) for word in words.split(",")}
    if "" in times or len(times) > MOST_TIMES:
        raise ValueError(
            f'{what}={value!r} must be "hourly", or up to {MOST_TIMES} times of the day from 00:00 to '
            '23:59, such as "00:00" or "06:00,18:00"'
        )
    return ",".join(sorted(times))


def _time_of_day(word: str) -> str:
    """Return a time of the day as HH:MM or HH:MM:SS, "" if it is none."""
    match = TIME_OF_DAY.fullmatch(word)
    if match is None:
        return ""
    hours, minutes, seconds = match.groups()
    return f"{int(hours):02}:{minutes}" + (f":{seconds}" if seconds not in (None, "00") else "")


def _page_tz(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f'{what} is the name of a time zone such as "Europe/Berlin", not {value!r}')
    from zoneinfo import ZoneInfo  # not at the top: few logs need it

    try:
        return ZoneInfo(value.strip()).key
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f'{what}={value!r} is not a time zone that this machine knows, such as "Europe/Berlin"'
        ) from None


def _event_bytes(value: Any, what: str) -> int:
    size = parse_size(value, what)
    if 0 < size < EVENTS_MIN or size > CAPACITY_MAX:
        raise ValueError(f"{what}={value!r} must be 0 (no events) or at least {size_text(EVENTS_MIN)}")
    return size


def _sync(value: Any, what: str) -> str:
    if value in ("always", "page", "never"):
        return str(value)
    try:
        return f"{parse_duration(value, what):g}s"  # "1000ms" is "1s", and contradicts no log that has it
    except ValueError:
        raise ValueError(
            f'{what}={value!r} is not "always", "page", "never" or a duration such as "1s"'
        ) from None


def _mode(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"{what} is a file mode such as 0o660, not {value!r}")
    mode = _octal(value, what) if isinstance(value, str) else value
    if mode & ~0o666 or mode & 0o600 != 0o600:
        raise ValueError(f"{what}={mode:#o} must let the owner read and write, and no user execute")
    return mode


def _octal(text: str, what: str) -> int:
    match = re.fullmatch(r"\s*(?:0o)?([0-7]{1,6})\s*", text)
    if match is None:
        raise ValueError(f"{what}={text!r} is not a file mode: write 0600 or 0660")
    return int(match[1], 8)


def _group(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"{what} is a group's name or id, not {value!r}")
    return group_id(value)


CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "page_records": _count,
    "page_bytes": _page_bytes,
    "page_age": parse_duration,
    "page_at": _page_at,
    "page_tz": _page_tz,
    "ring_bytes": _ring_bytes,
    "keep_pages": _count,
    "keep_bytes": parse_size,
    "keep_age": parse_duration,
    "max_bytes": parse_size,
    "sync": _sync,
    "mode": _mode,
    "group": _group,
    "linger": parse_duration,
    "kill_stalled": parse_duration,
    "event_bytes": _event_bytes,
    "metrics": lambda value, what: str(parse_address(value, what)),
}


COMMON_WORDS = {  # for options, in other logs
    "retention": "keep_age",
    "max_age": "keep_age",
    "max_size": "max_bytes",
    "rotation": "page_bytes",
    "when": "page_at",
    "at_time": "page_at",
    "timezone": "page_tz",
    "fsync": "sync",
}


def check(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given (not None), each checked and in its plain unit.

    Raises TypeError or ValueError that names the option, the value and what is allowed.
    """
    check_names(given)
    return {name: CHECKS[name](value, name) for name, value in given.items() if value is not None}


MAY_BE_NONE = frozenset(
    {
        "page_records",
        "page_age",
        "page_at",
        "page_tz",
        "keep_pages",
        "keep_bytes",
        "keep_age",
        "max_bytes",
        "linger",
        "kill_stalled",
        "metrics",
    }
)


def check_changes(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return options that are to change, each checked and in its plain unit; None, "none": without a limit.

    Raises what check() raises.
    """
    check_names(given)
    changes: dict[str, Any] = {}
    for name, value in given.items():
        is_none = value is None or (isinstance(value, str) and value.strip().lower() in NO_LIMIT)
        if is_none and name in MAY_BE_NONE:
            changes[name] = None
        else:
            changes[name] = CHECKS[name](value, name)
    return changes


def check_limits(keep: Mapping[str, Any]) -> dict[str, Any]:
    """Return what prune() is to keep (pages, bytes, age), in plain units.  Raises ValueError, TypeError."""
    given = {name: CHECKS[f"keep_{name}"](value, name) for name, value in keep.items() if value is not None}
    if not given:
        raise ValueError("prune needs a limit: pages, bytes or age")
    return given


def check_names(given: Iterable[str]) -> None:
    """Raise TypeError for names that are no options, with those that were probably meant."""
    unknown = set(given) - set(CHECKS)
    if unknown:
        raise TypeError(f"no such option: {', '.join(map(_with_hint, sorted(unknown)))}")


def _with_hint(name: str) -> str:
    from difflib import get_close_matches

    meant = COMMON_WORDS.get(name) or next(iter(get_close_matches(name, CHECKS, n=1)), None)
    return f"{name}; did you mean {meant}?" if meant else name


def group_id(group: str | int | None) -> int:
    """Return the id of a group given by name or number, -1 for None.

    Raises ValueError for a group this machine does not know.
    """
    if group is None:
        return -1
    if isinstance(group, int):
        return group
    if group.isascii() and group.isdigit():
        return int(group)
    import grp

    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ValueError(f"group={group!r} is not a group on this machine") from None
