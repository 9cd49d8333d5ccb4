"""Structured records: what becomes of each value, what is recognised, and the handler that writes them."""

import asyncio
import datetime
import decimal
import enum
import json
import logging
import logging.config
import math
import multiprocessing
import pathlib
import pickle
import sys
import threading
import uuid
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.machine import stop_writer

import disklog_mp
from disklog_mp._loggers import structured as _structured
from disklog_mp._loggers.structured import Event, encode, parse
from disklog_mp.logging import DiskLogHandler

SMALL = {"linger": 0.1, "ring_bytes": 1 << 16}


def value_of(value: Any) -> Any:
    """The value of a field as JSON reads it back."""
    return json.loads(encode(1, "INFO", "a", "m", fields={"it": value}))["fields"]["it"]


# -- bytes and back ------------------------------------------------------------------------------------


def test_the_bytes_are_these() -> None:
    """In this order, without blanks, and without what has no value."""
    assert encode(5, "INFO", "a.b", "hi") == b'{"time":5,"level":"INFO","logger":"a.b","message":"hi"}'
    assert (
        encode(
            5, "INFO", "a", "größer\n", process="P-1", thread="T-1", task="Task-1", caller="a.py:1 f",
            fields={"user": 42, "ip": "::1"}, exception="Traceback", stack="Stack",
        )
        == '{"time":5,"level":"INFO","logger":"a","message":"größer\\n","process":"P-1","thread":"T-1",'
        '"task":"Task-1","caller":"a.py:1 f","fields":{"user":42,"ip":"::1"},"exception":"Traceback",'
        '"stack":"Stack"}'.encode()
    )  # fmt: skip


def test_the_names_everything_starts_with_are_left_out() -> None:
    """A process that never heard of multiprocessing or threads pays nothing for them."""
    assert encode(5, "INFO", "a", "m", process="MainProcess", thread="MainThread") == encode(
        5, "INFO", "a", "m"
    )


def test_what_was_encoded_is_read_back() -> None:
    """Every part of it."""
    event = Event(5, "WARNING", "a", "m", "p", "t", "k", "c", {"x": [1, None, {"y": 2.5}]}, "e", "s")

    assert parse(encode(**event._asdict())) == event


class Broken:
    """Nothing can be had of it."""

    def __repr__(self) -> str:
        raise ZeroDivisionError

    __str__ = __repr__


