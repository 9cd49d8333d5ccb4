"""An export killed at any of its steps: what is there is whole, and a resumed one has each record once."""

import contextlib
import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command import call
from support.pages import frame, write_page

from disklog_mp import cli

DAY = 86400 * 10**9
RECORDS = 7
# All that an export does to its files.
STEPS = ("open", "write", "rename", "unlink", "fsync", "fdatasync", "mkdir", "fchmod")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of two days."""
    frames: list[bytes] = []
    position = 0
    for number in range(RECORDS):
        frames.append(frame(position, b"record %d" % number, time=DAY * 20_000 + number * DAY // 4))
        position += len(frames[-1])
    write_page(tmp_path / "log", frames)
    return tmp_path / "log"


def export_until(step: int, *arguments: object) -> bool:
    """Export in a child that is killed at that step; False if it came to its end before."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            die_at(step)
            with contextlib.redirect_stderr(io.StringIO()):
                code = cli.run([*map(str, arguments)])
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def die_at(step: int) -> None:
    """Kill this process behind the step of that number, from 0."""
    left = [step + 1]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def one(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            is_last = left[0] == 0
            try:
                return function(*arguments, **options)
            finally:
                if is_last:
                    os.kill(os.getpid(), signal.SIGKILL)

        return one

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))


def numbers_in(file: Path) -> list[int]:
    return [json.loads(line)["number"] for line in file.read_bytes().splitlines()]


def test_an_export_into_one_file_is_killed_at_every_step(log: Path, tmp_path: Path) -> None:
    """The file is as it was, or complete; the next export finds nothing in its way."""
    file = tmp_path / "all.jsonl"
    step = 0
    while export_until(step, "export", log, "-o", file, "--resume", "-q"):
        assert not file.exists() or numbers_in(file) == list(range(RECORDS))
        if step % 2:
            file.unlink(missing_ok=True)
        step += 1

    assert step > 10
    assert numbers_in(file) == list(range(RECORDS))
    assert sorted(os.listdir(tmp_path)) == ["all.jsonl", "log"]


def test_an_export_by_days_is_killed_at_every_step(log: Path, tmp_path: Path) -> None:
    """Resumed once more, each record is in one file of its day, and no other file is left."""
    step, is_killed = 0, True
    while is_killed:
        out = tmp_path / f"out-{step}"
        how = ("export", log, "-o", out, "--partition", "day", "--format", "jsonl", "-q", "--resume")
        is_killed = export_until(step, *how)
        seen = [number for file in out.glob("day=*/part-*") for number in numbers_in(file)]
        assert len(seen) == len(set(seen))
        assert call(*how).returncode == 0
        files = sorted(out.glob("day=*/*"))
        assert sorted(number for file in files for number in numbers_in(file)) == list(range(RECORDS))
        assert [number for file in files for number in numbers_in(file)] == list(range(RECORDS))
        names = {each.name for each in out.rglob("*") if each.is_file()}
        assert names == {".disklog-export.json", ".disklog-export.lock", *(file.name for file in files)}
        step += 1

    assert step > 20
    (files[0].parent / f".part-{7:020}.jsonl.new").touch()  # left by an export under another condition
    assert call(*how).returncode == 0  # there is nothing to do any more but for that
    assert not list(out.glob("day=*/.*"))
    assert sorted(out.glob("day=*/*")) == files


def test_two_exports_do_not_write_one_file(log: Path, tmp_path: Path) -> None:
    """The second one says so, in one line, and disturbs the first one in nothing."""
    from disklog_mp._os.output import Lock, Output

    file, out = tmp_path / "all.jsonl", tmp_path / "out"
    first = Output(str(file))
    told = call("export", log, "-o", file)
    assert (told.returncode, told.stderr) == (
        2,
        f"disklog-mp: {file}: another process exports to it\n".encode(),
    )
    first.write(b"first\n")
    first.commit()
    assert file.read_bytes() == b"first\n"
    out.mkdir()
    lock = Lock(str(out / ".disklog-export.lock"))
    told = call("export", log, "-o", out, "--partition", "day", "--format", "jsonl")
    lock.close()
    assert (told.returncode, told.stderr) == (
        2,
        f"disklog-mp: {out}: another process exports to it\n".encode(),
    )
