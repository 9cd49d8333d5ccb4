"""The native logger: what its calls become, where they go, and that no call breaks the program."""

import asyncio
import contextlib
import copy
import gc
import logging
import math
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chance import TIMES
from support.machine import stop_writer, stopped_writer, wait_until

import disklog_mp
from disklog_mp import _core
from disklog_mp._loggers import logger as _events
from disklog_mp._loggers import outlets as _outlets
from disklog_mp._loggers import structured as _structured
from disklog_mp._loggers.structured import Event, parse
from disklog_mp.logging import DiskLogHandler

SMALL = {"linger": 0.1, "ring_bytes": 1 << 16}


class Sink(_outlets.Outlet):
    """An outlet that leads nowhere: keeps what the logger in C made."""

    def __init__(self) -> None:
        super().__init__("nowhere", None, on_full="block", timeout=1.0, missing="stderr")
        self.taken: list[tuple[bytes, int]] = []

    def _take(self, data: bytes, level: int) -> None:
        self.taken.append((data, level))

    def all(self, part: str) -> list[Any]:
        return [getattr(parse(data), part) for data, _ in self.taken]

    def last(self) -> Event:
        event = parse(self.taken[-1][0])
        assert event is not None
        return event


@pytest.fixture
def sink() -> Sink:
    """Where the test's events end up without a log."""
    return Sink()


def logger_to(sink: Sink, caller: bool = False, **fields: Any) -> disklog_mp.Logger:
    return disklog_mp.Logger("app.web", sink, fields, _events.FOLLOW, caller)


Events = Callable[[], list[Event]]


@pytest.fixture
def events(name: str, path: Path) -> Iterator[Events]:
    """What is in the test's log by now, parsed; its writer is stopped at the end."""

    def events() -> list[Event]:
        with disklog_mp.open(name, path, linger=None) as log:
            log.log(b"the end, so far")
            log.flush()
        found = [(record, parse(record.data)) for record in disklog_mp.Reader(path)]
        assert all(event or record.gap or record.data == b"the end, so far" for record, event in found)
        return [event for _, event in found if event]

    yield events
    for outlet in (_outlets.default, *_outlets.outlets.values()):
        outlet.close()
    _outlets.outlets.clear()
    stop_writer(name)


@pytest.fixture
def log(name: str, path: Path, events: Events) -> disklog_mp.Logger:
    """A logger to the test's log."""
    return disklog_mp.get_logger("app.web", name, path, **SMALL)


# -- what an event becomes -----------------------------------------------------------------------------


def test_a_call_becomes_a_structured_record(log: disklog_mp.Logger, path: Path, events: Events) -> None:
    """Time, level, logger, message and fields; the level is the tag; the time is the record's."""
    log.info("opens the log")
    log.info("user logged in", user=42, ip="192.0.2.17")

    _, event = events()
    first, record, _ = disklog_mp.Reader(path)
    assert events()[0].time < first.timestamp <= record.timestamp
    fields = {"user": 42, "ip": "192.0.2.17"}
    assert event == Event(record.timestamp, "INFO", "app.web", "user logged in", fields=fields)
    assert (record.tag, record.pid) == (20, os.getpid())
    assert record.data == (
        b'{"time":%d,"level":"INFO","logger":"app.web","message":"user logged in",'
        b'"fields":{"user":42,"ip":"192.0.2.17"}}' % record.timestamp
    )


class Odd:
    """Something C does not know, with a repr that may do anything."""

    def __init__(self, act: Callable[[], object] = lambda: "<odd>") -> None:
        self.act = act

    def __repr__(self) -> str:
        return self.act()  # type: ignore[return-value]


def fail() -> None:
    raise ZeroDivisionError


class Text(str):
    """Not exactly a text."""


