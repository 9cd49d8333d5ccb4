"""The processes that log, between two looks at a ring: how fast each is, and its command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from disklog_mp import _core
from disklog_mp._os import processes as _processes
from disklog_mp._ring import file as _ring
from disklog_mp._ring import slots as _slots
from disklog_mp._ring.stats import ProducerStats

Key = tuple[int, int]  # pid, and since when it is attached: a slot is used again, and so is a pid
UNKNOWN = "?"  # a command that cannot be seen from here


@dataclass(frozen=True)
class Producer:
    """An attached process.  Rates are those between the last two looks, a second."""

    pid: int
    since: int  # ns since the epoch
    label: str
    logged: int
    dropped: int
    waited: int
    rate: float
    dropping: float
    command: str

    @property
    def key(self) -> Key:
        """What tells it from the others."""
        return self.pid, self.since


def between(
    before: dict[Key, Producer],
    now: tuple[ProducerStats, ...],
    seconds: float,
    command_of: Callable[[Key], str],
) -> dict[Key, Producer]:
    """Return the producers of a look; `before` are those of the look so many seconds before."""
    found = {}
    for each in now:
        key = each.pid, each.since
        logged, dropped = (before[key].logged, before[key].dropped) if key in before else (0, 0)
        is_new = key not in before and not before
        rate, dropping = (
            0.0 if is_new or seconds <= 0 else max(0, count) / seconds
            for count in (each.logged - logged, each.dropped - dropped)
        )
        found[key] = Producer(
            each.pid,
            each.since,
            each.label,
            each.logged,
            each.dropped,
            each.waited,
            rate,
            dropping,
            command_of(key),
        )
    return found


def commands(file: _ring.RingFile, known: dict[Key, str]) -> dict[Key, str]:
    """Return the command lines of the attached processes, of those that are not known yet by a look.

    The kernel may make that look wait for the process.
    """
    here = _processes.identity().namespace
    found = {}
    for slot in _slots.read_slots(file.ring, _core.SLOT_ATTACHED):
        key = slot.pid, slot.since
        is_visible = slot.namespace == here
        found[key] = known.get(key) or (_command(slot.pid, slot.start) if is_visible else UNKNOWN)
    return found


def _command(pid: int, start: int) -> str:
    import psutil  # only looking at a command line needs it

    if not _processes.may_have_started(pid, start):
        return UNKNOWN  # the pid is another's by now
    try:
        return " ".join(psutil.Process(pid).cmdline()) or UNKNOWN
    except psutil.Error:
        return UNKNOWN


ORDERS: dict[str, Callable[[Producer], tuple[float, str]]] = {
    "rate": lambda each: (-each.rate, each.label),
    "dropped": lambda each: (-each.dropped, each.label),
    "waited": lambda each: (-each.waited, each.label),
    "logged": lambda each: (-each.logged, each.label),
    "pid": lambda each: (each.pid, each.label),
    "label": lambda each: (0, each.label),
    "command": lambda each: (0, each.command),
}


def ordered(producers: dict[Key, Producer], order: str, wanted: str) -> list[Producer]:
    """Return the producers in that order whose label, command or pid holds the text."""
    text = wanted.lower()
    fit = (each for each in producers.values() if text in f"{each.pid} {each.label} {each.command}".lower())
    return sorted(fit, key=lambda each: (ORDERS[order](each), each.key))
