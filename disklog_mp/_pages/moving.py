"""Moving sealed pages of a log into another directory, so that no page is ever in neither.

On one file system a page gets its other name in one step.  Elsewhere it is copied, under another name; the
copy is synced and gets its name, and then the page goes.  A page that is in both places, as a process that
died between the two leaves it, is one that was copied.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from typing import NamedTuple

from disklog_mp._os.files import Files, WritableFile
from disklog_mp._pages.directory import LOCK, Directory, page_name
from disklog_mp._pages.format import HeaderError
from disklog_mp._pages.survey import FoundPage
from disklog_mp.errors import FormatVersionError

PIECE = 1 << 20  # bytes copied at a time


class MoveJob(NamedTuple):
    """Pages that are to be moved next.  run() may be called in a thread."""

    directory: Directory
    numbers: tuple[int, ...]
    target: str
    copies: bool  # no file gets a name there by renaming
    mode: int
    gid: int
    there: set[int]  # filled by run(): pages of which a copy is there, on disk

    def run(self) -> None:
        """Have the pages on disk, or copies of them in the target.  Raises OSError."""
        source, target = self.directory, Directory(self.target, self.directory.files)
        for number in self.numbers:
            if not os.path.lexists(source.page_path(number)):  # removed by hand
                continue
            if os.path.lexists(target.page_path(number)):
                refuse_other_page(source, self.target, number)
                self.there.add(number)
                continue
            file = source.files.open(source.page_path(number), writable=False)
            try:
                file.sync()
                if self.copies:
                    self._copy(file, target, number)
                    self.there.add(number)
            finally:
                file.close()
        if self.there:
            source.files.sync_directory(self.target)

    def _copy(self, file: WritableFile, target: Directory, number: int) -> None:
        new, files, size = target.new_path(number), target.files, file.size()
        copy = _create(files, new, self.mode, self.gid)
        try:
            for offset in range(0, size, PIECE):
                copy.write_at(file.read_at(min(PIECE, size - offset), offset), offset)
            copy.sync()
            files.rename(new, target.page_path(number))
        except BaseException:
            with contextlib.suppress(OSError):
                files.unlink(new)
            raise
        finally:
            copy.close()


def _create(files: Files, path: str, mode: int, gid: int) -> WritableFile:
    try:
        return files.create(path, mode, gid)
    except FileExistsError:  # left by a process that died
        files.unlink(path)
        return files.create(path, mode, gid)


def refuse_bad_target(directory: Directory, target: str, numbers: Sequence[int]) -> None:
    """Raise OSError or ValueError if pages cannot be moved there: it says why."""
    if not os.path.isabs(target):
        raise ValueError(f"a writer knows no relative paths: give {target!r} from the root on")
    if not os.path.isdir(target):
        text = "pages are moved into a directory that exists, and for the writer there is none"
        raise NotADirectoryError(errno.ENOTDIR, text, target)
    if os.path.samefile(directory.path, target):
        raise ValueError(f"{target} is the log's own directory: give another one")
    if os.path.lexists(os.path.join(target, LOCK)):
        raise ValueError(f"{target} is the directory of a log: give another one")
    for number in numbers:
        if os.path.lexists(os.path.join(target, page_name(number))):
            refuse_other_page(directory, target, number)


def refuse_other_page(directory: Directory, target: str, number: int) -> None:
    """Raise FileExistsError if another page than this one has its name in the target."""
    name = page_name(number)
    here, there = (
        _facts(directory.files, os.path.join(path, name), number) for path in (directory.path, target)
    )
    if here is None or here != there:
        text = "another page has that name already: give another directory"
        raise FileExistsError(errno.EEXIST, text, os.path.join(target, name))


def _facts(files: Files, path: str, number: int) -> object:
    """Return what tells a sealed page from all others, None if it is none."""
    file = files.open(path, writable=False)
    try:
        found = FoundPage(file, path, number)
        return (found.header, found.line.watermark, found.line.seal_crc) if found.is_sealed else None
    except (HeaderError, FormatVersionError):
        return None
    finally:
        file.close()
