"""Options in the environment: what a program leaves out, whoever runs it can say."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.command import call
from support.machine import stop_writer

import disklog_mp
from disklog_mp import _environment
from disklog_mp.logging import DiskLogHandler

SMALL = {"linger": 0.1, "ring_bytes": 1 << 16}


@pytest.fixture
def run(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Set variables, and where logs are; the log's writer is stopped at the end."""
    monkeypatch.setenv("DISKLOG_MP_DIR", str(tmp_path))
    monkeypatch.setenv("DISKLOG_MP_LINGER", "0.1s")
    monkeypatch.setenv("DISKLOG_MP_RING_BYTES", "64k")
    yield monkeypatch
    stop_writer(name)


def options_of(log: disklog_mp.Session) -> dict[str, Any]:
    """The options that the log's writer has."""
    from support.sessions import ring_of

    options: dict[str, Any] = json.loads(ring_of(log).options)
    return options


def test_a_directory_for_all_logs_completes_open_and_handlers(
    name: str, tmp_path: Path, run: pytest.MonkeyPatch
) -> None:
    """DISKLOG_MP_DIR=/var/log: each log has its name there."""
    handler = DiskLogHandler(name)
    assert handler.path == str(tmp_path / name)
    with disklog_mp.open(name) as log:
        log.log(b"one")
        assert log.path == str(tmp_path / name)
        log.flush()
    assert [record.data for record in disklog_mp.Reader(tmp_path / name)] == [b"one"]


def test_options_of_one_log_go_before_those_of_all_and_those_of_the_program_first(
    name: str, run: pytest.MonkeyPatch
) -> None:
    """What is left out is looked for, in the order README says."""
    own = "DISKLOG_MP_" + name.upper().replace("-", "_")
    run.setenv("DISKLOG_MP_PAGE_BYTES", "1M")
    run.setenv(f"{own}_PAGE_BYTES", "2 MiB")
    run.setenv("DISKLOG_MP_KEEP_PAGES", "7")
    run.setenv("DISKLOG_MP_MODE", "0640")
    run.setenv("DISKLOG_MP_SYNC", "never")
    run.setenv("DISKLOG_MP_KEEP_AGE", "")  # as if it was not there
    run.setenv("DISKLOG_MP_ON_FULL", "drop")
    run.setenv("DISKLOG_MP_TIMEOUT", "2s")
    with disklog_mp.open(name, sync="page") as log:
        options = options_of(log)
        assert (log.on_full, log.timeout) == ("drop", 2.0)
    assert options["page_bytes"] == 2 << 20
    assert (options["keep_pages"], options["mode"], options["sync"]) == (7, 0o640, "page")
    assert options["keep_age"] is None
    run.delenv("DISKLOG_MP_SYNC")
    handler = DiskLogHandler(name, timeout=3)
    assert (handler.on_full, handler.timeout) == ("drop", 3)


@pytest.mark.parametrize(
    ("variable", "value"), [("PAGE_BYTES", "much"), ("KEEP_PAGES", "some"), ("MODE", "rw"), ("SYNC", "often")]
)
def test_a_wrong_value_names_its_variable(
    name: str, run: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """The program is not to blame."""
    run.setenv(f"DISKLOG_MP_{variable}", value)
    for door in (disklog_mp.open, DiskLogHandler):
        with pytest.raises((ValueError, TypeError), match=f"DISKLOG_MP_{variable}"):
            door(name)


def test_stat_names_the_variable(name: str, tmp_path: Path, run: pytest.MonkeyPatch) -> None:
    """Of options that came from one, whether a writer was started with them or was joined."""
    run.setenv("DISKLOG_MP_KEEP_PAGES", "7")
    run.setenv("DISKLOG_MP_LINGER", "10s")
    with disklog_mp.open(name, page_bytes="1M"):
        shown = call("stat", name).stdout.decode()
        assert "keep_pages 7 (environment DISKLOG_MP_KEEP_PAGES)" in shown
        assert f"page_bytes 1 MiB (open, process {os.getpid()})" in shown
    run.setenv("DISKLOG_MP_KEEP_AGE", "7d")
    handler = DiskLogHandler(name)
    handler.emit(logging.makeLogRecord({"msg": "x", "levelno": 20}))
    assert "(environment DISKLOG_MP_KEEP_AGE)" in call("stat", name).stdout.decode()
    handler.close()


def test_a_variable_that_nothing_reads_is_told_once(name: str, tmp_path: Path) -> None:
    """With what was probably meant."""
    program = (
        "import disklog_mp, sys\n"
        "from disklog_mp.logging import DiskLogHandler\n"
        "DiskLogHandler(sys.argv[1]); DiskLogHandler(sys.argv[1])"
    )
    environment = {
        "DISKLOG_MP_PAGE_BYTE": "64M",
        "DISKLOG_MP_OTHER_LOG_PAGE_BYTES": "64M",
        "DISKLOG_MP_DIR": str(tmp_path),
        "DISKLOG_MP_LABEL": "pod-a",
    }
    done = subprocess.run(
        [sys.executable, "-c", program, name], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stderr == (
        "disklog-mp: DISKLOG_MP_PAGE_BYTE in the environment is no option; "
        "did you mean DISKLOG_MP_PAGE_BYTES?\n"
    )


def test_the_table_in_readme_is_complete() -> None:
    """Every variable that is read has its row."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    for variable in _environment.OTHERS:
        assert f"`{variable}" in readme
    for option in _environment.KNOWN:
        assert f"`{option}`" in readme
