"""Python's logging with our handler, with others', and loggers that are not the standard library's.

Each in a process of its own, so that no configuration meets another; a call is one logger.info() of a message
that comes to 100 bytes.  What a queue or a thread does later is not in the cost of the call.
"""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.logs import a_directory, a_log
from bench.measure import OURS, Benchmark, Limit, NotMeasured, Row, Setting
from disklog_mp.cli import _bench_work
from disklog_mp.cli._bench_work import Gate

MESSAGE = "user %d logged in from %s; " + "0123456789" * 6
ARGUMENTS = (1234567, "192.0.2.17")
SPAN = 20  # calls timed together: less than a turn on a processor that others want
ROUND = 150  # spans between two flushes
ROTATE = 64 << 20

Making = Callable[[str], tuple[Callable[..., object], Callable[[], object]]]


def _span(info: Callable[..., object]) -> float:
    """Call it so often; return ns a call."""
    began = time.perf_counter_ns()
    for _ in range(SPAN):
        info(MESSAGE, *ARGUMENTS)
    return (time.perf_counter_ns() - began) / SPAN


def time_calls(gate: Gate, seconds: float, make: Making, place: str) -> int:
    """Make the logger, call it in spans; return picoseconds of a call in the middle one."""
    info, between = make(place)
    costs = []
    info(MESSAGE, *ARGUMENTS)
    gate.wait()
    end = time.monotonic() + seconds
    while len(costs) < 5 or time.monotonic() < end:
        for _ in range(ROUND):
            costs.append(_span(info))
        between()
    return int(statistics.median(costs) * 1000)


def time_above_null(gate: Gate, seconds: float, name: str) -> int:
    """Do the same with our handler and NullHandler in turn; return picoseconds that ours takes more."""
    from disklog_mp.logging import DiskLogHandler

    handler, nothing = DiskLogHandler(name), logging.NullHandler()
    logger = _logger(handler)
    logger.info(MESSAGE, *ARGUMENTS)
    more = []
    gate.wait()
    end = time.monotonic() + seconds
    while len(more) < 5 or time.monotonic() < end:
        for _ in range(ROUND):
            logger.handlers[:] = [nothing]
            alone = _span(logger.info)
            logger.handlers[:] = [handler]
            more.append(_span(logger.info) - alone)
        handler.flush()
    return int(statistics.median(more) * 1000)


def _logger(handler: logging.Handler) -> logging.Logger:
    logger = logging.getLogger("bench")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers[:] = [handler]
    return logger


def null(place: str) -> Any:
    """Python's own price: NullHandler."""
    return _logger(logging.NullHandler()).info, lambda: None


def ours(name: str) -> Any:
    """Attach by name, with a plain message format, and flush between the rounds."""
    from disklog_mp.logging import DiskLogHandler

    handler = DiskLogHandler(name)
    return _logger(handler).info, handler.flush


def file_handler(place: str) -> Any:
    """One process to its file."""
    return _logger(logging.FileHandler(f"{place}/lines")).info, lambda: None


def queue_handler(place: str) -> Any:
    """A QueueHandler over multiprocessing.Queue; its listener writes to a file in another process."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    queue.cancel_join_thread()  # its listener ends with this process
    listener = context.Process(target=_listen, args=(queue, place), daemon=True)
    listener.start()

    def drained() -> None:
        while queue.qsize():
            time.sleep(0.01)

    return _logger(logging.handlers.QueueHandler(queue)).info, drained


def _listen(queue: Any, place: str) -> None:
    handler = logging.FileHandler(f"{place}/lines")
    while True:
        handler.handle(queue.get())


def concurrent_handler(place: str) -> Any:
    """concurrent-log-handler: rotation under a file lock."""
    from concurrent_log_handler import ConcurrentRotatingFileHandler

    handler = ConcurrentRotatingFileHandler(f"{place}/lines", maxBytes=ROTATE, backupCount=2)
    return _logger(handler).info, lambda: None


def loguru_enqueued(place: str) -> Any:
    """Loguru with enqueue=True: safe for several processes."""
    from loguru import logger

    logger.remove()
    logger.add(f"{place}/lines", format="{message}", enqueue=True)
    template = MESSAGE.replace("%d", "{}").replace("%s", "{}")
    return lambda message, *arguments: logger.info(template, *arguments), logger.complete


def picologging_file(place: str) -> Any:
    """Picologging's own FileHandler: one process."""
    import picologging

    logger = picologging.getLogger("bench")
    logger.setLevel(picologging.INFO)
    handler = picologging.FileHandler(f"{place}/lines")
    handler.setFormatter(picologging.Formatter("%(message)s"))
    logger.addHandler(handler)
    return logger.info, lambda: None


def structlog_lines(place: str) -> Any:
    """Structlog, its fastest way: no processor but the message, bytes to a file."""
    import structlog

    structlog.configure(
        processors=[lambda logger, method, event: event["event"].encode()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.BytesLoggerFactory(open(f"{place}/lines", "wb")),
        cache_logger_on_first_use=True,
    )
    return structlog.get_logger().info, lambda: None


def _cost(setting: Setting, make: Making, place: str) -> float:
    """Return microseconds a call."""
    return _bench_work.run([(time_calls, setting.seconds, make, place)]).records / 1e6


def _of(make: Making, module: str | None = None) -> Callable[[Setting], float]:
    def contestant(setting: Setting) -> float:
        if module is not None:
            _require(module)
        with a_directory(setting) as place:
            return _cost(setting, make, place)

    return contestant


def _require(module: str) -> None:
    import importlib.util

    if importlib.util.find_spec(module) is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise NotMeasured(f"not installed on Python {version}")


def _our_cost(setting: Setting) -> float:
    with a_log(setting) as log:
        return _cost(setting, ours, log.name)


def above_null(setting: Setting) -> float:
    """What our handler adds to a call that NullHandler takes, both in one process."""
    with a_log(setting) as log:
        return _bench_work.run([(time_above_null, setting.seconds, log.name)]).records / 1e6


BENCHMARKS = [
    Benchmark(
        "handler",
        "DiskLogHandler above NullHandler",
        "us",
        {OURS: above_null},
        [Row(must=Limit(1.5, "1.5 us"), aim=Limit(0.8, "0.8 us"))],
        less_is_better=True,
    ),
    Benchmark(
        "logging",
        "logger.info(), a whole call",
        "us",
        {
            OURS: _our_cost,
            "NullHandler": _of(null),
            "FileHandler": _of(file_handler),
            "QueueHandler, mp.Queue": _of(queue_handler),
            "ConcurrentRotatingFileHandler": _of(concurrent_handler, "concurrent_log_handler"),
            "loguru, enqueue=True": _of(loguru_enqueued, "loguru"),
            "picologging, FileHandler": _of(picologging_file, "picologging"),
            "structlog, BytesLogger": _of(structlog_lines, "structlog"),
        },
        [
            Row("NullHandler"),
            Row("FileHandler"),
            Row("QueueHandler, mp.Queue"),
            Row("ConcurrentRotatingFileHandler"),
            Row("loguru, enqueue=True"),
            Row("picologging, FileHandler"),
            Row("structlog, BytesLogger"),
        ],
        less_is_better=True,
    ),
]
