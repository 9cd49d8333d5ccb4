"""Django's LOGGING: under gunicorn, with runserver, and in commands with and without a writer."""

import json
import os
import subprocess
import sys
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.machine import wait_until

import disklog_mp
from disklog_mp._loggers import structured as _structured
from integrations.killing import SMALL, Lanes, Load, account, balance, lines
from integrations.serving import TESTS, UnansweredError, asks, get, running, wait_for

pytestmark = pytest.mark.usefixtures("writer_ends")
SETTINGS = "integrations.django_site.settings"


@pytest.fixture
def environment(name: str, path: Path) -> dict[str, str]:
    """What the project is to know."""
    log = json.dumps({"name": name, "path": str(path), **SMALL})
    return {"DJANGO_SETTINGS_MODULE": SETTINGS, "LOG": log}


def manage(environment: dict[str, str], command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the project, as manage.py would."""
    return subprocess.run(
        [sys.executable, "-m", "django", command],
        env={**os.environ, "PYTHONPATH": str(TESTS), **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


def test_workers_killed_each_second_lose_nothing(
    environment: dict[str, str], name: str, path: Path, tmp_path: Path, lanes: Lanes
) -> None:
    """Under gunicorn; commands run meanwhile log into the same log."""
    where = f"unix:{tmp_path}/web"
    arguments = ("-w", "4", "-b", where, "integrations.django_site.urls:application")
    with running(tmp_path, "gunicorn", *arguments, **environment) as server:
        wait_for(tmp_path / "web")
        with ExitStack() as stack:
            loads = [stack.enter_context(Load(asks(tmp_path / "web"))) for _ in range(3)]
            lanes.kill_each_second()
        manage(environment, "stock")
        with pytest.raises(UnansweredError):
            get(tmp_path / "web", "/broken")
        server.process.terminate()
        server.process.wait(30)

    account("Django under gunicorn", name, path, lanes)
    work = lines(path)
    answers = [text for each in loads for _, text in each.answers]
    assert len(answers) > 100
    for text in answers:
        lane, _, number = text.partition(" ")
        assert work[lane][int(number)] == int(number)
    found = [_structured.parse(record.data) for record in disklog_mp.Reader(path)]
    events = [event for event in found if event is not None]
    assert ["3 apples"] == [event.message for event in events if event.logger == "shop.stock"]
    (failure,) = [event for event in events if event.logger == "django.request" and event.level == "ERROR"]
    assert "LookupError: no apples" in (failure.exception or "")
    assert failure.fields == {"status_code": 500, "request": "<WSGIRequest: GET '/broken'>"}
    balance(name, path)


def test_runserver_logs_from_both_its_processes(
    environment: dict[str, str], path: Path, tmp_path: Path, lanes: Lanes
) -> None:
    """The one that watches the files, and the one that serves."""
    port = 20000 + os.getpid() % 10000
    with running(tmp_path, "django", "runserver", f"127.0.0.1:{port}", **environment) as server:

        def answer() -> bytes | None:
            try:
                return bytes(urllib.request.urlopen(f"http://127.0.0.1:{port}/").read())
            except OSError:
                return None

        wait_until(answer, 30)
        wait_until(lambda: any(b"Watching for file changes" in r.data for r in disklog_mp.Reader(path)))
        assert "Traceback" not in server.said()
    messages = [record.data for record in disklog_mp.Reader(path)]
    assert any(b"work " in message for message in messages)


def test_commands_without_a_log(environment: dict[str, str], name: str, path: Path) -> None:
    """One that logs nothing starts no writer; one that cannot find the log says so, and does its work."""
    manage(environment, "check")
    assert not path.exists()
    environment["LOG"] = json.dumps({"name": name})
    done = manage(environment, "stock")

    assert done.stdout == "counted\n"
    assert f"no log {name!r} is open" in done.stderr
    environment["LOG"] = json.dumps({"name": name, "missing": "drop"})
    assert manage(environment, "stock").stderr == ""
