"""The README's recipes, copied: each is run by what it is for, and logs.  So do the lines to change to."""

import concurrent.futures
import contextlib
import json
import logging
import logging.handlers
import multiprocessing
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import concurrent_log_handler
import pytest
import structlog
from loguru import logger
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from support.machine import stop_writer, wait_until

import disklog_mp
import disklog_mp.loguru
import disklog_mp.pools
import disklog_mp.structlog
from disklog_mp._loggers import structured as _structured
from disklog_mp.logging import DiskLogHandler
from disklog_mp.otel import LogRecordExporter
from integrations.serving import get, redis, running, wait_for

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCKS = re.findall(r"^```(?:py|json)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.usefixtures("writer_ends")
Recipe = Callable[[str], str]


@pytest.fixture
def path(name: str, tmp_path: Path) -> Path:
    """The log's directory."""
    return tmp_path / name


@pytest.fixture
def recipe(name: str, path: Path) -> Recipe:
    """The block with that beginning, about this test's log."""

    def recipe(begins: str) -> str:
        (block,) = [block for block in BLOCKS if block.startswith(begins)]
        assert len(block.splitlines()) <= 8
        return here(block, name, path)

    return recipe


def here(text: str, name: str, path: Path) -> str:
    """The README's text with this test's log instead of its own."""
    text = re.sub(r'"/var/log/(\w+)"', lambda m: repr_of(path), text)
    return re.sub(r'(?<=[(\s])"(app|jobs|etl|api)"(?=, )', repr_of(name), text)


def repr_of(value: object) -> str:
    """In double quotes, as JSON has them, too."""
    return json.dumps(str(value))


def logged(name: str, path: Path) -> list[_structured.Event]:
    """What was logged, and structured."""
    with disklog_mp.open(name, path) as log:
        log.log(b"end")
        log.flush()
    found = [_structured.parse(record.data) for record in disklog_mp.Reader(path)]
    return [event for event in found if event is not None]


def messages(name: str, path: Path) -> list[str]:
    """What was logged, and structured, in words."""
    return [event.message for event in logged(name, path)]


def test_the_recipe_for_gunicorn(
    recipe: Recipe, name: str, path: Path, tmp_path: Path, lanes: object
) -> None:
    """As a configuration file; the class by its name, too."""
    text = recipe("# gunicorn.conf.py")
    by_name = re.sub(
        r"^class.*?\n\n", 'logger_class = "disklog_mp.gunicorn.Logger"\n', text, flags=re.M | re.S
    )
    assert by_name != text
    for config in (text, by_name):
        (tmp_path / "gunicorn.conf.py").write_text(config)
        with running(
            tmp_path, "gunicorn", "-w", "2", "-b", f"unix:{tmp_path}/web", "integrations.web:wsgi"
        ) as it:
            wait_for(tmp_path / "web")
            get(tmp_path / "web", "/apples")
            assert it.said() == ""
        found = logged(name, path)
        assert {"gunicorn.error", "gunicorn.access", "shop"} == {event.logger for event in found}
        assert [event.fields["status"] for event in found if event.fields.get("path") == "/apples"][-1] == 200
        stop_writer(name)


def test_the_recipe_for_celery(recipe: Recipe, name: str, path: Path, tmp_path: Path) -> None:
    """As the beginning of a module; the commands beside it follow the log."""
    text = recipe("# jobs.py").replace("redis://localhost", f"redis+socket://{tmp_path}/redis")
    (tmp_path / "jobs.py").write_text(
        f"{text}\nfrom celery.utils.log import get_task_logger\n"
        "@app.task\ndef add(x, y):\n    get_task_logger(__name__).warning('%d', x + y)\n"
    )
    (command,) = re.findall(r"`celery (-A jobs worker[^`]*)`", README)
    with redis(tmp_path), running(tmp_path, "celery", *command.split()) as server:
        with running(tmp_path, "celery", "-A", "jobs", "call", "jobs.add", "--args", "[2, 3]") as call:
            call.process.wait(30)
        wait_until(path.exists, 30)
        wait_until(lambda: any(b'"message":"5"' in record.data for record in disklog_mp.Reader(path)), 30)
        assert "Traceback" not in server.said()
    for follow in re.findall(r"^disklog-mp tail -f (.*?)(?: +#.*)?$", README, re.MULTILINE):
        options = re.sub(r"^/var/log/\w+", str(path), follow).split()
        done = subprocess.run(
            [sys.executable, "-m", "disklog_mp", "tail", "-n", "100", *options],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "5 task_id=" in done.stdout
        assert ("celery@" in done.stdout) == ("--level" not in options)


def test_the_recipe_for_pools(recipe: Recipe, name: str, path: Path) -> None:
    """Both, with what a program has imported."""
    modules = {"multiprocessing": multiprocessing, "concurrent": concurrent, "disklog_mp": disklog_mp}
    for line in recipe("# etl.py").splitlines()[1:]:
        with eval(line, modules) as pool:
            list(pool.map(logging.warning, ["sold", "bought"]))

    assert sorted(messages(name, path)) == ["bought", "bought", "sold", "sold"]


def test_the_recipe_for_uvicorn(recipe: Recipe, name: str, path: Path, tmp_path: Path, lanes: object) -> None:
    """As --log-config; the README says where else it can stand, for which other tests have theirs."""
    (tmp_path / "log.json").write_text(recipe('{"version"'))
    arguments = ("--workers", "4", "--log-config", "log.json", "--uds", tmp_path / "web")
    with running(tmp_path, "uvicorn", *arguments, "integrations.web:asgi") as server:
        wait_for(tmp_path / "web")
        get(tmp_path / "web", "/apples")
        assert server.said() == ""
    assert any('"GET /apples HTTP/1.1" 200' in message for message in messages(name, path))


def test_the_recipe_for_uvicorn_with_gunicorns_own_logger(
    recipe: Recipe, name: str, path: Path, tmp_path: Path, lanes: object
) -> None:
    """As logconfig_dict, with what the README adds: each record is there once, and on no stream."""
    text = recipe('{"version"').replace("false", "False")
    (loggers,) = re.findall(r'`"loggers": ({.*?}})`', README)
    (tmp_path / "gunicorn.conf.py").write_text(f'logconfig_dict = {{**{text.strip()}, "loggers": {loggers}}}')
    with running(tmp_path, "gunicorn", "-b", f"unix:{tmp_path}/web", "integrations.web:wsgi") as server:
        wait_for(tmp_path / "web")
        get(tmp_path / "web", "/apples")
        assert server.said() == ""
    said = messages(name, path)
    assert sum("Starting gunicorn" in message for message in said) == 1
    assert sum("GET /apples" in message for message in said) == 1


def test_the_recipe_for_structlog(recipe: Recipe, name: str, path: Path) -> None:
    """In a program that has imported both."""
    exec(recipe("# structlog_setup.py"), {"structlog": structlog, "disklog_mp": disklog_mp})
    log = structlog.get_logger()
    log.info("sold", apples=3)
    structlog.get_config()["logger_factory"].close()
    structlog.reset_defaults()

    assert [(event.message, event.fields) for event in logged(name, path)] == [("sold", {"apples": 3})]


def test_the_recipe_for_loguru(recipe: Recipe, name: str, path: Path) -> None:
    """In a program that has imported both."""
    logger.remove()
    exec(recipe("# loguru_setup.py"), {"logger": logger, "disklog_mp": disklog_mp})
    logger.info("sold {apples}", apples=3)
    logger.remove()

    assert [(event.message, event.fields) for event in logged(name, path)] == [("sold 3", {"apples": 3})]


def test_the_recipe_for_opentelemetry(recipe: Recipe, name: str, path: Path) -> None:
    """In a program that has imported both; the variables it names are those that are read."""
    text = recipe("# otel_setup.py")
    provider = LoggerProvider(shutdown_on_exit=False)
    names = {
        "provider": provider,
        "SimpleLogRecordProcessor": SimpleLogRecordProcessor,
        "LogRecordExporter": LogRecordExporter,
    }
    exec(text, names)
    provider.get_logger("shop").emit(body="sold")
    provider.shutdown()

    assert messages(name, path) == ["sold"]
    assert "OTEL_EXPORTER_DISKLOG_NAME" in text
    assert "OTEL_EXPORTER_DISKLOG_PATH" in text


# -- instead of what there was -------------------------------------------------------------------------

TABLE = README.partition("\n| today | change it to |\n|---|---|\n")[2].partition("\n\n")[0].splitlines()
CODE = re.compile(r"`([A-Za-z.]+\([^`]*\))`")


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.split("(")[0].lstrip("| `"))
def test_what_is_to_be_changed_exists_and_what_it_becomes_logs(
    row: str, name: str, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: logging.Logger
) -> None:
    """Both columns are code that runs."""
    monkeypatch.chdir(tmp_path)
    logger.remove()
    queue = multiprocessing.get_context("fork").SimpleQueue()
    names: dict[str, Any] = {
        **{
            key: value
            for key, value in vars(logging.handlers).items()
            if key.endswith(("Handler", "Listener"))
        },
        "ConcurrentRotatingFileHandler": concurrent_log_handler.ConcurrentRotatingFileHandler,
        "DiskLogHandler": DiskLogHandler,
        "Sink": disklog_mp.loguru.Sink,
        "logger": logger,
        "queue": queue,
        "handler": logging.NullHandler(),
    }
    today, instead = row.strip("| ").split(" | ")
    for code in CODE.findall(today):
        before = eval(code, names)
        if isinstance(before, logging.Handler):
            before.close()
    logger.remove()
    queue.close()
    (code,) = CODE.findall(instead)
    handler = eval(here(code, name, path), names)
    if isinstance(handler, DiskLogHandler):
        root.addHandler(handler)
        logging.warning("sold")
        root.removeHandler(handler)
        handler.close()
    else:
        logger.info("sold")
        logger.remove()
    with contextlib.closing(disklog_mp.open(name, path)) as log:
        log.log(b"end")
        log.flush()
    first = next(iter(disklog_mp.Reader(path)))
    event = _structured.parse(first.data)
    assert (event.message if event else first.data.decode()) == "sold"
    stop_writer(name)
    assert os.listdir(path)
