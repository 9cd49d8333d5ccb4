"""A file system that fails when it is told to, dies with its process, and forgets what was not synced."""

import errno
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from disklog_mp._core import Mapping
from disklog_mp._os.files import OS_PAGE, RealFile, RealFiles

_ids = itertools.count(1)


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
        self.files.remember(self.fd, os.pread(self.fd, super().size(), 0))  # the disk itself adds but time

    def map(self, length: int, *, writable: bool) -> Mapping:
        self.files.step("map")
        mapping = FaultyMapping(self.fd, length, writable)
        mapping.files = self.files
        return mapping


class Disk(NamedTuple):
    """What a directory's files are at one moment, and what of it would outlive a power loss.

    Files go by an id, as names and inodes are given again.
    """

    names: dict[str, int]
    present: dict[int, bytes]
    names_synced: dict[str, int]
    synced: dict[int, bytes]

    def unsynced(self) -> list[tuple[int, int]]:
        """Each OS page that was written and not synced: file and offset."""
        return [
            (file, offset)
            for file, data in self.present.items()
            for offset in range(0, len(data), OS_PAGE)
            if data[offset : offset + OS_PAGE] != self.synced.get(file, b"")[offset : offset + OS_PAGE]
        ]

    def survivors(self, names: dict[str, int], pages: Iterable[tuple[int, int]]) -> dict[str, bytes]:
        """The files after a power loss that spared these names, and these OS pages of what was not synced."""
        contents = {file: bytearray(self.synced.get(file, b"")) for file in names.values()}
        for file, offset in pages:
            if file in contents:
                data, page = contents[file], self.present[file][offset : offset + OS_PAGE]
                data.extend(bytes(max(0, offset - len(data))))
                data[offset : offset + len(page)] = page
        return {name: bytes(contents[file]) for name, file in names.items()}


class FaultyFiles(RealFiles):
    """The real files, with faults: by operation and count, or at the so-many-eth step of all."""

    def __init__(self, before_step: Callable[[], object] = lambda: None) -> None:
        self._before_step = before_step
        self.calls: Counter[str] = Counter()
        self.steps = 0
        self.die_at = 0  # 0: never
        self.opened: list[FaultyFile] = []
        self._faults: dict[tuple[str, int], tuple[OSError, bool]] = {}
        self._ids: dict[int, int] = {}  # by inode
        self._content: dict[int, bytes] = {}  # by id, as of its last sync
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
        self._before_step()
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
        file = super().create(path, mode, gid)
        self._ids[os.fstat(file.fd).st_ino] = next(_ids)
        return FaultyFile(self, file)

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
        self._names = self._files_of(Path(path))

    # -- a power loss ----------------------------------------------------------------------------------------

    def remember(self, fd: int, data: bytes) -> None:
        """What the file held survives."""
        self._content[self._id(os.fstat(fd).st_ino)] = data

    def disk(self, path: Path) -> Disk:
        """What there is in the directory, and what of it is synced."""
        names = self._files_of(path)
        present = {file: (path / name).read_bytes() for name, file in names.items()}
        return Disk(names, present, dict(self._names), dict(self._content))

    def lose_power(
        self, path: Path, *, names_survive: bool = False, survives: Callable[[], bool] = lambda: False
    ) -> None:
        """Take back what was not synced.

        `names_survive`: but for names, which a journal may have kept.  `survives` is asked for each OS page
        of a file that was written since.
        """
        disk = self.disk(path)
        pages = [page for page in disk.unsynced() if survives()]
        left = disk.survivors(disk.names if names_survive else disk.names_synced, pages)
        put(path, left)
        self.trust(path)

    def trust(self, path: Path) -> None:
        """All that is in the directory now is on disk."""
        self._names = self._files_of(path)
        self._content = {file: (path / name).read_bytes() for name, file in self._names.items()}

    def _id(self, inode: int) -> int:
        return self._ids.setdefault(inode, next(_ids))

    def _files_of(self, path: Path) -> dict[str, int]:
        """All files; the writer's socket is none that a disk could lose."""
        return {
            entry.name: self._id(entry.stat().st_ino) for entry in path.iterdir() if not entry.is_socket()
        }


def put(path: Path, files: dict[str, bytes]) -> None:
    """Have a directory hold just these files, none of which anybody has mapped."""
    path.mkdir(exist_ok=True)
    for entry in path.iterdir():
        entry.unlink()
    for name, data in files.items():
        (path / name).write_bytes(data)


def files_that_die(step: int) -> FaultyFiles:
    """A file system whose process is killed at that step."""
    files = FaultyFiles()
    files.die_at = step
    return files


def content(path: Path) -> dict[str, Any]:
    """All files of a directory, with their bytes."""
    return {entry.name: entry.read_bytes() for entry in sorted(path.iterdir()) if not entry.is_socket()}


class RefusingFile(RealFile):
    """A file whose sync fails while `refusals` is positive."""

    refusals = 0

    def sync(self) -> None:
        if RefusingFile.refusals > 0:
            RefusingFile.refusals -= 1
            raise OSError(5, "Input/output error")
        super().sync()


class RefusingFiles(RealFiles):
    """A file system of such files."""

    def create(self, path: str, mode: int, gid: int) -> RealFile:
        return RefusingFile(super().create(path, mode, gid).fd)

    def open(self, path: str, *, writable: bool) -> RealFile:
        return RefusingFile(super().open(path, writable=writable).fd)


class SlowFile(RealFile):
    """A file each sync of which takes a while."""

    seconds = 0.0

    def sync(self) -> None:
        time.sleep(SlowFile.seconds)
        super().sync()


class SlowFiles(RealFiles):
    """A file system of such files."""

    def create(self, path: str, mode: int, gid: int) -> RealFile:
        return SlowFile(super().create(path, mode, gid).fd)

    def open(self, path: str, *, writable: bool) -> RealFile:
        return SlowFile(super().open(path, writable=writable).fd)
