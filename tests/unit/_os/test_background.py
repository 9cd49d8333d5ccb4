"""Files closed by a thread of their own."""

import threading

import pytest

from disklog_mp._os.background import Closer


class File:
    """Says in which thread it was closed, once it may."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.closed_in: threading.Thread | None = None

    def close(self) -> None:
        self.may.wait(10)
        self.closed_in = threading.current_thread()


def test_nobody_waits_until_it_is_told_to_end() -> None:
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
    """Not the writer's end: root, who runs the tests, is not held to a number of threads, so it is put on."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    file = File()
    file.may.set()
    Closer()(file)

    assert file.closed_in is threading.current_thread()
