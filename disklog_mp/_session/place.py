"""Where a session finds the ring of its log: by the log's directory, or else by its name.

A ring can be written by all producers, so the directory that stands in it is used with care: only if the
log's file there says the same log id.  That file must be of a user that may have made the ring: is_log_of().
"""

from __future__ import annotations

import errno
import os
import stat

from disklog_mp._os.files import is_same
from disklog_mp._pages.identity import LogIdentity, is_copy, is_log_of, path_of, read_identity
from disklog_mp._ring import file as _ring
from disklog_mp._ring import finding as _finding
from disklog_mp._ring import names as _names
from disklog_mp._ring.file import RingFile
from disklog_mp.errors import DiskLogError, LogNotFoundError


def is_ring_of(file: RingFile) -> bool:
    """True if the directory that a ring names can be believed."""
    return is_log_of(file.ring.path, file.ring.log_id, os.fstat(file.fd).st_uid)


class Place:
    """The name of a log, its directory, and the directory of its ring, as far as they are known.

    `directory` is absolute, or None until a ring was found whose directory can be believed.
    """

    def __init__(self, name: str, directory: str | None = None, ring_dir: str | None = None) -> None:
        self.name = _names.check_name(name)
        self.directory = directory
        self.ring_dir = ring_dir
        self._is_named = directory is not None
        self._last = ""  # path of the ring that was attached last
        self._told = ""  # the directory that this ring names

    def identity(self) -> LogIdentity | None:
        """Return what the log's file says; None if it cannot be read, or there is none."""
        if self.directory is None:
            return None
        try:
            return read_identity(self.directory)
        except (OSError, DiskLogError):
            return None

    def owner_for_root(self) -> int | None:
        """Return the log's owner if this process is root, and was told the log's directory; else None.

        By its name alone root uses no other user's log: any user can make a ring of that name.
        """
        if os.geteuid() or not self._is_named or self.directory is None:
            return None
        try:
            file = os.stat(path_of(self.directory), follow_symlinks=False)
            owner = os.stat(self.directory).st_uid
        except OSError:
            return None
        return owner if stat.S_ISREG(file.st_mode) and file.st_uid == owner != 0 else None

    def ring_path(self) -> str:
        """Return the path of the log's ring; there may be none of that path.

        Raises LogNotFoundError, AmbiguousLogError, PermissionError, FormatVersionError.
        """
        identity = self.identity()
        if identity is not None:
            if identity.name != self.name or is_copy(identity, self.directory or ""):
                raise LogNotFoundError(self.name)
            return _names.ring_path(self.name, identity.log_id, self.ring_dir or identity.ring_dir)
        if self._last and os.path.lexists(self._last):
            return self._last
        known = self.directory or self._told
        if known:
            return self._path_by_directory(known)
        return _finding.find_path(self.name, self.ring_dir)

    def _path_by_directory(self, directory: str) -> str:
        """Return the path of a ring of our name that names this directory."""
        found, problem = _finding.attach_all(_names.rings_of(self.name, self.ring_dir))
        try:
            for file in found:
                if file.ring.path == directory or is_same(file.ring.path, directory):
                    return file.path
        finally:
            _finding.close(found)
        raise problem or LogNotFoundError(self.name)

    def may_be_of(self, file: RingFile) -> bool:
        """True if a ring that this process cannot look for is this log's, as far as the ring tells."""
        has_place = self.ring_dir is None or self.ring_dir == os.path.dirname(file.path)
        is_ours = self.directory is None or self.directory == file.ring.path
        return _names.log_of(file.path) == self.name and has_place and is_ours

    def path(self) -> str:
        """Return the log's directory.

        Raises FileNotFoundError if the ring names one that cannot be seen from here, or has another log.
        """
        if self.directory is None:
            text = "the log's ring names this directory, but the log's file there is missing or another's"
            raise FileNotFoundError(errno.ENOENT, text, self._told)
        return self.directory

    def attached(self, file: RingFile) -> None:
        """Note the ring that was attached to."""
        self._last, self._told = file.path, file.ring.path
        if self.directory is None and is_ring_of(file):
            self.directory = self._told

    def is_replaced(self, file: RingFile) -> bool:
        """True if there is another ring of this log."""
        if _ring.is_current(file):
            return False
        try:
            path = self.ring_path()
        except (OSError, DiskLogError):
            return _ring.is_replaced(file)
        return os.path.exists(path) and (path != file.path or not _ring.is_current(file))
