"""Finding a ring by the name of its log alone.  Several logs may have one name, each in its own directory.

| rings of that name                       | what is found                                               |
|------------------------------------------|-------------------------------------------------------------|
| none                                     | LogNotFoundError                                            |
| only rings that this user may not use    | PermissionError                                             |
| one with a live writer                   | that one, also if there are others                          |
| several with a live writer               | the one with attached processes, else AmbiguousLogError     |
| none with a live writer                  | the one that can take records, likewise                     |
"""

from __future__ import annotations

import os
from collections.abc import Callable

from disklog_mp._core import REPLACED
from disklog_mp._ring import file as _ring
from disklog_mp._ring import liveness as _liveness
from disklog_mp._ring import names as _names
from disklog_mp._ring.file import RingFile
from disklog_mp.errors import AmbiguousLogError, FormatVersionError, LogNotFoundError


def find(
    name: str, ring_dir: str | None = None, attach: Callable[[str], RingFile] = _ring.attach
) -> RingFile:
    """Attach to the ring of the log of that name, as the table says.

    Raises AmbiguousLogError, LogNotFoundError, PermissionError, FormatVersionError.
    """
    _names.check_name(name)
    found, problem = attach_all(_names.rings_of(name, ring_dir), attach)
    try:
        chosen = _choose(name, found)
    except BaseException:
        close(found)
        raise
    if chosen is None:
        if problem is None and os.path.lexists(former := _names.former_ring_path(name, ring_dir)):
            os.close(_ring.attach(former).fd)  # says which version it is of, and what to do
        raise problem or LogNotFoundError(name)
    close([file for file in found if file is not chosen])
    return chosen


def find_path(name: str, ring_dir: str | None = None) -> str:
    """Return the path of the ring that find() attaches to, and raise what it raises."""
    paths = _names.rings_of(name, ring_dir)
    if len(paths) == 1:
        return paths[0]
    file = find(name, ring_dir)
    os.close(file.fd)
    return file.path


def attach_all(
    paths: list[str], attach: Callable[[str], RingFile] = _ring.attach
) -> tuple[list[RingFile], OSError | FormatVersionError | None]:
    """Attach to the rings of these paths; return those that can be, and the first problem with another."""
    found: list[RingFile] = []
    problem: OSError | FormatVersionError | None = None
    try:
        for path in paths:
            try:
                found.append(attach(path))
            except LogNotFoundError:  # removed meanwhile
                continue
            except (PermissionError, FormatVersionError) as one:
                problem = problem or one
    except BaseException:
        close(found)
        raise
    return found, problem


def close(files: list[RingFile]) -> None:
    """Close the descriptors of rings that are not used."""
    for file in files:
        os.close(file.fd)


def _choose(name: str, found: list[RingFile]) -> RingFile | None:
    left = [file for file in found if _liveness.writer_alive(file)]
    left = left or [file for file in found if file.ring.halted != REPLACED] or found
    if len(left) > 1:  # a log that no process is attached to gives way
        left = [file for file in left if _liveness.locked_slots(file)] or left
    if len(left) > 1:
        raise AmbiguousLogError(name, tuple(sorted(file.ring.path for file in left)))
    return left[0] if left else None
