"""What the doctor finds, and its fixes, done as they are printed."""

import ctypes
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import disklog_mp
from disklog_mp._doctor import examination
from disklog_mp._doctor.examination import Symptom
from support.children import fork, succeeds
from support.mounts import system

NEW_NAMESPACE = {"mount": 0x20000, "pid": 0x20000000}


def leave(kind: str) -> None:
    """Leave the namespace of that kind, this process itself or its next child."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(NEW_NAMESPACE[kind]) != 0:
        raise OSError(ctypes.get_errno(), f"unshare {kind}")
    if kind == "mount":
        assert system("mount", "--make-rprivate", "/")


def in_own_mounts(work: Callable[[], object]) -> None:
    """Do the work in a child with mounts of its own, which go with it."""

    def both() -> None:
        leave("mount")
        work()

    succeeds(fork(both))


def found_by(look: str, log: object = None, **options: Any) -> list[Symptom]:
    """What one look of the doctor finds, which is made alone; it does not fail."""
    with mock.patch.dict(examination.LOOKS, {look: examination.LOOKS[look]}, clear=True):
        diagnosis = disklog_mp.doctor(None if log is None else str(log), **options)
    assert diagnosis.troubles == ()
    assert diagnosis.exit_code == bool(diagnosis.findings)
    return [each for each in diagnosis.findings if each.look == look]


def the_one(look: str, log: object = None, **options: Any) -> Symptom:
    """The only finding of a look."""
    (finding,) = found_by(look, log, **options)
    return finding


def mend(finding: Symptom) -> None:
    """Run the command that a finding names: the first one between backticks, or all of it."""
    command = re.search("`([^`]+)`", finding.fix)
    text = command[1] if command else finding.fix
    program = re.sub("^disklog-mp ", f"{sys.executable} -m disklog_mp ", text)
    subprocess.run(["sh", "-c", program], check=True, timeout=60)


def mount(*options: object, place: Path | str) -> None:
    """Mount a file system at that place, made if it is missing."""
    Path(place).mkdir(parents=True, exist_ok=True)
    assert system("mount", *options, place)
