"""The writer's options: their defaults, their limits, and how sizes and durations are spelled."""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from disklog_mp._core import CAPACITY_MAX, CAPACITY_MIN

SIZE_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
SIZES = ("B", "KiB", "MiB", "GiB", "TiB")
PAGE_MIN = 4096
DURATION_UNITS = {"ms": 1e-3, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(value: int | str, what: str = "size") -> int:
    """Return a number of bytes: 4096, "64M", "64 MiB" (powers of 1024).

    Raises ValueError for anything else, TypeError for other types.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"{what} is a number of bytes, not {value!r}")
    if isinstance(value, int):
        size = value
    else:
        match = re.fullmatch(r"\s*(\d+)\s*([kmgt]?)(?:i?b)?\s*", value, re.IGNORECASE)
        if match is None:
            raise ValueError(f"{what}={value!r} is not a size: write 4096, 64k, 16M or 1GiB")
        size = int(match[1]) * SIZE_UNITS[match[2].lower()]
    if size < 0:
        raise ValueError(f"{what}={value!r} is negative")
    return size


def parse_duration(value: float | str, what: str = "duration") -> float:
    """Return seconds: 1.5, "1.5s", "200ms", "10min", "2h", "7d".

    Raises ValueError for anything else, TypeError for other types.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError(f"{what} is a duration in seconds, not {value!r}")
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d|)\s*", value)
        if match is None:
            raise ValueError(f"{what}={value!r} is not a duration: write 1.5s, 200ms, 10min, 2h or 7d")
        return float(match[1]) * DURATION_UNITS[match[2]]
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{what}={value!r} is not a duration")
    return float(value)


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


class Options(NamedTuple):
    """The options of a writer.  Sizes are in bytes, times in seconds; None means no limit."""

    page_records: int | None = None
    page_bytes: int = 64 << 20
    page_age: float | None = None
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

    def to_json(self) -> bytes:
        """Return them as JSON, as they stand in the ring."""
        return json.dumps(self._asdict(), separators=(",", ":")).encode()


def _count(value: Any, what: str) -> int:
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
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} is a file mode such as 0o660, not {value!r}")
    if value & ~0o666 or value & 0o600 != 0o600:
        raise ValueError(f"{what}={value:#o} must let the owner read and write, and no user execute")
    return value


def _group(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"{what} is a group's name or id, not {value!r}")
    return group_id(value)


CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "page_records": _count,
    "page_bytes": _page_bytes,
    "page_age": parse_duration,
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
}


COMMON_WORDS = {  # for options, in other logs
    "retention": "keep_age",
    "max_age": "keep_age",
    "max_size": "max_bytes",
    "rotation": "page_bytes",
    "fsync": "sync",
}


def check(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given (not None), each checked and in its plain unit.

    Raises TypeError or ValueError that names the option, the value and what is allowed.
    """
    check_names(given)
    return {name: CHECKS[name](value, name) for name, value in given.items() if value is not None}


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
    import grp

    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ValueError(f"group={group!r} is not a group on this machine") from None
