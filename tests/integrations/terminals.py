"""A terminal of the tests' own: a program runs in it, and what it shows is read from a screen."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator

import pyte
from support.command import COMMAND
from support.machine import wait_until


class Terminal:
    """A screen of so many columns and lines, and what was sent to it from the beginning on."""

    def __init__(self, columns: int, lines: int) -> None:
        self._ours, self.theirs = pty.openpty()
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self.recorded = b""
        self.process: subprocess.Popen[bytes] | None = None
        self.resize(columns, lines)
        self._reader = threading.Thread(target=self._read, daemon=True)

    def resize(self, columns: int, lines: int) -> None:
        """Change its size, and tell the program."""
        with self._lock:
            self._screen.resize(lines, columns)
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        if self.process is not None:
            self.process.send_signal(signal.SIGWINCH)

    def begin(self) -> None:
        """Read what the program sends, until it ends."""
        os.close(self.theirs)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the program ended
            while data := os.read(self._ours, 65536):
                with self._lock:
                    self.recorded += data
                    self._stream.feed(data)

    def text(self) -> str:
        """Return the lines that are shown now."""
        with self._lock:
            return "\n".join(line.rstrip() for line in self._screen.display)

    def is_red(self, word: str) -> bool:
        """True if a word is shown in red, whatever shade of it this terminal has."""
        with self._lock:
            for number, line in enumerate(self._screen.display):
                if (place := line.find(word)) >= 0:
                    colour = self._screen.buffer[number][place].fg
                    return colour == "red" or re.fullmatch("[cdef].[0-4].[0-6].", colour) is not None
        return False

    def press(self, keys: str) -> None:
        """Type on its keyboard."""
        os.write(self._ours, keys.encode())

    def shows(self, *words: str, seconds: float = 30.0) -> None:
        """Wait until all of these are on the screen at once."""
        try:
            wait_until(lambda: all(word in self.text() for word in words), seconds, 0.02)
        except AssertionError:
            raise AssertionError(f"{words} are not all shown in\n{self.text()}") from None

    def close(self) -> None:
        """End reading."""
        self._reader.join(20)
        os.close(self._ours)


@contextlib.contextmanager
def running(
    columns: int, lines: int, *arguments: object
) -> Iterator[tuple[Terminal, subprocess.Popen[bytes]]]:
    """Run the command in a terminal; it is killed at the end unless it has left."""
    terminal = Terminal(columns, lines)
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": ""}
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        environment.pop(name, None)
    command = [*COMMAND, *map(str, arguments)]
    ends = {"stdin": terminal.theirs, "stdout": terminal.theirs, "stderr": terminal.theirs}
    with subprocess.Popen(command, env=environment, start_new_session=True, **ends) as process:
        terminal.process = process
        terminal.begin()
        try:
            yield terminal, process
        finally:
            process.kill()
            process.wait()
            terminal.close()
