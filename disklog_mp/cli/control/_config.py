"""The file of `disklog-mp serve --config`: several logs, in TOML.

[defaults]             # options of all logs that do not set them; may be left out
sync = "1s"

[[log]]
name = "app"
path = "/var/log/app"
keep_bytes = "2G"      # any option of serve, with _ in place of -
"""

from __future__ import annotations

import os
import tomllib
from typing import Any

from disklog_mp import _environment

TABLES = {"defaults", "log"}


def read(path: str) -> list[dict[str, Any]]:
    """Return the logs of a file.  Raises OSError; ValueError says what is wrong with it."""
    with open(path, "rb") as file:
        try:
            told = tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
            raise ValueError(f"{path}: {problem}") from None
    unknown = sorted(set(told) - TABLES)
    if unknown:
        raise ValueError(f"{path}: [{unknown[0]}] is neither [defaults] nor [[log]]")
    defaults, logs = told.get("defaults", {}), told.get("log", [])
    if not isinstance(defaults, dict) or not isinstance(logs, list):
        raise ValueError(f"{path}: write [defaults] once and [[log]] for each log")
    if not logs:
        raise ValueError(f"{path}: there is no [[log]] in it")
    for log in logs:
        needed = ("name",) if _environment.DIRECTORY in os.environ else ("name", "path")
        missing = [key for key in needed if key not in log]
        if missing:
            raise ValueError(f"{path}: a [[log]] without {missing[0]}")
    base = os.path.dirname(os.path.abspath(path))  # a relative path is one from the file
    places = [{"path": os.path.join(base, str(log["path"]))} if "path" in log else {} for log in logs]
    return [{**defaults, **log, **place} for log, place in zip(logs, places, strict=True)]
