"""The directory of a log: the names in it, their listing, the writer's lock on it.

It knows file names, not what is in the files.
"""

import contextlib
import errno
import os
import re
import stat

from disklog_mp import _core
from disklog_mp._os import clocks as _clocks
from disklog_mp._os import files as _files
from disklog_mp._os import locks as _locks
from disklog_mp._os import processes as _processes
from disklog_mp._os.files import REAL, Files, RealFile

PAGE_NAME = re.compile(r"(page|events)-([0-9]{10,19})\.dlog")
ASIDE_NAME = re.compile(r"(page|events)-([0-9]{10,19})\.bad-([0-9]{1,19})")
NEW_NAME = re.compile(r"\.(page|events)-[0-9]{10,19}\.new")
OUR_NAMES = re.compile(
    rf"{PAGE_NAME.pattern}|{ASIDE_NAME.pattern}|{NEW_NAME.pattern}|disklog\.(lock|json|labels)"
)
LOCK = "disklog.lock"
_WALL = re.compile(r"[0-9]{1,12}\.[0-9]{3}")
MADE_MEANWHILE = 64  # pages that can be made while a directory is listed


def page_name(number: int, stem: str = "page") -> str:
    """Return the file name of a page: page-0000000001.dlog"""
    return f"{stem}-{number:010d}.dlog"


def _is_foreign(name: str) -> bool:
    return not name.startswith(".") and name != "lost+found" and OUR_NAMES.fullmatch(name) is None


