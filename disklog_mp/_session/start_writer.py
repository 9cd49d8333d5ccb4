"""Starting a writer as a process of its own: what open() does when a log has none.

The new process is no child of this one, which it outlives.  It has a session of its own, so no Ctrl-C or
hang-up meant for the foreground reaches it, and inherits no descriptor but stderr.  The core starts it (see
spawn.c), so nothing that an application replaces (subprocess, select, os.fork, child watchers) takes part.
This half knows the child by the name of its module alone; the command line and the answer are described
there.
"""

from __future__ import annotations

import array
import errno
import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from disklog_mp import _core, errors
from disklog_mp._session import interpreter, reaping

# Meant for the application alone: readiness and sockets of its service manager, an interactive end.
NOT_INHERITED = (
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_FDS",
    "LISTEN_PID",
)
# Of Python's own variables, these tell where modules are; of the others many end a Python at its start if
# their value is wrong, and a program may have set them for programs that it runs.
OF_PYTHON = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONPLATLIBDIR",
    "PYTHONUSERBASE",
    "PYTHONCASEOK",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPYCACHEPREFIX",
)
LONGEST_ANSWER = 64 << 10  # bytes
LONGEST_WORD = (
    128 << 10
) - 1  # bytes of an argument, or of a variable of the environment: Linux takes no more
LONGEST_VARIABLES = (LONGEST_WORD, 4096, 512)  # tried in turn: all of them together may be too long
LONGEST_PART = 16 << 10  # characters of sys.path that go with the order; the rest has arguments of its own


def may_start() -> bool:
    """Return False in a writer, and in what a writer runs: these never start another."""
    return not os.environ.get(interpreter.MARK)


class Starting:
    """A writer process that was started and has not answered yet."""

    def __init__(self, name: str, pipe: int) -> None:
        self._name = name
        self._pipe = pipe
        self._answer = b""

    def answered(self, seconds: float = 0.0) -> bool:
        """True if the writer is ready; waits so many seconds for its answer.  False: there is none yet.

        Raises what the writer met at its start (WriterActiveError if there is one already, OSError, ...).
        """
        deadline = time.monotonic() + seconds
        while not self._answer.endswith(b"\n") and len(self._answer) < LONGEST_ANSWER:
            if not _core.wait_readable(self._pipe, max(0.0, deadline - time.monotonic())):
                return False
            more = os.read(self._pipe, LONGEST_ANSWER)
            if not more:
                break
            self._answer += more
        try:
            told = json.loads(self._answer)
        except ValueError:
            raise errors.WriterDiedError(self._name, 0) from None
        raise_told(told)
        return True

    def close(self) -> None:
        """Leave the writer to itself."""
        pipe, self._pipe = self._pipe, -1
        if pipe >= 0:
            os.close(pipe)

    def __del__(self) -> None:
        self.close()  # an exception out of a signal handler came before the caller did it


