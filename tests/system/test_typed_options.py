"""The options of doors have types: a wrong name or value is an error of mypy."""

import os
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

import disklog_mp
from disklog_mp import _options

GOOD = """
import disklog_mp
from disklog_mp.logging import DiskLogHandler

DiskLogHandler("app", "/var/log/app", page_bytes="64M", keep_age=3600, mode=0o640, ring_dir="/mnt")
disklog_mp.configure_loggers("app", "/var/log/app", keep_pages=5)
disklog_mp.get_logger("a", "app", "/var/log/app", sync="1s")
disklog_mp.pools.start("app", "/var/log/app", keep_bytes="2G", label="etl", strict=True)
disklog_mp.attach("app").configure(keep_bytes=None, sync="200ms", mode="0660")
disklog_mp.serve("app", "/var/log/app", page_age="1d", page_at="hourly", page_tz="UTC")


async def configure() -> None:
    await (await disklog_mp.aio.attach("app")).configure(linger="1 min")
"""
BAD = """
import disklog_mp
from disklog_mp.logging import DiskLogHandler

DiskLogHandler("app", "/var/log/app", page_byte="64M")
DiskLogHandler("app", "/var/log/app", page_bytes=[1])
disklog_mp.configure_loggers("app", "/var/log/app", keep_page=5)
disklog_mp.get_logger("a", "app", "/var/log/app", snyc="1s")
disklog_mp.pools.start("app", "/var/log/app", keep_byte="2G")
disklog_mp.pools.start("app", "/var/log/app", label=3)
disklog_mp.attach("app").configure(keep_byte="2G")
disklog_mp.attach("app").configure(ring_dir="/mnt")
disklog_mp.serve("app", "/var/log/app", page_ages="1d")
"""


def test_all_options_are_typed() -> None:
    """Those of the writer, and where the ring is."""
    assert set(get_type_hints(_options.LogOptions)) == {
        *_options.Options._fields,
        *("ring_dir", "label", "strict"),
    }
    assert set(get_type_hints(_options.Changes)) == set(_options.Options._fields)


def test_mypy_finds_what_is_wrong(tmp_path: Path) -> None:
    """In each of the wrong lines, and in no other."""
    pytest.importorskip("mypy")
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "bad.py").write_text(BAD)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "good.py", "bad.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(Path(disklog_mp.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = {line.partition(": error")[0] for line in done.stdout.splitlines() if ": error" in line}

    assert lines == {f"bad.py:{line}" for line in range(5, 14)}, done.stdout
