"""Python's logging with our handler, with others', and loggers that are not the standard library's.

Each in a process of its own, so that no configuration meets another; a call is one logger.info() of a message
that comes to 100 bytes, or of an event with two fields.  What a queue or a thread does later is not in the
cost of the call.
"""

from __future__ import annotations

import array
import logging
import logging.handlers
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.calls import histogram, percentiles
from disklog_mp.cli.bench import work as _bench_work
from disklog_mp.cli.bench.logs import a_directory, a_log
from disklog_mp.cli.bench.measure import OURS, Benchmark, Limit, NotMeasured, Row, Setting, Value
from disklog_mp.cli.bench.work import Gate

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


def _event_span(info: Callable[..., object]) -> float:
    began = time.perf_counter_ns()
    for _ in range(SPAN):
        info("user logged in", user=1234567, ip="192.0.2.17")
    return (time.perf_counter_ns() - began) / SPAN


def time_calls(
    gate: Gate, seconds: float, make: Making, place: str, span: Callable[..., float] = _span
) -> int:
    """Make the logger, call it in spans; return picoseconds of a call in the middle one."""
    info, between = make(place)
    costs = []
    span(info)
    gate.wait()
    end = time.monotonic() + seconds
    while len(costs) < 5 or time.monotonic() < end:
        for _ in range(ROUND):
            costs.append(span(info))
        between()
    return int(statistics.median(costs) * 1000)


def time_above_null(gate: Gate, seconds: float, name: str) -> int:
    """Do the same with our handler and NullHandler in turn; return picoseconds that ours takes more."""
    from disklog_mp.logging import DiskLogHandler

    handler, nothing = DiskLogHandler(name, encoding="text"), logging.NullHandler()
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


def time_each(gate: Gate, seconds: float, make: Making, place: str, out: str) -> int:
    """Make the logger, time each call by itself; leave the times in a file."""
    clock, times = time.perf_counter_ns, array.array("Q")
    info, _ = make(place)
    info(MESSAGE, *ARGUMENTS)
    gate.wait()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(ROUND):
            began = clock()
            info(MESSAGE, *ARGUMENTS)
            times.append(clock() - began)
    Path(out, str(os.getpid())).write_bytes(times.tobytes())
    return len(times)


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

    handler = DiskLogHandler(name, encoding="text")
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


def our_events(name: str) -> Any:
    """The native logger."""
    import disklog_mp

    logger = disklog_mp.get_logger("bench", name)
    return logger.info, logger.flush


def our_structured(name: str) -> Any:
    """The handler for the same, through logging."""
    from disklog_mp.logging import DiskLogHandler

    handler = DiskLogHandler(name, encoding="structured")
    logger = _logger(handler)
    return _with_extra(logger), handler.flush


def null_events(place: str) -> Any:
    """What logging takes before any handler has run."""
    logger = _logger(logging.NullHandler())
    return _with_extra(logger), lambda: None


def _with_extra(logger: logging.Logger) -> Callable[..., None]:
    def info(message: str, user: int, ip: str) -> None:
        logger.info(message, extra={"user": user, "ip": ip})

    return info


def structlog_events(place: str) -> Any:
    """Structlog as its manual makes it fast: level, time, orjson, bytes to a file."""
    import orjson
    import structlog

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.BytesLoggerFactory(open(f"{place}/lines", "wb")),
        cache_logger_on_first_use=True,
    )
    return structlog.get_logger().info, lambda: None


def loguru_events(place: str) -> Any:
    """Loguru with bound fields, to a file of one process."""
    from loguru import logger

    logger.remove()
    logger.add(f"{place}/lines", format="{time} {level} {message} {extra}")
    return lambda message, **fields: logger.bind(**fields).info(message), lambda: None


def picologging_events(place: str) -> Any:
    """Picologging has no fields: they stand in the message, to a file of one process."""
    import picologging

    handler = picologging.FileHandler(f"{place}/lines")
    handler.setFormatter(picologging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = picologging.getLogger("bench")
    logger.setLevel(picologging.INFO)
    logger.addHandler(handler)

    def info(message: str, user: int, ip: str) -> None:
        logger.info("%s user=%d ip=%s", message, user, ip)

    return info, lambda: None


def _cost(setting: Setting, make: Making, place: str, span: Callable[..., float] = _span) -> float:
    """Return microseconds a call."""
    return _bench_work.run([(time_calls, setting.seconds, make, place, span)]).records / 1e6


def _of(make: Making, *modules: str, span: Callable[..., float] = _span) -> Callable[[Setting], float]:
    def contestant(setting: Setting) -> float:
        for module in modules:
            _require(module)
        with a_directory(setting) as place:
            return _cost(setting, make, place, span)

    return contestant


def _require(module: str) -> None:
    import importlib.util

    if importlib.util.find_spec(module) is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise NotMeasured(f"not installed on Python {version}")


def _our_cost(setting: Setting) -> float:
    with a_log(setting) as log:
        return _cost(setting, ours, log.name)


def _events_of(make: Making) -> Callable[[Setting], float]:
    def contestant(setting: Setting) -> float:
        with a_log(setting) as log:
            return _cost(setting, make, log.name, _event_span)

    return contestant


def above_null(setting: Setting) -> float:
    """What our handler adds to a call that NullHandler takes, both in one process."""
    with a_log(setting) as log:
        return _bench_work.run([(time_above_null, setting.seconds, log.name)]).records / 1e6


def _tail(setting: Setting, make: Making, place: str) -> Value:
    """Return the p99 of a call, in us, while several processes log without pause."""
    with a_directory(setting) as out:
        _bench_work.run([(time_each, setting.seconds, make, place, out)] * setting.producers)
        times = array.array("Q")
        for file in Path(out).iterdir():
            times.frombytes(file.read_bytes())
    told = percentiles(times)
    return Value(told["p99"] / 1000, {**told, "histogram": histogram(times)})


def our_tail(setting: Setting) -> Value:
    """Of our handler; the writer is at work on the same processors."""
    with a_log(setting) as log:
        return _tail(setting, ours, log.name)


def file_tail(setting: Setting) -> Value:
    """Of FileHandler, all processes to one file."""
    with a_directory(setting) as place:
        return _tail(setting, file_handler, place)


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
    Benchmark(
        "logging-tail",
        "logger.info(), 4 processes, p99",
        "us",
        {OURS: our_tail, "FileHandler": file_tail},
        [Row("FileHandler", must=Limit(1.0, "not above", of_ratio=True))],
        less_is_better=True,
    ),
    Benchmark(
        "events",
        "an event with two fields",
        "us",
        {
            OURS: _events_of(our_events),
            "DiskLogHandler, structured": _events_of(our_structured),
            "logging, NullHandler": _of(null_events, span=_event_span),
            "structlog, orjson": _of(structlog_events, "structlog", "orjson", span=_event_span),
            "loguru": _of(loguru_events, "loguru", span=_event_span),
            "picologging, FileHandler": _of(picologging_events, "picologging", span=_event_span),
        },
        [
            Row(must=Limit(1.0, "1 us")),
            Row("DiskLogHandler, structured"),
            Row("logging, NullHandler"),
            Row("structlog, orjson"),
            Row("loguru"),
            Row("picologging, FileHandler"),
        ],
        less_is_better=True,
    ),
]
