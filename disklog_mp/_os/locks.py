"""Open-file-description locks on single bytes of a file, and nothing of what they mean."""

import fcntl
import os
import struct

# struct flock: type, whence, start, length, pid.  An open-file-description lock belongs to the open file
# behind the descriptor.  It ends when the process dies, not when another descriptor of the file is closed.
_FLOCK = struct.Struct("hhqqi4x")


def lock_byte(fd: int, byte: int) -> bool:
    """Take the exclusive lock on one byte; False if another open file has it."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))
    except (BlockingIOError, PermissionError):
        return False
    return True


def unlock_byte(fd: int, byte: int) -> None:
    """Give the lock on one byte back."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, byte, 1, 0))


def is_locked(fd: int, byte: int) -> bool:
    """True if an open file other than this one holds the lock on the byte."""
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def locked_bytes(fd: int, start: int, end: int) -> set[int]:
    """Return the bytes of a range that other open files hold locks on."""
    found: set[int] = set()
    while start < end:
        wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, end - start, 0)
        kind, _, first, length, _ = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, wanted))
        if kind == fcntl.F_UNLCK:
            break
        behind = first + length if length else end  # 0: up to any end the file may have
        found.update(range(max(start, first), min(behind, end)))
        start = behind
    return found
