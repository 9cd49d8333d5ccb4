"""A command that is run with its output read, its signals passed on, and its end awaited."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
BY_TERMINAL = (signal.SIGINT, signal.SIGQUIT)  # the terminal sends them to the command as well
CHUNK = 256 << 10
SILENCE = 0.5  # seconds after which a traceback is taken for whole
LINGER = 1.0  # seconds that processes which outlive the command may be silent before they are left alone


class Child:
    """The command: started at once; signals that this process gets are the command's."""

    def __init__(self, command: Sequence[str]) -> None:
        self._early: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._former = {each: signal.signal(each, self._pass_on) for each in (*PASSED_ON, *BY_TERMINAL)}
        self.begun = time.monotonic()
        try:
            self._process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={"PYTHONFAULTHANDLER": "1", **os.environ},
            )
        except BaseException:
            self.forget()
            raise
        for number in self._early:
            self._process.send_signal(number)

    def _pass_on(self, number: int, frame: object) -> None:
        if number in BY_TERMINAL and _is_foreground():
            return
        if self._process is None:
            self._early.append(number)
        else:
            self._process.send_signal(number)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running command."""
        assert self._process is not None
        return self._process

    def read(self, on_output: Callable[[str, bytes], None], on_silence: Callable[[], None]) -> None:
        """Give what the command and its children write to `on_output`, with the name of the stream.

        It returns when nothing writes any more, or when the command has ended and the others are silent.
        """
        outputs = {"stdout": self.process.stdout, "stderr": self.process.stderr}
        with selectors.DefaultSelector() as selector:
            for name, output in outputs.items():
                assert output is not None
                selector.register(output, selectors.EVENT_READ, name)
            quiet_since = time.monotonic()
            while selector.get_map():
                ready = selector.select(SILENCE)
                if not ready:
                    on_silence()
                    has_ended = self.process.poll() is not None
                    if has_ended and time.monotonic() - quiet_since > LINGER:
                        return
                    continue
                for key, _ in ready:
                    chunk = os.read(key.fd, CHUNK)
                    if chunk:
                        on_output(key.data, chunk)
                    else:
                        selector.unregister(key.fileobj)
                quiet_since = time.monotonic()

    def wait(self) -> int:
        """Return the exit code of the command, negative for a signal."""
        return self.process.wait()

    def forget(self) -> None:
        """Give signals back their meaning, and close what is open."""
        for number, former in self._former.items():
            signal.signal(number, former)
        if self._process is not None:
            for output in (self._process.stdout, self._process.stderr):
                if output is not None:
                    output.close()


def _is_foreground() -> bool:
    """True if this process is in the foreground of a terminal, whose keys reach the command as well."""
    try:
        return sys.stdin is not None and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False
