"""Points in time and time zones as they are written on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

import click

SPAN = re.compile(r"([+-]?)((?:\d+(?:\.\d+)?\s*[a-z]+\s*)+?)(\s+ago)?")
PART_OF_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
UNITS = {
    "us": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "sec": 10**9,
    "second": 10**9,
    "m": 60 * 10**9,
    "min": 60 * 10**9,
    "minute": 60 * 10**9,
    "h": 3600 * 10**9,
    "hr": 3600 * 10**9,
    "hour": 3600 * 10**9,
    "d": 86400 * 10**9,
    "day": 86400 * 10**9,
    "w": 7 * 86400 * 10**9,
    "week": 7 * 86400 * 10**9,
}
CLOCK = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?")
DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}
FRACTION = re.compile(r"[.,](\d+)")
OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})")


def parse(text: str, now: datetime) -> int:
    """Return ns since the epoch; times without a zone are of the zone of `now`, which is the present.

    `now` without a zone: local times.  Raises ValueError for any other text.
    """
    word = text.strip().lower()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if word == "now":
        return _nanoseconds(now)
    if word in DAYS:
        return _nanoseconds(midnight + timedelta(days=DAYS[word]))
    if word.startswith("@"):
        seconds, _, fraction = word[1:].partition(".")
        return int(seconds) * 10**9 + int(fraction.ljust(9, "0")[:9] or 0)
    if span := SPAN.fullmatch(word):
        length = sum(_length(*part) for part in PART_OF_SPAN.findall(span[2]))
        return _nanoseconds(now) + (length if span[1] == "+" else -length)
    if CLOCK.fullmatch(word):
        return _nanoseconds(midnight.replace(**_parts(word)))
    return _iso(text.strip(), now.tzinfo)


def _length(number: str, unit: str) -> int:
    """The length of `1.5 hours` in ns."""
    nanoseconds = UNITS.get(unit) or UNITS.get(unit.removesuffix("s"))
    if nanoseconds is None:
        raise ValueError(unit)
    return int(float(number) * nanoseconds)


def _parts(clock: str) -> dict[str, Any]:
    """`8:05` as what datetime.replace() takes."""
    return dict(zip(("hour", "minute", "second"), map(int, clock.split(":")), strict=False))


def _iso(text: str, zone: tzinfo | None) -> int:
    """ISO 8601, to the nanosecond, which datetime does not keep."""
    fraction = FRACTION.search(text)
    whole = text if fraction is None else text[: fraction.start()] + text[fraction.end() :]
    when = datetime.fromisoformat(whole)
    second = _nanoseconds(when if when.tzinfo else when.replace(tzinfo=zone))
    return second if fraction is None else second + int(fraction[1].ljust(9, "0")[:9])


def _nanoseconds(when: datetime) -> int:
    second = int(when.replace(microsecond=0).timestamp())
    return second * 10**9 + when.microsecond * 1000


def parse_zone(text: str) -> tzinfo:
    """Return the zone of a name such as Europe/Berlin, or of an offset such as +02:00; raises ValueError."""
    if text.upper() in ("UTC", "Z"):
        return UTC
    if offset := OFFSET.fullmatch(text):
        shift = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
        return timezone(-shift if offset[1] == "-" else shift)
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # only those need it

    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, OSError):  # a directory of zones is no zone
        raise ValueError(text) from None


def to_zone(ctx: click.Context, param: click.Parameter, value: str | None) -> tzinfo | None:
    """Take a time zone from the command line; a callback for click."""
    if value is None:
        return None
    try:
        return parse_zone(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is not a time zone: write Europe/Berlin, UTC or +02:00"
        ) from None


def zone_of(params: dict[str, Any]) -> tzinfo | None:
    """Return the zone that the options --utc and --tz ask for; None: the local one.

    Raises UsageError if both are given.
    """
    if params.get("utc") and params.get("tz"):
        raise click.UsageError("--utc and --tz exclude each other")
    return UTC if params.get("utc") else params.get("tz")


# Taken from the command line before the times that are of that zone.
utc_option = click.option("--utc", is_flag=True, is_eager=True, help="Times in UTC, not in local time.")
tz_option = click.option(
    "--tz",
    metavar="ZONE",
    is_eager=True,
    callback=to_zone,
    help="Times in that zone: Europe/Berlin, +02:00; also those of --since and --until.",
)


def to_moment(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Take a point in time from the command line; a callback for click."""
    if value is None:
        return None
    try:
        return parse(value, datetime.now(zone_of(ctx.params)))
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is not a time: write 2026-01-31T23:59:59, 23:59, today, yesterday, 5m or -1h "
            f"(ago), or @seconds-since-1970"
        ) from None