class User(NamedTuple):
    """The user that a writer is to run as, if it is not this process's."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def user_of(uid: int, gid: int) -> User:
    """Return a user with all groups; one without an entry has that group alone."""
    import pwd  # not in what a program loads that only logs

    try:
        entry = pwd.getpwuid(uid)
        return User(entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)))
    except KeyError:
        return User(uid, gid, ())


def begin(
    name: str,
    path: str,
    given: dict[str, Any],
    ring_dir: str | None,
    *,
    waiting: bool = False,
    goes_on: bool = False,
    sources: Mapping[str, str] | None = None,
    user: User | None = None,
) -> Starting:
    """Start a writer process for the log.  Raises OSError, ENOEXEC if no program is known that could run it.

    `given`: the options that were given, checked.  `goes_on`: it takes the place of a writer that died, and
    nothing is to change: see _writer/terms.py.  `sources`: where options came from that the program did not
    give.  `waiting`: this process waits until it has answered, and
    tells what went wrong.
    """
    if not may_start():
        raise errors.LogNotFoundError(name)
    sys_path = [entry for entry in sys.path if isinstance(entry, str) and os.path.isabs(entry)]
    part = _how_many_fit(sys_path)
    order = {
        "name": name,
        "path": path,
        "given": given,
        "source": f"open, process {os.getpid()}",
        "sources": {} if sources is None else dict(sources),
        "goes_on": goes_on,
        "ring_dir": ring_dir,
        "waiting": waiting,
        "sys_path": sys_path[:part],
    }
    command = [*interpreter.command(), json.dumps(order), *sys_path[part:]]
    reaping.collect()
    pid, answers = _spawn(command, user)
    starting = Starting(name, answers)
    reaping.note(pid)
    return starting


def _spawn(command: list[str], user: User | None) -> tuple[int, int]:
    """Start a process; return its pid and the pipe it answers through.

    Of an environment that is too large with the arguments, the longest variables are left out.
    """
    _refuse_to_be_first()
    uid, gid, groups = (-1, -1, b"") if user is None else (user.uid, user.gid, _packed(user.groups))
    program, arguments, stderr = os.fsencode(command[0]), _block(command), _stderr()
    for longest in LONGEST_VARIABLES:
        environment = _block(_environment(longest))
        try:
            return _core.spawn(program, arguments, environment, stderr, uid, gid, groups)
        except OSError as error:
            if error.errno != errno.E2BIG or longest == LONGEST_VARIABLES[-1]:
                raise
    raise AssertionError


def _refuse_to_be_first() -> None:
    """Raise OSError if a child of this process would be the first of a new pid namespace (unshare).

    The first that ends takes all others with it, and leaves this process none to start.
    """
    if os.path.exists("/proc/self/ns/pid") and not os.path.exists("/proc/self/ns/pid_for_children"):
        text = "no writer can be started as the first process of a new pid namespace: fork before logging"
        raise OSError(errno.ECHILD, text)


def start(
    name: str,
    path: str,
    given: dict[str, Any],
    ring_dir: str | None,
    *,
    wait: float,
    goes_on: bool = False,
    sources: Mapping[str, str] | None = None,
    user: User | None = None,
) -> bool:
    """Start a writer process for the log and wait that many seconds until it is ready.

    Returns True if it is, False if the time was over first: then the writer is left to itself.  Raises what
    begin() and Starting.answered() raise.
    """
    deadline = time.monotonic() + wait
    starting = begin(
        name, path, given, ring_dir, waiting=wait > 0, goes_on=goes_on, sources=sources, user=user
    )
    try:
        return wait > 0 and starting.answered(max(0.0, deadline - time.monotonic()))
    finally:
        starting.close()


def _environment(longest: int) -> list[str]:
    """Return the environment of a writer: the program's own (LD_PRELOAD, TZ, locale), and that it is one.

    It has no variables of that many bytes, or more.
    """
    kept = {key: value for key, value in os.environ.items() if _is_inherited(key)}
    if not _is_home(kept.get("PYTHONHOME", "")):  # set for another Python, that this program starts
        kept.pop("PYTHONHOME", None)
    if kept.get("PYTHONPLATLIBDIR") != sys.platlibdir:
        kept.pop("PYTHONPLATLIBDIR", None)
    kept[interpreter.MARK] = "1"
    # A one-file program of PyInstaller unpacks itself once more, or it would lose its files with this
    # process.
    kept["PYINSTALLER_RESET_ENVIRONMENT"] = "1"
    entries = (f"{key}={value}" for key, value in kept.items())
    return [entry for entry in entries if len(os.fsencode(entry)) < longest]


def _is_inherited(variable: str) -> bool:
    return variable in OF_PYTHON or not (variable in NOT_INHERITED or variable.startswith("PYTHON"))


def _is_home(home: str) -> bool:
    """True if PYTHONHOME is where this program's Python is."""
    where = home.partition(os.pathsep)[0]  # a relative one leads nowhere from / or a directory that is gone
    return os.path.isabs(where) and os.path.realpath(where) == os.path.realpath(sys.base_prefix)


def _how_many_fit(entries: list[str]) -> int:
    """Return how many entries of sys.path go with the order."""
    total = 0
    for index, entry in enumerate(entries):
        total += len(entry)
        if total > LONGEST_PART:
            return index
    return len(entries)


def _block(words: list[str]) -> bytes:
    """Return words as the core takes them: each ended by a NUL."""
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def _stderr() -> int:
    """Return the descriptor a writer says on what it meets at its start; -1 if there is none."""
    try:
        os.fstat(2)
    except OSError:
        return -1
    return -1 if sys.stderr is None else 2


def _packed(groups: tuple[int, ...]) -> bytes:
    return array.array("I", groups).tobytes()


def raise_told(told: dict[str, Any] | None) -> None:
    """Raise an error that a writer told of; not if it told of none."""
    if told is None or told["kind"] == "ready":
        return
    if told["kind"] == "OSError":
        raise OSError(*told["values"])
    kind = getattr(errors, told["kind"], None)
    if kind is None:
        known = {"ValueError": ValueError, "TypeError": TypeError}
        raise known.get(told["kind"], RuntimeError)(*told["values"])
    raise kind(*told["values"])
