"""Forked children, and programs whose wall clock steps."""

import contextlib
import os
import signal
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

# In place of libc's: the wall clock is ahead by the seconds that stand in a file.
CLOCK = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

static volatile long long *ahead;

__attribute__((constructor)) static void begin(void)
{
    int fd = open(getenv("CLOCK_AHEAD"), O_RDONLY);
    ahead = mmap(NULL, 8, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int status = (int)syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME)
        now->tv_sec += *ahead;
    return status;
}
"""


def fork(work: Callable[[], object]) -> int:
    """Do the work in a forked child, which then ends; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


@contextlib.contextmanager
def child(work: Callable[[], object]) -> Iterator[int]:
    """A forked child that is killed at the end, unless the test waited for it before."""
    pid = fork(work)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def end(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal a child and wait for its end."""
    os.kill(pid, number)
    os.waitpid(pid, 0)


def succeeds(pid: int) -> None:
    """Wait for a child, which must have done all its work."""
    assert os.waitpid(pid, 0)[1] == 0


def tell(file: Path, text: str = "") -> None:
    """Tell another process that waits until the file is there: it is whole from its first moment on."""
    half = file.with_name(f".{file.name}.half")
    half.write_text(text)
    half.rename(file)


def stepping_clock(directory: Path) -> tuple[dict[str, str], Path]:
    """Return the environment for programs whose wall clock steps, and the file of 8 bytes that steps it."""
    source, library, ahead = directory / "clock.c", directory / "clock.so", directory / "ahead"
    source.write_text(CLOCK)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    ahead.write_bytes(bytes(8))
    return {**os.environ, "LD_PRELOAD": str(library), "CLOCK_AHEAD": str(ahead)}, ahead
