"""What is settled about a log before anything else is done with it: its id, and which rings are its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import NamedTuple

from disklog_mp._options import Options
from disklog_mp._os.files import is_same
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.folder import PageFolder
from disklog_mp._pages.identity import LogIdentity, is_copy, path_of, read_identity
from disklog_mp._pages.trial import try_out
from disklog_mp._ring import finding as _finding
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring import names as _names
from disklog_mp._ring import upgrade as _upgrade
from disklog_mp._ring.file import RingFile
from disklog_mp._writer.strays import Strays
from disklog_mp.errors import ConfigMismatchError


class Established(NamedTuple):
    """What is known of a log before its pages are recovered."""

    found: LogIdentity | None  # as the log's file says; None also if the directory is a copy
    log_id: bytes
    former_ids: tuple[bytes, ...]
    ring_dir: str
    ring_path: str


def establish(directory: Directory, name: str, ring_dir: str | None, strays: Strays) -> Established:
    """Settle the log's id and find its rings.  This process holds the directory's lock.

    A directory that was moved keeps its id; a copy, of which the original is still there, gets another.
    Without a file, as in a directory of version 0.1.0, the id is that of the newest page, else that of a ring
    which names this directory, else a new one.  `ring_dir` None: where the ring was.  Rings of this log under
    another name are added to `strays`.

    Raises ConfigMismatchError if the directory has a log of another name, FormatVersionError, OSError.
    """
    found, troubles = read_identity(directory.path), strays.troubles
    if found is None and os.path.lexists(path_of(directory.path)):
        troubles.say(f"{path_of(directory.path)} cannot be understood: made anew")
    if found is not None and found.name != name:
        raise ConfigMismatchError("name", found.name, name)
    noted = found.ring_dir if found else directory.rings()
    where = os.path.abspath(ring_dir) if ring_dir else noted or _names.SHM
    places = dict.fromkeys((where, noted or where, _names.SHM))
    former = found.former_ids if found else ()
    if found is not None and is_copy(found, directory.path):
        troubles.say(f"the directory is a copy of {found.directory}: from now on this log has its own id")
        former, found = (*former, found.log_id), None
        log_id: bytes | None = os.urandom(16)
    else:
        folder = PageFolder(directory, name, Options(), -1)
        log_id = found.log_id if found else folder.newest_log_id()
        for place in places:
            _upgrade_former(_names.former_ring_path(name, place), name, directory.path, log_id)
    here = _rings_here(name, places, directory.path, log_id)
    if log_id is None:
        log_id = here[0].ring.log_id if here else os.urandom(16)
    ring_path = _names.ring_path(name, log_id, where)
    strays.add([file for file in here if file.path != ring_path])
    _finding.close([file for file in here if file.path == ring_path])
    try_out(directory)
    with contextlib.suppress(OSError):  # the disk is full: it is for messages, and the log's file has more
        directory.note(f"{os.getpid()} {name}", where)
    return Established(found, log_id, former, where, ring_path)


def _upgrade_former(path: str, name: str, directory: str, log_id: bytes | None) -> None:
    """Make a ring of version 0.1.0 one of this version, if it is this log's."""
    seen = _upgrade.look_at(path)
    if seen is None:
        return
    try:
        told = seen.ring
        target = _names.ring_path(name, told.log_id, os.path.dirname(path))
        if (told.log_id == log_id or is_same(told.path, directory)) and not os.path.lexists(target):
            _upgrade.take_over(seen, target)
    finally:
        os.close(seen.fd)


def _rings_here(name: str, places: Iterable[str], directory: str, log_id: bytes | None) -> list[RingFile]:
    """Return the rings of this log that have no live writer: they name this directory, or have its id."""
    paths: list[str] = []
    for place in places:
        with contextlib.suppress(PermissionError):  # no ring of ours is in there, and none can be made
            paths += _names.rings_of(name, place)
    found, _ = _finding.attach_all(paths)
    ours = []
    for file in found:
        is_ours = file.ring.log_id == log_id or is_same(file.ring.path, directory)
        if is_ours and not _liveness.writer_alive(file):
            ours.append(file)
        else:
            os.close(file.fd)
    return ours
