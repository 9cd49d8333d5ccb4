"""What the doctor takes from a log's file, which may say anything."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.pages import frame, write_page

import disklog_mp
from disklog_mp._doctor.subject import of_log
from disklog_mp._options import Options
from disklog_mp._pages.identity import FILE
from disklog_mp._verify.places import find

SAID = {"format": 1, "log_id": "00" * 16, "name": "test", "owner": 0, "sources": {}}


def log_that_says(path: Path, **options: Any) -> Options:
    """The options that the doctor goes by, of a log whose file says these; all looks can be made."""
    write_page(path, [frame(0, b"x")])
    told = {**SAID, "directory": str(path), "ring_dir": str(path.parent), "options": options}
    (path / FILE).write_text(json.dumps(told))
    diagnosis = disklog_mp.doctor(path)
    assert () == diagnosis.troubles
    assert "test" == diagnosis.name
    with find(str(path), None) as found:
        return of_log(found, None).options


def test_options(path: Path) -> None:
    """They are those of the log."""
    options = log_that_says(path, ring_bytes=1 << 20, keep_bytes=5 << 20, keep_age=1.5, sync="page")
    assert (1 << 20, 5 << 20, 1.5) == (options.ring_bytes, options.keep_bytes, options.keep_age)


@pytest.mark.parametrize("value", [0, -1, True, 1.5, 10**400, float("inf"), float("nan"), "1M", None, [], {}])
def test_odd_options(path: Path, value: Any) -> None:
    """Defaults stand in for what can be no value of an option."""
    names = ("ring_bytes", "page_bytes", "keep_bytes", "keep_pages", "max_bytes")
    assert Options() == log_that_says(path, **dict.fromkeys(names, value))
