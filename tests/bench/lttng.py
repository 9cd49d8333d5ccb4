"""LTTng-UST, the peer in C: processes with a tracepoint, its daemons, a trace on the same disk.

Only what is in the trace is counted.  In its usual mode an event that finds the buffers full is discarded,
so it gets buffers that are eight times our ring, and its loss is told.  In its blocking mode a producer
waits, as ours do, but looks again only after 100 ms, and some events are lost nevertheless.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from disklog_mp.cli.bench.logs import a_directory, settle
from disklog_mp.cli.bench.measure import NotMeasured, Setting, Value

NAME = "LTTng-UST (C)"
BLOCKING = "LTTng-UST (C), blocking"
HERE = Path(__file__).parent
BUFFERS = {False: 128 << 20, True: 16 << 20}  # bytes, of all processors together; blocking: as our ring
SUBBUFFERS = 4
TRACE = 1 << 30  # bytes of trace that a round may write, about
EVENT = 128  # bytes that an event takes, at most
WAIT_FILES = ("lttng-ust-wait-8", "lttng-ust-wait-8-0")


def call(setting: Setting) -> Value:
    """One process: a tracepoint's cost."""
    with _session(setting) as (_, producers):
        producer = producers(1)[0]
        answer = _tell(producer, f"call {int(setting.seconds * 1e9)}\n")
    return Value(float(answer))


def together(setting: Setting, blocking: bool = False) -> Value:
    """Several processes: events a second until all are in the trace and `lttng stop` has returned."""
    with _session(setting, blocking) as (session, start_producers):
        producers = start_producers(setting.producers)
        start = time.monotonic_ns() + 20_000_000
        end = start + int(setting.seconds * 1e9)
        most = TRACE // EVENT // setting.producers
        for producer in producers:
            assert producer.stdin is not None
            producer.stdin.write(f"together {start} {end} {most}\n")
            producer.stdin.flush()
        answers = [_answer(producer).split() for producer in producers]
        _lttng("stop", session.name)
        stopped = time.monotonic_ns()
        done = sum(int(answer[0]) for answer in answers)
        last = max(int(answer[1]) for answer in answers)
        in_trace = _count(session)
    details = {
        "events not in the trace": done - in_trace,
        "records/s until the last producer ended": in_trace / (last - start) * 1e9,
        "ms from there until lttng stop returned": (stopped - last) / 1e6,
    }
    return Value(in_trace / (stopped - start) * 1e9, details)


def together_blocking(setting: Setting) -> Value:
    """Wait where the buffers are full."""
    return together(setting, blocking=True)


class _Session:
    def __init__(self, name: str, output: str) -> None:
        self.name, self.output = name, output


def _lttng(*arguments: str) -> str:
    done = subprocess.run(
        ["lttng", "--no-sessiond", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NotMeasured(f"lttng {arguments[0]}: {done.stdout.strip()}")
    return done.stdout


@contextmanager
def _session(setting: Setting, blocking: bool = False) -> Iterator[tuple[_Session, object]]:
    for tool in ("lttng", "lttng-sessiond", "babeltrace2", "gcc"):
        if shutil.which(tool) is None:
            raise NotMeasured(f"{tool} is not installed")
    with ExitStack() as stack:
        place = stack.enter_context(a_directory(setting))
        program = _compile(place)
        stack.enter_context(_daemon())
        session = _Session(f"bench-{os.getpid()}-{time.monotonic_ns()}", f"{place}/trace")
        _lttng("create", session.name, f"--output={session.output}")
        stack.callback(_lttng, "destroy", session.name)
        size = BUFFERS[blocking] // SUBBUFFERS // (os.cpu_count() or 1)
        _lttng(
            *(
                "enable-channel",
                "--userspace",
                f"--session={session.name}",
                f"--blocking-timeout={'inf' if blocking else 0}",
            ),
            *(f"--subbuf-size={1 << (size.bit_length() - 1)}", f"--num-subbuf={SUBBUFFERS}", "channel"),
        )
        event = ("enable-event", "--userspace", f"--session={session.name}", "--channel=channel")
        _lttng(*event, "bench:record")
        _lttng("start", session.name)

        def producers(count: int) -> list[subprocess.Popen[str]]:
            return [stack.enter_context(_producer(program)) for _ in range(count)]

        yield session, producers


def _compile(place: str) -> str:
    program = f"{place}/lttng_producer"
    done = subprocess.run(
        [
            *("gcc", "-O3", f"-I{HERE}", str(HERE / "lttng_producer.c"), "-o", program),
            *("-llttng-ust", "-ldl"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NotMeasured("liblttng-ust-dev is not installed")
    return program


def _is_running() -> bool:
    return (
        subprocess.run(["lttng", "--no-sessiond", "list"], capture_output=True, check=False).returncode == 0
    )


@contextmanager
def _daemon() -> Iterator[None]:
    """Run the session daemon, if none is running."""
    if _is_running():
        yield
        return
    there = {name for name in WAIT_FILES if os.path.exists(f"/dev/shm/{name}")}
    with tempfile.TemporaryFile() as output:
        daemon = subprocess.Popen(["lttng-sessiond", "--no-kernel"], stdout=output, stderr=output)
        try:
            settle(_is_running)
            yield
        finally:
            daemon.terminate()
            daemon.wait()
            for name in set(WAIT_FILES) - there:  # LTTng leaves them for the next
                Path(f"/dev/shm/{name}").unlink(missing_ok=True)


@contextmanager
def _producer(program: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "LTTNG_UST_ALLOW_BLOCKING": "1", "LTTNG_UST_REGISTER_TIMEOUT": "10000"}
    process = subprocess.Popen(
        [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        with process:
            try:
                if _answer(process) != "ready":
                    raise NotMeasured("the tracepoint was not enabled within 5 s")
                yield process
            finally:
                process.kill()
    finally:
        process.wait()


def _tell(process: subprocess.Popen[str], order: str) -> str:
    assert process.stdin is not None
    process.stdin.write(order)
    process.stdin.flush()
    return _answer(process)


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _count(session: _Session) -> int:
    """Events in the trace, by reading it."""
    counter = ["--component=sink.utils.counter", "--params=step=+0"]
    done = subprocess.run(
        ["babeltrace2", session.output, *counter], stdout=subprocess.PIPE, text=True, check=True
    )
    numbers = [line.split()[0] for line in done.stdout.splitlines() if " Event message" in line]
    if len(numbers) != 1:
        raise NotMeasured("babeltrace2 cannot read the trace")
    return int(numbers[0])
