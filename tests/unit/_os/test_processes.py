"""What is known of processes; of this one and its parent, for a unit test starts none."""

import os
import uuid

import pytest

from disklog_mp._os import processes

NO_PID = [4194305, 2**31 - 1, 2**40, 10**29]


def test_this_process_runs_since_its_start() -> None:
    """And not since another one: then the pid was given to another process."""
    pid, start, namespace = processes.identity()

    assert pid == os.getpid()
    assert start == processes.start_ticks(pid) != processes.start_ticks(1)
    assert namespace == os.stat("/proc/self/ns/pid").st_ino
    assert processes.is_running(pid, start)
    assert not processes.is_running(pid, start + 2)
    assert processes.is_there(pid)
    assert not processes.is_stopped(pid)


@pytest.mark.parametrize("pid", NO_PID)
def test_a_pid_that_no_process_has(pid: int) -> None:
    """It neither runs nor stands still, and that is no error."""
    assert processes.start_ticks(pid) is None
    assert not processes.is_running(pid, 0)
    assert not processes.is_there(pid)
    assert not processes.is_stopped(pid)


def test_the_boot_has_an_id() -> None:
    """The same at each look."""
    assert uuid.UUID(processes.boot_id()) == uuid.UUID(processes.boot_id())
