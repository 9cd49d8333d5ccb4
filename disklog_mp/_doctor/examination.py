"""All looks, one after the other, and what they came to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from disklog_mp._doctor.cgroups import look_at_cgroups
from disklog_mp._doctor.clocks import look_at_clocks
from disklog_mp._doctor.disk import look_at_disk
from disklog_mp._doctor.findings import Finding, Told, Unseen
from disklog_mp._doctor.ipc import look_at_ipc
from disklog_mp._doctor.kernel import look_at_kernel
from disklog_mp._doctor.limits import look_at_limits
from disklog_mp._doctor.mounts import look_at_copies, look_at_mounts
from disklog_mp._doctor.namespaces import look_at_namespaces
from disklog_mp._doctor.rings import look_at_rings
from disklog_mp._doctor.room import look_at_room
from disklog_mp._doctor.subject import Subject, machine, of_log
from disklog_mp._doctor.versions import UPGRADE, look_at_versions
from disklog_mp._verify import places as _places
from disklog_mp.errors import DiskLogError, FormatVersionError

LOOKS: dict[str, Callable[[Subject], Iterator[Told]]] = {
    "shared memory": look_at_room,
    "mounts": look_at_mounts,
    "copy-on-write": look_at_copies,
    "RemoveIPC": look_at_ipc,
    "pid namespaces": look_at_namespaces,
    "cgroups": look_at_cgroups,
    "ulimits": look_at_limits,
    "rings": look_at_rings,
    "clocks": look_at_clocks,
    "kernel": look_at_kernel,
    "versions": look_at_versions,
    "disk": look_at_disk,
}


class Symptom(NamedTuple):
    """A finding of the doctor: the look that found it, what is wrong, and what mends it.

    `fix` is "" for what could not be looked at.
    """

    look: str
    text: str
    fix: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """What `doctor` found on this machine, or of one log."""

    name: str  # of the log, "" without one, or if it is unknown
    path: str
    looks: tuple[str, ...]  # that were made
    findings: tuple[Symptom, ...] = ()
    unseen: tuple[Symptom, ...] = ()  # this user has no right to see these
    troubles: tuple[Symptom, ...] = field(default=())  # looks that failed

    @property
    def exit_code(self) -> int:
        """0 nothing found, 1 findings, 2 a look failed."""
        return 2 if self.troubles else 1 if self.findings else 0

    def to_dict(self) -> dict[str, Any]:
        """Return it as values for JSON."""
        return {
            "name": self.name,
            "path": self.path,
            "looks": list(self.looks),
            "findings": [each._asdict() for each in self.findings],
            "unseen": [{"look": each.look, "text": each.text} for each in self.unseen],
            "troubles": [{"look": each.look, "text": each.text} for each in self.troubles],
        }


def doctor(
    log: str | os.PathLike[str] | None = None, *, ring_dir: str | os.PathLike[str] | None = None
) -> Diagnosis:
    """Look for what keeps a log from working well: on this machine, and of one log, by name or directory.

    It changes nothing, and sees what this user may see.  Raises what stat() raises.
    """
    rings = None if ring_dir is None else os.path.abspath(ring_dir)
    if log is None:
        return examine(machine(rings))
    try:
        place = _places.find(os.fspath(log), rings)
    except FormatVersionError as problem:  # all else about this log is closed to this version
        return examine(machine(rings), Symptom("versions", str(problem), UPGRADE))
    with place as found:
        return examine(of_log(found, rings))


def examine(subject: Subject, *known: Symptom) -> Diagnosis:
    """Make all looks; what is known already is a finding as well."""
    findings = list(known)
    unseen: list[Symptom] = []
    troubles: list[Symptom] = []
    for name, look in LOOKS.items():
        try:
            for told in look(subject):
                if isinstance(told, Finding):
                    findings.append(Symptom(name, told.text, told.fix))
                elif isinstance(told, Unseen):
                    unseen.append(Symptom(name, told.text))
        except (PermissionError, DiskLogError) as problem:
            unseen.append(Symptom(name, str(problem)))
        except OSError as problem:
            where = f"{problem.filename}: " if problem.filename else ""
            troubles.append(Symptom(name, f"{where}{problem.strerror or problem}"))
    return Diagnosis(
        subject.name, subject.path, tuple(LOOKS), tuple(findings), tuple(unseen), tuple(troubles)
    )
