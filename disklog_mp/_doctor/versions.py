"""The versions of the package that processes run, and of the formats that they left on disk and in memory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from disklog_mp import _core
from disklog_mp._core import PAGE_LABELLED
from disklog_mp._doctor.findings import Finding, Told, Unseen
from disklog_mp._doctor.subject import Subject
from disklog_mp._pages.directory import Directory
from disklog_mp._verify import survey as _survey
from disklog_mp._verify.words import plural

CORE = os.path.basename(_core.__file__)
DELETED = " (deleted)"
DISTRIBUTION = re.compile(r"disklog_mp-([^-]+)\.dist-info")
UPGRADE = "`pip install --upgrade disklog-mp` in this environment"


class Package(NamedTuple):
    """The package that a process runs."""

    path: str  # of its folder
    version: str  # "" if that cannot be seen
    is_replaced: bool  # another one has come in its place since the process started


def look_at_versions(subject: Subject) -> Iterator[Told]:
    """Packages of the processes of a log, versions of its formats."""
    if not subject.is_log:
        return
    yield from _look_at_formats(subject)
    packages: dict[int, Package] = {}
    unseen = []
    for pid in subject.processes():
        try:
            package = package_of(pid)
        except OSError:
            unseen.append(pid)
            continue
        if package is not None:
            packages[pid] = package
    if unseen:
        pids = ", ".join(map(str, unseen))
        yield Unseen(f"the packages of {plural(len(unseen), 'process')} of another user, or gone: {pids}")
    yield from _look_at_packages(subject, packages)


def _look_at_packages(subject: Subject, packages: dict[int, Package]) -> Iterator[Told]:
    names = subject.processes()
    for pid, package in packages.items():
        if package.is_replaced:
            yield Finding(
                f"{names[pid]} runs the package that was in {package.path} before it was replaced or removed",
                f"restart {names[pid]}",
            )
    versions: dict[str, list[int]] = {}
    for pid, package in packages.items():
        if not package.is_replaced and package.version:
            versions.setdefault(package.version, []).append(pid)
    if len(versions) > 1:
        each = "; ".join(
            f"{version} in {', '.join(names[pid] for pid in pids)}" for version, pids in versions.items()
        )
        yield Finding(
            f"processes of this log run different versions of disklog-mp: {each}",
            "install one version in all their environments, and restart those of the others",
        )


def package_of(pid: int) -> Package | None:
    """Return the package that a process has mapped; None if it has none.  Raises OSError."""
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            path = line.rstrip("\n").split(maxsplit=5)[-1]
            whole = path.removesuffix(DELETED)
            folder, base = os.path.split(whole)
            if base == CORE and os.path.basename(folder) == "disklog_mp":
                return Package(folder, _version_in(f"/proc/{pid}/root", folder), path != whole)
    return None


def _version_in(root: str, folder: str) -> str:
    """Return the version of the package in a folder, as its distribution says."""
    place = root + os.path.dirname(folder)
    try:
        entries = os.listdir(place)
    except OSError:
        return ""
    found = [match[1] for entry in entries if (match := DISTRIBUTION.fullmatch(entry))]
    if len(found) == 1:
        return found[0]
    return "" if found else _version_of_tree(place)


def _version_of_tree(place: str) -> str:
    """Return the version of a source tree that is installed in place."""
    try:
        with open(f"{place}/disklog_mp.egg-info/PKG-INFO", encoding="utf-8") as file:
            told = dict(line.rstrip("\n").split(": ", 1) for line in file if ": " in line)
    except (OSError, UnicodeDecodeError):
        return ""
    return told.get("Version", "")


def _look_at_formats(subject: Subject) -> Iterator[Told]:
    directory = Directory(subject.path)
    later = []
    for number in directory.pages():
        try:
            version = _survey.unknown_version_of(directory.page_path(number))
        except OSError:  # retired meanwhile
            continue
        if version:
            later.append((number, version))
    if later:
        number, version = later[0]
        yield Finding(
            f"{plural(len(later), 'page')} of another format: page {number} has format {version}, this "
            f"version reads up to {PAGE_LABELLED}",
            UPGRADE,
        )
