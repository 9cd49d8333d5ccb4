"""A file system that fails when it is told to, dies with its process, and forgets what was not synced."""

import errno
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from disklog_mp._core import Mapping
from disklog_mp._files import RealFile, RealFiles


class Killed(BaseException):
    """The process ended here: nothing after it happens any more."""


class FaultyMapping(Mapping):
    """A mapping each store of which is a step of its own."""

    files: "FaultyFiles"

    def store32(self, offset: int, value: int) -> None:
        self.files.step("store")
        super().store32(offset, value)

    def store64(self, offset: int, value: int) -> None:
        self.files.step("store")
        super().store64(offset, value)


class FaultyFile(RealFile):
    """A file of a FaultyFiles."""

    def __init__(self, files: "FaultyFiles", file: RealFile) -> None:
        super().__init__(file.fd)
        self.files = files
        files.opened.append(self)

    def write_at(self, data: memoryview | bytes, offset: int) -> None:
        half = self.files.step("write_at")
        super().write_at(memoryview(data)[: len(data) // 2] if half else data, offset)
        if half:
            raise half

    def allocate(self, length: int) -> None:
        self.files.step("allocate")
        super().allocate(length)

    def truncate(self, length: int) -> None:
        self.files.step("truncate")
        super().truncate(length)

    def size(self) -> int:
        self.files.step("size")
        return super().size()

    def sync(self) -> None:
        self.files.step("sync")
        super().sync()
        self.files.remember(self.fd)

    def map(self, length: int, *, writable: bool) -> Mapping:
        self.files.step("map")
        mapping = FaultyMapping(self.fd, length, writable)
        mapping.files = self.files
        return mapping


class FaultyFiles(RealFiles):
    """The real files, with faults: by operation and count, or at the so-many-eth step of all."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.steps = 0
        self.die_at = 0  # 0: never
        self.opened: list[FaultyFile] = []
        self._faults: dict[tuple[str, int], tuple[OSError, bool]] = {}
        self._content: dict[int, bytes] = {}  # by inode, as of its last sync
        self._names: dict[str, int] = {}  # as of the directory's last sync

    def fail(
        self, operation: str, nth: int = 1, number: int = errno.ENOSPC, times: int = 1, half: bool = False
    ) -> None:
        """Let the nth call from now on, and those after it, of an operation fail; `half`: half way."""
        for i in range(times):
            error = OSError(number, os.strerror(number))
            self._faults[operation, self.calls[operation] + nth + i] = error, half

    def heal(self) -> None:
        """No more faults."""
        self._faults.clear()

    def bury(self) -> None:
        """Close what a killed process had open, as the kernel does, and live on as another's files."""
        self.die_at = 0
        for file in self.opened:
            file.close()
        self.opened.clear()

    def step(self, operation: str) -> OSError | None:
        """Count a step; raise what is due.  Returns the error if half of the work is to be done first."""
        self.steps += 1
        self.calls[operation] += 1
        if self.die_at and self.steps >= self.die_at:
            raise Killed(f"at step {self.steps}, {operation}")
        error, half = self._faults.get((operation, self.calls[operation]), (None, False))
        if error is not None and not half:
            raise error
        return error

    # -- what the page writer calls --------------------------------------------------------------------------

    def create(self, path: str, mode: int, gid: int) -> RealFile:
        self.step("create")
        return FaultyFile(self, super().create(path, mode, gid))

    def open(self, path: str, *, writable: bool) -> RealFile:
        self.step("open")
        return FaultyFile(self, super().open(path, writable=writable))

    def rename(self, source: str, target: str) -> None:
        self.step("rename")
        super().rename(source, target)

    def unlink(self, path: str) -> None:
        self.step("unlink")
        super().unlink(path)

    def sync_directory(self, path: str) -> None:
        self.step("sync_directory")
        super().sync_directory(path)
        self._names = self._inodes(Path(path))

    # -- a power loss ----------------------------------------------------------------------------------------

    def remember(self, fd: int) -> None:
        """What the file holds now survives."""
        self._content[os.fstat(fd).st_ino] = os.pread(fd, os.fstat(fd).st_size, 0)

    def lose_power(
        self, path: Path, *, names_survive: bool = False, survives: Callable[[], bool] = lambda: False
    ) -> None:
        """Take back what was not synced.

        `names_survive`: but for names, which a journal may have kept.  `survives` is asked for each OS page
        of a file that was written since.
        """
        present = {name: (path / name).read_bytes() for name in self._inodes(path)}
        names = self._inodes(path) if names_survive else self._names
        inodes = {inode: name for name, inode in self._inodes(path).items()}
        for name in present:
            (path / name).unlink()
        for name, inode in names.items():
            old, new = self._content.get(inode, b""), present.get(inodes.get(inode, ""), b"")
            data = bytearray(old)
            for offset in range(0, len(new), 4096):
                if new[offset : offset + 4096] != old[offset : offset + 4096] and survives():
                    data.extend(bytes(max(0, offset - len(data))))
                    data[offset : offset + 4096] = new[offset : offset + 4096]
            (path / name).write_bytes(data)
        self._names = self._inodes(path)
        self._content = {inode: (path / name).read_bytes() for name, inode in self._names.items()}

    @staticmethod
    def _inodes(path: Path) -> dict[str, int]:
        return {entry.name: entry.stat().st_ino for entry in path.iterdir()}


def files_that_die(step: int) -> FaultyFiles:
    """A file system whose process is killed at that step."""
    files = FaultyFiles()
    files.die_at = step
    return files


def content(path: Path) -> dict[str, Any]:
    """All files of a directory, with their bytes."""
    return {entry.name: entry.read_bytes() for entry in sorted(path.iterdir())}
