"""The examples of integrations: short, run as they are, leave nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.machine import processes_of, shared_memory_of, wait_until

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "integrations").glob("*.py"))
TELLS = {
    "celery_worker": "2 and 3 are 5",
    "django_site": "Not Found: /pears",
    "gunicorn_server": '"GET /apples HTTP/1.1" 200',
    "loguru_setup": '"message":"3 apples sold"',
    "otel_exporter": '"message":"3 apples sold"',
    "structlog_setup": '"fields":{"user":42,"apples":3}',
    "uvicorn_server": '"GET /apples HTTP/1.1" 200',
}


def test_every_example_is_run() -> None:
    """A new example is told here what it prints."""
    assert [file.stem for file in EXAMPLES] == sorted(TELLS)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_runs(file: Path, tmp_path: Path) -> None:
    """It has at most 40 lines, needs no arguments, prints what it promises and cleans up after itself."""
    said = tmp_path / "said"
    work = tmp_path / "work"
    work.mkdir()
    with said.open("w") as err:  # no pipe: a log's writer would keep it open
        process = subprocess.Popen(
            [sys.executable, file],
            stdout=subprocess.PIPE,
            stderr=err,
            env={**os.environ, "TMPDIR": str(work), "HOME": str(work), "PYTHONDONTWRITEBYTECODE": "1"},
            text=True,
        )
        out, _ = process.communicate(timeout=60)

    assert process.returncode == 0, said.read_text()
    assert TELLS[file.stem] in out, said.read_text()
    assert len(file.read_text().splitlines()) <= 40
    assert [entry for entry in work.iterdir() if not entry.name.startswith(".")] == []
    wait_until(lambda: not processes_of(str(work)) and not shared_memory_of(f"-{process.pid}"))
