"""Work in a background thread: jobs in order, files closed by it."""

import contextlib
import os
import threading
from collections.abc import Iterator

import pytest

from disklog_mp._os.background import Background, Closer, Stderr


class File:
    """Says in which thread it was closed, once it may."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.closed_in: threading.Thread | None = None

    def close(self) -> None:
        self.may.wait(10)
        self.closed_in = threading.current_thread()


def test_only_the_end_waits_for_what_is_closed() -> None:
    """What takes long is not waited for; close() waits for all of it, and it can go on after that."""
    closer = Closer()
    files = [File() for _ in range(3)]
    for file in files:
        closer(file)
    assert all(file.closed_in is None for file in files)
    for file in files:
        file.may.set()
    closer.close()
    closer.close()

    assert {file.closed_in and file.closed_in.name for file in files} == {"disklog-close"}
    assert not any(thread.name == "disklog-close" for thread in threading.enumerate())
    closer(files[0])
    closer.close()


def test_where_there_is_no_room_for_a_thread_it_is_closed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread's start is made to fail: root, as which the tests may run, has no limit of threads."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    file = File()
    file.may.set()
    Closer()(file)

    assert file.closed_in is threading.current_thread()


def test_jobs_are_performed_in_order_by_a_thread_that_the_first_one_starts() -> None:
    """No job, no thread; close() performs what waits, and another job starts a thread again."""
    done: list[int] = []
    background = Background("disklog-test", done.append)
    assert not background.is_started()
    background.close()
    assert all(background.give(number) for number in range(100))
    background.close()
    assert not background.is_started()
    assert background.give(100)
    background.close()

    assert done == list(range(101))


def test_no_more_jobs_wait_than_are_allowed() -> None:
    """The job too many is refused; the thread is at work on another one."""
    at_work, go_on = threading.Event(), threading.Event()

    def perform(job: int) -> None:
        at_work.set()
        go_on.wait(10)

    background = Background("disklog-test", perform, at_most=2)
    assert background.give(0)
    assert at_work.wait(10)
    given = [background.give(job) for job in (1, 2, 3)]
    go_on.set()
    background.close()

    assert given == [True, True, False]


@contextlib.contextmanager
def pipe_as_stderr() -> Iterator[int]:
    """A pipe in the place of stderr: its reading end."""
    kept = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)
    os.set_blocking(reading, False)
    try:
        yield reading
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(reading)


def test_where_there_is_no_room_for_a_thread_lines_are_printed_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As far as the reader of a pipe takes them; nothing waits for it."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    stderr = Stderr()
    with pipe_as_stderr() as reading:
        for i in range(100):
            stderr.say(f"{i:03d} " + "x" * 2000)
        read = os.read(reading, 1 << 20)

    assert read.startswith(b"disklog-mp: 000 xxx")
    assert b"disklog-mp: 015 xxx" in read
    stderr.close()
