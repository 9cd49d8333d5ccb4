"""Makes the rings of one log: of its name, with its access rights, at the position where its pages end."""

from __future__ import annotations

from collections.abc import Callable

from disklog_mp import _core
from disklog_mp._pages.writer import PageWriter
from disklog_mp._ring import file as _ring
from disklog_mp._ring.file import RingFile


class RingMaker:
    """What the rings of one log have in common."""

    def __init__(self, name: str, ring_path: str, gid: int, path: str, pages: PageWriter) -> None:
        self.name = name
        self.ring_path = ring_path
        self.path = path  # the log's directory
        self.capacity = pages.options.ring_bytes  # of the next ring
        self._mode, self._gid = pages.options.mode, gid
        self._pages = pages
        self._reserved: _ring.Reserved | None = None

    def configure(self, mode: int, gid: int) -> None:
        """Make rings with this access from now on."""
        self.drop()
        self._mode, self._gid = mode, gid

    def reserve(self) -> None:
        """Take the memory for the next ring now, so that making it cannot fail for lack of it.

        Raises OSError, with what to do about it.
        """
        if self._reserved is not None and self._reserved.capacity == self.capacity:
            return
        self.drop()
        self._reserved = _ring.reserve(self.ring_path, capacity=self.capacity, mode=self._mode, gid=self._gid)

    def drop(self) -> None:
        """Give back what was reserved and not used."""
        if self._reserved is not None:
            _ring.drop(self._reserved)
            self._reserved = None

    def make(self, generation: int, *, replace: bool, fill: Callable[[_core.Ring], None]) -> RingFile:
        """Make a ring and give it the log's name; `fill` is called before that.

        Raises FileExistsError if there is one and it is not to be replaced, and OSError.
        """
        self.reserve()
        reserved, self._reserved = self._reserved, None
        assert reserved is not None
        return _ring.create(
            reserved,
            self.name,
            base=self._pages.position,
            generation=generation,
            salt=self._pages.salt,
            log_id=self._pages.log_id,
            path=self.path,
            replace=replace,
            fill=fill,
        )

    def renew_access(self, file: RingFile) -> None:
        """Give a ring that an earlier writer made the mode and group asked for now."""
        _ring.renew_access(file, self._mode, self._gid)

    def fits(self, ring: _core.Ring) -> bool:
        """True if the ring has the size asked for, and names the directory as this writer does."""
        return ring.capacity == self.capacity and ring.path == self.path

    def unlink(self) -> None:
        """Remove the name.  Raises OSError."""
        _ring.unlink(self.ring_path)
