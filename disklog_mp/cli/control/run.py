"""disklog-mp run: a command whose output becomes records."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterable

import click

import disklog_mp
from disklog_mp import _options
from disklog_mp._loggers import cutting as _cutting
from disklog_mp._loggers import lines as _lines
from disklog_mp.cli import _text
from disklog_mp.cli._complete import complete_logs
from disklog_mp.cli._find import find, ring_dir_option
from disklog_mp.cli._long_line import LongLine
from disklog_mp.cli.control._child import Child
from disklog_mp.cli.control._spoken import Paragraphs, Spoken, event, spoken
from disklog_mp.errors import LogNotFoundError, RecordTooLargeError, RingFullError

NOT_FOUND = 127  # exit code of a command that is not there, as of a shell
BY_SIGNAL = 128  # added to the number of the signal that ended the command
HELD = 1 << 20  # most bytes of one line or traceback that are held


class NoCommandError(click.ClickException):
    """There is no such program."""

    exit_code = NOT_FOUND


@click.command(
    short_help="Run COMMAND, and log what it and its children write.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option(
    "--name", metavar="NAME", shell_complete=complete_logs, help="Name of the log.  [that of the command]"
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(),
    help="Directory of the log: it is opened there if it is not open.",
)
@click.option("--label", metavar="LABEL", help="Label of the records.")
@click.option("-q", "--quiet", is_flag=True, help="Do not show the output on a terminal as well.")
@click.option(
    "--timeout",
    default="60s",
    metavar="TIME",
    help="How long to wait for room in a full ring, and for the writer at the end.  [60s]",
)
@ring_dir_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
def run(
    command: tuple[str, ...],
    *,
    name: str | None,
    directory: str | None,
    label: str | None,
    quiet: bool,
    timeout: str,
    ring_dir: str | None,
) -> int:
    """Run COMMAND, and log what it and its children write to stdout and stderr.

    Each line is a record with the field `stream`.  A line that is a JSON object gives its level, time,
    message and fields; a traceback is one record.  The last record says how the command ended, with what
    faulthandler wrote.  On a terminal the output is shown as well.  Signals are passed on.

    Exit code: that of COMMAND, 128 + N if signal N killed it, 127 if there is no such program.
    """
    program = os.path.basename(command[0])
    if shutil.which(command[0]) is None:
        raise NoCommandError(f"no program {command[0]!r}")
    seconds = _options.parse_duration(timeout, "timeout")
    with _open(name or program, directory, seconds, ring_dir, label) as log:
        place = os.path.abspath(directory) if directory else name or program
        with find(place, ring_dir) as found:
            assert found.file is not None
            limit = found.file.ring.record_limit
        child = Child(command)
        try:
            output = _Output(log, program, child.process.pid, limit, quiet=quiet)
            child.read(output.take, output.pause)
            code = child.wait()
        finally:
            child.forget()
        output.end(code, time.monotonic() - child.begun)
        log.flush(seconds)
    return code if code >= 0 else BY_SIGNAL - code


def _open(
    name: str, directory: str | None, seconds: float, ring_dir: str | None, label: str | None
) -> disklog_mp.Session:
    """The log of that name that is open, or else one in the directory."""
    if directory is None:
        try:
            return disklog_mp.attach(name, timeout=seconds, ring_dir=ring_dir, label=label)
        except LogNotFoundError:
            pass
    return disklog_mp.open(name, directory, timeout=seconds, ring_dir=ring_dir, label=label)


class _Output:
    """Logs what a command writes, and shows it on a terminal."""

    def __init__(self, log: disklog_mp.Session, program: str, pid: int, limit: int, *, quiet: bool) -> None:
        self._log = log
        self._program = program
        self._pid = pid
        self._limit = limit
        self._lines = {stream: LongLine(limit, HELD) for stream in ("stdout", "stderr")}
        self._paragraphs = {stream: Paragraphs(HELD) for stream in self._lines}
        self._shown = (
            {} if quiet else {name: fd for name, fd in (("stdout", 1), ("stderr", 2)) if os.isatty(fd)}
        )
        self._crash: str | None = None
        self._dropped = 0

    def take(self, stream: str, chunk: bytes) -> None:
        """Go on with what was read from a stream."""
        if stream in self._shown:
            try:
                os.write(self._shown[stream], chunk)
            except OSError:  # the terminal is gone
                del self._shown[stream]
        for line in self._lines[stream].split(chunk):
            self._say(stream, self._paragraphs[stream].add(line.removesuffix(b"\r")))

    def pause(self) -> None:
        """Take tracebacks for whole: nothing came for a while."""
        for stream, paragraphs in self._paragraphs.items():
            if not paragraphs.is_crash:
                self._say(stream, paragraphs.end())

    def end(self, code: int, seconds: float) -> None:
        """Log what is left, and how the command ended."""
        for stream, line in self._lines.items():
            if line.length:
                self._say(stream, self._paragraphs[stream].add(line.take()))
            self._say(stream, self._paragraphs[stream].end())
        fields: dict[str, object] = {"pid": self._pid, "seconds": round(seconds, 3)}
        if self._dropped:
            fields["dropped"] = self._dropped
        if code >= 0:
            told, level = f"ended with exit code {code}", "ERROR" if code else "INFO"
            fields["exit_code"] = code
        else:
            told, level = f"was killed by {_name_of(-code)}", "ERROR"
            fields["signal"] = -code
        self._give(event(level, self._program, f"{self._program} {told}", fields, exception=self._crash))

    def _say(self, stream: str, paragraphs: Iterable[list[bytes]]) -> None:
        for lines in paragraphs:
            if len(lines) > 1 and lines[0].startswith(b"Fatal Python error: "):
                self._crash = b"\n".join(lines).decode("utf-8", "backslashreplace")
            self._give(spoken(lines, stream, self._program))

    def _give(self, record: Spoken) -> None:
        data = record.data if len(record.data) <= self._limit else _cutting.cut(record.data, self._limit)
        try:
            _lines.log_of(self._log, self._pid, data, record.tag, record.time)
        except RecordTooLargeError as refusal:  # a smaller ring took the place of the first
            self._limit = min(refusal.limit, self._limit - 1)
            self._give(record)
        except RingFullError as problem:
            if not self._dropped:
                _text.say(f"records are dropped: {problem}")
            self._dropped += 1


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