class Meta(type):
    """Its classes have not even a name."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise ValueError


class Nameless(Broken, metaclass=Meta):
    """One of those."""


class Proxy:
    """Claims to be what it is not, as mocks and lazy objects do."""

    __class__ = str  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "a proxy"


class Colour(enum.IntEnum):
    """A number with a name."""

    RED = 1


class Text(str):
    """With an opinion of its own."""

    def __str__(self) -> str:
        return "another"


Pair = namedtuple("Pair", "x y")

VALUES = [
    (None, None),
    (True, True),
    (-7, -7),
    (2**100, 2**100),
    (0.1, 0.1),
    (1e300, 1e300),
    (math.nan, "nan"),
    (math.inf, "inf"),
    (-math.inf, "-inf"),
    ("text", "text"),
    ('"\\\n\0\x1b\x7f', '"\\\n\0\x1b\x7f'),
    ("file-\udcff", "file-\\udcff"),
    (Text("itself"), "itself"),
    (Colour.RED, 1),
    (b"caf\xe9", "caf\\xe9"),
    (bytearray(b"x"), "x"),
    (memoryview(b"x"), "x"),
    ([1, [2]], [1, [2]]),
    ((1, 2), [1, 2]),
    (Pair(1, 2), [1, 2]),
    ({3}, [3]),
    ({"a": {"b": 1}}, {"a": {"b": 1}}),
    ({1: 2, None: 3, (4, 5): 6, "\udcff": 7}, {"1": 2, "null": 3, "[4,5]": 6, "\\udcff": 7}),
    (OrderedDict(a=1), {"a": 1}),
    (datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC), "2026-01-02T03:04:00+00:00"),
    (datetime.date(2026, 1, 2), "2026-01-02"),
    (datetime.timedelta(1), "datetime.timedelta(days=1)"),
    (decimal.Decimal("1.10"), "1.10"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (pathlib.PurePosixPath("/a"), "/a"),
    (KeyError("x"), "KeyError('x')"),
    (Proxy(), "a proxy"),
    (Broken(), "<Broken without a repr: ZeroDivisionError>"),
    (Nameless(), "<Nameless without a repr: ZeroDivisionError>"),
    ([Broken()], ["<Broken without a repr: ZeroDivisionError>"]),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=[str(i) for i in range(len(VALUES))])
def test_every_value_becomes_something(value: Any, expected: Any) -> None:
    """What JSON has, as it is; all else as a text that says what it was; never an error."""
    assert value_of(value) == expected


def test_numbers_too_long_for_python_are_written_in_hexadecimal() -> None:
    """Python refuses to write more than 4,300 digits."""
    assert value_of(10**5000) == f"{10**5000:#x}"


def test_containers_end_somewhere() -> None:
    """In themselves, or deep in one another."""
    endless: list[Any] = [1]
    endless.append(endless)
    deep: Any = "end"
    for _ in range(100_000):
        deep = [deep]

    assert value_of(endless) == [1, "[1, [...]]"]
    value_of(deep)


def test_a_text_that_is_not_utf8_anywhere_leaves_the_bytes_valid() -> None:
    """Names, message, keys."""
    odd = "x\udcff"
    data = encode(1, odd, odd, odd, process=odd, thread=odd, task=odd, caller=odd, fields={odd: odd})

    assert data.decode().isprintable()
    assert parse(data) == Event(1, *[r"x\udcff"] * 7, {r"x\udcff": r"x\udcff"})


texts = st.text(st.characters(exclude_categories=["Cs"]))
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(anything)
def test_what_json_has_comes_back_as_it_was(value: Any) -> None:
    """Whether orjson is there or not."""
    event = parse(encode(1, "INFO", "a", "m", fields={"it": value}))

    assert event is not None
    assert event.fields["it"] == value


TEXTS = [
    b"",
    b"a line of text",
    b'{"time":5}',
    b'{"time":5,"level":"INFO","logger":"a","message":"m"',
    b'{"time":5,"level":"INFO","logger":"a","message":3}',
    b'{"time":true,"level":"INFO","logger":"a","message":"m"}',
    b'{"time":5.5,"level":"INFO","logger":"a","message":"m"}',
    b'{"time":NaN,"level":"INFO","logger":"a","message":"m"}',
    b'{"time":5,"level":"INFO","logger":"a","message":"m","fields":[]}',
    b'{"time":5,"level":"INFO","logger":"a","message":"m","stack":1}',
    b'{"time":5,"level":"INFO","logger":"a","message":"m"} ...',
    b'{"time":5,"level":"INFO","logger":"a","message":"\xff"}',
    b' {"time":5,"level":"INFO","logger":"a","message":"m"}',
    b'{"time":' + b"[" * 200_000,
    b'{"time":' + b"1" * 5000 + b',"level":"INFO","logger":"a","message":"m"}',
]


@pytest.mark.parametrize("orjson", [False, True])
@pytest.mark.parametrize("data", TEXTS, ids=[str(i) for i in range(len(TEXTS))])
def test_what_is_not_such_an_object_is_text(
    data: bytes, orjson: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever others log."""
    if not orjson:
        monkeypatch.setattr(_structured, "_orjson", lambda: None)

    assert parse(data) is None


