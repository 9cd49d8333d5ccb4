"""Files and mappings: the only module that opens, writes, syncs or maps files.

It knows neither pages nor rings.  The page writer reaches the disk through a `Files` only, so a test can
hand in one that fails, or that forgets what was not synced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Protocol

from disklog_mp._core import Mapping

if TYPE_CHECKING:
    from _socket import socket  # a socket of the standard library is one of these

OS_PAGE = 4096


class WritableFile(Protocol):
    """A file being written: what the page writer needs of one."""

    def write_at(self, data: memoryview | bytes, offset: int) -> None: ...
    def read_at(self, length: int, offset: int) -> bytes: ...
    def allocate(self, length: int) -> None: ...
    def truncate(self, length: int) -> None: ...
    def size(self) -> int: ...
    def is_cut(self, length: int) -> bool: ...
    def is_removed(self) -> bool: ...
    def is_at(self, path: str) -> bool: ...
    def probe(self) -> None: ...
    def sync(self) -> None: ...
    def renew_access(self, mode: int, gid: int) -> None: ...
    def map(self, length: int, *, writable: bool) -> Mapping: ...
    def close(self) -> None: ...


class Files(Protocol):
    """A file system: what the directory and the page writer need of one."""

    def create(self, path: str, mode: int, gid: int) -> WritableFile: ...
    def open(self, path: str, *, writable: bool) -> WritableFile: ...
    def rename(self, source: str, target: str) -> None: ...
    def unlink(self, path: str) -> None: ...
    def sync_directory(self, path: str) -> None: ...


class RealFile:
    """A file of the operating system, behind one descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def write_at(self, data: memoryview | bytes, offset: int) -> None:
        """Write all of `data`; short writes go on where they stopped."""
        rest = memoryview(data)
        while rest:
            done = os.pwrite(self.fd, rest, offset)
            if done == 0:
                raise OSError(errno.EIO, "the file accepts no more bytes")
            rest = rest[done:]
            offset += done

    def read_at(self, length: int, offset: int) -> bytes:
        """Return `length` bytes from an offset on, or fewer at the end of the file."""
        return os.pread(self.fd, length, offset)

    def read(self, length: int) -> bytes:
        """Return the first `length` bytes, or fewer if the file is shorter."""
        return os.pread(self.fd, length, 0)

    def allocate(self, length: int) -> None:
        """Make the file at least `length` bytes long and reserve the disk space for them.

        A file system that cannot reserve space (NFS before 4.2, some FUSE) only gets the length.
        """
        try:
            os.posix_fallocate(self.fd, 0, length)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                raise
            if length > self.size():
                self.truncate(length)

    def truncate(self, length: int) -> None:
        os.ftruncate(self.fd, length)

    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def is_cut(self, length: int) -> bool:
        """True if the file is shorter than `length` bytes."""
        return os.fstat(self.fd).st_size < length

    def is_removed(self) -> bool:
        """True if the file has no name any more: its data is lost when the last process closes it."""
        return os.fstat(self.fd).st_nlink == 0

    def is_at(self, path: str) -> bool:
        """True if the path leads to this file."""
        try:
            status = os.stat(path, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(status, os.fstat(self.fd))

    def probe(self) -> None:
        """Raise OSError where a store into a mapping of the file's first bytes would raise a signal.

        The file system may have become read-only, or another process may have cut the file.
        """
        if os.pwrite(self.fd, os.pread(self.fd, 1, 0), 0) == 0:
            raise OSError(errno.EIO, "another process cut the file")

    def sync(self) -> None:
        os.fdatasync(self.fd)

    def renew_access(self, mode: int, gid: int) -> None:
        """Give a file of an earlier run the mode and group asked for now, if this user may."""
        status = os.fstat(self.fd)
        if os.geteuid() not in (0, status.st_uid):
            return
        if stat.S_IMODE(status.st_mode) != mode or gid not in (-1, status.st_gid):
            set_access(self.fd, mode, gid)

    def map(self, length: int, *, writable: bool) -> Mapping:
        return Mapping(self.fd, length, writable)

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            # The descriptor is free even if close() fails; what had to be on disk was synced before.
            with contextlib.suppress(OSError):
                os.close(fd)


class RealFiles:
    """The operating system's file systems.  Symbolic links are not followed."""

    def create(self, path: str, mode: int, gid: int) -> RealFile:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(path, flags, 0o600)
        try:
            set_access(fd, mode, gid)
        except BaseException:
            os.close(fd)
            os.unlink(path)
            raise
        return RealFile(fd)

    def open(self, path: str, *, writable: bool) -> RealFile:
        access = os.O_RDWR if writable else os.O_RDONLY
        try:
            fd = os.open(path, access | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except PermissionError as problem:
            raise no_access(problem, path) from None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
        except BaseException:
            os.close(fd)
            raise
        return RealFile(fd)

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def sync_directory(self, path: str) -> None:
        fd = os.open(path, _DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
REAL = RealFiles()
SMALL = 1 << 20  # bytes: what a small file has at most


def write_small(path: str, data: bytes, mode: int, gid: int) -> None:
    """Give a small file this content, durably: at any moment the file has the old content or the new one.

    One process at a time may call this for one path.  Raises OSError, and then the old content is there.
    """
    new = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.new")
    try:
        file = REAL.create(new, mode, gid)
    except FileExistsError:  # left by a process that died
        os.unlink(new)
        file = REAL.create(new, mode, gid)
    try:
        file.write_at(data, 0)
        os.fsync(file.fd)
        os.rename(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise
    finally:
        file.close()
    REAL.sync_directory(os.path.dirname(path))


def read_small(path: str) -> bytes:
    """Return the content of a small file, its first SMALL bytes.  Raises OSError."""
    file = REAL.open(path, writable=False)
    try:
        return file.read(SMALL)
    finally:
        file.close()


def bind_socket(listening: socket, path: str, mode: int, gid: int, backlog: int) -> None:
    """Have a socket listen under this path, in place of what stood there.  Raises OSError.

    It gets the name when it listens, and with its access rights.  The path may be longer than an address of
    a socket is allowed to be.
    """
    place, name = os.path.split(path)
    new = f".{name}.new"
    directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(FileNotFoundError):  # left by a process that died
            os.unlink(new, dir_fd=directory)
        listening.bind(f"/proc/self/fd/{directory}/{new}")
        try:
            if gid >= 0:
                os.chown(new, -1, gid, dir_fd=directory, follow_symlinks=False)
            os.chmod(new, mode, dir_fd=directory)
            listening.listen(backlog)
            os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            os.unlink(new, dir_fd=directory)
            raise
    finally:
        os.close(directory)


def connect_socket(client: socket, path: str) -> None:
    """Connect to a socket that listens under this path.  Raises OSError."""
    place, name = os.path.split(path)
    directory = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        client.connect(f"/proc/self/fd/{directory}/{name}")
    finally:
        os.close(directory)


def set_access_at(path: str, mode: int, gid: int) -> None:
    """Give what stands at a path another mode and group (-1: leave it); symbolic links are not followed."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        there = f"/proc/self/fd/{fd}"
        if os.stat(there).st_uid not in (os.geteuid(), 0) and os.geteuid() != 0:
            return
        if gid >= 0:
            os.chown(there, -1, gid)
        os.chmod(there, mode)
    finally:
        os.close(fd)


def is_same(path: str, other: str) -> bool:
    """True if both paths lead to one file or directory, however they are spelled; False if one is missing."""
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False


def list_directory(path: str) -> list[str]:
    """Return the names in a directory; PermissionError says what to do."""
    try:
        return os.listdir(path)
    except PermissionError as problem:
        raise no_access(problem, path) from None


def no_access(problem: PermissionError, path: str) -> PermissionError:
    """Return the error with what can be seen of the file, and what to do."""
    try:
        status = os.lstat(path)
    except OSError:  # its directory may not be entered
        text = f"permission denied: you are uid {os.geteuid()}; {how_to_share(None)}"
    else:
        what = owner_and_mode(status)
        text = f"permission denied: it is {what}, you are uid {os.geteuid()}; {how_to_share(status)}"
    return PermissionError(problem.errno, text, path)


def how_to_share(status: os.stat_result | None) -> str:
    """Return what the owner of a log does so that this user may use it."""
    if status is not None and status.st_gid in {os.getegid(), *os.getgroups()}:
        name = _group_name(status.st_gid)
        return f"open the log with mode=0o660 and group={name if name.isdigit() else repr(name)}"
    return "open the log with mode=0o660 and group=, a group that both users are in"


_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


Place = tuple[bytes, int, int]  # a path, and device and inode of the file it leads to


def place_of(fd: int, path: str) -> Place:
    """Return the place of an open file; the writer watches whether the file is still there."""
    status = os.fstat(fd)
    return os.fsencode(path), status.st_dev, status.st_ino


def describe(status: os.stat_result) -> str:
    """Return what a file is, its owner, group and mode, for error messages: file root:adm 0640."""
    return f"{_KINDS.get(stat.S_IFMT(status.st_mode), 'object')} {owner_and_mode(status)}"


def owner_and_mode(status: os.stat_result) -> str:
    """Return the owner, group and mode of a file: root:adm 0640."""
    owner, group = _user_name(status.st_uid), _group_name(status.st_gid)
    return f"{owner}:{group} {stat.S_IMODE(status.st_mode):04o}"


def _user_name(uid: int) -> str:
    with contextlib.suppress(KeyError, ImportError, OSError):  # no descriptor left, or another root
        import pwd

        return pwd.getpwuid(uid).pw_name
    return str(uid)


def _group_name(gid: int) -> str:
    with contextlib.suppress(KeyError, ImportError, OSError):
        import grp

        return grp.getgrgid(gid).gr_name
    return str(gid)


def set_access(fd: int, mode: int, gid: int) -> None:
    """Give a new file the log's mode and group (-1: leave the group); the umask has no say."""
    if gid >= 0:
        try:
            os.fchown(fd, -1, gid)
        except PermissionError as problem:
            raise PermissionError(
                problem.errno, f"you (uid {os.geteuid()}) are not in group {_group_name(gid)}"
            ) from None
    os.fchmod(fd, mode)


def make_directory(path: str, mode: int, gid: int) -> None:
    """Create a directory, and its parents, which all users that may use the log may enter."""
    if os.path.isdir(path):
        return
    missing = [path]
    while not os.path.lexists(parent := os.path.dirname(missing[-1])):
        missing.append(parent)
    for parent in missing[:0:-1]:
        _make_one(parent, 0o777, mode & 0o044, gid if mode & 0o060 else -1)
    _make_one(path, 0o700, mode, gid)


def of_directory(mode: int) -> int:
    """Return the rights on a directory that go with this mode of the files in it."""
    return mode | (mode & 0o444) >> 2


def _make_one(path: str, at_first: int, mode: int, gid: int) -> None:
    """Create a directory as the umask says, and add the rights that files of that mode in it need."""
    try:
        os.mkdir(path, at_first)
    except FileExistsError:  # by another process, meanwhile
        return
    try:
        fd = os.open(path, _DIRECTORY)
        try:
            made = stat.S_IMODE(os.fstat(fd).st_mode)
            set_access(fd, made | of_directory(mode), gid)
        finally:
            os.close(fd)
    except BaseException:
        os.rmdir(path)
        raise