class Directory:
    """A log's directory, for its writer and its readers."""

    stem = "page"  # the names of its pages begin with it

    def __init__(self, path: str | os.PathLike[str], files: Files = REAL) -> None:
        self.path = os.path.abspath(os.fspath(path))
        self.files = files
        self.rebooted = False  # since the last writer recovered the pages; known once the lock is taken
        self._lock: RealFile | None = None
        self._noted = self._rings = ""
        self._boot = ""  # of the last writer that recovered the pages
        self.wall_before: float | None = None  # wall_at_boot() of the last writer, if this boot is the same

    def page_path(self, number: int) -> str:
        """Return where the page of that number is, or would be."""
        return os.path.join(self.path, page_name(number, self.stem))

    def new_path(self, number: int) -> str:
        """Return where a page is made before it has its name."""
        return os.path.join(self.path, f".{self.stem}-{number:010d}.new")

    def bad_path(self, number: int, offset: int) -> str:
        """Return where bytes that could not be read are kept: from that offset of that page."""
        return os.path.join(self.path, f"{self.stem}-{number:010d}.bad-{offset}")

    def pages(self) -> list[int]:
        """Return the numbers of the page files there are, in order.  No directory: no pages."""
        try:
            names = _files.list_directory(self.path)
        except FileNotFoundError:
            return []
        numbers = []
        for match in filter(None, map(PAGE_NAME.fullmatch, names)):
            number = int(match[2])
            # A name with more zeros is no page.
            if number > 0 and match[0] == page_name(number, self.stem):
                numbers.append(number)
        return self._complete(sorted(numbers))

    def _complete(self, numbers: list[int]) -> list[int]:
        """Add the pages that a listing left out.

        The kernel lists a directory piece by piece.  A file that is renamed meanwhile may appear under
        neither name, although a file that got its name later appears.
        """
        complete: list[int] = []
        for number in numbers:
            before = complete[-1] if complete else 0
            if number > before + 1:
                unseen = range(max(before + 1, number - MADE_MEANWHILE), number)
                complete += [other for other in unseen if os.path.lexists(self.page_path(other))]
            complete.append(number)
        return complete

    def set_aside(self) -> list[tuple[int, int]]:
        """Return page number and offset of the bytes kept aside; offset 0 is a whole page file."""
        with os.scandir(self.path) as entries:
            # Recovery puts files there.  Anything else of such a name is not from it.
            names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        matches = map(ASIDE_NAME.fullmatch, names)
        return sorted((int(match[2]), int(match[3])) for match in matches if match and match[1] == self.stem)

    def is_log(self) -> bool:
        """True if a writer has been here."""
        return os.path.lexists(os.path.join(self.path, LOCK)) or bool(self.pages())

    def exists(self) -> bool:
        """True if there is such a directory.

        Raises NotADirectoryError for a file, and for a symbolic link: the user that made the link would
        choose where the log is.  Raises PermissionError if this user may not look.
        """
        try:
            mode = os.lstat(self.path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return False
        except PermissionError as problem:
            raise _files.no_access(problem, self.path) from None
        if stat.S_ISLNK(mode):
            real = os.path.realpath(self.path)
            text = f"a symbolic link is not followed to the directory of a log: give {real} itself"
            raise NotADirectoryError(errno.ENOTDIR, text, self.path)
        if not stat.S_ISDIR(mode):
            raise NotADirectoryError(errno.ENOTDIR, "a log is a directory, but this is a file", self.path)
        return True

    def create(self, mode: int, gid: int) -> None:
        """Make the directory if there is none.

        Raises OSError: what exists() raises, ENAMETOOLONG, ENOTEMPTY if it holds files that are no log's.
        """
        self.refuse_long_path()
        self.exists()
        _files.make_directory(self.path, mode, gid)
        self.refuse_foreign_files()

    def refuse_long_path(self) -> None:
        """Raise OSError (ENAMETOOLONG) if a ring has no room for the path."""
        most = _core.PATH_LENGTH - 1
        if len(os.fsencode(self.path)) > most:
            text = f"the path of a log's directory has at most {most:,} bytes"
            raise OSError(errno.ENAMETOOLONG, text, self.path)

    def refuse_foreign_files(self) -> None:
        """Raise OSError (ENOTEMPTY) if the directory has no log, but other files.

        Hidden files, and lost+found in the root of a file system, do not count.
        """
        if self.is_log():
            return
        foreign = [name for name in _files.list_directory(self.path) if _is_foreign(name)]
        if foreign:
            foreign.sort()
            shown = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
            raise OSError(
                errno.ENOTEMPTY,
                f"the directory holds {len(foreign)} files that are no log's ({shown}): "
                f"give the log a directory of its own",
                self.path,
            )

    def lock(self, mode: int, gid: int) -> bool:
        """Become the directory's writer; False if it has one.  The lock ends with the process."""
        path = os.path.join(self.path, LOCK)
        try:
            file = _files.REAL.create(path, mode, gid)
        except FileExistsError:
            file = _files.REAL.open(path, writable=True)
        if not _locks.lock_byte(file.fd, 0):
            file.close()
            return False
        try:
            file.renew_access(mode, gid)
        except BaseException:
            file.close()
            raise
        self.unlock()  # the directory that stood there before
        self._lock = file
        self._boot, _, wall = self._words()[2].partition(":")
        self.rebooted = self._boot != _processes.boot_id()
        self.wall_before = float(wall) if not self.rebooted and _WALL.fullmatch(wall) else None
        return True

    def renew_access(self, before: int, mode: int, gid: int) -> None:
        """Give the directory and the lock file another mode and group, if this user may.  Raises OSError.

        `before`: the mode that the log had; rights that the directory has beside that mode stay.
        """
        assert self._lock is not None
        self._lock.renew_access(mode, gid)
        status = os.stat(self.path)
        if os.geteuid() in (0, status.st_uid):
            now = stat.S_IMODE(status.st_mode)
            given, wanted = _files.of_directory(before), _files.of_directory(mode)
            _files.set_access_at(self.path, now & ~(given & ~wanted) | wanted, gid)

    def is_ours(self) -> bool:
        """True while this process holds the lock."""
        return self._lock is not None

    def is_held(self) -> bool:
        """True if the directory that stands there now is the one that was locked.  Raises OSError if there
        is none.
        """
        if self._lock is None or self._lock.is_at(os.path.join(self.path, LOCK)):
            return True
        os.stat(self.path)
        return False

    def place(self) -> _files.Place:
        """Return the place of the locked directory's lock file."""
        assert self._lock is not None
        return _files.place_of(self._lock.fd, os.path.join(self.path, LOCK))

    def note(self, text: str, rings: str = "") -> None:
        """Leave "pid name", and where the ring is, in the lock file, for people and error messages."""
        assert self._lock is not None
        self._noted, self._rings = text.strip(), rings
        boot = f"{self._boot}:{_clocks.wall_at_boot():.3f}" if self._boot else ""
        note = f"{self._noted} {boot} {rings}\n".encode("utf-8", "surrogateescape")
        self._lock.write_at(note, 0)  # before the cut: on a full disk, bytes that exist can be overwritten
        self._lock.truncate(len(note))

    def note_recovered(self) -> None:
        """Note that the pages were recovered in this boot: until the next one no power loss can harm them."""
        if self._lock is not None:
            self._boot, self.rebooted = _processes.boot_id(), False
            with contextlib.suppress(OSError):  # then the next writer only takes more care than it must
                self.note(self._noted, self._rings)

    def _words(self) -> tuple[str, str, str, str]:
        """Return pid, log name, boot and the ring's directory from the lock file, "" for what it lacks."""
        try:
            file = _files.REAL.open(os.path.join(self.path, LOCK), writable=False)
        except OSError:
            return "", "", "", ""
        try:
            line = file.read(4400).decode("utf-8", "surrogateescape").partition("\n")[0]
        except OSError:
            return "", "", "", ""
        finally:
            file.close()
        pid, name, boot, rings, *_ = [*line.split(" ", 3), "", "", "", ""]
        return pid, name, boot, rings

    def read_note(self) -> tuple[int, str]:
        """Return the pid and the log's name from the lock file, (0, "") if they cannot be read."""
        pid, name, *_ = self._words()
        return (int(pid), name) if pid.isascii() and pid.isdigit() else (0, "")

    def rings(self) -> str:
        """Return the directory of the ring, as the lock file has it; "" if it has not."""
        return self._words()[3]

    def is_locked(self) -> bool:
        """True if a live process writes this directory."""
        try:
            file = _files.REAL.open(os.path.join(self.path, LOCK), writable=False)
        except FileNotFoundError:
            return False
        try:
            return _locks.is_locked(file.fd, 0)
        finally:
            file.close()

    def unlock(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def tidy(self) -> None:
        """Remove pages that were being made when their writer died: they never had a name."""
        for name in os.listdir(self.path):
            if name.startswith(f".{self.stem}-") and NEW_NAME.fullmatch(name):
                self.files.unlink(os.path.join(self.path, name))


class EventsDirectory(Directory):
    """The same directory as the place of the log's own events, whose pages stand beside the others.

    It takes no lock: its owner holds the directory's.
    """

    stem = "events"
