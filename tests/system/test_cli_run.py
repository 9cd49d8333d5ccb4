"""run: a command's output as records, its signals, its exit code, its crash."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.command import COMMAND, call, run
from support.machine import stop_writer, wait_until

import disklog_mp

CODE = """
import os, sys
print("out")
print('{"level": "warning", "message": "careful", "user": 42}')
sys.stdout.write("no end")
sys.stdout.flush()
if os.fork() == 0:
    os.write(2, b"child\\n")
    os._exit(0)
os.wait()
1 / 0
"""


@pytest.fixture
def python(name: str, path: Path) -> Any:
    """Run Python code by `run`, into the test's log."""
    yield lambda code: ["run", "--name", name, "--dir", str(path), "--", sys.executable, "-c", code]
    stop_writer(name)


def events(path: Path) -> list[disklog_mp.Event]:
    """What was logged."""
    return [record.event for record in disklog_mp.Reader(path) if record.event is not None]


def test_what_is_logged(python: Any, path: Path) -> None:
    """Lines of both streams, JSON, a line without an end, a child's, a traceback, and how it ended."""
    done = run(*python(CODE))
    assert (1, b"", b"") == (done.returncode, done.stdout, done.stderr)
    said = {event.message: event for event in events(path)}

    assert said["out"].fields["stream"] == "stdout"
    assert ("WARNING", 42) == (said["careful"].level, said["careful"].fields["user"])
    assert {"no end", "child"} <= {*said}
    broken = said["ZeroDivisionError: division by zero"]
    assert broken.level == "ERROR"
    assert broken.exception is not None
    assert broken.exception.startswith("Traceback (most recent call last):\n")
    last = events(path)[-1]
    assert last.message == f"{Path(sys.executable).name} ended with exit code 1"
    assert (1, broken.fields["stream"]) == (last.fields["exit_code"], "stderr")
    assert {record.pid for record in disklog_mp.Reader(path)} == {last.fields["pid"]}


def test_a_crash(python: Any, path: Path) -> None:
    """The signal, and what faulthandler wrote of it, in the last record; 128 + the signal's number."""
    done = run(*python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"))
    last = events(path)[-1]

    assert 128 + signal.SIGSEGV == done.returncode
    assert last.message.endswith(" was killed by SIGSEGV")
    assert last.exception is not None
    assert last.exception.startswith("Fatal Python error: Segmentation fault\n")


def test_signals_and_a_terminal(python: Any, name: str, path: Path) -> None:
    """What is sent to `run` reaches the command; on a terminal its output is shown as it comes."""
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.1)"
    )
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen([*COMMAND, *python(code)], stdout=theirs, stderr=theirs) as process:
            assert b"ready" in os.read(ours, 1000)
            process.send_signal(signal.SIGTERM)
            assert 7 == process.wait(60)
    finally:
        os.close(ours)
        os.close(theirs)
    wait_until(lambda: events(path)[-1].fields.get("exit_code") == 7)


def test_no_such_program(name: str, path: Path) -> None:
    """As a shell says it: 127, and nothing is logged."""
    done = call("run", "--name", name, "--dir", path, "--", "no-such-program")

    assert (127, b"disklog-mp: no program 'no-such-program'\n") == (done.returncode, done.stderr)
    assert not path.exists()
    assert 2 == call("run", "--name", name).returncode
