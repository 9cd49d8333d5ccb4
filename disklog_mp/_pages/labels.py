"""The table of labels in a log's directory, disklog.labels: which text an index in a frame stands for.

One line for each label, in the order in which producers first wanted them: index, label, and the CRC-32C of
`index label`, in hexadecimal digits.

    1 pod-a 1a2b3c4d

Lines are only appended, by the process that holds the directory's lock.  A line is on disk before its index
is told to a producer, so every index in a frame has its line.  A line that a crash has cut short is passed
over; the next one begins behind it.
"""

from __future__ import annotations

import contextlib
import os

from disklog_mp._core import LABEL_MAX, crc32c
from disklog_mp._os import files as _files
from disklog_mp._os.files import WritableFile
from disklog_mp._pages.directory import Directory

FILE = "disklog.labels"


def path_of(directory: str) -> str:
    """Return the path of the table."""
    return os.path.join(directory, FILE)


def to_line(index: int, label: str) -> bytes:
    """Return the line of one label."""
    text = f"{index} {label}".encode()
    return text + b" %08x\n" % crc32c(text)


def parse(data: bytes) -> dict[int, str]:
    """Return the labels by index; lines that are not whole, or have an index again, are passed over."""
    found: dict[int, str] = {}
    for line in data.split(b"\n"):
        text, _, crc = line.rpartition(b" ")
        index, _, label = text.partition(b" ")
        if index.isdigit() and crc == b"%08x" % crc32c(text) and 0 < int(index) <= LABEL_MAX:
            found.setdefault(int(index), label.decode("utf-8", "replace"))
    return found


def _read(path: str) -> bytes:
    """Return the content of the table, b"" if there is none.  Raises OSError."""
    try:
        file = _files.REAL.open(path, writable=False)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    try:
        return file.read(file.size())
    finally:
        file.close()


def read_labels(directory: str) -> dict[int, str]:
    """Return all labels of the log in a directory, by index.  Raises OSError."""
    return parse(_read(path_of(directory)))


class LabelTable:
    """The table as a reader uses it: read when an index comes that is not known yet."""

    def __init__(self, directory: str) -> None:
        self._path = path_of(directory)
        self._texts: dict[int, str] = {}
        self._seen: tuple[int, int, int] | None = None  # inode, size and time of the file as it was read

    def known(self) -> dict[int, str]:
        """Return the labels there are now, by index; those read before, if the table cannot be read."""
        with contextlib.suppress(OSError):
            self._read_if_changed()
        return dict(self._texts)

    def text(self, index: int) -> str:
        """Return the label of an index; `?7` if the table does not have number 7, or cannot be read."""
        found = self._texts.get(index)
        if found is None:
            with contextlib.suppress(OSError):
                self._read_if_changed()
            found = self._texts.get(index, f"?{index}")
        return found

    def _read_if_changed(self) -> None:
        status = os.stat(self._path)
        now = (status.st_ino, status.st_size, status.st_mtime_ns)
        if now != self._seen:
            self._texts = {**parse(_read(self._path)), **self._texts}
            self._seen = now


class LabelWriter:
    """The table in the hands of the log's writer."""

    def __init__(self, directory: Directory, mode: int, gid: int) -> None:
        self._directory = directory
        self._mode, self._gid = mode, gid
        self._indexes: dict[str, int] = {}
        self._file: WritableFile | None = None
        self._end = 0  # of what the file holds
        self._is_synced = False  # a writer that was killed may have left lines that are not on disk
        self._is_loaded = False

    def __bool__(self) -> bool:
        self._load_once()
        return bool(self._indexes)

    @property
    def _path(self) -> str:
        return path_of(self._directory.path)

    def configure(self, mode: int, gid: int) -> None:
        """Make the file as these say from now on."""
        self._mode, self._gid = mode, gid
        if self._file is not None:
            self._file.renew_access(mode, gid)

    def load(self) -> None:
        """Read what earlier writers left.  Raises OSError."""
        self._is_loaded = True
        data = _read(self._path)
        self._indexes = {label: index for index, label in sorted(parse(data).items(), reverse=True)}
        self._close_file()
        if data:
            self._file = self._directory.files.open(self._path, writable=True)
            self._file.renew_access(self._mode, self._gid)
            self._end = len(data)
            if not data.endswith(b"\n"):  # cut short: what comes next must not be taken for its end
                self._write(b"\n")

    def _load_once(self) -> None:
        if not self._is_loaded:
            self.load()

    def index_of(self, label: str) -> int:
        """Return the index of a label, which the table on disk has then; 0 if all indexes are taken.

        Raises OSError, and then the same can be asked again.
        """
        self._load_once()
        index = self._indexes.get(label, 0)
        if index and self._is_synced:
            return index
        if not index:
            taken = set(self._indexes.values())
            index = next((free for free in range(1, LABEL_MAX + 1) if free not in taken), 0)
            if not index:
                return 0
            self._append(to_line(index, label))
        self._sync()
        self._indexes[label] = index
        return index

    def _append(self, line: bytes) -> None:
        if self._file is None:
            self._create()
        self._is_synced = False
        end = self._end
        try:
            self._write(line)
            self._sync()
        except BaseException:
            self._end = end  # it is written once more, over what may be there
            raise

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        self._file.write_at(data, self._end)
        self._end += len(data)

    def _create(self) -> None:
        try:
            self._file = self._directory.files.create(self._path, self._mode, self._gid)
        except FileExistsError:
            self._file = self._directory.files.open(self._path, writable=True)
        self._end = 0

    def _sync(self) -> None:
        assert self._file is not None
        if not self._is_synced:
            self._file.sync()
            self._directory.files.sync_directory(self._directory.path)
            self._is_synced = True

    def is_in_place(self) -> bool:
        """True if the table is in the log's directory, or is empty."""
        return not self or (self._file is not None and self._file.is_at(self._path))

    def restore(self) -> None:
        """Write the table again if its file was removed, or another directory stands in the log's place.

        Raises OSError.
        """
        if self.is_in_place():
            return
        self._close_file()
        self._create()
        self._is_synced = False
        self._write(b"".join(to_line(index, label) for label, index in self._indexes.items()))
        self._sync()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def close(self) -> None:
        """Close the file."""
        self._close_file()
