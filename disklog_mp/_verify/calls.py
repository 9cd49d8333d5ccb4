"""Library calls about logs that need no session: verify a log, tell its state, list those that are open on
this machine, remove a ring that was left behind.

The commands `verify`, `stat`, `ls` and `rm` print what these return.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from disklog_mp._ring import names as _names
from disklog_mp._ring import removal as _removal
from disklog_mp._ring import stats as _stats
from disklog_mp._ring.observing import observe
from disklog_mp._verify import facts as _facts
from disklog_mp._verify import log as _log
from disklog_mp._verify import places as _places
from disklog_mp._verify import survey as _survey
from disklog_mp._verify.log import Report
from disklog_mp._verify.pages import NOTE, Finding
from disklog_mp.errors import DiskLogError, LogNotFoundError


class LogInfo(NamedTuple):
    """A log that is open on this machine, as its ring tells.

    `problem` says why a ring cannot be read; then all but name and ring is "" or 0.
    """

    name: str
    path: str
    writer_pid: int  # 0: none alive
    ring_used: int  # bytes
    ring_capacity: int
    producers: int  # attached processes
    ring: str  # the path of its ring
    problem: str = ""


LEVELS = ("ok", "warning", "error", "damage")  # by exit code


@dataclass(frozen=True)
class LogState:
    """The state of a log: ring, writer, counters and producers if it has a ring, else what its pages tell.

    `facts` has all of it by name, as `disklog-mp stat --json` prints it.
    """

    name: str  # "" if unknown
    path: str
    status: str  # "ok", "warning", "error" or "damage"
    problems: tuple[str, ...]
    facts: dict[str, Any] = field(repr=False)

    @property
    def exit_code(self) -> int:
        """0 fine, 1 a warning, 2 an error, 3 damage: of the command `stat`."""
        return LEVELS.index(self.status)

    def to_dict(self) -> dict[str, Any]:
        """Return it as values for JSON."""
        return self.facts


def state_of(found: _places.Found, ring_dir: str | None) -> LogState:
    """Return the state of a log that was found."""
    if found.file is not None:
        facts = _facts.of_ring(found.file)
    else:
        facts = _facts.of_pages(found.path, found.name, ring_dir)
    return LogState(facts["name"], facts["path"], facts["status"], tuple(facts["problems"]), facts)


def stat(log: str | os.PathLike[str], *, ring_dir: str | os.PathLike[str] | None = None) -> LogState:
    """Return the state of a log, by its name or directory.  It takes no slot and changes nothing.

    Members of the log's group that may read it, and root, may ask.  While no writer is alive, all pages are
    read for drops and damage.  Raises FileNotFoundError if there is no such log, NotADirectoryError,
    PermissionError, AmbiguousLogError, FormatVersionError.
    """
    rings = None if ring_dir is None else os.path.abspath(ring_dir)
    with _places.find(os.fspath(log), rings, reads_pages=False) as found:
        return state_of(found, rings)


def remove_ring(
    log: str | os.PathLike[str], *, force: bool = False, ring_dir: str | os.PathLike[str] | None = None
) -> None:
    """Remove the shared memory that a crash of a log left behind, by the log's name or directory.

    Page files stay.  Raises OSError(EBUSY) that says why, while its writer or a producer is alive, and if it
    holds records that are in no page yet, unless `force` is true.  Raises LogNotFoundError,
    AmbiguousLogError, PermissionError, and FileNotFoundError for a directory without a log or ring.
    """
    name, rings = os.fspath(log), None if ring_dir is None else os.path.abspath(ring_dir)
    path = _places.ring_of(name, rings)
    if path is None:
        refused = _removal.remove(name, rings, force=force)
    else:
        refused = _removal.remove_ring(path, force=force)
    if refused is not None:
        what = name if path is None else _names.log_of(path)
        raise OSError(errno.EBUSY, f"{what}: not removed: {refused}")


def list_logs(ring_dir: str | os.PathLike[str] | None = None) -> list[LogInfo]:
    """Return the logs that are open on this machine, in the order of their names.

    `ring_dir` is the directory of the rings, if that is not /dev/shm.  It takes no slot and changes nothing.
    """
    rings = _names.all_rings(None if ring_dir is None else os.path.abspath(ring_dir))
    return [_info(path) for path in sorted(rings, key=lambda path: (_names.log_of(path), path))]


def _info(path: str) -> LogInfo:
    try:
        file = observe(path)
    except (DiskLogError, PermissionError) as problem:
        text = str(problem) if isinstance(problem, DiskLogError) else f"{path}: {problem.strerror}"
        return LogInfo(_names.log_of(path), "", 0, 0, 0, 0, path, text)
    try:
        stats = _stats.read(file)
    finally:
        os.close(file.fd)
    sizes = (stats.ring_used, stats.ring_capacity, len(stats.producers))
    return LogInfo(stats.name, stats.path, stats.writer_pid, *sizes, path)


def verify(path: str | os.PathLike[str], *, ring_dir: str | os.PathLike[str] | None = None) -> Report:
    """Check every byte and page of the log in a directory, and that all counted records are there.

    While the log is open, the counters in its ring are checked too; `ring_dir` says where the ring is, if the
    log's file does not.  Changes nothing.  Raises FileNotFoundError, also for a directory without a log, and
    NotADirectoryError.
    """
    where = os.fspath(path)
    if not _survey.is_directory(where) or not _survey.is_log(where):
        raise FileNotFoundError(errno.ENOENT, "no log in this directory", where)
    where = _survey.absolute(where)
    ring = _survey.ring_path_of(where, None if ring_dir is None else os.path.abspath(ring_dir))
    file, problem = None, ""
    if ring is not None:
        try:
            file = observe(ring)
        except LogNotFoundError:
            pass
        except (DiskLogError, PermissionError) as trouble:
            problem = f"its ring cannot be read: {trouble}"
    try:
        report = _log.verify(where, _survey.name_of(where), file)
    finally:
        if file is not None:
            os.close(file.fd)
    if problem:
        report.findings.append(Finding(NOTE, 0, problem))
    return report
