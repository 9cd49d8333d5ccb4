"""uvicorn --workers 4 --log-config: no module of ours, the handler's name in a JSON file."""

import json
import re
from contextlib import ExitStack
from pathlib import Path

import pytest

import disklog_mp
from disklog_mp._loggers import structured as _structured
from integrations.killing import SMALL, Lanes, Load, account, balance, lines
from integrations.serving import asks, running, wait_for

pytestmark = pytest.mark.usefixtures("writer_ends")


def test_workers_killed_each_second_lose_nothing(name: str, path: Path, tmp_path: Path, lanes: Lanes) -> None:
    """Workers are spawned, each applies the configuration by itself, and those that are killed come back."""
    handler = {
        "class": "disklog_mp.logging.DiskLogHandler",
        "name": name,
        "path": str(path),
        "encoding": "structured",
        **SMALL,
    }
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"disklog": handler},
        "root": {"level": "INFO", "handlers": ["disklog"]},
    }
    (tmp_path / "log.json").write_text(json.dumps(config))
    arguments = ("--workers", "4", "--log-config", "log.json", "--uds", tmp_path / "web")
    with running(tmp_path, "uvicorn", *arguments, "integrations.web:asgi") as server:
        wait_for(tmp_path / "web")
        with ExitStack() as stack:
            loads = [stack.enter_context(Load(asks(tmp_path / "web"))) for _ in range(3)]
            lanes.kill_each_second()
        server.process.terminate()
        server.process.wait(30)

    account("uvicorn --workers 4", name, path, lanes)
    work = lines(path)
    answers = [answer for each in loads for answer in each.answers]
    assert len(answers) > 100
    for _, text in answers:
        lane, _, number = text.partition(" ")
        assert work[lane][int(number)] == int(number)
    access = [
        int(match[1])
        for record in disklog_mp.Reader(path)
        if (match := re.search(rb"GET /\?(\d+) HTTP", record.data))
    ]
    assert len(access) == len(set(access))
    assert {number for number, _ in answers} <= set(access)
    events = [_structured.parse(record.data) for record in disklog_mp.Reader(path)]
    loggers = {event.logger for event in events if event is not None}
    assert {"uvicorn.access", "uvicorn.error", "shop"} <= loggers
    assert "Traceback" not in server.said()
    balance(name, path)
