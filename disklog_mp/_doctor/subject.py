"""What is looked at: one log, or this machine as a place for logs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from disklog_mp import _core
from disklog_mp._core import CAPACITY_MAX, CAPACITY_MIN, Slot
from disklog_mp._options import Options
from disklog_mp._os import processes as _processes
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring.names import SHM
from disklog_mp._verify import survey as _survey
from disklog_mp._verify.places import Found

# The options that looks ask for.
NUMBERS = {"page_bytes", "ring_bytes", "keep_pages", "keep_bytes", "keep_age", "max_bytes", "kill_stalled"}
TIMES = {"keep_age", "kill_stalled"}
MOST = 1 << 62


@dataclass(frozen=True)
class Subject:
    """A log with its processes; without one, the place where rings are, and the default options."""

    ring_dir: str = SHM
    path: str = ""  # of the log
    name: str = ""
    file: _ring.RingFile | None = None
    options: Options = field(default_factory=Options)
    writer: int = 0  # its pid, as this process sees it; 0: none alive, or in another pid namespace
    producers: tuple[Slot, ...] = ()
    problem: str = ""  # the reason for which its ring cannot be read

    @property
    def is_log(self) -> bool:
        """True if one log is looked at."""
        return bool(self.path)

    @property
    def ring_size(self) -> int:
        """Bytes of its ring, or of the ring that it would get."""
        return _core.ring_size(self.options.ring_bytes)

    def processes(self) -> dict[int, str]:
        """The processes that can be looked at by pid: this one, the writer, and those that are attached."""
        here = _processes.identity().namespace
        attached = {slot.pid: f"process {slot.pid}" for slot in self.producers if slot.namespace == here}
        writer = {self.writer: f"the writer, process {self.writer},"} if self.writer else {}
        return {**attached, **writer, os.getpid(): "this process"}


def machine(ring_dir: str | None) -> Subject:
    """Return this machine, without a log."""
    return Subject(ring_dir or SHM)


def of_log(found: Found, ring_dir: str | None) -> Subject:
    """Return a log that was found."""
    identity = _survey.identity_of(found.path)
    where = ring_dir or (identity.ring_dir if identity is not None else "") or SHM
    options = _options({} if identity is None else identity.options)
    writer, producers = 0, list[Slot]()
    if found.file is not None:
        ring = found.file.ring
        is_seen = ring.writer_namespace == _processes.identity().namespace
        writer = ring.writer_pid if is_seen and _liveness.writer_alive(found.file) else 0
        producers = _liveness.living_producers(found.file)
    return Subject(
        where, found.path, found.name, found.file, options, writer, tuple(producers), found.problem
    )


def _options(told: dict[str, Any]) -> Options:
    """Return the options that a log's file names, with the defaults for those that are of no use here."""
    given = {name: told[name] for name in NUMBERS & told.keys()}
    return Options()._replace(**{name: value for name, value in given.items() if _is_sound(name, value)})


def _is_sound(name: str, value: Any) -> bool:
    """True if that may be the value of the option; the file may be damaged."""
    kinds = (int, float) if name in TIMES else int
    if name == "ring_bytes" and not CAPACITY_MIN <= (value if type(value) is int else 0) <= CAPACITY_MAX:
        return False
    return isinstance(value, kinds) and not isinstance(value, bool) and 0 < value < MOST
