"""An exception at any line of attach, close and fork: what a signal handler raises costs no later session."""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from support.children import fork, succeeds
from support.machine import wait_until

import disklog_mp
from disklog_mp._session.attachments import attachments
from disklog_mp._session.session import connection_of

PACKAGE = Path(disklog_mp.__file__).parent
FILES = {
    os.fspath(PACKAGE / name)
    for name in (
        *("_session/attachments.py", "_session/connection.py", "_session/session.py", "_session/rescue.py"),
        *("_session/opening.py", "_session/leaving.py", "_session/waiting.py"),
        *("_ring/file.py", "_ring/slots.py", "_ring/names.py"),
    )
}


class Interrupt(BaseException):
    """What the handler of a signal raises."""


def interrupt_at(number: int, action: Callable[[], object]) -> str:
    """Perform an action, and raise at its n-th line in these files; return which that was, "" if none."""
    seen, place = 0, ""

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal seen, place
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line":
            seen += 1
            if seen == number:
                place = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"
                raise Interrupt
        return trace

    sys.settrace(trace)
    try:
        action()
    except Interrupt:
        pass
    finally:
        sys.settrace(None)
    return place


def descriptors() -> dict[str, str]:
    """The descriptors of this process, and where they lead."""
    found = {}
    for entry in os.listdir("/proc/self/fd"):
        try:
            found[entry] = os.readlink(f"/proc/self/fd/{entry}")
        except OSError:  # the one that lists
            pass
    return found


def attach_and_log(name: str) -> None:
    log = disklog_mp.attach(name)
    try:
        log.log(b"x")
    finally:
        log.close()


def with_two_sessions(name: str) -> None:
    with disklog_mp.attach(name) as one, disklog_mp.attach(name) as other:
        one.log(b"x")
        other.log(b"x")


def reattach(name: str) -> None:
    with disklog_mp.attach(name) as log:
        connection_of(log).unbind()
        log.log(b"x")


def attach_without_closing(name: str) -> None:
    disklog_mp.attach(name).log(b"x")


@pytest.mark.parametrize("action", [attach_and_log, with_two_sessions, reattach, attach_without_closing])
def test_an_interrupt_at_any_line_leaves_nothing_behind(
    name: str, path: Path, action: Callable[[str], None]
) -> None:
    """No slot, no descriptor, no lock: a session of this thread and one of another work at once."""
    with disklog_mp.open(name, path, ring_bytes=1 << 16, sync="never", linger=0.1) as log:
        log.flush()

        def work() -> None:
            sys.unraisablehook = lambda _: None  # pytest's keeps all that an interrupted __del__ refers to
            attachments.after_fork_in_child()  # closes what was opened for it before the fork
            before = descriptors()
            places = 0
            while place := interrupt_at(places + 1, lambda: action(name)):
                places += 1
                attach_and_log(name)
                thread = threading.Thread(target=attach_and_log, args=[name])
                thread.start()
                thread.join(0.9)  # seconds: less than it waits for a lock that was left behind
                assert not thread.is_alive(), place
                assert descriptors() == before, place
            assert places > 40
            both = [os.getpid(), os.getppid()]  # stats() of an inherited session attaches
            wait_until(lambda: sorted(slot.pid for slot in log.stats().producers) == sorted(both))

        succeeds(fork(work))
