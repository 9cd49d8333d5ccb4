"""Files that are there whole, and on the disk, or not at all."""

from __future__ import annotations

import contextlib
import io
import os
import stat
from typing import Any

from disklog_mp._os.files import REAL, RealFile, is_same
from disklog_mp._os.locks import lock_byte

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class BusyError(OSError):
    """Another process writes the same file."""


class Output(io.RawIOBase):
    """A file under construction, beside the one whose place it takes when it is complete.

    It is called `.NAME.new`; one that a process left that was killed is written over.  The first error of a
    write is kept in `error`, and from then on nothing is written any more.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = os.path.realpath(path)
        self.error: OSError | None = None
        self._place, name = os.path.split(self.path)
        self.new = os.path.join(self._place, f".{name}.new")
        self._mode = _mode_of(self.path)
        self._file = _open_alone(self.new, self.path)
        self._is_done = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        """Write all of it.  Raises OSError, once."""
        rest = memoryview(data).cast("B")
        length = len(rest)
        try:
            while rest and self.error is None:
                rest = rest[os.write(self._file.fd, rest) :]
        except OSError as problem:
            self.error = OSError(problem.errno, problem.strerror, self.path)
            raise self.error from None
        return length

    def copy(self, source: int) -> None:
        """Write all that stands in an open file."""
        while data := os.read(source, 1 << 20):
            self.write(data)

    def give_up(self) -> None:
        """Write nothing any more."""
        self.error = self.error or OSError(None, "given up", self.path)

    def complete(self) -> None:
        """Have all of it on the disk, under its temporary name.  Raises OSError."""
        if self.error is not None:
            raise self.error
        try:
            os.fchmod(self._file.fd, self._mode)
            self._file.sync()
            REAL.sync_directory(self._place)
        except OSError as problem:
            raise OSError(problem.errno, problem.strerror, self.path) from None

    def commit(self) -> None:
        """Put the file in its place, durably.  Raises OSError."""
        self.complete()
        os.rename(self.new, self.path)
        self.release()
        REAL.sync_directory(self._place)

    def release(self) -> None:
        """Let go of the file, and leave it under the name it has."""
        self._is_done = True
        self._file.close()

    def discard(self) -> None:
        """Remove the file, unless it is in its place."""
        if not self._is_done:
            with contextlib.suppress(OSError):
                os.unlink(self.new)
            self.release()


class Lock:
    """A file by whose lock one process at a time works in a directory."""

    def __init__(self, path: str) -> None:
        fd = os.open(path, _FLAGS, 0o600)
        if not lock_byte(fd, 0):
            os.close(fd)
            raise BusyError(None, "another process exports to it", os.path.dirname(path))
        self._file = RealFile(fd)

    def close(self) -> None:
        self._file.close()


def move(new: str, path: str) -> None:
    """Give a file its name, if it has not got it already, durably.  Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.rename(new, path)
    REAL.sync_directory(os.path.dirname(path))


def make_directory(path: str) -> None:
    """Make a directory if there is none, durably.  Raises OSError."""
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    REAL.sync_directory(os.path.dirname(path))


def _mode_of(path: str) -> int:
    """Return the mode of the file that stands there, or what the umask leaves of a new one's."""
    with contextlib.suppress(FileNotFoundError):
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(None, "it is no regular file", path)
        return stat.S_IMODE(status.st_mode) & 0o666
    umask = os.umask(0o077)
    os.umask(umask)
    return 0o666 & ~umask


def _open_alone(path: str, target: str) -> RealFile:
    """Open a file that no other process writes, empty; `target` is named in errors."""
    while True:
        try:
            fd = os.open(path, _FLAGS, 0o600)
        except OSError as problem:
            raise OSError(problem.errno, problem.strerror, target) from None
        try:
            if not lock_byte(fd, 0):
                raise BusyError(None, "another process exports to it", target)
            if is_same(path, f"/proc/self/fd/{fd}"):  # it may just have got its name, or been removed
                os.ftruncate(fd, 0)
                return RealFile(fd)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
