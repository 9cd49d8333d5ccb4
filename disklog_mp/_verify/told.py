"""What the log's own events say of records that are not there: the other side of the books.

Each page of events begins with the sums of all before it, so the sums stay when the oldest events go.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from disklog_mp._reader.damage import Damage, describe
from disklog_mp._reader.events import TOTALS, EventStream
from disklog_mp.errors import DiskLogError

COUNTED = {"retired": "records", "archived": "records", "dropped": "count"}  # event: what it counts


class Told(NamedTuple):
    """The sums over all events that there ever were."""

    events: int
    retired: int  # records
    archived: int  # records
    dropped: int  # records, refused ones included
    is_whole: bool  # from the log's beginning, and no event was missed
    damage: tuple[str, ...]  # of the events' pages
    torn: tuple[str, ...]  # ends that a crash left


def read_told(path: str) -> Told:
    """Add up the events of the log in a directory."""
    found: list[Damage] = []
    sums: Counter[str] = Counter()
    names: Counter[str] = Counter()
    unreadable: list[str] = []
    try:
        for event in EventStream(path, found.append):
            if event.name == TOTALS:
                names.update(_counts(event.fields.get("events")))
                before = _counts(event.fields.get("sums"))
                sums.update({name: before.get(f"{name} {key}", 0) for name, key in COUNTED.items()})
                continue
            names[event.name] += _count(event.fields.get("events", 1))
            if event.name in COUNTED:
                sums[event.name] += _count(event.fields.get(COUNTED[event.name]))
    except (DiskLogError, OSError) as problem:
        unreadable.append(f"the log's events cannot be read: {problem}")
    return Told(
        names.total(),
        sums["retired"],
        sums["archived"],
        sums["dropped"],
        is_whole=bool(names["opened"]) and not names["events-missed"] and not found and not unreadable,
        damage=(*(f"events, {describe(each)}" for each in found if not each.torn), *unreadable),
        torn=tuple(f"events, {describe(each)}" for each in found if each.torn),
    )


def _count(value: Any) -> int:
    """A count as an event has it; 0 for what is none."""
    return max(0, value) if type(value) is int else 0


def _counts(value: Any) -> dict[str, int]:
    return {str(key): _count(each) for key, each in value.items()} if isinstance(value, dict) else {}
