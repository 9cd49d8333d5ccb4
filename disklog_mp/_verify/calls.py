"""Library calls about logs that need no session: verify a log, list those that are open on this machine.

The commands `verify` and `ls` print what these return.
"""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from disklog_mp._ring import names as _names
from disklog_mp._ring import stats as _stats
from disklog_mp._ring.observing import observe
from disklog_mp._verify import log as _log
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
