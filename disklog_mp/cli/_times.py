"""Points in time as they are written on the command line."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import click

AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s+ago")
UNITS = {
    "ms": 10**6,
    "s": 10**9,
    "sec": 10**9,
    "second": 10**9,
    "m": 60 * 10**9,
    "min": 60 * 10**9,
    "minute": 60 * 10**9,
    "h": 3600 * 10**9,
    "hour": 3600 * 10**9,
    "d": 86400 * 10**9,
    "day": 86400 * 10**9,
    "w": 7 * 86400 * 10**9,
    "week": 7 * 86400 * 10**9,
}
CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?")
FRACTION = re.compile(r"[.,](\d+)")


def parse(text: str, now: datetime) -> int:
    """Return ns since the epoch; times without a zone are local.

    `now` is the present, without a zone.  Raises ValueError for any other text.
    """
    word = text.strip().lower()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if word == "now":
        return _nanoseconds(now)
    if word in ("today", "yesterday"):
        return _nanoseconds(midnight - timedelta(days=word == "yesterday"))
    if word.startswith("@"):
        seconds, _, fraction = word[1:].partition(".")
        return int(seconds) * 10**9 + int(fraction.ljust(9, "0")[:9] or 0)
    if ago := AGO.fullmatch(word):
        unit = UNITS.get(ago[2]) or UNITS.get(ago[2].removesuffix("s"))
        if unit is None:
            raise ValueError(text)
        return _nanoseconds(now) - int(float(ago[1]) * unit)
    if CLOCK.fullmatch(word):
        return _nanoseconds(datetime.combine(midnight, datetime.strptime(_padded(word), "%H:%M:%S").time()))
    return _iso(text.strip())


def _padded(clock: str) -> str:
    return clock if clock.count(":") == 2 else clock + ":00"


def _iso(text: str) -> int:
    """ISO 8601, to the nanosecond, which datetime does not keep."""
    fraction = FRACTION.search(text)
    if fraction is None:
        return _nanoseconds(datetime.fromisoformat(text))
    whole = text[: fraction.start()] + text[fraction.end() :]
    return _nanoseconds(datetime.fromisoformat(whole)) + int(fraction[1].ljust(9, "0")[:9])


def _nanoseconds(when: datetime) -> int:
    second = int(when.replace(microsecond=0).timestamp())
    return second * 10**9 + when.microsecond * 1000


def to_moment(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Take a point in time from the command line; a callback for click."""
    if value is None:
        return None
    try:
        return parse(value, datetime.now())
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is not a time: write 2026-01-31T23:59:59, 23:59, today, yesterday, "
            f"'10 min ago' or @seconds-since-1970"
        ) from None
