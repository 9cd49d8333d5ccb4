"""disklog-mp events: what happened to a log itself."""

from __future__ import annotations

import sys
from datetime import tzinfo
from typing import Any

import click

from disklog_mp._reader.damage import Damage, describe
from disklog_mp._reader.events import LogEvent
from disklog_mp._reader.reader import Reader
from disklog_mp.cli import _find as _logs
from disklog_mp.cli import _text
from disklog_mp.cli._complete import complete_logs

TIMES = ("from", "to", "until", "since", "last_time")  # fields that are ns since the epoch, but for
OPTION = "configured"  # where they are values of an option


@click.command()
@click.argument("log", shell_complete=complete_logs)
@click.option("-f", "--follow", is_flag=True, help="Wait for new events.")
@_logs.json_option
@_logs.ring_dir_option
def events(log: str, follow: bool, as_json: bool, ring_dir: str | None) -> int:
    """Print what happened to LOG itself.

    Writers that came and went, pages, producers, errors, drops, options that changed.

    A line has local time, position in the log, the event and what belongs to it.  No writer is needed.  The
    oldest events go when there is no more room for them; then the first line has the totals of all before.
    Exit code 1 if damaged events were skipped.
    """
    damaged: list[Damage] = []

    def on_damage(damage: Damage) -> None:
        damaged.append(damage)
        _text.say(describe(damage))

    reader = Reader(_logs.directory_of(log, ring_dir), on_damage=on_damage)
    show = to_json if as_json else to_line
    for event in reader.events(follow):
        sys.stdout.write(f"{show(event)}\n")
        if follow:
            sys.stdout.flush()
    sys.stdout.flush()
    return 1 if damaged else 0


def to_json(event: LogEvent) -> str:
    """Return an event as an object in one line."""
    return _text.to_json(to_values(event))


def to_values(event: LogEvent) -> dict[str, Any]:
    """Return an event as values for JSON."""
    values = {"event": event.name, "time": _iso(event.time), "time_ns": event.time}
    return {**values, "position": event.position, **event.fields}


def to_line(event: LogEvent, zone: tzinfo | None = None) -> str:
    """Return an event as a line for people; `zone` None: in local time."""
    times = () if event.name == OPTION else TIMES
    fields = " ".join(f"{key}={_shown(value, key in times, zone)}" for key, value in event.fields.items())
    return _text.printable(f"{_when(event.time, zone)} {event.position} {event.name} {fields}".rstrip())


def _iso(nanoseconds: int) -> str | None:
    try:
        return _text.iso(nanoseconds)
    except (OverflowError, ValueError, OSError):  # no clock said that
        return None


def _when(nanoseconds: int, zone: tzinfo | None) -> str:
    try:
        return _text.moment(nanoseconds, zone)
    except (OverflowError, ValueError, OSError):
        return f"@{nanoseconds}"


def _shown(value: Any, is_time: bool, zone: tzinfo | None) -> str:
    if is_time and isinstance(value, int):
        return _when(value, zone).replace(" ", "T")
    if isinstance(value, str) and value.isprintable() and not set(value) & set(' "=') and value:
        return value
    return _text.to_json(value)
