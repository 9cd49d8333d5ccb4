"""Logs with times, levels and producers of the test's choice, without a writer; commands that follow them."""

import contextlib
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from disklog_mp import cli
from disklog_mp._loggers import structured as _structured
from support.command import Finished
from support.pages import PID, frame, write_page

NOON = 1_767_614_400 * 10**9  # 2026-01-05 12:00:00 UTC
SECOND = 10**9


class Said(NamedTuple):
    """A record to be written."""

    data: bytes
    time: int = NOON
    tag: int = 0
    pid: int = PID


def event(
    message: str, level: str = "INFO", tag: int = 20, at: int = NOON, logger: str = "app", **fields: object
) -> Said:
    """A structured record."""
    return Said(_structured.encode(at, level, logger, message, fields=fields), at, tag)


def write_said(path: Path, records: Iterable[Said], number: int = 1, first: int = 0) -> None:
    """Make a sealed page of these records; `first` is the number of the first one."""
    position, begin, frames = (number - 1) << 20, (number - 1) << 20, []
    records = list(records)
    for said in records:
        frames.append(frame(position, said.data, time=said.time, tag=said.tag, pid=said.pid))
        position += len(frames[-1])
    times = [said.time for said in records]
    write_page(
        path,
        frames,
        number=number,
        first_position=begin,
        first_number=first,
        created=min(times, default=0),
        last_time=max(times, default=0),
    )


class _Until(io.BytesIO):
    """Output that interrupts its command when it holds a text."""

    def __init__(self, text: bytes) -> None:
        super().__init__()
        self._text = text

    def write(self, data: object) -> int:
        count = super().write(data)  # type: ignore[arg-type]
        if self._text in self.getvalue():
            raise KeyboardInterrupt
        return count


class _Heard(io.StringIO):
    """Messages, which are told to the test as well."""

    def __init__(self, on_message: Callable[[str], object]) -> None:
        super().__init__()
        self._on_message = on_message

    def write(self, text: str) -> int:
        self._on_message(text)
        return super().write(text)


def call_until(
    text: str, *arguments: object, on_message: Callable[[str], object] = lambda text: None
) -> Finished:
    """Run a command that would go on for ever until that text is on stdout, as if interrupted by Ctrl-C."""
    out = io.TextIOWrapper(_Until(text.encode()), "utf-8", write_through=True)
    err = _Heard(on_message)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run([*map(str, arguments)])
    return Finished(arguments, code, out.buffer.getvalue(), err.getvalue().encode())  # type: ignore[attr-defined]
