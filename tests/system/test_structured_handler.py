"""The handler that logs structured records: what becomes of a LogRecord, in C and in Python."""

import asyncio
import json
import logging
import logging.config
import math
import multiprocessing
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.machine import stop_writer
from support.odd_values import Broken, Text

import disklog_mp
from disklog_mp._loggers.structured import Event, parse
from disklog_mp.logging import DiskLogHandler

SMALL = {"linger": 0.1, "ring_bytes": 1 << 16}


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
    handler = DiskLogHandler(name, path, **SMALL)
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
    assert event.caller.startswith("test_structured_handler.py:")
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


@pytest.mark.parametrize("encoding", ["structured", "text"])
def test_the_short_cut_changes_nothing(
    handler: DiskLogHandler, logger: logging.Logger, path: Path, encoding: str
) -> None:
    """What C makes of a record, or leaves to Python, is what Python makes of it."""
    quick = DiskLogHandler(handler.log_name, path, encoding=encoding, **SMALL)
    slow = InPython(handler.log_name, path, encoding=encoding, **SMALL)
    attach = logging.makeLogRecord({"msg": "first", "levelno": 20})
    for each in (quick, slow, quick, slow):  # the first record of a handler is Python's in any case
        each.handle(attach)
    for values in RECORDS:
        for each in (quick, slow):
            record = logger.makeRecord("app", 20, "/dir/file.py", 7, "a message", (), None, "function")
            record.created = 1764262800.5
            record.__dict__.update(values)
            each.handle(record)
    for each in (quick, slow):
        assert each._session is not None
        assert each.flush_within(60)
        each.close()

    records = list(disklog_mp.Reader(path))[4:]
    assert len(records) == 2 * len(RECORDS)
    for values, by_c, by_python in zip(RECORDS, records[::2], records[1::2], strict=True):
        assert (by_c.data, by_c.tag) == (by_python.data, by_python.tag), values
        assert b"first" not in by_c.data


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


def test_a_formatter_of_the_user_s_is_obeyed(
    handler: DiskLogHandler, logger: logging.Logger, events: Events
) -> None:
    """Its output is the message; fields and exception stay beside it if it is known to show none."""
    known = [None, "%(message)s", "%(levelname)s %(name)s: %(message)s", "%(asctime)s %(message)s"]
    for form in known:
        handler.setFormatter(logging.Formatter(form) if form else None)
        logger.error("hello", extra={"user": 42}, exc_info=KeyError("x"))
    handler.setFormatter(logging.Formatter("%(message)s for %(user)s"))
    logger.error("hello", extra={"user": 42}, exc_info=KeyError("x"))
    handler.setFormatter(logging.Formatter("%(message)s for %(user)s", defaults={"user": "-"}))
    logger.error("hello")
    handler.setFormatter(AsJson())
    logger.error("hello", extra={"user": 42}, exc_info=KeyError("x"))

    found = events()
    assert [event.message for event in found[:3]] == ["hello", "hello", "ERROR app.web: hello"]
    assert found[3].message.endswith(" hello")
    assert [event.fields for event in found] == [{"user": 42}] * 4 + [{}] * 3
    assert [event.exception for event in found] == ["KeyError: 'x'"] * 4 + [None] * 3
    assert found[4].message == "hello for 42\nKeyError: 'x'"
    assert found[5].message == "hello for -"
    assert json.loads(found[6].message) == {"text": "hello", "user": 42}


class AsJson(logging.Formatter):
    """One of the many that make JSON."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"text": record.getMessage(), "user": record.__dict__["user"]})


def test_a_dict_becomes_fields(handler: DiskLogHandler, logger: logging.Logger, events: Events) -> None:
    """As some JSON formatters take it; its event, message or msg is the message."""
    logger.info("attached")
    logger.info({"event": "login", "user": 42}, extra={"request": "7f3a"})
    logger.info({"message": "logout", "user": 42})
    logger.info({"user": 42, 5: [1]})
    logger.info({"msg": 5})

    assert [(event.message, event.fields) for event in events()] == [
        ("attached", {}),
        ("login", {"user": 42, "request": "7f3a"}),
        ("logout", {"user": 42}),
        ("", {"user": 42, "5": [1]}),
        ("", {"msg": 5}),
    ]


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
