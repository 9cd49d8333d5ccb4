"""Each door says what is wrong with directory, ring or options when it is set up, and starts no writer."""

import importlib.util
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.configured import SMALL, worker_on
from support.machine import shared_memory_of, stop_writer
from support.users import NOBODY, as_user

import disklog_mp
from disklog_mp import pools
from disklog_mp._loggers import outlets
from disklog_mp.logging import DiskLogHandler

Door = Callable[..., object]


def set_up_loggers(name: str, path: Path, **options: Any) -> None:
    disklog_mp.configure_loggers(name, path, **options)


def set_up_logger(name: str, path: Path, **options: Any) -> object:
    return disklog_mp.get_logger("app", name, path, **options)


def set_up_structlog(name: str, path: Path, **options: Any) -> object:
    return disklog_mp.structlog.LoggerFactory(name, path, **options)


def set_up_loguru(name: str, path: Path, **options: Any) -> object:
    return disklog_mp.loguru.Sink(name, path, **options)


def set_up_otel(name: str, path: Path, **options: Any) -> object:
    return disklog_mp.otel.LogRecordExporter(name, path, **options)


def set_up_celery(name: str, path: Path, **options: Any) -> None:
    celery = importlib.import_module("celery")
    disklog_mp.celery.install(celery.Celery(name), name, path, **options)


def set_up_gunicorn(name: str, path: Path, **options: Any) -> None:
    config = importlib.import_module("gunicorn.config")
    told = config.Config()
    told.set("errorlog", str(path.with_name(name)))
    kind = type("Logger", (disklog_mp.gunicorn.Logger,), {"options": options})
    if path.is_dir():  # the name of its log is the directory's
        path.rename(path.with_name(name))
    kind(told)


def of(package: str, door: Door) -> Any:
    """A door into a package that may not be installed."""
    try:
        is_there = importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # not even what it is a part of
        is_there = False
    return pytest.param(door, marks=pytest.mark.skipif(not is_there, reason=f"needs {package}"))


DOORS = [
    DiskLogHandler,
    set_up_loggers,
    set_up_logger,
    pools.start,
    of("structlog", set_up_structlog),
    of("loguru", set_up_loguru),
    of("opentelemetry.sdk", set_up_otel),
    of("celery", set_up_celery),
    of("gunicorn", set_up_gunicorn),
]


@pytest.fixture(autouse=True)
def as_before() -> Any:
    """Loggers go nowhere again, and the root logger has the handlers it had."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    outlets.default.begin_unconfigured()
    root.handlers[:] = handlers
    root.setLevel(level)


def other_files(path: Path) -> dict[str, Any]:
    path.mkdir()
    (path / "notes.txt").write_text("mine")
    return {}


def ring_dir_is_a_file(path: Path) -> dict[str, Any]:
    (path.parent / "file").write_text("in the way")
    return {"ring_dir": str(path.parent / "file" / "rings")}


def ring_is_too_large(path: Path) -> dict[str, Any]:
    return {"ring_bytes": "1T"}


def unknown_group(path: Path) -> dict[str, Any]:
    return {"group": "no-such-group"}


def unknown_option(path: Path) -> dict[str, Any]:
    return {"keep_byte": "2G"}


def wrong_label(path: Path) -> dict[str, Any]:
    return {"label": "two words"}


WRONG: list[tuple[Callable[[Path], dict[str, Any]], type[Exception], str]] = [
    (other_files, OSError, "notes.txt"),
    (ring_dir_is_a_file, NotADirectoryError, "no directory"),
    (ring_is_too_large, OSError, "does not fit"),
    (unknown_group, ValueError, "no-such-group"),
    (unknown_option, TypeError, "keep_bytes"),
    (wrong_label, ValueError, "two words"),
]


@pytest.mark.parametrize(("prepare", "error", "text"), WRONG)
@pytest.mark.parametrize("door", DOORS)
def test_what_is_wrong_is_raised_by_the_set_up(
    door: Door,
    prepare: Callable[[Path], dict[str, Any]],
    error: type[Exception],
    text: str,
    name: str,
    path: Path,
) -> None:
    """And nothing is made or started."""
    options = prepare(path)
    with pytest.raises(error, match=text):
        door(name, path, **options)

    assert not shared_memory_of(name)
    assert not list(path.parent.rglob("disklog.lock"))


@pytest.mark.parametrize("door", DOORS)
def test_hidden_files_and_lost_and_found_are_no_hindrance(door: Door, name: str, path: Path) -> None:
    """A directory under version control, or the root of a file system."""
    (path / "lost+found").mkdir(parents=True)
    (path / ".gitkeep").touch()
    door(name, path)

    assert not shared_memory_of(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_group_of_others_is_refused_at_set_up(name: str) -> None:
    """Its user could not give the log's files to it."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o777)

        def set_up() -> None:
            DiskLogHandler(name, os.path.join(place, "log"), mode=0o660, group=12345)

        with pytest.raises(PermissionError, match="not in group 12345"):
            as_user(NOBODY, set_up)


@pytest.mark.parametrize("door", DOORS)
def test_strict_refuses_other_options_of_a_log_in_use(door: Door, name: str, tmp_path: Path) -> None:
    """ConfigMismatchError with both values; with the log's own options, and a label, all is well."""
    path = tmp_path / name
    with disklog_mp.open(name, path, keep_pages=9, **SMALL), worker_on(name):
        with pytest.raises(disklog_mp.ConfigMismatchError) as caught:
            door(name, path, keep_pages=3, strict=True)
        assert caught.value.args == ("keep_pages", 9, 3)
        door(name, path, keep_pages=9, strict=True, label="here")
    with disklog_mp.open(name, path, **SMALL):
        door(name, path, keep_pages=3, strict=True)  # they can apply: no other process is attached
    stop_writer(name)


def test_strict_costs_no_record_later(name: str, path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The log came to run with other options after the set-up."""
    handler = DiskLogHandler(name, path, keep_pages=3, strict=True)
    with disklog_mp.open(name, path, keep_pages=9, **SMALL), worker_on(name):
        handler.emit(logging.makeLogRecord({"msg": "kept", "levelno": logging.INFO}))
        handler.flush()
        handler.close()
    stop_writer(name)

    assert handler.dropped == 0
    assert "it is joined as it is" in capfd.readouterr().err
    assert b"kept" in b"".join(record.data for record in disklog_mp.Reader(path))
