"""Which program can run a writer: this Python, found without running anything that may not be one.

`sys.executable` is not always a Python.  It is the server in uWSGI, the application in a frozen program,
empty or another Python in a program that embeds the interpreter.  To run any of these with a module's name
would start the application once more, and that one would again find no writer.  So a program is started
only if its file is named as a Python interpreter is, and belongs to this Python; or if the application said
that it can be (freeze_support), or named one (DISKLOG_MP_PYTHON).

It knows how to begin a command line, and nothing of logs.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator

MARK = "DISKLOG_MP_WRITER"  # in the environment of a writer: what it runs starts no other
PYTHON = "DISKLOG_MP_PYTHON"
FROZEN_ARGUMENT = "--disklog-mp-writer"
_BEGIN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "_writer", "begin.py")
NAME = re.compile(r"python(\d(\.\d+)?)?[a-z]?(-dbg)?")

_can_be_run_again = False


def order_of_frozen_program() -> str | None:
    """Note that this program can be run again; return the order if it was run again to be a writer."""
    global _can_be_run_again
    _can_be_run_again = True
    is_writer = len(sys.argv) >= 3 and sys.argv[1] == FROZEN_ARGUMENT
    return sys.argv[2] if is_writer else None


def is_frozen() -> bool:
    """Return True if this program carries its interpreter inside."""
    main = sys.modules.get("__main__")
    return bool(getattr(sys, "frozen", False)) or hasattr(main, "__compiled__")


def command() -> list[str]:
    """Return the program that runs a writer and its first arguments; the order to the writer comes next.

    Raises OSError (ENOEXEC) if none is known, with what to do.
    """
    named = os.environ.get(PYTHON)
    if named:
        if not _is_executable(named):
            raise OSError(errno.ENOEXEC, f"{PYTHON} names no program that can be executed", named)
        return [named, *_options(), _BEGIN]
    if is_frozen():
        if _can_be_run_again:
            return [_frozen_program(), FROZEN_ARGUMENT]
        raise _none_known("this program is frozen and does not call disklog_mp.freeze_support()")
    for path in _candidates():
        if NAME.fullmatch(os.path.basename(path)) and _is_executable(path):
            return [path, *_options(), _BEGIN]
    raise _none_known(_why_none())


def _why_none() -> str:
    if not NAME.fullmatch(os.path.basename(sys.executable or "")):
        return f"this program is run by {sys.executable or 'something'}, which is no Python interpreter"
    return f"user {os.geteuid()} cannot run {sys.executable}, or it is not there any more"


def _frozen_program() -> str:
    """Return the path of this program.  Nuitka's programs name a Python that does not exist."""
    if sys.executable and _is_executable(sys.executable):
        return sys.executable
    return os.readlink("/proc/self/exe")


def _candidates() -> Iterator[str]:
    """Yield where this Python's interpreter may be: the environment's own first."""
    if sys.executable:
        yield sys.executable
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}{getattr(sys, 'abiflags', '')}"
    for prefix in dict.fromkeys((sys.prefix, sys.exec_prefix)):
        # Of a virtual environment: it knows where its packages are.
        yield os.path.join(prefix, "bin", "python3")
    if base := getattr(sys, "_base_executable", None):
        yield base
    for prefix in dict.fromkeys((sys.base_prefix, sys.base_exec_prefix)):
        yield os.path.join(prefix, "bin", version)
        yield os.path.join(prefix, "bin", "python3")


def _is_executable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK, effective_ids=True)


def _options() -> list[str]:
    """Return the interpreter's options: this one's, and no directory before the standard library.

    It reads file names as this one does.
    """
    encoding = ["-X", f"utf8={sys.flags.utf8_mode}"]
    if sys.flags.isolated:
        return [*encoding, "-I"]
    options = [*encoding, "-P"]
    if sys.flags.ignore_environment:
        options.append("-E")
    if sys.flags.no_user_site:
        options.append("-s")
    return options


def _none_known(why: str) -> OSError:
    return OSError(
        errno.ENOEXEC,
        f"no writer can be started from here: {why}; call disklog_mp.freeze_support() first thing in a "
        f"frozen program, name a Python in {PYTHON}, or run `disklog-mp serve NAME DIRECTORY` beside the "
        "program",
    )