@pytest.mark.parametrize("orjson", [False, True])
def test_numbers_and_surrogates_of_others_are_read_exactly(
    orjson: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which orjson alone would round, or refuse."""
    if not orjson:
        monkeypatch.setattr(_structured, "_orjson", lambda: None)
    data = b'{"time":5,"level":"L","logger":"a","message":"\\ud800","fields":{"n":123456789012345678901}}'

    assert parse(data) == Event(5, "L", "a", "\ud800", fields={"n": 123456789012345678901})


# -- LogRecords ----------------------------------------------------------------------------------------


def test_the_standard_attributes_are_those_of_this_python() -> None:
    """All of a fresh record's, and those that formatters add: none of them is a field."""
    fresh = set(logging.makeLogRecord({}).__dict__)

    assert fresh | {"asctime", "message", "taskName"} == _structured.STANDARD
    assert len(fresh) >= _structured.ALWAYS


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of the test's own; its handlers are closed at the end."""
    logger = logging.Logger("app.web", logging.DEBUG)
    yield logger
    for handler in logger.handlers:
        handler.close()


@pytest.fixture
def handler(name: str, path: Path, logger: logging.Logger) -> Iterator[DiskLogHandler]:
    """A structured handler on the test's log, added to its logger."""
    handler = DiskLogHandler(name, path, encoding="structured", **SMALL)
    logger.addHandler(handler)
    yield handler
    handler.close()
    stop_writer(name)


Events = Callable[[], list[Event]]


@pytest.fixture
def events(name: str, path: Path) -> Events:
    """What is in the log by now, parsed."""

    def events() -> list[Event]:
        with disklog_mp.open(name, path, linger=None) as log:
            log.log(b"end of test")
            log.flush()
        found = [parse(record.data) for record in disklog_mp.Reader(path) if not record.gap][:-1]
        assert None not in found
        return found  # type: ignore[return-value]

    return events


def test_a_record_keeps_all_that_is_known(
    handler: DiskLogHandler, logger: logging.Logger, path: Path, events: Events
) -> None:
    """Time, level, logger, message, caller, extra= in its order; the level is the tag as well."""
    logger.warning("user %s logged in", "ann", extra={"user": 42, "tags": ["a", "b"]})

    (event,) = events()
    record = next(iter(disklog_mp.Reader(path)))
    assert event[1:4] == ("WARNING", "app.web", "user ann logged in")
    assert abs(event.time - record.timestamp) < 5e9
    assert event.fields == {"user": 42, "tags": ["a", "b"]}
    assert event.caller is not None
    assert event.caller.startswith("test_structured.py:")
    assert event.caller.endswith(" test_a_record_keeps_all_that_is_known")
    assert event[4:7] == (None, None, None)
    assert record.tag == 30


def test_what_other_handlers_leave_in_a_record_is_no_field(
    handler: DiskLogHandler, logger: logging.Logger, events: Events
) -> None:
    """A formatter's message and asctime, say."""
    logger.handlers.insert(0, other := logging.StreamHandler(open("/dev/null", "w")))
    other.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.info("twice")
    logger.info("with", extra={"x": 1})
    logger.handlers.remove(other)
    other.stream.close()

    assert [event.fields for event in events()] == [{}, {"x": 1}]


class InPython(DiskLogHandler):
    """Takes no short cut."""

    def prepare(self, record: logging.LogRecord) -> bytes:
        return super().prepare(record)


class Own(logging.LogRecord):
    """Makes its messages itself."""

    def getMessage(self) -> str:
        return "its own"


RECORDS: list[dict[str, Any]] = [
    {},
    {"msg": "%s and %d", "args": ("a", 1)},
    {"msg": "%(a)s", "args": {"a": 1}},
    {"msg": Broken},
    {"msg": 5, "args": ()},
    {"msg": "größer \udcff"},
    {"name": 'größer \udcff "'},
    {"name": None},
    {"name": Text("x")},
    {"levelname": "\n"},
    {"levelname": 5},
    {"levelno": -1},
    {"levelno": 10**6},
    {"levelno": 10**30},
    {"processName": None, "threadName": None},
    {"processName": "P-1", "threadName": "T \udcff"},
    {"processName": "", "threadName": Text("T")},
    {"taskName": None},
    {"taskName": "K-1"},
    {"filename": "\udcff.py"},
    {"filename": "ü\n.py", "lineno": 2**40, "funcName": "<lambda>"},
    {"lineno": None},
    {"lineno": 0, "funcName": None},
    {"lineno": 5, "funcName": None},
    {"lineno": -5},
    {"created": 1764262800.1234565},
    {"created": 1764262800.0000005},
    {"created": 2},
    {"created": -1.5},
    {"exc_text": "Traceback"},
    {"stack_info": "Stack"},
    {"exc_info": (KeyError, KeyError("x"), None)},
    {"asctime": "now", "message": "then"},
    {"a": 1, "b": "x", "c": [1], "d": Broken(), "e": None, "f": 1.5},
    {"\udcff": "\udcff", "": 10**30, "z": math.nan},
]


@pytest.mark.parametrize("values", RECORDS, ids=range(len(RECORDS)))
@pytest.mark.parametrize("encoding", ["structured", "text"])
def test_the_short_cut_changes_nothing(
    handler: DiskLogHandler, logger: logging.Logger, path: Path, encoding: str, values: dict[str, Any]
) -> None:
    """What C makes of a record, or leaves to Python, is what Python makes of it."""
    quick = DiskLogHandler(handler.log_name, path, encoding=encoding, **SMALL)
    slow = InPython(handler.log_name, path, encoding=encoding, **SMALL)
    attach = logging.makeLogRecord({"msg": "first", "levelno": 20})
    for each in (quick, slow, quick, slow):  # the first record of a handler is Python's in any case
        each.handle(attach)
    for each in (quick, slow):
        record = logger.makeRecord("app", 20, "/dir/file.py", 7, "a message", (), None, "function")
        record.created = 1764262800.5
        record.__dict__.update(values)
        each.handle(record)
    for each in (quick, slow):
        assert each._session is not None
        each._session.flush(60)
        each.close()

    records = list(disklog_mp.Reader(path))[-2:]
    assert records[0].data == records[1].data
    assert records[0].tag == records[1].tag
    assert b"first" not in records[0].data


def test_messages_made_in_another_way_are_respected(
    handler: DiskLogHandler, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, events: Events
) -> None:
    """By a class of records of the program's own, or another getMessage() for all."""
    logger.info("%s", "attached")
    former = logging.getLogRecordFactory()
    logging.setLogRecordFactory(Own)
    try:
        logger.info("%s", "a")
    finally:
        logging.setLogRecordFactory(former)
    with monkeypatch.context() as patch:
        patch.setattr(logging.LogRecord, "getMessage", lambda record: record.msg.format(*record.args))
        logger.info("{}!", "b")  # noqa: PLE1205
    logger.info("%s", "c")

    assert [event.message for event in events()] == ["attached", "its own", "b!", "c"]


def test_a_record_s_values_may_do_as_they_like(
    handler: DiskLogHandler, logger: logging.Logger, events: Events, capfd: pytest.CaptureFixture[str]
) -> None:
    """Log themselves, take themselves out of the record, interrupt the program."""

    class Wild:
        def __init__(self, act: Callable[[], object]) -> None:
            self.act = act

        def __repr__(self) -> str:
            self.act()
            return "<wild>"

    def interrupt() -> None:
        raise KeyboardInterrupt

    logger.info("attached")
    record = logger.makeRecord("app", 20, "f", 1, "emptied", (), None)
    record.__dict__["x"] = Wild(lambda: record.__dict__.pop("x"))
    record.__dict__["y"] = Wild(lambda: record.__dict__.update({f"z{i}": i for i in range(100)}))
    handler.handle(record)
    logger.info("outer", extra={"x": Wild(lambda: logger.info("inner"))})
    logger.info("%s", Wild(lambda: logger.info("inner")))
    for arguments, extra in ((("%s", Wild(interrupt)), {}), (("m",), {"x": Wild(interrupt)})):
        with pytest.raises(KeyboardInterrupt):
            logger.info(*arguments, extra=extra)  # type: ignore[arg-type]

    messages = [event.message for event in events()]
    assert messages == ["attached", "emptied", "inner", "outer", "inner", "<wild>"]
    assert "Error" not in capfd.readouterr().err


class Short(logging.Formatter):
    """Shows exceptions in its own way."""

    def formatException(self, ei: Any) -> str:
        return f"!{ei[0].__name__}"


def test_exceptions_and_stacks_have_their_own_place(
    handler: DiskLogHandler, logger: logging.Logger, events: Events
) -> None:
    """As text, once; the formatter says how."""
    try:
        raise KeyError("lost")
    except KeyError:
        logger.exception("trouble")
        handler.setFormatter(Short())
        logger.exception("trouble")
    handler.setFormatter(None)
    logger.error("none", exc_info=True)
    logger.info("here", stack_info=True)

    first, second, none, here = events()
    assert first.message == "trouble"
    assert (first.exception or "").startswith("Traceback (most recent call last):\n")
    assert (first.exception or "").endswith("KeyError: 'lost'")
    assert second.exception == "!KeyError"
    assert none.exception is None
    assert (here.stack or "").startswith("Stack (most recent call last):\n")


def test_threads_processes_and_tasks_are_named(
    handler: DiskLogHandler, logger: logging.Logger, events: Events
) -> None:
    """Where they are not the main ones."""
    thread = threading.Thread(target=logger.info, args=("from a thread",), name="T-1")
    thread.start()
    thread.join()
    process = multiprocessing.get_context("fork").Process(target=logger.info, args=("forked",), name="P-1")
    process.start()
    process.join()
    process.close()

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("K-1")
        logger.info("in a task")

    asyncio.run(work())

    assert [event[4:7] for event in events()] == [
        (None, "T-1", None),
        ("P-1", None, None),
        (None, None, "K-1"),
    ]


def test_a_message_that_does_not_fit_goes_to_handle_error(
    handler: DiskLogHandler, logger: logging.Logger, capfd: pytest.CaptureFixture[str], events: Events
) -> None:
    """As with every handler: told on stderr, not to the caller."""
    logger.info("%d", "no number")
    logger.info("fine", extra={"it": Broken()})

    assert [event.message for event in events()] == ["fine"]
    assert "--- Logging error ---" in capfd.readouterr().err


def test_a_structured_handler_pickles(
    handler: DiskLogHandler, logger: logging.Logger, events: Events
) -> None:
    """And remains one."""
    double = pickle.loads(pickle.dumps(handler))
    double.handle(logger.makeRecord("app", 20, "", 0, "copied", (), None))
    double.close()

    assert [event.message for event in events()] == ["copied"]


@pytest.fixture
def configured() -> Iterator[None]:
    """Put the root logger back as it was."""
    root, level = logging.getLogger(), logging.getLogger().level
    kept = root.handlers[:]
    yield
    for handler in root.handlers:
        if handler not in kept:
            handler.close()
    root.handlers[:] = kept
    root.setLevel(level)


def dict_config(name: str, path: Path) -> None:
    """A JSON file, as uvicorn --log-config takes."""
    file = path.parent / "logging.json"
    handler = {
        "class": "disklog_mp.logging.DiskLogHandler", "name": name, "path": str(path),
        "encoding": "structured", "missing": "wait:2s", **SMALL,
    }  # fmt: skip
    config = {
        "version": 1, "disable_existing_loggers": False,
        "handlers": {"disk": handler}, "root": {"level": "INFO", "handlers": ["disk"]},
    }  # fmt: skip
    file.write_text(json.dumps(config))
    logging.config.dictConfig(json.loads(file.read_text()))


def file_config(name: str, path: Path) -> None:
    """An ini file, as gunicorn --log-config takes."""
    file = path.parent / "logging.ini"
    file.write_text(
        f"""
[loggers]
keys=root
[handlers]
keys=disk
[formatters]
keys=
[logger_root]
level=INFO
handlers=disk
[handler_disk]
class=disklog_mp.logging.DiskLogHandler
args=('{name}', '{path}')
kwargs={dict(SMALL, encoding="structured", missing="wait:2s")!r}
"""
    )
    logging.config.fileConfig(file, disable_existing_loggers=False)


@pytest.mark.parametrize("configure", [dict_config, file_config])
def test_configuration_files_set_it_up(
    name: str, path: Path, events: Events, configured: None, configure: Callable[[str, Path], None]
) -> None:
    """Both kinds that logging.config reads."""
    configure(name, path)
    logging.getLogger("any").info("from a file", extra={"n": 1})

    (event,) = events()
    assert (event.logger, event.message, event.fields) == ("any", "from a file", {"n": 1})


def test_an_unknown_encoding_is_refused(name: str) -> None:
    """When logging is configured."""
    with pytest.raises(ValueError, match="encoding='xml' is not one of text, structured"):
        DiskLogHandler(name, encoding="xml")


def test_names_are_found_only_where_they_are_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is half imported, or something else under that name, breaks nothing."""
    for module in (None, object()):
        monkeypatch.setitem(sys.modules, "multiprocessing", module)
        monkeypatch.setitem(sys.modules, "asyncio", module)
        assert _structured.process_name() is None
        assert _structured.task_name() is None
