"""The handler for the standard library's logging: it logs from anywhere, and it never breaks who logs."""

import copy
import gc
import json
import logging
import logging.config
import logging.handlers
import math
import multiprocessing
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.machine import stop_writer, stopped_writer, wait_until
from support.rings import ring_path

import disklog_mp
from disklog_mp.logging import DiskLogHandler

SMALL = {"linger": 0.1, "ring_bytes": 1 << 16}
Logged = Callable[[], list[str]]


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of the test's own; its handlers are closed at the end."""
    logger = logging.Logger("tested", logging.DEBUG)
    yield logger
    for handler in logger.handlers:
        handler.close()


@pytest.fixture
def handler(name: str, path: Path, logger: logging.Logger) -> Iterator[DiskLogHandler]:
    """A handler that opens the test's log, added to its logger."""
    handler = DiskLogHandler(name, path, **SMALL)
    logger.addHandler(handler)
    yield handler
    handler.close()
    stop_writer(name)


@pytest.fixture
def text_handler(name: str, path: Path, logger: logging.Logger) -> Iterator[DiskLogHandler]:
    """As `handler`, for text."""
    handler = DiskLogHandler(name, path, encoding="text", **SMALL)
    logger.addHandler(handler)
    yield handler
    handler.close()
    stop_writer(name)


def text_of(record: disklog_mp.Record) -> str:
    """The message of a structured record, the text of any other."""
    return record.event.message if record.event else record.data.decode()


@pytest.fixture
def logged(name: str, path: Path) -> Logged:
    """What is in the log by now, as messages or texts."""

    def logged() -> list[str]:
        with disklog_mp.open(name, path, linger=None) as log:
            log.log(b"end of test")
            log.flush()
        return [text_of(record) for record in disklog_mp.Reader(path) if not record.gap][:-1]

    return logged


def gaps(path: Path) -> list[dict[str, int]]:
    """The gap records of a log: what was dropped, as the log itself tells it."""
    return [json.loads(record.data) for record in disklog_mp.Reader(path) if record.gap]