texts = st.text() | st.text(st.sampled_from('ab"\\\n\t\x00\x1f\x7fé\u2028\U0001f600\udcff'), max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | texts | texts.map(Text)
    | st.builds(lambda: 10**5000) | st.sampled_from([-(2**63), 2**63 - 1, 2**63, -0.0, math.inf, math.nan])
    | st.datetimes() | st.decimals() | st.uuids() | st.builds(Odd) | st.builds(lambda: Odd(fail)),
    lambda inner: st.lists(inner, max_size=3)
    | st.tuples(inner)
    | st.dictionaries(texts | st.integers(), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
names = texts.filter(lambda name: name not in ("exc_info", "stack_info"))


@settings(deadline=None, max_examples=300 * TIMES)
@given(texts, st.dictionaries(names, values, max_size=4), st.dictionaries(names, values, max_size=4))
def test_c_and_python_make_the_same_bytes(
    message: str, bound: dict[str, Any], fields: dict[str, Any]
) -> None:
    """Whatever the message, the names and the values; and they are valid JSON in valid UTF-8."""
    sink = Sink()
    log = logger_to(sink).bind(**bound)
    log.warning(message, **fields)

    data = sink.taken[0][0]
    event = parse(data)
    assert event is not None
    assert data == _structured.encode(event.time, "WARNING", "app.web", message, fields={**bound, **fields})


@pytest.mark.parametrize("length", [*range(40), 900, 1023, 1024, 1025, 5000, 100_000])
def test_texts_of_any_length_are_whole(sink: Sink, length: int) -> None:
    """Around the words that are looked at together, and the room on the stack; escapes at every place."""
    log = logger_to(sink)
    for place in {0, length // 2, length - 1} & set(range(length)):
        message = "x" * place + '"' + "y" * (length - place - 1)
        log.info(message, field=message)
        assert sink.last().message == message
        assert sink.last().fields == {"field": message}
    log.info("z" * length)
    assert sink.last().message == "z" * length


def test_any_name_can_be_a_field(sink: Sink) -> None:
    """Those of parameters, too; only exc_info and stack_info mean something."""
    odd = {"message": 1, "self": 2, "level": 3, "args": 4, "": 5, "x\udcff": 6, "time": 7}
    log = logger_to(sink)
    shown = {**odd, r"x\udcff": 6}
    del shown["x\udcff"]
    for call in (
        lambda: log.info("m", **odd),
        lambda: log.log(20, "m", **odd),
        lambda: log.exception("m", **odd),
        lambda: log.bind(**odd).info("m"),
        lambda: log.info("m", **odd, **{"exc_" + "info": False, "stack_info": None}),
    ):
        call()
        assert sink.last().fields == shown
        assert sink.last().exception is None


def test_bound_fields_come_first_and_a_call_s_own_win(sink: Sink) -> None:
    """A bound logger is another one; nothing of the first changes."""
    log = logger_to(sink)
    bound = log.bind(request="7f3a", user=1)
    both = bound.bind(user=2, more=3)
    for logger, fields in (
        (log, {"x": 0}), (bound, {"request": "7f3a", "user": 1, "x": 0}),
        (both, {"request": "7f3a", "user": 2, "more": 3, "x": 0}),
    ):  # fmt: skip
        logger.info("m", x=0)
        assert list(sink.last().fields.items()) == list(fields.items())
    both.info("m", user=4)
    assert sink.last().fields == {"request": "7f3a", "user": 4, "more": 3}
    both.info("m")
    assert sink.last().fields == {"request": "7f3a", "user": 2, "more": 3}
    assert repr(both) == "<Logger 'app.web' (NOTSET) request='7f3a' user=2 more=3>"


def test_levels(sink: Sink) -> None:
    """By method, number or name; each is the tag; below the logger's own nothing is logged."""
    log = logger_to(sink)
    for call in (log.debug, log.info, log.warning, log.error, log.critical):
        call("m")
    for level in (10, "info", "Warn", 25, 70_000):
        log.log(level, "m")
    named = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    assert sink.all("level") == [*named, *named[:3], "Level 25", "Level 70000"]
    assert [level for _, level in sink.taken] == [10, 20, 30, 40, 50, 10, 20, 30, 25, 70_000]

    sink.taken.clear()
    log.setLevel("ERROR")
    bound = log.bind(x=1)
    for logger in (log, bound):
        logger.warning("m")
        logger.log(39, "m")
        logger.log(41, "m")
        logger.error("m")
    assert [level for _, level in sink.taken] == [41, 40, 41, 40]
    assert (log.level, log.isEnabledFor(39), log.isEnabledFor("error"), log.isEnabledFor(25)) == (
        40, False, True, False,
    )  # fmt: skip


def test_levels_of_logging_are_known_by_name(sink: Sink) -> None:
    """Where logging is in use, those that were added to it as well."""
    logging.addLevelName(27, "NOTICE")
    try:
        logger_to(sink).log("NOTICE", "m")
        assert (sink.last().level, sink.taken[-1][1]) == ("NOTICE", 27)
    finally:
        del logging._levelToName[27], logging._nameToLevel["NOTICE"]


def test_exceptions(sink: Sink) -> None:
    """The one that is handled, or any; none where there is none; fields as ever."""
    log = logger_to(sink, bound=1)
    try:
        raise KeyError("lost")
    except KeyError as error:
        kept = error
        log.exception("trouble", x=2)
        first = sink.last()
        log.warning("trouble", exc_info=True)
        second = sink.last()
    log.info("later", exc_info=kept)
    third = sink.last()
    log.info("tuple", exc_info=(KeyError, kept, None))
    fourth = sink.last()

    assert (first.level, first.fields) == ("ERROR", {"bound": 1, "x": 2})
    for event in (first, second, third):
        assert (event.exception or "").startswith("Traceback (most recent call last):\n")
    for event in (first, second, third, fourth):
        assert (event.exception or "").endswith("KeyError: 'lost'")
    for odd in (True, False, None, (None, None, None)):
        log.error("none", exc_info=odd)
        assert sink.last().exception is None
    log.error("odd", exc_info=(1, 2))
    assert sink.last().exception == "(1, 2)"


def test_the_caller_s_place_and_stack_are_noted_when_asked_for(sink: Sink) -> None:
    """caller=True: file, line and function; stack_info=True: the frames down to the call."""
    log = logger_to(sink, caller=True)
    line = sys._getframe().f_lineno
    log.info("m")
    log.exception("m")
    log.bind(x=1).log(25, "m", stack_info=True)

    assert sink.all("caller") == [
        f"test_events.py:{line + n} test_the_caller_s_place_and_stack_are_noted_when_asked_for"
        for n in (1, 2, 3)
    ]
    stack = sink.last().stack or ""
    assert stack.startswith("Stack (most recent call last):\n")
    assert stack.endswith('log.bind(x=1).log(25, "m", stack_info=True)')
    logger_to(sink).info("m")
    assert sink.last().caller is None


MESSAGES: list[tuple[Any, tuple[Any, ...], str]] = [
    ("plain 100 %", (), "plain 100 %"),
    ("%s and %d", ("a", 1), "a and 1"),
    ("%(a)s", ({"a": 1},), "1"),
    ("%d", ("x",), "%d ('x',)"),
    ("too few %s %s", (1,), "too few %s %s (1,)"),
    (5, (), "5"),
    (None, (), "None"),
    (Text("text"), (), "text"),
    (KeyError("x"), (), "'x'"),
    (Odd(fail), (), "<Odd without a repr: ZeroDivisionError>"),
    ("%s", (Odd(fail),), "%s <tuple without a repr: ZeroDivisionError>"),
    ("\udcff %s", ("\udcff",), r"\udcff \udcff"),
]


@pytest.mark.parametrize(
    ("message", "args", "expected"), MESSAGES, ids=[str(i) for i in range(len(MESSAGES))]
)
def test_any_message_is_one(sink: Sink, message: Any, args: tuple[Any, ...], expected: str) -> None:
    """What is no text becomes one; arguments for % are put in, or stand behind it if they do not fit."""
    logger_to(sink).info(message, *args, x=1)

    assert (sink.last().message, sink.last().fields) == (expected, {"x": 1})


def test_values_that_do_as_they_like(sink: Sink) -> None:
    """That log themselves, nest without end, or return what is no text."""
    log = logger_to(sink)
    endless: list[Any] = []
    endless.append(endless)

    def deeper() -> str:
        return repr(Odd(deeper))

    log.info("outer", a=Odd(lambda: log.info("inner", b=1) or "<said>"), c=3)
    assert sink.all("message") == ["inner", "outer"]
    assert sink.last().fields == {"a": "<said>", "c": 3}
    log.info("m", a=endless, b=Odd(deeper), c=Odd(lambda: 5), d=Odd(lambda: Text("x")))
    assert sink.last().fields == {
        "a": ["[[...]]"],
        "b": "<Odd without a repr: RecursionError>",
        "c": "<Odd without a repr: TypeError>",
        "d": "x",
    }


def interrupt() -> None:
    raise KeyboardInterrupt


def test_an_interrupt_is_not_swallowed(sink: Sink) -> None:
    """Ctrl-C while a value shows itself is the program's."""
    log = logger_to(sink)
    for call in (
        lambda: log.info("m", x=Odd(interrupt)),
        lambda: log.info(Odd(interrupt)),
        lambda: log.bind(x=Odd(interrupt)),
    ):
        with pytest.raises(KeyboardInterrupt):
            call()
    assert sink.taken == []


def test_wrong_calls_are_told(sink: Sink, name: str) -> None:
    """What cannot work at any time is an error at once."""
    log = logger_to(sink)
    for call, error in (
        (log.info, TypeError),
        (lambda: log.log(20), TypeError),  # type: ignore[call-arg]
        (lambda: log.log("LOUD", "m"), ValueError),
        (lambda: log.log(None, "m"), TypeError),  # type: ignore[arg-type]
        (lambda: log.log((1,), "m"), TypeError),  # type: ignore[arg-type]
        (lambda: log.setLevel("LOUD"), ValueError),
        (lambda: log.setLevel(-1), ValueError),
        (lambda: log.setLevel(True), TypeError),
        (lambda: disklog_mp.get_logger(5), TypeError),  # type: ignore[arg-type]
        (lambda: disklog_mp.get_logger("a", path="/nowhere"), TypeError),
        (lambda: disklog_mp.get_logger("a", on_full="drop"), TypeError),
        (lambda: disklog_mp.get_logger("a", "no/name"), ValueError),
        (lambda: disklog_mp.get_logger("a", name, on_full="panic"), ValueError),
        (lambda: disklog_mp.get_logger("a", name, page_bytes=1), TypeError),
        (lambda: disklog_mp.configure_loggers(name, missing="panic"), ValueError),
        (lambda: disklog_mp.configure_loggers(name, level="LOUD"), ValueError),
        (lambda: log._set_up(sink, b"", b"", None, 0, False), TypeError),
        (lambda: setattr(sink, "_session", 5), TypeError),
    ):
        with pytest.raises(error):
            call()
    assert sink.taken == []
    assert not _outlets.default.is_configured
    logger = _core.EventLogger()  # nobody made it a logger: it says nothing
    logger.info("m")
    assert not logger.isEnabledFor(50)


def test_threads_processes_and_tasks_are_named(log: disklog_mp.Logger, events: Events) -> None:
    """Where they are not the main ones; short names and long."""
    long = "T" * 500
    for _ in range(2):
        for name in ("T-1", long):
            thread = threading.Thread(target=lambda: [log.info("m") for _ in range(2)], name=name)
            thread.start()
            thread.join()
    process = multiprocessing.get_context("fork").Process(target=log.info, args=("m",), name="P-1")
    process.start()
    process.join()
    process.close()

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("K-1")
        log.info("m")
        log.info("m", exc_info=ValueError())

    asyncio.run(work())
    log.info("m")

    assert [event[4:7] for event in events()] == [
        *[(None, name, None) for name in ("T-1", "T-1", long, long)] * 2,
        ("P-1", None, None),
        (None, None, "K-1"),
        (None, None, "K-1"),
        (None, None, None),
    ]


# -- where it goes -------------------------------------------------------------------------------------


@pytest.fixture
def unconfigured(events: Events) -> Iterator[None]:
    """Before configure_loggers(), and again after the test."""
    former, _outlets.default = _outlets.default, _outlets.unconfigured()
    yield
    _outlets.default.close()
    _outlets.default = former


def test_loggers_made_early_go_where_is_said_later(
    name: str,
    path: Path,
    tmp_path: Path,
    events: Events,
    unconfigured: None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Before that one line on stderr; what was lost is counted, and told by the log; levels count, too."""
    log = disklog_mp.get_logger("early")
    log.info("lost")  # the first of any level is told
    log.info("of no weight")
    log.warning("lost")
    log.error("lost")

    assert (log.level, log.dropped) == (30, 3)
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 1
    assert "get_logger() is not configured: events are dropped until configure_loggers(name, path)" in told[0]

    disklog_mp.configure_loggers(name, path, level="INFO", **SMALL)
    log.debug("of no weight")
    log.info("kept")
    log.setLevel("DEBUG")
    log.debug("kept")
    assert [event.message for event in events()] == ["kept", "kept"]
    assert [record.data[:12] for record in disklog_mp.Reader(path) if record.gap] == [b'{"dropped": ']

    other = f"{name}-other"
    disklog_mp.configure_loggers(other, tmp_path / "other", **SMALL)
    try:
        log.info("elsewhere")
        log.flush()
        assert len(list(disklog_mp.Reader(tmp_path / "other"))) == 1
        assert len(events()) == 2
    finally:
        _outlets.default.close()
        stop_writer(other)


def test_a_session_says_where_the_log_is(name: str, path: Path, events: Events) -> None:
    """Its policy stays its own, and closing it takes nothing away."""
    with disklog_mp.open(name, path, on_full="raise", **SMALL) as session:
        log = disklog_mp.get_logger("a", session, on_full="drop")
        log.info("one")
        with stopped_writer(name):
            for _ in range(3000):
                log.info("many")
        assert session.on_full == "raise"
    many = 3000 - log.dropped
    assert many > 0
    assert log._outlet._session is not None
    assert log._outlet.flush_within(60)
    log.info("two")

    assert [event.message for event in events()] == ["one", *["many"] * many, "two"]


def test_loggers_of_one_log_share_the_way_there(name: str, path: Path, events: Events) -> None:
    """One session for all who ask for the same; another for who asks for something else."""
    loggers = [disklog_mp.get_logger(who, name, path, **SMALL) for who in ("a", "a.b", "c")]

    assert len({id(logger._outlet) for logger in loggers}) == 1
    assert disklog_mp.get_logger("a", name, path, on_full="drop", **SMALL)._outlet is not loggers[0]._outlet


def test_nothing_is_attached_to_before_the_first_event(log: disklog_mp.Logger, path: Path) -> None:
    """Programs that never log start no writer; flush() waits for nothing."""
    log.flush()
    log.setLevel("ERROR")
    log.info("of no weight")

    assert not path.exists()


def test_a_closed_logger_attaches_again(name: str, log: disklog_mp.Logger, events: Events) -> None:
    """close() detaches, as often as it is called, all that share the way; an event after that is logged."""
    log.info("one")
    log.bind(x=1).close()
    log.close()
    with disklog_mp.open(name, log._outlet.path or "") as session:
        assert [producer.logged for producer in session.stats().producers] == [0]
    log.info("two")

    assert [event.message for event in events()] == ["one", "two"]


def log_some(log: disklog_mp.Logger, count: int) -> None:
    """Log that many events with a logger that was handed over."""
    for number in range(count):
        log.info("some", number=number)
    assert log.dropped == 0


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_log_with_the_logger_they_are_given(
    log: disklog_mp.Logger, path: Path, events: Events, method: str
) -> None:
    """Inherited or pickled, with its bound fields and its level."""
    log.info("in use")
    context = multiprocessing.get_context(method)
    given = log.bind(method=method)
    workers = [context.Process(target=log_some, args=(given, 100), name=f"P-{i}") for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
        worker.close()

    found = events()[1:]
    assert {event.process for event in found} == {"P-0", "P-1"}
    for process in ("P-0", "P-1"):
        numbers = [event.fields["number"] for event in found if event.process == process]
        assert numbers == list(range(100))
    assert all(event.fields["method"] == method for event in found)


def test_a_logger_survives_pickling_and_copying(log: disklog_mp.Logger, events: Events) -> None:
    """As what it is."""
    log = log.bind(x=1)
    log.setLevel(30)
    for double in (pickle.loads(pickle.dumps(log)), copy.copy(log), copy.deepcopy(log)):
        assert repr(double) == repr(log)
        double.info("no")
        double.warning("yes")
    default = disklog_mp.get_logger("d")
    assert pickle.loads(pickle.dumps(default))._outlet is _outlets.default

    assert [event.fields for event in events()] == [{"x": 1}] * 3


def test_threads_share_a_logger(log: disklog_mp.Logger, events: Events) -> None:
    """From the first event on, which opens the log: nothing lost, each in order."""
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        log_some(log, 200)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = events()
    for name in {thread.name for thread in threads}:
        assert [event.fields["number"] for event in found if event.thread == name] == list(range(200))


def test_a_signal_handler_may_log(log: disklog_mp.Logger, events: Events) -> None:
    """At any moment; while the first event opens the log they are counted."""
    count = 0

    def on_alarm(*_: object) -> None:
        nonlocal count
        count += 1
        log.warning("alarm", x=[1])

    number = 0
    former = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    try:
        while count < log.dropped + 20:
            log.info("m", number=number, odd=Odd())
            number += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)

    found = events()
    assert sum(event.message == "alarm" for event in found) == count - log.dropped
    assert [event.fields["number"] for event in found if event.message == "m"] == list(range(number))


def test_the_last_words_of_a_program_are_logged(name: str, path: Path, events: Events) -> None:
    """Destructors that run while the interpreter shuts down, and nothing on stderr."""
    program = f"""
import disklog_mp
disklog_mp.configure_loggers({name!r}, {str(path)!r}, linger=0.5, ring_bytes=1 << 16)
log = disklog_mp.get_logger(__name__)
class Doomed:
    def __del__(self, log=log):
        log.warning("last words", x=1)
doomed = Doomed()
log.warning("first words")
"""
    errors = path.parent / "errors"
    with errors.open("wb") as stderr:
        subprocess.run([sys.executable, "-c", program], check=True, stderr=stderr)

    assert [event.message for event in events()] == ["first words", "last words"]
    assert errors.read_text() == ""


# -- trouble -------------------------------------------------------------------------------------------


def gaps(path: Path) -> int:
    """How many were dropped, as the log tells it."""
    return sum(
        _structured.json.loads(record.data)["dropped"] for record in disklog_mp.Reader(path) if record.gap
    )


def test_an_event_that_is_too_large_is_cut(
    log: disklog_mp.Logger, path: Path, events: Events, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its beginning is kept, and how long it was; nothing is dropped or said on stderr."""
    log.info("first")
    for _ in range(3):
        log.info("x" * 100_000, y=1)
    log.info("last")

    assert log.dropped == gaps(path) == 0
    assert [event.message[:5] for event in events()] == ["first", "xxxxx", "xxxxx", "xxxxx", "last"]
    assert all(event.fields["y"] == 1 for event in events()[1:4])
    assert all(100_000 < event.fields["full_length"] < 100_300 for event in events()[1:4])
    assert capfd.readouterr().err == ""


def test_a_frozen_writer_costs_one_wait_and_the_drops_are_told(name: str, path: Path, events: Events) -> None:
    """Block once, then drop at once until there is room; then all is as before."""
    log = disklog_mp.get_logger("a", name, path, timeout=0.2, **SMALL)
    log.info("first")
    with stopped_writer(name):
        for number in range(3000):
            log.info("many", number=number)
        dropped = log.dropped
        assert dropped > 100
    session = log._outlet._session
    assert session is not None
    assert log._outlet.flush_within(60)
    log.info("last")

    assert len(events()) == 3002 - dropped
    assert log.dropped == dropped == gaps(path)
    assert session.on_full == "block"


def test_calls_raise_where_that_was_asked_for(name: str, path: Path, events: Events) -> None:
    """on_full="raise" and missing="raise": for programs that want to know."""
    log = disklog_mp.get_logger("a", name, missing="raise")
    for _ in range(2):
        with pytest.raises(disklog_mp.LogNotFoundError):
            log.info("nowhere")
    log = disklog_mp.get_logger("a", name, path, on_full="raise", **SMALL)
    log.info("first")
    with stopped_writer(name), pytest.raises(disklog_mp.RingFullError):
        for _ in range(3000):
            log.info("many")


def test_a_log_that_is_missing_is_reported_once_and_found_later(
    name: str, path: Path, events: Events, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the handler does it."""
    monkeypatch.setattr("disklog_mp._loggers.delivery.RETRY", 0.1)
    log = disklog_mp.get_logger("a", name)
    for _ in range(100):
        log.info("lost", x=1)
    assert log.dropped == 100
    assert len(capfd.readouterr().err.splitlines()) == 1
    with disklog_mp.open(name, path, **SMALL):
        wait_until(lambda: time.monotonic() > log._outlet._retry_at)
        log.info("found")
        assert [event.message for event in events()] == ["found"]
    assert gaps(path) == 100


def test_a_writer_that_dies_is_replaced(
    name: str, path: Path, log: disklog_mp.Logger, events: Events
) -> None:
    """Nothing is lost, and nobody has to do anything."""
    for number in range(3):
        log.info("m", number=number)
        log.flush()
        stop_writer(name, signal.SIGKILL)
    for _ in range(2000):  # more than the ring takes
        log.info("m", number=3)

    assert log.dropped == 0
    assert [event.fields["number"] for event in events()] == [0, 1, 2, *[3] * 2000]


class Quiet(DiskLogHandler):
    """Says nothing about records that cannot be formatted."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


def test_nothing_is_leaked(sink: Sink, log: disklog_mp.Logger) -> None:
    """Five hundred calls of every kind: what each of them left would be five hundred blocks of memory."""
    silent = logger_to(sink)
    bound = log.bind(x=1)
    records = [logging.LogRecord("a", 20, "f", 1, "%d", given, None) for given in ((1,), ("x",))]
    records[0].__dict__["extra"] = [1]
    handlers = [Quiet(log._outlet.log_name, encoding=encoding) for encoding in ("text", "structured")]

    def every_kind() -> None:
        for handler in handlers:
            for record in records:
                handler.handle(record)
        log.info("m", a=1, b="x", c=1.5, d=None, e=True, f=2**70)
        log.info("é" * 2000, a=[1, {"b": (2,)}], b=Odd(), c="\udcff", d=Odd(fail), e=b"x", f=math.nan)
        bound.info("m", x=2)
        bound.info("%s", 5, x=2)
        log.log("INFO", "m")
        log.log(25, "m", exc_info=ValueError())
        silent.info("m", a=1)
        silent.bind(y=[1]).info(Odd(fail), exc_info=True)
        for call in (lambda: log.log("LOUD", "m"), lambda: log.info("m", x=Odd(interrupt))):
            with contextlib.suppress(ValueError, KeyboardInterrupt):
                call()
        sink.taken.clear()

    def blocks() -> int:
        for _ in range(500):
            every_kind()
        gc.collect()
        return sys.getallocatedblocks()

    blocks()
    before = blocks()

    assert min(blocks() - before for _ in range(3)) < 400
    for handler in handlers:
        handler.close()
