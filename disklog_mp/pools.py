"""The log in the workers of multiprocessing.Pool and concurrent.futures.ProcessPoolExecutor.

multiprocessing.Pool(4, initializer=pools.start, initargs=("etl", "/var/log/etl"))
ProcessPoolExecutor(4, initializer=pools.start, initargs=("etl", "/var/log/etl"))

With any start method.  A session will do as well, initargs=(log,), and leads to its log where others have the
same name.  Nothing is to be done when a worker ends: what was logged is in the log.
"""

from __future__ import annotations

import logging
import os
from typing import Unpack

from disklog_mp._loggers.logger import Log, configure_loggers_once, name_of
from disklog_mp._options import LogOptions
from disklog_mp.logging import DiskLogHandler

__all__ = ["start"]


def start(
    name: Log,
    path: str | os.PathLike[str] | None = None,
    level: int | str = logging.INFO,
    encoding: str = "structured",
    *,
    on_full: str = "block",
    timeout: float | str = 1.0,
    missing: str = "stderr",
    **options: Unpack[LogOptions],
) -> None:
    """Have this process's root logger, and get_logger(), log into the log, from that level on.

    `name`, `path` and the options are those of DiskLogHandler (functools.partial takes what initargs cannot);
    `name` may be a session on the log.
    Where the root logger has a handler for that log, inherited over a fork, say, it keeps that one.  Loggers
    that were configured with configure_loggers() for a log of that name remain as they are.
    """
    configure_loggers_once(
        name, path, level=level, on_full=on_full, timeout=timeout, missing=missing, **options
    )
    root, log_name = logging.getLogger(), name_of(name)
    root.setLevel(level)
    if not any(isinstance(it, DiskLogHandler) and it.log_name == log_name for it in root.handlers):
        root.addHandler(
            DiskLogHandler(
                log_name,
                path,
                encoding=encoding,
                on_full=on_full,
                timeout=timeout,
                missing=missing,
                **options,
            )
        )
