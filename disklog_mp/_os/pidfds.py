"""What the kernel tells of a process through its pidfd."""

import fcntl
import struct

# struct pidfd_info as it was first, 64 bytes, and the ioctl that fills it.
_INFO = struct.Struct("=Q52xi")  # mask, exit code
_INFO_EXIT = 1 << 3
_GET_INFO = 3 << 30 | _INFO.size << 16 | 0xFF << 8 | 11


def exit_code(pidfd: int) -> int | None:
    """Return the status, as of wait(), of a process whose parent has waited for it.

    None: it has not, or the kernel does not tell: it does from Linux 6.15 on.
    """
    info = bytearray(_INFO.pack(_INFO_EXIT, 0))
    try:
        fcntl.ioctl(pidfd, _GET_INFO, info)
    except OSError:
        return None
    mask, code = _INFO.unpack(info)
    return int(code) if mask & _INFO_EXIT else None
