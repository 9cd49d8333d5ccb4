"""Being another user: functions in forked children that gave up what they were."""

import codecs
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import disklog_mp
from disklog_mp._os import systemd as _systemd
from disklog_mp._ring import file as _ring
from disklog_mp._ring import names
from disklog_mp._ring import stats as _stats
from disklog_mp._writer import writer

# Where Python is in somebody's home, a child that is another user can import nothing any more.
LOADED = (tempfile, _stats, _systemd, writer, codecs.lookup("ascii"))


class User(NamedTuple):
    """Who a process is: numbers that need no entry anywhere."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def become(self) -> None:
        os.setgroups(self.groups)
        os.setgid(self.gid)
        os.setuid(self.uid)


ROOT = User(0, 0)
DAEMON = User(1, 1)
NOBODY = User(65534, 65534)


def as_user(user: User, function: Callable[[], Any], *, before: Callable[[], object] = bool) -> Any:
    """Return what the function returns, or raise what it raises, in a process of that user.

    `before` is called in that process while it is still root.
    """
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.close(receiver)
            try:
                before()
                user.become()
                answer = function(), None
            except Exception as error:
                answer = None, error
            os.write(sender, pickle.dumps(answer))
        os._exit(0)
    os.close(sender)
    with open(receiver, "rb") as file:
        told = file.read()
    os.waitpid(pid, 0)
    value, error = pickle.loads(told)
    if error is not None:
        raise error
    return value


STRANGER = """
import grp, pickle, pwd, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
import support.users
user, function = pickle.load(sys.stdin.buffer)
user.become()
try:
    function()
    told = None
except Exception as error:
    told = error
sys.stdout.buffer.write(pickle.dumps(told))
"""


def as_stranger(user: User, function: Callable[[], object]) -> None:
    """Call the function, which can be pickled, in a new Python of that user; raise what it raises.

    A forked child has what its parent had open.  This process has nothing of it.
    """
    order = pickle.dumps(sys.path) + pickle.dumps((user, function))
    command = [sys.executable, "-c", STRANGER]
    done = subprocess.run(command, input=order, stdout=subprocess.PIPE, timeout=60, check=True)
    error = pickle.loads(done.stdout)
    if error is not None:
        raise error


@contextlib.contextmanager
def serving(
    user: User, name: str, path: object, *, end: int = signal.SIGTERM, umask: int = 0o022, **options: Any
) -> Iterator[int]:
    """Run the writer in a process of that user, ended by a signal; raises what keeps it from starting."""
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.close(receiver)
            os.umask(umask)
            user.become()
            try:
                disklog_mp.serve(
                    name, str(path), ring_bytes=1 << 16, started=lambda _: os.close(sender), **options
                )
            except Exception as error:
                os.write(sender, pickle.dumps(error))
        os._exit(0)
    os.close(sender)
    try:
        with open(receiver, "rb") as file:
            told = file.read()
        if told:
            raise pickle.loads(told)
        yield pid
    finally:
        os.kill(pid, end)
        os.waitpid(pid, 0)


def make_ring(name: str, ring_dir: str | None, path: str) -> None:
    """Make a ring as a writer does, that nobody writes: what somebody may plant, or a crash leave."""
    place = names.ring_path(name, bytes(16), ring_dir)
    file = _ring.create(
        _ring.reserve(place, capacity=4096, mode=0o600, gid=-1),
        name,
        base=0,
        generation=1,
        salt=1,
        log_id=bytes(16),
        path=path,
        replace=False,
        fill=lambda ring: None,
    )
    os.close(file.fd)
