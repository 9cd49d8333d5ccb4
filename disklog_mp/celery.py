"""celery: the worker, its pool and their tasks in one log.

app = Celery("jobs", broker="redis://localhost")
disklog_mp.celery.install(app, "jobs", "/var/log/jobs")

For prefork and threads, for beat, and for pool processes that are killed or recycled: what a task has logged
is in the log, with the task's name and id.  Where the app is only used to send tasks nothing is set up.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, TextIO, Unpack

from celery import current_task, signals
from celery.utils.log import get_multiprocessing_logger

from disklog_mp._options import LogOptions
from disklog_mp.logging import DiskLogHandler

__all__ = ["install"]


class _Handler(DiskLogHandler):
    def _stderr(self) -> TextIO | None:
        return sys.__stderr__  # celery has its own sys.stderr log to us


def install(
    app: Any,
    name: str,
    path: str | os.PathLike[str] | None = None,
    *,
    encoding: str = "structured",
    on_full: str = "block",
    timeout: float | str = 1.0,
    missing: str = "stderr",
    **options: Unpack[LogOptions],
) -> None:
    """Have celery's workers, when they set up their logging, log into the log instead of a stream or file.

    `name`, `path` and the options are those of DiskLogHandler.  Records of tasks have task_id and task_name:
    structured ones as fields, text as the app's worker_task_log_format says.  The app's settings
    worker_hijack_root_logger and worker_redirect_stdouts, which tells whether print() is logged, hold, as
    does --loglevel; --logfile does not.
    """
    handler = _Handler(
        name, path, encoding=encoding, on_full=on_full, timeout=timeout, missing=missing, **options
    )
    nothing = {} if encoding == "structured" else {"task_id": "-", "task_name": "-"}

    def of_task(record: logging.LogRecord) -> bool:
        if current_task and current_task.request.id:
            known = {"task_id": current_task.request.id, "task_name": current_task.name}
        else:
            known = nothing
        record.__dict__.update(known)
        return True

    def configure(loglevel: int, **_: Any) -> None:
        conf = app.conf
        if encoding == "text":  # else what the format adds has places of its own
            handler.setFormatter(logging.Formatter(conf.worker_task_log_format, conf.worker_task_log_datefmt))
        root = logging.getLogger()
        if conf.worker_hijack_root_logger:
            for logger in (root, *map(logging.getLogger, ("celery", "celery.task", "celery.redirected"))):
                logger.handlers = []
        root.addHandler(handler)
        root.setLevel(loglevel)
        pool = get_multiprocessing_logger()  # reports on the pool's processes to no other logger
        if pool is not None:
            pool.addHandler(handler)
            pool.setLevel(logging.ERROR)
        if conf.worker_redirect_stdouts:
            app.log.redirect_stdouts(conf.worker_redirect_stdouts_level)

    handler.addFilter(of_task)
    signals.setup_logging.connect(configure, weak=False)
