"""What programs use that send records to a writer process through a queue."""

from __future__ import annotations

import multiprocessing
import os
import time
from typing import Any

from disklog_mp.cli.bench import work as _bench_work
from disklog_mp.cli.bench.logs import a_directory
from disklog_mp.cli.bench.measure import NotMeasured, Setting, Value
from disklog_mp.cli.bench.work import Gate

STEP = 100
MOST = 100_000  # records of a producer for each second of measuring: a queue may be endless, memory is not
FIFO = 16 << 20  # bytes: our ring's default


def produce(gate: Gate, seconds: float, queue: Any, data: bytes) -> int:
    """Put records until the time is over, and then the sign that there are no more."""
    done, most = 0, int(MOST * seconds)
    gate.wait()
    end = time.monotonic() + seconds
    while time.monotonic() < end and done < most:
        for _ in range(STEP):
            queue.put(data)
        done += STEP
    queue.put(None)
    return done


def write(gate: Gate, queue: Any, path: str, producers: int) -> int:
    """Write all that comes to a file, in lines."""
    gate.wait()
    with open(path, "wb", buffering=1 << 20) as file:
        while producers:
            data = queue.get()
            if data is None:
                producers -= 1
            else:
                file.write(data + b"\n")
    return 0


def write_many(gate: Gate, queue: Any, path: str, producers: int) -> int:
    """Do the same, taking all there is at once, which faster-fifo can."""
    gate.wait()
    with open(path, "wb", buffering=1 << 20) as file:
        while producers:
            for data in queue.get_many(timeout=60, max_messages_to_get=10_000):
                if data is None:
                    producers -= 1
                else:
                    file.write(data + b"\n")
    return 0


def _through(queue: Any, writing: Any, setting: Setting) -> Value:
    with a_directory(setting) as place:
        path = os.path.join(place, "lines")
        producer = (produce, setting.seconds, queue, setting.data)
        rate = _bench_work.run([*[producer] * setting.producers, (writing, queue, path, setting.producers)])
        written = os.path.getsize(path) // (setting.length + 1)
    assert written == rate.records, f"{rate.records} put, {written} in the file"
    return Value(rate.per_second, {"CPU ns per record": rate.cpu / rate.records * 1e9})


def multiprocessing_queue(setting: Setting) -> Value:
    """multiprocessing.Queue, whose feeder threads do the work."""
    return _through(multiprocessing.get_context("spawn").Queue(), write, setting)


def simple_queue(setting: Setting) -> Value:
    """multiprocessing.SimpleQueue: a pipe and two locks."""
    return _through(multiprocessing.get_context("spawn").SimpleQueue(), write, setting)


def faster_fifo(setting: Setting) -> Value:
    """faster-fifo: a ring in shared memory under a lock."""
    try:
        from faster_fifo import Queue
    except ImportError:
        raise NotMeasured("not installed") from None
    return _through(Queue(max_size_bytes=FIFO), write_many, setting)
