"""What the writer finds out about a directory before it relies on it."""

import contextlib
import errno

from disklog_mp._os import attributes as _attributes
from disklog_mp._os.files import WritableFile
from disklog_mp._pages.directory import Directory
from disklog_mp._pages.format import HEADER_LENGTH
from disklog_mp._pages.identity import read_identity
from disklog_mp.errors import FormatVersionError

# These may be over when a page is needed: the disk has room again, a descriptor is free.
PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
NAMED = 10**18  # number of a page that no log reaches


def try_out(directory: Directory) -> None:
    """Make a page and unmake it: a place that cannot hold one is found before a record waits for it.

    A disk that is full, or fails, is no such place: it may be well again.  Raises OSError.
    """
    new, named = directory.new_path(0), directory.new_path(NAMED)
    try:
        with contextlib.suppress(FileNotFoundError):  # left by a process that was killed
            directory.files.unlink(new)
        file = directory.files.create(new, 0o600, -1)
        try:
            _map(file, directory.path)
        finally:
            file.close()
        directory.files.rename(new, named)
        directory.files.unlink(named)
    except OSError as error:
        with contextlib.suppress(OSError):
            directory.files.unlink(new)
        if error.errno in PASSING:
            return
        if error.errno == errno.EPERM and (why := _attributes.why_not_permitted(directory.path)):
            raise PermissionError(errno.EPERM, why, directory.path) from None
        raise


def _map(file: WritableFile, path: str) -> None:
    try:
        file.allocate(HEADER_LENGTH)
        file.map(HEADER_LENGTH, writable=True)
    except OSError as error:
        if not _attributes.maps_no_files(error):
            raise
        text = "this file system maps no files for several processes, as pages are: choose another"
        raise OSError(error.errno, text, path) from None


def covers_log(directory: Directory, name: str) -> bool:
    """True if a log of that name, which no process writes, stands where the locked directory was."""
    try:
        there = read_identity(directory.path)
        return there is not None and there.name == name and not Directory(directory.path).is_locked()
    except (OSError, FormatVersionError):
        return False


def is_cut_off(directory: Directory) -> bool:
    """True if the file system of the locked directory is gone, as one in user space that crashed."""
    try:
        directory.place()
    except OSError:
        return True
    return False
