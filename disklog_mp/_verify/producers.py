"""The processes attached to a ring, with their command lines and whether they are alive."""

from __future__ import annotations

from typing import Any

from disklog_mp import _core
from disklog_mp._os import processes as _processes
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring import slots as _slots
from disklog_mp._ring.labels import wanted_label


def describe(file: _ring.RingFile) -> list[dict[str, Any]]:
    """Return one entry for each attached process; `command` is None if it cannot be seen from here."""
    who = _processes.identity()
    witnesses = _liveness.Witnesses(file, who)
    here = who.namespace
    try:
        return [
            {
                "pid": slot.pid,
                "command": _command(slot) if slot.namespace == here else None,
                "alive": not witnesses.is_dead(slot),
                "logged": slot.logged,
                "dropped": slot.dropped,
                "waited": slot.waited,
                "since": slot.since,
                "label": wanted_label(file.ring, slot.index),
            }
            for slot in _slots.read_slots(file.ring, _core.SLOT_ATTACHED)
        ]
    finally:
        witnesses.close()


def _command(slot: _core.Slot) -> str | None:
    import psutil  # only stat needs it

    if not _processes.may_have_started(slot.pid, slot.start):
        return None  # the pid is another's by now
    try:
        return " ".join(psutil.Process(slot.pid).cmdline()) or None
    except psutil.Error:
        return None
