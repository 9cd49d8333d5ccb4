"""Programs started by the core: no child of this process, with nothing inherited but what is named."""

import array
import ctypes
import errno
import json
import os
import resource
import signal
import sys
import time

import pytest
from support.children import fork, succeeds

from disklog_mp import _core
from disklog_mp._session import start_writer

CLONE_NEWPID = 0x20000000

REPORT = """
import json, os, resource, signal, sys
print(json.dumps({
    "parent": os.getppid(), "session": os.getsid(0), "pid": os.getpid(), "directory": os.getcwd(),
    "descriptors": sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1],
    "environment": dict(os.environ), "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "nice": os.getpriority(os.PRIO_PROCESS, 0), "cpus": sorted(os.sched_getaffinity(0)),
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "umask": os.umask(0),
    "child": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
}), flush=True)
"""


def block(*words: str) -> bytes:
    """Words as the core takes them."""
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def spawn(*command: str, environment: bytes = b"", stderr: int = -1, uid: int = -1) -> tuple[int, int]:
    """Start a program."""
    groups = array.array("I", [uid]).tobytes() if uid >= 0 else b""
    return _core.spawn(os.fsencode(command[0]), block(*command), environment, stderr, uid, uid, groups)


def read_all(fd: int) -> bytes:
    """What the program writes until its end."""
    with open(fd, "rb") as file:
        return file.read()


def report(**options: object) -> dict[str, object]:
    """What a program that was started says of itself."""
    python = os.path.realpath(sys.executable)
    pid, fd = spawn(python, "-I", "-S", "-c", REPORT, **options)  # type: ignore[arg-type]
    told: dict[str, object] = json.loads(read_all(fd))
    assert pid == told["pid"]
    return told


def test_it_is_no_child_and_has_a_session_of_its_own() -> None:
    """Neither waitpid(-1) nor a handler of SIGCHLD hears of it."""
    heard: list[int] = []
    before = signal.signal(signal.SIGCHLD, lambda number, _: heard.append(number))
    try:
        told = report()
        with pytest.raises(ChildProcessError):
            while True:  # other tests' helpers are children, too
                os.waitid(os.P_PID, int(str(told["pid"])), os.WEXITED)
    finally:
        signal.signal(signal.SIGCHLD, before)

    assert not heard
    assert told["session"] != os.getsid(0)
    assert told["parent"] != os.getpid()
    assert told["directory"] == "/"


def test_it_inherits_no_descriptor_and_no_environment() -> None:
    """0, 1 and 2 are open; a descriptor of this process that is to be inherited is not."""
    kept = os.open("/dev/null", os.O_RDONLY)
    try:
        os.set_inheritable(kept, True)
        told = report(environment=block("LANG=C", "A=b c"))
    finally:
        os.close(kept)

    assert told["descriptors"] == [0, 1, 2]
    assert {"LANG": "C", "A": "b c"}.items() <= told["environment"].items()  # type: ignore[attr-defined]


def test_it_takes_the_limits_it_may_have_and_no_signal_is_blocked() -> None:
    """What held for the process that starts it does not hold for it: soft limits, processors, signals."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    cpus = os.sched_getaffinity(0)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    ignored = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    os.sched_setaffinity(0, [min(cpus)])
    try:
        told = report()
    finally:
        os.sched_setaffinity(0, cpus)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        signal.signal(signal.SIGCHLD, ignored)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    assert told["files"] == [hard, hard]
    assert told["cpus"] == sorted(cpus)
    assert told["blocked"] == []
    assert told["child"]
    assert int(str(told["umask"])) & 0o22 == 0o22


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_root_may_start_it_as_another_user() -> None:
    """With that user's groups, and no others."""
    _, fd = spawn("/usr/bin/id", uid=65534)

    assert read_all(fd).split()[:1] == [b"uid=65534(nobody)"]


@pytest.mark.parametrize(("path", "number"), [("/no/such", errno.ENOENT), ("/etc/passwd", errno.EACCES)])
def test_a_program_that_cannot_run_is_an_error(path: str, number: int) -> None:
    """The errno of execve, and no descriptor is left."""
    with pytest.raises(OSError, match=r"No such file|denied") as raised:
        spawn(path)

    assert raised.value.errno == number


def test_waiting_ends_with_the_time_the_answer_or_the_end() -> None:
    """True as soon as there is something to read, or never will be."""
    pid, fd = spawn("/bin/sleep", "60")
    began = time.monotonic()
    try:
        assert not _core.wait_readable(fd, 0.05)
        assert time.monotonic() - began >= 0.05
    finally:
        os.kill(pid, signal.SIGKILL)
    assert _core.wait_readable(fd, 10)
    assert os.read(fd, 10) == b""
    os.close(fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a pid namespace")
def test_no_writer_is_the_first_process_of_a_namespace() -> None:
    """Its end would be the end of every other child of the program."""

    def unshare_and_log() -> None:
        assert ctypes.CDLL(None).unshare(CLONE_NEWPID) == 0
        with pytest.raises(OSError, match="fork before logging") as refused:
            start_writer.begin("unused", "/nonexistent", {}, None)
        assert refused.value.errno == errno.ECHILD
        first = os.fork()  # the program may have it, all the same
        if first == 0:
            os._exit(0)
        assert os.waitpid(first, 0)[1] == 0

    succeeds(fork(unshare_and_log))