class Handled(DiskLogHandler):
    """Keeps what handleError was called for."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.errors: list[BaseException | None] = []

    def handleError(self, record: logging.LogRecord) -> None:
        """Keep the error."""
        self.errors.append(sys.exc_info()[1])


# -- what is logged ------------------------------------------------------------------------------------


def test_a_message_becomes_a_record_with_its_level_as_tag(
    text_handler: DiskLogHandler, logger: logging.Logger, path: Path
) -> None:
    """Formatted in this process, with time and pid of its own; flush() waits until it can be read."""
    for level in (10, 20, 25, 30, 40, 50):
        logger.log(level, "level %d", level)
    text_handler.flush()

    records = list(disklog_mp.Reader(path))
    assert [(record.tag, record.data) for record in records] == [
        (level, b"level %d" % level) for level in (10, 20, 25, 30, 40, 50)
    ]
    assert {record.pid for record in records} == {os.getpid()}


def test_levels_out_of_range_are_bounded(handler: DiskLogHandler, logger: logging.Logger, path: Path) -> None:
    """A tag has 16 bits; a level may be any number."""
    for level in (-5, 10**6):
        handler.handle(logger.makeRecord("tested", level, "", 0, "message", (), None))
    handler.flush()

    assert [record.tag for record in disklog_mp.Reader(path)] == [0, 0xFFFF]


def test_the_handlers_own_level_and_filters_hold(
    handler: DiskLogHandler, logger: logging.Logger, logged: Logged
) -> None:
    """As with any handler."""
    handler.setLevel("WARNING")
    handler.addFilter(lambda record: "secret" not in record.msg)
    logger.info("not important")
    logger.error("a secret")
    logger.error("an error")

    assert logged() == ["an error"]


FORMATS = [
    (None, "hello world"),
    (logging.Formatter("%(message)s"), "hello world"),
    (logging.Formatter("%(levelname)s %(name)s %(message)s"), "INFO tested hello world"),
    (logging.Formatter("{message}!", style="{"), "hello world!"),
    (type("Loud", (logging.Formatter,), {"format": lambda self, record: "LOUD"})(), "LOUD"),
]


def test_formatters_are_honoured(handler: DiskLogHandler, logger: logging.Logger, logged: Logged) -> None:
    """The default one, plain ones, others, subclasses; set as usual or as an attribute."""
    for formatter, _ in FORMATS:
        handler.setFormatter(formatter)
        logger.info("hello %s", "world")
    handler.setFormatter(None)
    handler.formatter = FORMATS[2][0]
    logger.info("hello %s", "world")

    assert logged() == [text for _, text in FORMATS] + [FORMATS[2][1]]


def test_a_text_is_what_a_file_handler_would_write(
    text_handler: DiskLogHandler, logger: logging.Logger, path: Path
) -> None:
    """Byte for byte, but for the newline, whatever the formatter."""
    file = path.parent / "lines"
    logger.addHandler(other := logging.FileHandler(file, encoding="utf-8", errors="backslashreplace"))
    for formatter, _ in FORMATS:
        text_handler.setFormatter(formatter)
        other.setFormatter(formatter)
        logger.info("größer %s\n", "\udcff", extra={"a": 1})
        logger.info("100 %")
        logger.error("no error", exc_info=True)
        logger.error("an error", exc_info=ValueError("x"), stack_info=True)
    text_handler.flush()

    assert b"".join(record.data + b"\n" for record in disklog_mp.Reader(path)) == file.read_bytes()


def test_exceptions_and_stacks_are_logged_whole(
    text_handler: DiskLogHandler, logger: logging.Logger, logged: Logged
) -> None:
    """With the plain format too, and as often as the record is emitted."""
    try:
        raise KeyError("lost")
    except KeyError:
        logger.exception("trouble")
        record = logger.makeRecord("tested", 20, "", 0, "again", (), sys.exc_info())
    logger.handle(record)
    record.exc_info = None  # its text is kept
    logger.handle(record)
    logger.info("here", stack_info=True)

    texts = logged()
    for text, message in zip(texts, ("trouble", "again", "again"), strict=False):
        assert text.startswith(message + "\nTraceback")
        assert text.endswith("KeyError: 'lost'")
    assert texts[3].startswith("here\nStack")


@pytest.mark.parametrize("formatter", [None, logging.Formatter("<%(message)s>")])
def test_any_text_can_be_logged(
    text_handler: DiskLogHandler, logger: logging.Logger, path: Path, formatter: logging.Formatter | None
) -> None:
    """UTF-8, control characters, and the lone surrogates of undecodable file names."""
    text_handler.setFormatter(formatter)
    texts = ["größer ≥ 𝄞", "a\nb\0c", "file-\udcff", ""]
    for text in texts:
        logger.info(text)
    text_handler.flush()

    data = [record.data.strip(b"<>") for record in disklog_mp.Reader(path)]
    assert data == [text.encode("utf-8", "backslashreplace") for text in texts]
    assert data[2] == rb"file-\udcff"


def test_the_steps_can_be_overridden(name: str, path: Path, logger: logging.Logger, logged: Logged) -> None:
    """prepare() makes the bytes, enqueue() logs them; a subclass may change either, or format()."""

    class Upper(DiskLogHandler):
        def prepare(self, record: logging.LogRecord) -> bytes:
            return super().prepare(record).upper()

        def enqueue(self, data: bytes, tag: int) -> None:
            super().enqueue(data + b"?", tag + 1)

    class Own(DiskLogHandler):
        def format(self, record: logging.LogRecord) -> str:
            return "formatted"

    for kind in (Upper, Own):
        logger.addHandler(kind(name, path, encoding="text", **SMALL))
    logger.info("really")

    assert sorted(logged()) == ["REALLY?", "formatted"]


# -- how it is set up ----------------------------------------------------------------------------------


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


@pytest.mark.parametrize("how", [{"class": "disklog_mp.logging.DiskLogHandler"}, {"()": DiskLogHandler}])
def test_dict_config_sets_it_up(
    name: str, path: Path, logged: Logged, configured: None, how: dict[str, Any]
) -> None:
    """By class or factory, with a name for the log, one for the handler, a level and a formatter."""
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"short": {"format": "%(levelname)s:%(message)s"}},
        "handlers": {
            "disk": {
                **how,
                "name": name,
                "path": str(path),
                "level": "INFO",
                "formatter": "short",
                "on_full": "drop",
                **SMALL,
            }
        },
        "root": {"level": "DEBUG", "handlers": ["disk"]},
    }
    logging.config.dictConfig(config)
    logging.getLogger("any").debug("no")
    logging.getLogger("any").info("first")
    logging.config.dictConfig(config)  # as servers do when they are told to reload
    logging.getLogger("any").info("second")

    assert logging.getLogger().handlers[0].name == "disk"
    assert logged() == ["INFO:first", "INFO:second"]


def test_file_config_sets_it_up(name: str, path: Path, logged: Logged, configured: None) -> None:
    """The ini format takes args and kwargs."""
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
kwargs={SMALL!r}
"""
    )
    logging.config.fileConfig(file, disable_existing_loggers=False)
    logging.getLogger("any").info("from a file")

    assert logged() == ["from a file"]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"name": "no/name"}, ValueError, "no/name"),
        ({"on_full": "panic"}, ValueError, "on_full"),
        ({"missing": "panic"}, ValueError, "missing"),
        ({"missing": "wait:long"}, ValueError, "missing"),
        ({"missing": 2}, ValueError, "missing"),
        ({"timeout": -1}, ValueError, "timeout"),
        ({"ring_bytes": "much"}, ValueError, "ring_bytes"),
        ({"colour": "red"}, TypeError, "colour"),
        ({"path": None, "page_bytes": 1 << 20}, TypeError, "path="),
        ({"level": "LOUD"}, ValueError, "LOUD"),
    ],
)
def test_wrong_options_are_found_at_once(
    name: str, path: Path, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    """Not at the first record, where they could only be reported on stderr."""
    with pytest.raises(error, match=text):
        DiskLogHandler(**{"name": name, "path": path, **options})


def test_setting_up_attaches_to_nothing(name: str, path: Path) -> None:
    """Programs that never log start no writer and need no log."""
    handler = DiskLogHandler(name, path)
    handler.flush()
    handler.close()

    assert repr(handler) == f"<DiskLogHandler {name!r} (NOTSET)>"
    assert not path.exists()
    with pytest.raises(disklog_mp.LogNotFoundError):
        disklog_mp.attach(name)


# -- other processes, threads, places ------------------------------------------------------------------


def log_some(logger: logging.Logger, count: int) -> None:
    """Log that many messages with a logger that was handed over."""
    for number in range(count):
        logger.info("%d", number)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_log_with_the_handler_they_are_given(
    handler: DiskLogHandler, name: str, path: Path, logged: Logged, method: str
) -> None:
    """Inherited or pickled, in use already or not, the handler works in every child."""
    context = multiprocessing.get_context(method)
    unused = DiskLogHandler(name)
    handler.setFormatter(logging.Formatter("%(process)d %(message)s"))
    handler.emit(logging.makeLogRecord({"msg": "in use", "levelno": 20, "process": 0}))
    workers = [context.Process(target=emit_some, args=(kind, 100)) for kind in (handler, unused)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
        worker.close()

    texts = logged()
    assert len(texts) == 201
    assert len({record.pid for record in disklog_mp.Reader(path)}) == 3


def emit_some(handler: DiskLogHandler, count: int) -> None:
    """Log that many messages with a handler that was handed over."""
    for number in range(count):
        handler.handle(logging.makeLogRecord({"msg": "%d", "args": (number,), "levelno": 20}))
    assert handler.dropped == 0


def test_threads_share_a_handler(handler: DiskLogHandler, logger: logging.Logger, logged: Logged) -> None:
    """Many threads, from the first record on, which opens the log: nothing lost, each in order."""
    barrier = threading.Barrier(8)

    def work(worker: int) -> None:
        barrier.wait()
        for number in range(200):
            logger.info("%d %d", worker, number)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    pairs = [text.split() for text in logged()]
    for worker in range(8):
        assert [int(number) for who, number in pairs if int(who) == worker] == list(range(200))


def test_a_fork_beside_a_waiting_thread_does_not_hang(
    handler: DiskLogHandler, logger: logging.Logger, name: str, logged: Logged
) -> None:
    """No lock is held while a record waits for room, so a child that logs meanwhile has none to wait for."""
    handler.timeout = 30
    logger.info("attached")
    with stopped_writer(name):
        session = handler._session
        assert session is not None
        threads = [threading.Thread(target=log_some, args=(logger, 3000)) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_until(lambda: disklog_mp.Session(session).stats().producers[0].waited)
        child = os.fork()
        if child == 0:
            handler.close()
            signal.alarm(30)
            handler.timeout, handler.on_full = 0, "drop"
            logger.info("from the child")
            os._exit(0 if handler.dropped == 1 else 1)
        assert os.waitpid(child, 0)[1] == 0
    for thread in threads:
        thread.join()

    assert len(logged()) == 6001


def test_a_signal_handler_may_log(
    handler: DiskLogHandler, logger: logging.Logger, path: Path, logged: Logged
) -> None:
    """At any moment: in the middle of another record; while the first one opens the log they are counted."""
    count = 0

    def on_alarm(*_: object) -> None:
        nonlocal count
        count += 1
        logger.warning("alarm")

    number = 0
    former = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    try:
        while not handler.dropped or count < handler.dropped + 20:
            logger.info("%d", number)
            number += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)

    texts = logged()
    assert texts.count("alarm") == count - handler.dropped
    assert [text for text in texts if text != "alarm"] == [str(i) for i in range(number)]
    assert [gap["dropped"] for gap in gaps(path)] == [handler.dropped]


def test_logging_from_a_destructor_works(
    handler: DiskLogHandler, logger: logging.Logger, logged: Logged
) -> None:
    """Whenever the garbage collector likes."""

    class Doomed:
        def __del__(self) -> None:
            logger.info("gone")

    doomed = Doomed()
    doomed.itself = doomed  # type: ignore[attr-defined]
    del doomed
    gc.collect()

    assert logged() == ["gone"]


def test_the_last_words_of_a_program_are_logged(name: str, path: Path, logged: Logged) -> None:
    """Destructors that run while the interpreter shuts down, after logging has, and nothing on stderr."""
    program = f"""
import logging
import math
from disklog_mp.logging import DiskLogHandler
logger = logging.getLogger("tested")
logger.addHandler(DiskLogHandler({name!r}, {str(path)!r}, linger=0.5, ring_bytes=1 << 16))
class Doomed:
    def __del__(self, logger=logger):
        logger.warning("last words")
doomed = Doomed()
logger.warning("first words")
"""
    # The writer keeps stderr: what it says goes elsewhere.
    errors = path.parent / "errors"
    with errors.open("wb") as stderr:
        subprocess.run([sys.executable, "-c", program], check=True, stderr=stderr)

    assert logged() == ["first words", "last words"]
    assert errors.read_text() == ""


def test_a_handler_survives_pickling_and_copying(
    handler: DiskLogHandler, logger: logging.Logger, logged: Logged
) -> None:
    """With name, path, options, level, formatter and filters; without the session and its counts."""
    handler.setLevel(20)
    handler.setFormatter(logging.Formatter("copied %(message)s"))
    handler.addFilter(logging.Filter("tested"))
    logger.info("one")
    for double in (pickle.loads(pickle.dumps(handler)), copy.deepcopy(handler)):
        assert double._session is None
        logger.removeHandler(logger.handlers[0])
        logger.addHandler(double)
        logger.info("two")
        logger.debug("too low")
        double.close()

    assert logged() == ["copied one", "copied two", "copied two"]


# -- trouble -------------------------------------------------------------------------------------------


def test_a_closed_handler_attaches_again(
    handler: DiskLogHandler, logger: logging.Logger, name: str, logged: Logged
) -> None:
    """close() detaches, as often as it is called; a record after that is logged as the first was."""
    logger.info("one")
    handler.close()
    handler.close()
    with disklog_mp.open(name, handler.path or "") as log:
        assert [producer.logged for producer in log.stats().producers] == [0]
    logger.info("two")

    assert logged() == ["one", "two"]


def test_closing_beside_logging_threads_loses_nothing(
    handler: DiskLogHandler, logger: logging.Logger, logged: Logged
) -> None:
    """A thread whose session was closed under it attaches again."""
    threads = [threading.Thread(target=log_some, args=(logger, 2000)) for _ in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        handler.close()
        time.sleep(0.001)

    assert len(logged()) == 4000
    assert handler.dropped == 0


def test_a_frozen_writer_costs_one_wait_and_the_drops_are_told(
    name: str, path: Path, logger: logging.Logger, logged: Logged
) -> None:
    """Block once, then drop at once until there is room; the log says how many and from when to when."""
    logger.addHandler(handler := Handled(name, path, timeout=0.2, **SMALL))
    logger.info("first")
    began = time.time_ns()
    with stopped_writer(name):
        log_some(logger, 3000)
        dropped = handler.dropped

        assert dropped > 100
        assert handler._session is not None
        assert disklog_mp.Session(handler._session).stats().dropped == dropped
        handler.flush()  # in vain, but not for ever
    assert handler.flush_within(60)
    log_some(logger, 10)

    assert handler.errors == []
    assert len(logged()) == 1 + 3000 - dropped + 10
    assert [gap["dropped"] for gap in gaps(path)] == [dropped]
    assert began < gaps(path)[0]["since"] < gaps(path)[0]["until"]
    assert handler._session.on_full == "block"


@pytest.mark.parametrize("policy", ["drop", "raise"])
def test_policies_without_waiting(
    name: str, path: Path, logger: logging.Logger, logged: Logged, policy: str
) -> None:
    """One counts, the other hands each refusal to handleError as well; the caller sees neither."""
    logger.addHandler(handler := Handled(name, path, on_full=policy, **SMALL))
    logger.info("first")
    with stopped_writer(name):
        log_some(logger, 3000)
    assert handler._session is not None
    assert handler.flush_within(60)

    assert handler.dropped > 100
    expected = {disklog_mp.RingFullError} if policy == "raise" else set()
    assert {type(error) for error in handler.errors} == expected
    assert len(handler.errors) == (handler.dropped if policy == "raise" else 0)
    logger.info("last")
    assert len(logged()) == 3002 - handler.dropped
    assert sum(gap["dropped"] for gap in gaps(path)) == handler.dropped


def test_drops_that_are_pending_are_told_when_the_handler_closes(
    name: str, path: Path, logger: logging.Logger, logged: Logged
) -> None:
    """A program that ends says what it could not log, if there is room again."""
    logger.addHandler(handler := DiskLogHandler(name, path, on_full="drop", **SMALL))
    logger.info("first")
    with stopped_writer(name):
        log_some(logger, 3000)
    handler.flush()
    handler.close()
    logged()

    assert [gap["dropped"] for gap in gaps(path)] == [handler.dropped]


def test_a_log_that_is_missing_is_reported_once_and_found_later(
    name: str,
    path: Path,
    logger: logging.Logger,
    logged: Logged,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a log the program goes on: one line, the records counted, and told when the log is there."""
    monkeypatch.setattr("disklog_mp._loggers.delivery.RETRY", 0.1)
    logger.addHandler(handler := DiskLogHandler(name))
    log_some(logger, 100)
    wait_until(lambda: time.monotonic() > handler._retry_at)
    log_some(logger, 100)

    assert handler.dropped == 200
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"disklog-mp: {name}: records are dropped: no log {name!r} is open")
    with disklog_mp.open(name, path, **SMALL):
        wait_until(lambda: time.monotonic() > handler._retry_at)
        logger.info("found")
        handler.flush()
        assert logged() == ["found"]
    assert [gap["dropped"] for gap in gaps(path)] == [200]


def test_a_log_that_is_missing_can_be_passed_over_in_silence(
    name: str, logger: logging.Logger, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """missing="drop" says nothing, as does logging.raiseExceptions = False; the count remains."""
    for missing in ("drop", "stderr"):
        logger.addHandler(handler := DiskLogHandler(name, missing=missing))
        log_some(logger, 10)
        logger.removeHandler(handler)
        assert handler.dropped == 10
        monkeypatch.setattr(logging, "raiseExceptions", False)

    assert capfd.readouterr().err == ""


def test_a_log_that_is_missing_can_be_an_error(
    name: str, logger: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    """missing="raise" hands each record to handleError; the caller sees nothing, nor does stderr twice."""
    logger.addHandler(handler := Handled(name, missing="raise"))
    log_some(logger, 10)

    assert handler.dropped == 10
    assert [type(error) for error in handler.errors] == [disklog_mp.LogNotFoundError] * 10
    assert capfd.readouterr().err == ""


def test_the_first_record_may_wait_for_the_log(
    name: str, path: Path, logger: logging.Logger, logged: Logged
) -> None:
    """A worker that is faster than its writer loses nothing: missing="wait:20s"."""
    logger.addHandler(handler := DiskLogHandler(name, missing="wait:20s"))
    threads = [threading.Thread(target=logger.info, args=("early",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(handler._finding) == 2)
    with disklog_mp.open(name, path, **SMALL):
        for thread in threads:
            thread.join()
        assert logged() == ["early", "early"]
    assert handler.dropped == 0


def test_only_the_first_record_waits(
    name: str, logger: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    """Then it is as missing="stderr", in a forked child, too; and a signal handler waits for nobody."""
    logger.addHandler(handler := DiskLogHandler(name, missing="wait:100ms"))
    former = signal.signal(signal.SIGALRM, lambda *_: logger.info("alarm"))
    signal.setitimer(signal.ITIMER_REAL, 0.03)
    try:
        logger.info("in vain")
    finally:
        signal.signal(signal.SIGALRM, former)
    assert handler.dropped == 2
    assert len(capfd.readouterr().err.splitlines()) == 1

    waited = handler._wait_until
    child = os.fork()
    if child == 0:
        log_some(logger, 100)
        os._exit(handler.dropped + 100 * (handler._wait_until != waited))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 100


def test_a_log_that_cannot_be_opened_breaks_nothing(
    name: str, tmp_path: Path, logger: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    """Trouble with the directory, later than the set-up, goes to stderr, once."""
    logger.addHandler(handler := DiskLogHandler(name, tmp_path / "file", missing="drop", **SMALL))
    (tmp_path / "file").write_text("in the way")
    log_some(logger, 10)

    assert handler.dropped == 10
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_what_is_wrong_with_the_directory_is_raised_by_the_set_up(
    name: str, tmp_path: Path, logger: logging.Logger
) -> None:
    """A file in the way of it, or above it; another log that is open there; and no writer is started."""
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path / "file", tmp_path / "file" / "log"):
        with pytest.raises(NotADirectoryError):
            DiskLogHandler(name, place)
    with disklog_mp.open(name, tmp_path / "log", **SMALL):
        with pytest.raises(disklog_mp.ConfigMismatchError):
            DiskLogHandler(f"{name}-2", tmp_path / "log")
        DiskLogHandler(name, tmp_path / "log")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    DiskLogHandler(f"{name}-2", tmp_path / "link" / "log")
    assert not list((tmp_path / "real").iterdir())


def test_a_directory_that_is_closed_to_this_user_is_an_error_of_the_set_up(name: str, tmp_path: Path) -> None:
    """Of every door: PermissionError that says who may not."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    tmp_path.chmod(0o755)
    place = tmp_path / "closed"
    place.mkdir(mode=0o700)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            for path in (place, place / "log", tmp_path / "new"):
                try:
                    DiskLogHandler(name, path)
                except PermissionError as refused:
                    code = 0 if "65534" in str(refused) or path == place / "log" else 2
                else:
                    code = 3
                if code:
                    break
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_child_finds_a_ring_whose_name_is_gone_through_its_parent(
    name: str, path: Path, logger: logging.Logger, capfd: pytest.CaptureFixture[str], logged: Logged
) -> None:
    """While the writer lives: it gives the ring its name again, and nothing is dropped."""
    with disklog_mp.open(name, path, **SMALL):
        logger.addHandler(handler := DiskLogHandler(name))
        logger.info("first")
        handler.flush()
        with stopped_writer(name):  # it would make another
            os.rename(path_of_ring := ring_path(name), f"/dev/shm/aside-{name}")
            child = os.fork()
            if child == 0:
                log_some(logger, 10)
                os._exit(handler.dropped)
            status = os.waitpid(child, 0)[1]
            os.rename(f"/dev/shm/aside-{name}", path_of_ring)

        assert os.waitstatus_to_exitcode(status) == 0
        assert len(logged()) == 11


def test_a_halted_log_is_reported_once(
    name: str, path: Path, logger: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    """When max_bytes is reached the records are dropped and counted."""
    logger.addHandler(handler := Handled(name, path, max_bytes=8192, **SMALL))
    deadline = time.monotonic() + 20
    while handler.dropped < 10:
        assert time.monotonic() < deadline
        logger.info("x" * 500)
        time.sleep(0.002)

    lines = [line for line in capfd.readouterr().err.splitlines() if "records are dropped" in line]
    assert len(lines) == 1
    assert "max_bytes" in lines[0]
    assert handler.errors == []


def test_a_writer_that_cannot_be_replaced_is_reported_once(
    handler: DiskLogHandler,
    logger: logging.Logger,
    name: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ring takes what it can; the rest is counted until a writer comes."""
    logger.info("first")
    handler.flush()
    with monkeypatch.context() as patched:
        patched.setattr("disklog_mp._session.start_writer.begin", refuse_to_start)
        stop_writer(name, signal.SIGKILL)
        log_some(logger, 2500)

    lines = [line for line in capfd.readouterr().err.splitlines() if "records are dropped" in line]
    assert len(lines) == 1
    assert "is dead and was not replaced: starting another failed: [Errno 28]" in lines[0]
    dropped = handler.dropped
    assert dropped > 100
    assert handler.flush_within(60)  # brings another writer
    log_some(logger, 10)
    assert handler.dropped == dropped


def test_a_process_that_cannot_start_a_writer_logs_into_the_ring_of_a_dead_one(
    name: str,
    path: Path,
    logger: logging.Logger,
    logged: Logged,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A worker of another user, say, that may not: the next writer writes what it has logged."""
    with disklog_mp.open(name, path, linger=0.1, ring_bytes=1 << 16) as log:
        log.log(b"first")
        log.flush()
        stop_writer(name, signal.SIGKILL)
        with monkeypatch.context() as patched:
            patched.setattr("disklog_mp._session.start_writer.start", refuse_to_start)
            logger.addHandler(handler := DiskLogHandler(name, path, **SMALL))
            logger.info("second")
            handler.close()

        assert handler.dropped == 0
        assert "records are dropped" not in capfd.readouterr().err
        assert logged() == ["first", "second"]
    stop_writer(name)


def refuse_to_start(*arguments: object, **options: object) -> None:
    """In place of what starts a writer."""
    raise OSError(28, "No space left on device")


def test_what_cannot_be_formatted_goes_to_handle_error(
    name: str, path: Path, logger: logging.Logger, logged: Logged
) -> None:
    """The caller of log.info never sees it."""
    logger.addHandler(handler := Handled(name, path, **SMALL))
    logger.info("%d apples", "three")
    logger.info("fine")

    assert [type(error) for error in handler.errors] == [TypeError]
    assert handler.dropped == 0
    assert logged() == ["fine"]


@pytest.mark.parametrize("encoding", ["structured", "text"])
def test_a_record_that_is_too_large_is_cut(
    name: str,
    path: Path,
    logger: logging.Logger,
    logged: Logged,
    capfd: pytest.CaptureFixture[str],
    encoding: str,
) -> None:
    """Its beginning is kept and its full length said; nothing is dropped, and nothing said on stderr."""
    logger.addHandler(handler := Handled(name, path, encoding=encoding, **SMALL))
    length = 5_000_000
    for number in range(3):
        logger.info(f"{number}{'x' * (length - 1)}", extra={"user": 42})
    logger.error("trouble", exc_info=ValueError("y" * length))

    texts = logged()
    records = list(disklog_mp.Reader(path))
    assert [text[:5] for text in texts] == ["0xxxx", "1xxxx", "2xxxx", "troub"]
    assert all(10_000 < len(record.data) <= 16_384 for record in records[:4])
    assert all(b"full_length" in record.data for record in records[:4])
    assert handler.errors == []
    assert handler.dropped == 0
    assert capfd.readouterr().err == ""
    if encoding == "structured":
        event = records[0].event
        assert event is not None
        assert event.fields["user"] == 42
        assert event.fields["full_length"] > length
        assert records[3].event is not None
        assert (records[3].event.exception or "").startswith("ValueError: yyy")
    else:
        assert records[0].data.endswith(b"x [full_length=5000000]")


def test_handle_error_is_the_one_of_the_standard_library(
    handler: DiskLogHandler, logger: logging.Logger, capfd: pytest.CaptureFixture[str]
) -> None:
    """It prints the traceback to stderr, where users of logging look for it."""
    logger.info("%d", "x")

    assert "--- Logging error ---" in capfd.readouterr().err


def test_stderr_that_is_gone_is_no_trouble(
    name: str, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon may have closed it, or have none."""

    class Closed:
        def write(self, text: str) -> int:
            raise ValueError("I/O operation on closed file")

    for stderr in (None, Closed()):
        monkeypatch.setattr(sys, "stderr", stderr)
        logger.addHandler(handler := DiskLogHandler(name))
        logger.info("unheard")
        assert handler.dropped == 1
        logger.removeHandler(handler)


class Loop:
    """A stderr that leads back to logging, as celery's does, and many a LoggerWriter."""

    def __init__(self, logger: logging.Logger) -> None:
        self.logger = logger
        self.written = 0

    def write(self, text: str) -> int:
        self.written += len(text)
        self.logger.error(text)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


@pytest.mark.parametrize("options", [{}, {"missing": "raise"}, {"missing": "stderr"}])
def test_a_stderr_that_leads_back_is_no_endless_loop(
    name: str, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    """A record made by the handling of an error is not handled again, whatever the error."""
    logger.addHandler(DiskLogHandler(name, **options))
    monkeypatch.setattr(sys, "stderr", loop := Loop(logger))
    for _ in range(5):
        logger.info("%d" + "z" * 1_000_000, "no number")
        logger.info("no log")

    assert 0 < loop.written < 100_000


def test_errors_are_shown_a_few_times_a_second(
    name: str, path: Path, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may log what it reads from the pipe that stderr is."""
    monkeypatch.setattr(sys, "stderr", loop := Loop(logging.Logger("nowhere", 100)))
    logger.addHandler(DiskLogHandler(name, missing="raise"))
    began = time.monotonic()
    log_some(logger, 10_000)
    seconds = math.ceil(time.monotonic() - began)

    assert 0 < loop.written < 40 * (seconds + 1) * 5000


def test_whatever_goes_wrong_on_the_way_is_no_error_of_the_program(
    handler: DiskLogHandler,
    logger: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Of any type: counted, said once."""

    def broken(*args: object, **options: object) -> None:
        raise TypeError("argument of type 'NoneType'")

    with monkeypatch.context() as patch:
        patch.setattr("disklog_mp._session.opening.connect", broken)
        log_some(logger, 10)

    assert handler.dropped == 10
    (line,) = capfd.readouterr().err.splitlines()
    assert "records are dropped: argument of type 'NoneType'" in line


def test_a_record_of_another_process_has_its_pid(
    handler: DiskLogHandler, logger: logging.Logger, path: Path
) -> None:
    """It came through a queue: QueueHandler there, QueueListener here.  The books know it as relogged."""
    records: queue.Queue[Any] = queue.Queue()
    listener = logging.handlers.QueueListener(records, handler)
    sender = logging.Logger("sender")
    sender.addHandler(logging.handlers.QueueHandler(records))
    for pid in (4711, os.getpid()):
        record = sender.makeRecord("sender", 20, "f", 1, "hello", (), None)
        record.process = pid
        sender.handle(record)
        sender.handle(record)
    listener.start()
    listener.stop()
    handler.flush()

    assert [record.pid for record in disklog_mp.Reader(path)] == [4711, 4711, os.getpid(), os.getpid()]
    assert handler._session is not None
    assert disklog_mp.Session(handler._session).stats().logged == 4


def test_basic_config_adds_nothing_to_the_message(
    name: str, path: Path, logged: Logged, configured: None
) -> None:
    """Its default format is for lines of text; one that the user names is obeyed."""
    for options in ({}, {"format": "<%(message)s>"}):
        handler = DiskLogHandler(name, path, **SMALL)
        logging.basicConfig(level="INFO", handlers=[handler], force=True, **options)  # type: ignore[call-overload]
        logging.info("hello")

    assert logged() == ["hello", "<hello>"]
